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
#[error("{reason}: {line}")]
pub struct CommandError {
    line: String,
    reason: Reason,
    /// Whether the unit cannot be started for it. Where a failure of the command is ignored, so is this.
    pub is_fatal: bool,
}

/// In systemd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("Unbalanced quoting")]
    Unbalanced,
    #[error("Empty path in command line")]
    NoProgram,
    #[error("Executable name contains special characters")]
    Characters,
    #[error("Neither a valid executable name nor an absolute path")]
    BadProgram,
    #[error("Executable path specifies a directory")]
    Directory,
    #[error("Empty executable name or zeroeth argument")]
    NoArgvZero,
}

/// The commands of one `Exec*=` value. `expand` replaces specifiers in each word.
///
/// # Errors
/// The line is not valid.
pub fn parse_exec(value: &str, expand: &dyn Fn(&str) -> String) -> Result<Vec<ExecCommand>, CommandError> {
    let mut commands = Vec::new();
    let mut rest = value.trim_start_matches(is_blank);
    while !rest.is_empty() {
        // A lone `;` only separates.
        if let Some(after) = lone(rest, ";") {
            rest = after.trim_start_matches(is_blank);
            continue;
        }
        let mut command = ExecCommand::default();
        rest = command.read(rest, expand).map_err(|reason| CommandError {
            line: value.to_owned(),
            reason,
            is_fatal: !command.ignore_failure,
        })?;
        commands.push(command);
        rest = rest.trim_start_matches(is_blank);
    }
    Ok(commands)
}

/// What follows `word`, if that stands at the start of `text` and by itself.
fn lone<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.strip_prefix(word).filter(|rest| rest.is_empty() || rest.starts_with(is_blank))
}

impl ExecCommand {
    /// Reads one command from the start of `text`, up to a lone `;`. Returns what follows.
    fn read<'a>(&mut self, text: &'a str, expand: &dyn Fn(&str) -> String) -> Result<&'a str, Reason> {
        let unbalanced = |_: WordsError| Reason::Unbalanced;
        let (first, mut rest) = next_word(text).map_err(unbalanced)?.ok_or(Reason::NoProgram)?;
        let (program, separate_argv0) = self.take_prefixes(&first);
        let program = expand(program);
        check_program(&program)?;
        self.path = simplified(&program);
        if !separate_argv0 {
            self.argv.push(program);
        }
        loop {
            let trimmed = rest.trim_start_matches(is_blank);
            if let Some(after) = lone(trimmed, ";") {
                rest = after;
                break;
            }
            if let Some(after) = lone(trimmed, "\\;") {
                self.argv.push(";".into());
                rest = after;
                continue;
            }
            let Some((word, after)) = next_word(trimmed).map_err(unbalanced)? else {
                rest = "";
                break;
            };
            self.argv.push(expand(&word));
            rest = after;
        }
        if self.argv.first().is_none_or(String::is_empty) { Err(Reason::NoArgvZero) } else { Ok(rest) }
    }
}

fn check_program(path: &str) -> Result<(), Reason> {
    if path.is_empty() {
        return Err(Reason::NoProgram);
    }
    if path.chars().any(|c| c < ' ' || matches!(c, '"' | '\'' | '\\' | '\x7f')) {
        return Err(Reason::Characters);
    }
    if (!path.starts_with('/') && path.contains('/')) || path == "." || path == ".." {
        return Err(Reason::BadProgram);
    }
    if path.ends_with('/') { Err(Reason::Directory) } else { Ok(()) }
}

/// Without double slashes and `.` components.
fn simplified(path: &str) -> String {
    let Some(absolute) = path.strip_prefix('/') else { return path.to_owned() };
    let components = absolute.split('/').filter(|component| !matches!(*component, "" | "."));
    components.fold(String::new(), |path, component| format!("{path}/{component}"))
}

impl ExecCommand {
    /// Notes the prefixes of the first word, each once; returns the rest of it and whether `@` was among
    /// them.
    fn take_prefixes<'a>(&mut self, word: &'a str) -> (&'a str, bool) {
        let mut separate_argv0 = false;
        let mut exclamations = 0;
        let program = word.trim_start_matches(|c| {
            match c {
                '-' if !self.ignore_failure => self.ignore_failure = true,
                '@' if !separate_argv0 => separate_argv0 = true,
                ':' if !self.no_expansion => self.no_expansion = true,
                '+' if !self.full_privileges && exclamations == 0 => self.full_privileges = true,
                '!' if !self.full_privileges && exclamations < 2 => {
                    exclamations += 1;
                    self.keep_user = true;
                }
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
        let command = &parse(":+-docker ps").expect("valid")[0];
        assert!(command.no_expansion && command.full_privileges && !command.keep_user);
        assert_eq!(command.argv, ["docker", "ps"]);
        assert!(parse("!!/bin/x").expect("valid")[0].keep_user);
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
        for (line, reason, is_fatal) in [
            ("-", "Empty path in command line", false),
            ("- /bin/x", "Empty path in command line", false),
            ("bin/x", "Neither a valid executable name nor an absolute path", true),
            ("--/bin/x", "Neither a valid executable name nor an absolute path", false),
            ("-@-/bin/x a", "Neither a valid executable name nor an absolute path", false),
            ("+!/bin/x", "Neither a valid executable name nor an absolute path", true),
            ("/bin/", "Executable path specifies a directory", true),
            ("@/bin/x", "Empty executable name or zeroeth argument", true),
            ("/bin/x 'a", "Unbalanced quoting", true),
            ("-/bin/x 'a\\", "Unbalanced quoting", false),
            ("/bin/\\x", "Executable name contains special characters", true),
            ("/bin/\\n", "Executable name contains special characters", true),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!((error.to_string(), error.is_fatal), (format!("{reason}: {line}"), is_fatal));
        }
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn a_program_is_found_by_its_simplest_path_and_called_as_it_is_written() {
        let commands = parse("/R///slash r1/// ; @/R/./s ///argv0 ; \"/a b/c\" -1 ; /d\\s").expect("valid");
        let read: Vec<_> = commands.iter().map(|c| (c.path.as_str(), c.argv.join("|"))).collect();
        let expected =
            [("/R/slash", "/R///slash|r1///"), ("/R/s", "///argv0"), ("/a b/c", "/a b/c|-1"), ("/d ", "/d ")];
        assert_eq!(read, expected.map(|(path, argv)| (path, argv.to_owned())));
        assert_eq!(parse("; /a ; ; /b ;").expect("valid").len(), 2);
        assert_eq!(parse("/find \\; /x").expect("valid")[0].argv, ["/find", ";", "/x"]);
        assert_eq!(parse("/find \\;x \\073").expect("valid")[0].argv, ["/find", "\\;x", ";"]);
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
