//! Command lines of `Exec*=`: prefixes, words, `;` between commands, and `$` expansion.
//!
//! There is no shell here: no pipes, no redirections, and the program itself is never a variable.

use crate::words::{WordsError, is_blank, next_word};

/// One command of an `Exec*=` line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecCommand {
    /// Program: an absolute path, or a bare name to look up.
    pub path: String,
    /// Arguments, `argv[0]` first; `$` not yet expanded.
    pub argv: Vec<String>,
    /// `-`: a failure counts as success.
    pub ignore_failure: bool,
    /// `:`: no `$` expansion.
    pub no_expansion: bool,
    /// `+`: run as root, without sandboxing.
    pub full_privileges: bool,
    /// `!` or `!!`: run without changing the user.
    pub keep_user: bool,
}

/// Why a command line cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Words cannot be told apart.
    #[error("command line `{0}` has unbalanced quotes")]
    Unbalanced(String),
    /// Only prefixes, or nothing before a `;`.
    #[error("command line `{0}` names no program")]
    NoProgram(String),
    /// The program is neither absolute nor a plain name.
    #[error("program `{0}` must be an absolute path or a plain name")]
    BadProgram(String),
    /// `@` without a name for `argv[0]`.
    #[error("command line `{0}` has `@` but no name for the process behind the program")]
    NoArgvZero(String),
}

/// The commands of one `Exec*=` value. `expand` replaces specifiers in each word.
///
/// # Errors
/// The line is not valid; systemd skips such a line with a warning.
pub fn parse_exec(value: &str, expand: &dyn Fn(&str) -> String) -> Result<Vec<ExecCommand>, CommandError> {
    let mut commands = Vec::new();
    let mut rest = value.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let (command, after) = parse_one(value, rest, expand)?;
        commands.push(command);
        rest = after.trim_start_matches(is_blank);
    }
    Ok(commands)
}

fn parse_one<'a>(
    whole: &str,
    text: &'a str,
    expand: &dyn Fn(&str) -> String,
) -> Result<(ExecCommand, &'a str), CommandError> {
    let no_program = || CommandError::NoProgram(whole.to_owned());
    let unbalanced = |_: WordsError| CommandError::Unbalanced(whole.to_owned());
    let (first, mut rest) = next_word(text).map_err(unbalanced)?.ok_or_else(no_program)?;
    let mut command = ExecCommand::default();
    let (program, separate_argv0) = command.take_prefixes(&first);
    if program.is_empty() || program == ";" {
        return Err(no_program());
    }
    command.path = expand(program);
    let path = &command.path;
    if (!path.starts_with('/') && path.contains('/')) || path.ends_with('/') || path == "." || path == ".." {
        return Err(CommandError::BadProgram(path.clone()));
    }
    if separate_argv0 {
        let missing = || CommandError::NoArgvZero(whole.to_owned());
        let (name, after) = next_word(rest).map_err(unbalanced)?.ok_or_else(missing)?;
        command.argv.push(expand(&name));
        rest = after;
    } else {
        command.argv.push(command.path.clone());
    }
    loop {
        let trimmed = rest.trim_start_matches(is_blank);
        if let Some(after) = trimmed.strip_prefix(';').filter(|r| r.is_empty() || r.starts_with(is_blank)) {
            return Ok((command, after));
        }
        if let Some(after) = trimmed.strip_prefix("\\;").filter(|r| r.is_empty() || r.starts_with(is_blank)) {
            command.argv.push(";".into());
            rest = after;
            continue;
        }
        match next_word(trimmed).map_err(unbalanced)? {
            None => return Ok((command, "")),
            Some((word, after)) => {
                command.argv.push(expand(&word));
                rest = after;
            }
        }
    }
}

impl ExecCommand {
    /// Notes the prefixes of the first word; returns the rest of it and whether `@` was among them.
    fn take_prefixes<'a>(&mut self, word: &'a str) -> (&'a str, bool) {
        let mut separate_argv0 = false;
        let program = word.trim_start_matches(|c| {
            match c {
                '-' => self.ignore_failure = true,
                '@' => separate_argv0 = true,
                ':' => self.no_expansion = true,
                '+' => self.full_privileges = true,
                '!' => self.keep_user = true,
                _ => return false,
            }
            true
        });
        (program, separate_argv0)
    }
}

