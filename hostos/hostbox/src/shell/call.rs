//! What the arguments of `sh` and `bash` ask for.

/// A call with nothing unusual in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) work: Work,
    /// `$0`.
    pub(super) name: String,
    /// `$1` and so on.
    pub(super) args: Vec<String>,
    /// Names as of `set -o`.
    pub(super) on: Vec<String>,
    pub(super) off: Vec<String>,
    /// It is asked to be interactive, or a login's: both have settings.
    pub(super) interactive: bool,
    pub(super) login: bool,
    /// Its settings are not to be read.
    pub(super) bare: bool,
}

/// What is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Work {
    /// Lines from a terminal or standard input.
    #[default]
    Session,
    /// The text behind `-c`.
    Command(String),
    /// A file.
    Script(String),
}

/// Letters of `set`, and its names for them.
const LETTERS: &[(char, &str)] = &[
    ('a', "allexport"),
    ('e', "errexit"),
    ('f', "noglob"),
    ('u', "nounset"),
    ('v', "verbose"),
    ('x', "xtrace"),
    ('C', "noclobber"),
];

impl Call {
    /// Nothing if there is more to it than is known here.
    pub(super) fn read(words: &[String]) -> Option<Self> {
        let own = words.first()?;
        let mut call = Self { name: own.clone(), ..Self::default() };
        call.login = own.starts_with('-');
        let (mut command, mut from_input) = (false, false);
        let mut at = 1;
        while let Some(word) = words.get(at).filter(|word| word.len() > 1 && word.starts_with(['-', '+'])) {
            at += 1;
            let set = word.starts_with('-');
            match word.as_str() {
                "--" => break,
                "--noediting" => continue,
                "--norc" | "--noprofile" => call.bare = true,
                "--posix" => call.on.push("posix".to_owned()),
                "--login" => call.login = true,
                long if long.starts_with("--") => return None,
                _ => {}
            }
            for letter in word.chars().skip(1).filter(|_| !word.starts_with("--")) {
                let list = if set { &mut call.on } else { &mut call.off };
                match letter {
                    'c' if set => command = true,
                    'i' if set => call.interactive = true,
                    'l' if set => call.login = true,
                    's' if set => from_input = true,
                    'o' => {
                        list.push(words.get(at)?.clone());
                        at += 1;
                    }
                    letter => {
                        let (_, name) = LETTERS.iter().find(|(known, _)| *known == letter)?;
                        list.push((*name).to_owned());
                    }
                }
            }
        }
        let mut rest = words.get(at..).unwrap_or_default().iter().cloned();
        if command {
            call.work = Work::Command(rest.next()?);
            call.name = rest.next().unwrap_or(call.name);
        } else if let Some(script) = rest.by_ref().take(usize::from(!from_input)).next() {
            call.name.clone_from(&script);
            call.work = Work::Script(script);
        }
        call.args = rest.collect();
        Some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Call> {
        Call::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn commands_and_scripts_have_their_names_and_arguments() {
        let call = read("sh -euo pipefail -c text zero one").expect("it is plain");
        assert_eq!(call.work, Work::Command("text".into()));
        assert_eq!((call.name.as_str(), call.args), ("zero", vec!["one".to_owned()]));
        assert_eq!(call.on, ["errexit", "nounset", "pipefail"]);
        let call = read("bash +x -- /opt/run -a").expect("it is plain");
        assert_eq!(call.work, Work::Script("/opt/run".into()));
        assert_eq!((call.name.as_str(), call.args), ("/opt/run", vec!["-a".to_owned()]));
        assert_eq!(call.off, ["xtrace"]);
    }

    #[test]
    fn sessions_have_arguments_too_and_the_unusual_is_left_to_the_front_end() {
        for line in ["bash", "-bash", "bash -l", "bash -i --norc", "bash -s a"] {
            assert_eq!(read(line).map(|call| call.work), Some(Work::Session), "{line}");
        }
        assert_eq!(read("bash -s a b").map(|call| call.args), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert!(read("-bash").is_some_and(|call| call.login && !call.interactive));
        let call = read("bash -lc text").expect("it is plain");
        assert!(call.login && call.work == Work::Command("text".into()));
        for line in ["bash --version", "bash --rcfile f", "sh -c"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
