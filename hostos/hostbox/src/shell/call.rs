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
        let (mut command, mut session) = (false, own.starts_with('-'));
        let mut at = 1;
        while let Some(word) = words.get(at).filter(|word| word.len() > 1 && word.starts_with(['-', '+'])) {
            at += 1;
            let set = word.starts_with('-');
            match word.as_str() {
                "--" => break,
                "--norc" | "--noprofile" | "--noediting" => continue,
                "--posix" => call.on.push("posix".to_owned()),
                "--login" => session = true,
                long if long.starts_with("--") => return None,
                _ => {}
            }
            for letter in word.chars().skip(1).filter(|_| !word.starts_with("--")) {
                let list = if set { &mut call.on } else { &mut call.off };
                match letter {
                    'c' if set => command = true,
                    'i' | 'l' if set => session = true,
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
        } else if let Some(script) = rest.next() {
            call.name.clone_from(&script);
            call.work = Work::Script(script);
        }
        call.args = rest.collect();
        // A login or interactive shell reads its settings first, which is the front end's to do.
        (!session || call.work == Work::Session).then_some(call)
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
    fn sessions_and_the_unusual_are_left_to_the_front_end() {
        for line in ["bash", "-bash", "bash -l", "bash -i --norc"] {
            assert_eq!(read(line).map(|call| call.work), Some(Work::Session), "{line}");
        }
        for line in ["bash --version", "bash -s a", "bash -lc text", "bash --rcfile f", "sh -c"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
