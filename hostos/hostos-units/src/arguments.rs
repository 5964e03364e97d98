//! Arguments of the applets: options anywhere, `--key=value` or `--key value`, short ones bundled.

use std::ffi::OsString;

/// An option or a plain word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// `-x`, `--long`, with its value if it takes one.
    Option(String, Option<String>),
    Word(String),
}

/// Splits arguments; `takes_value` names the options that have a value.
///
/// # Errors
/// An option lacks its value.
pub(crate) fn split(args: &[OsString], takes_value: &[&str]) -> Result<Vec<Argument>, String> {
    let mut found = Vec::new();
    let mut rest = args.iter().map(|arg| arg.to_string_lossy().into_owned());
    let mut words_only = false;
    while let Some(arg) = rest.next() {
        if words_only || !arg.starts_with('-') || arg == "-" {
            found.push(Argument::Word(arg));
        } else if arg == "--" {
            words_only = true;
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let name = format!("--{name}");
            let value = match value {
                None if takes_value.contains(&name.as_str()) => {
                    Some(rest.next().ok_or(format!("option '{name}' requires an argument"))?)
                }
                value => value,
            };
            found.push(Argument::Option(name, value));
        } else {
            let letters: Vec<char> = arg[1..].chars().collect();
            for (index, letter) in letters.iter().enumerate() {
                let name = format!("-{letter}");
                if takes_value.contains(&name.as_str()) {
                    let attached: String = letters[index + 1..].iter().collect();
                    let value = if attached.is_empty() { rest.next() } else { Some(attached) };
                    let value = value.ok_or(format!("option '{name}' requires an argument"))?;
                    found.push(Argument::Option(name, Some(value)));
                    break;
                }
                found.push(Argument::Option(name, None));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_words() {
        let args: Vec<OsString> =
            ["-u", "a", "-n5", "-fq", "--since=x", "--until", "y", "w", "--", "-z"].map(Into::into).to_vec();
        let found = split(&args, &["-u", "-n", "--until"]).expect("valid");
        let option = |name: &str, value: Option<&str>| Argument::Option(name.into(), value.map(Into::into));
        assert_eq!(
            found,
            [
                option("-u", Some("a")),
                option("-n", Some("5")),
                option("-f", None),
                option("-q", None),
                option("--since", Some("x")),
                option("--until", Some("y")),
                Argument::Word("w".into()),
                Argument::Word("-z".into()),
            ]
        );
        assert!(split(&["-n".into()], &["-n"]).is_err());
    }
}
