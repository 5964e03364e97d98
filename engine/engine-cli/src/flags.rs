//! Flags as Docker's client takes them: `--rm=false` is allowed, the last of a repeated one counts, and
//! what does not parse is answered in that client's words.

use clap::{Arg, ArgAction, ArgMatches};

use crate::http::Failure;

/// A flag that is on or off.
pub(crate) fn flag(long: &'static str, short: Option<char>, help: &'static str) -> Arg {
    let arg = one(long, short, help).num_args(0..=1).require_equals(true).default_missing_value("true");
    arg.hide_possible_values(true).value_name("BOOL")
}

/// A flag with a value.
pub(crate) fn one(long: &'static str, short: Option<char>, help: &'static str) -> Arg {
    let arg = Arg::new(long).long(long).help(help).allow_hyphen_values(true);
    short.map_or(arg.clone(), |c| arg.short(c))
}

/// A flag that may be given several times.
pub(crate) fn list(long: &'static str, short: Option<char>, help: &'static str) -> Arg {
    one(long, short, help).action(ArgAction::Append)
}

/// What was given to a verb.
pub(crate) struct Options<'a> {
    matches: &'a ArgMatches,
    shorts: &'a [(String, char)],
}

impl<'a> Options<'a> {
    pub(crate) fn new(matches: &'a ArgMatches, shorts: &'a [(String, char)]) -> Options<'a> {
        Options { matches, shorts }
    }

    pub(crate) fn is_given(&self, name: &str) -> bool {
        let known = self.matches.try_contains_id(name).is_ok();
        known && self.matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine)
    }

    /// The value, or nothing, as for a flag that the verb does not have.
    pub(crate) fn text(&self, name: &str) -> String {
        self.matches.try_get_one::<String>(name).ok().flatten().cloned().unwrap_or_default()
    }

    pub(crate) fn many(&self, name: &str) -> Vec<String> {
        self.matches.try_get_many::<String>(name).ok().flatten().into_iter().flatten().cloned().collect()
    }

    /// What stands besides the flags.
    pub(crate) fn args(&self) -> Vec<String> {
        self.many("args")
    }

    /// The n-th of them; its presence was checked.
    pub(crate) fn arg(&self, at: usize) -> String {
        self.args().get(at).cloned().unwrap_or_default()
    }

    pub(crate) fn is_set(&self, name: &str) -> Result<bool, Failure> {
        let text = self.text(name);
        match text.as_str() {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            _ => Err(self.wrong(
                name,
                &text,
                &format!("strconv.ParseBool: parsing \"{text}\": invalid syntax"),
            )),
        }
    }

    /// A whole number, if the flag was given.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let text = self.text(name);
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) if text.is_empty() && !self.is_given(name) => Ok(None),
            Err(_) => {
                Err(self.wrong(name, &text, &format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")))
            }
        }
    }

    /// A size in bytes, as `64m`; zero if it was not given, -1 as it is.
    pub(crate) fn size(&self, name: &str) -> Result<i64, Failure> {
        let text = self.text(name);
        match text.as_str() {
            "" => Ok(0),
            "-1" => Ok(-1),
            _ => match engine_api::size::parse(&text).and_then(|bytes| i64::try_from(bytes).ok()) {
                Some(bytes) => Ok(bytes),
                None => Err(self.wrong(name, &text, &size_problem(&text))),
            },
        }
    }

    /// A value that the flag does not take.
    pub(crate) fn wrong(&self, name: &str, value: &str, why: &str) -> Failure {
        let short = self.shorts.iter().find(|(long, _)| long == name);
        let short = short.map_or(String::new(), |(_, c)| format!("-{c}, "));
        Failure::Flag(format!("invalid argument \"{value}\" for \"{short}--{name}\" flag: {why}"))
    }
}

fn size_problem(text: &str) -> String {
    let suffix = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    match suffix.len() == text.len() {
        true => format!("invalid size: '{text}'"),
        false => format!("invalid suffix: '{suffix}'"),
    }
}