/// The arguments with variables replaced: `${X}` anywhere by exactly its value, `$X` as a word of
/// its own by its value split at blanks, `$$` by `$`. What is not set becomes empty.
#[must_use]
pub fn expand_arguments(command: &ExecCommand, lookup: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    if command.no_expansion {
        return command.argv.clone();
    }
    let mut expanded = Vec::with_capacity(command.argv.len());
    for argument in &command.argv {
        match whole_word_variable(argument) {
            Some(name) => expanded.extend(split_value(&lookup(name).unwrap_or_default())),
            None => expanded.push(expand_braced(argument, lookup)),
        }
    }
    expanded
}

/// The name, if the argument is `$NAME` and nothing else.
fn whole_word_variable(argument: &str) -> Option<&str> {
    let name = argument.strip_prefix('$')?;
    (!name.starts_with(['{', '$']) && !name.is_empty()).then_some(name)
}

fn split_value(value: &str) -> Vec<String> {
    crate::split_words(value).unwrap_or_else(|_| value.split(is_blank).map(str::to_owned).collect())
}

/// Replaces `${NAME}` and `$$`; any other `$` stays.
pub(crate) fn expand_braced(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some((name, tail)) = braced {
            out.push_str(&lookup(name).unwrap_or_default());
            rest = tail;
        } else if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Vec<ExecCommand>, CommandError> {
        parse_exec(value, &str::to_owned)
    }

    fn expand(value: &str) -> Vec<String> {
        let lookup = |name: &str| match name {
            "ONE" => Some("one".to_owned()),
            "TWO" => Some("two 'three four'".to_owned()),
            _ => None,
        };
        expand_arguments(&parse(value).expect("valid")[0], &lookup)
    }

    #[test]
    fn prefixes_in_any_order() {
        let command = &parse("-@/bin/sh shell -c x").expect("valid")[0];
        assert!(command.ignore_failure && command.path == "/bin/sh");
        assert_eq!(command.argv, ["shell", "-c", "x"]);
        let command = &parse(":+-!docker ps").expect("valid")[0];
        assert!(command.no_expansion && command.full_privileges && command.keep_user);
        assert_eq!(command.argv, ["docker", "ps"]);
    }

    #[test]
    fn a_lone_semicolon_separates() {
        let commands = parse(r"/bin/a x ; /bin/b ';' \; y; ; -/bin/c").expect("valid");
        let argvs: Vec<_> = commands.iter().map(|c| c.argv.join(" ")).collect();
        assert_eq!(argvs, ["/bin/a x", "/bin/b ; ; y;", "/bin/c"]);
        assert!(commands[2].ignore_failure);
    }

    #[test]
    fn bad_lines() {
        assert_eq!(parse("-"), Err(CommandError::NoProgram("-".into())));
        assert_eq!(parse("bin/x"), Err(CommandError::BadProgram("bin/x".into())));
        assert_eq!(parse("/bin/"), Err(CommandError::BadProgram("/bin/".into())));
        assert_eq!(parse("@/bin/x"), Err(CommandError::NoArgvZero("@/bin/x".into())));
        assert_eq!(parse("/bin/x 'a"), Err(CommandError::Unbalanced("/bin/x 'a".into())));
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn variables() {
        assert_eq!(
            expand("/e $ONE ${ONE} x${ONE}y x$ONE $$ONE"),
            ["/e", "one", "one", "xoney", "x$ONE", "$ONE"]
        );
        assert_eq!(expand("/e $TWO ${TWO}"), ["/e", "two", "three four", "two 'three four'"]);
        assert_eq!(expand("/e $NONE ${NONE} $"), ["/e", "", "$"]);
        assert_eq!(expand(":/e $ONE ${ONE}"), ["/e", "$ONE", "${ONE}"]);
    }
}
