//! Each instruction's arguments.

use engine_image::Healthcheck;

use super::ParseError;
use super::words;

/// An instruction and its line, as printed in `Step n/m : …`.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    pub command: Command,
    pub text: String,
}

/// A command line: run as it is, or given to the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunForm {
    Exec(Vec<String>),
    Shell(String),
}

/// What to do. Words are as written; variables are expanded when it is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    From {
        image: String,
        name: String,
        platform: String,
    },
    Arg(Vec<(String, Option<String>)>),
    Env(Vec<(String, String)>),
    /// `literal`: from the client's `--label`, not expanded.
    Label {
        pairs: Vec<(String, String)>,
        literal: bool,
    },
    Maintainer(String),
    Run {
        form: RunForm,
        buildkit_flag: Option<String>,
    },
    Cmd(RunForm),
    Entrypoint(RunForm),
    Shell(Vec<String>),
    Copy {
        add: bool,
        from: String,
        chown: String,
        chmod: String,
        sources: Vec<String>,
        destination: String,
    },
    Workdir(String),
    User(String),
    Volume(Vec<String>),
    Expose(Vec<String>),
    StopSignal(String),
    Healthcheck(Healthcheck),
    OnBuild(String),
}

/// Reads one line.
pub fn parse_instruction(text: &str, line: usize, escape: char) -> Result<Instruction, ParseError> {
    let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    let name = word.to_ascii_uppercase();
    let (flags, rest) = words::flags(rest);
    let parser = Parser { name: &name, line, escape, rest: rest.trim() };
    let mut flags = Flags { given: parser.split_flags(flags)? };
    let command = parser.command(&mut flags)?;
    if let Some((flag, _)) = flags.given.first() {
        return Err(parser.wrong(format!("Unknown flag: {flag}")));
    }
    Ok(Instruction { command, text: text.trim().to_owned() })
}

struct Parser<'a> {
    name: &'a str,
    line: usize,
    escape: char,
    rest: &'a str,
}

struct Flags {
    given: Vec<(String, Option<String>)>,
}

impl Flags {
    fn take(&mut self, name: &str) -> Option<Option<String>> {
        let at = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.remove(at).1)
    }
}

impl Parser<'_> {
    fn wrong(&self, reason: impl Into<String>) -> ParseError {
        ParseError::at(self.line, reason)
    }

    fn split_flags(&self, flags: Vec<String>) -> Result<Vec<(String, Option<String>)>, ParseError> {
        let mut split: Vec<(String, Option<String>)> = Vec::new();
        for flag in flags {
            let body = flag.trim_start_matches("--");
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            if split.iter().any(|(known, _)| known == name) && name != "mount" {
                return Err(self.wrong(format!("Duplicate flag specified: {name}")));
            }
            split.push((name.to_owned(), value));
        }
        Ok(split)
    }

    fn value(&self, flags: &mut Flags, name: &str) -> Result<String, ParseError> {
        match flags.take(name) {
            None => Ok(String::new()),
            Some(Some(value)) => Ok(value),
            Some(None) => Err(self.wrong(format!("Missing a value on flag: {name}"))),
        }
    }

    fn command(&self, flags: &mut Flags) -> Result<Command, ParseError> {
        match self.name {
            "FROM" => self.from(flags),
            "ARG" => self.arg(),
            "ENV" => Ok(Command::Env(self.pairs()?)),
            "LABEL" => Ok(Command::Label { pairs: self.pairs()?, literal: false }),
            "MAINTAINER" => Ok(Command::Maintainer(self.one()?)),
            "RUN" => self.run(flags),
            "CMD" => Ok(Command::Cmd(self.form()?)),
            "ENTRYPOINT" => Ok(Command::Entrypoint(self.form()?)),
            "SHELL" => self.shell(),
            "COPY" | "ADD" => self.copy(flags),
            "WORKDIR" => Ok(Command::Workdir(self.one()?)),
            "USER" => Ok(Command::User(self.one()?)),
            "STOPSIGNAL" => Ok(Command::StopSignal(self.one()?)),
            "VOLUME" => self.volume(),
            "EXPOSE" => Ok(Command::Expose(
                self.at_least_one(self.rest.split_whitespace().map(str::to_owned).collect())?,
            )),
            "HEALTHCHECK" => self.healthcheck(flags),
            "ONBUILD" => self.on_build(),
            other => Err(self.wrong(format!("unknown instruction: {other}"))),
        }
    }

    fn from(&self, flags: &mut Flags) -> Result<Command, ParseError> {
        let platform = self.value(flags, "platform")?;
        let words: Vec<&str> = self.rest.split_whitespace().collect();
        let (image, name) = match words[..] {
            [image] => (image, String::new()),
            [image, middle, name] if middle.eq_ignore_ascii_case("as") => (image, self.stage_name(name)?),
            _ => return Err(self.wrong("FROM requires either one or three arguments")),
        };
        Ok(Command::From { image: image.to_owned(), name, platform })
    }

    fn stage_name(&self, name: &str) -> Result<String, ParseError> {
        let lower = name.to_lowercase();
        let fits = lower.starts_with(|c: char| c.is_ascii_lowercase())
            && lower.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
        if fits {
            return Ok(lower);
        }
        Err(self.wrong(format!(
            "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
        )))
    }

    fn arg(&self) -> Result<Command, ParseError> {
        let words = self.at_least_one(words::quoted_words(self.rest, self.escape))?;
        let pair = |word: String| match word.split_once('=') {
            Some(("", _)) => Err(self.wrong("ARG names can not be blank")),
            Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
            None => Ok((word, None)),
        };
        words.into_iter().map(pair).collect::<Result<_, _>>().map(Command::Arg)
    }

    fn pairs(&self) -> Result<Vec<(String, String)>, ParseError> {
        let pairs = words::pairs(self.rest, self.escape, self.name).map_err(ParseError::whole)?;
        if pairs.is_empty() {
            return Err(self.wrong(format!("{} requires at least one argument", self.name)));
        }
        if pairs.iter().any(|(name, _)| name.is_empty()) {
            return Err(self.wrong(format!("{} names can not be blank", self.name)));
        }
        Ok(pairs)
    }

    fn run(&self, flags: &mut Flags) -> Result<Command, ParseError> {
        let mut buildkit_flag = None;
        for name in ["mount", "network", "security"] {
            while flags.take(name).is_some() {
                buildkit_flag.get_or_insert_with(|| name.to_owned());
            }
        }
        Ok(Command::Run { form: self.form()?, buildkit_flag })
    }

    fn form(&self) -> Result<RunForm, ParseError> {
        let exec = words::json(self.rest).map_err(|reason| self.wrong(reason))?;
        Ok(exec.map_or_else(|| RunForm::Shell(self.rest.to_owned()), RunForm::Exec))
    }

    fn shell(&self) -> Result<Command, ParseError> {
        match words::json(self.rest).map_err(|reason| self.wrong(reason))? {
            Some(list) if list.is_empty() => Err(self.wrong("SHELL requires at least one argument")),
            Some(list) => Ok(Command::Shell(list)),
            None => Err(self.wrong("SHELL requires the arguments to be in JSON form")),
        }
    }

    fn copy(&self, flags: &mut Flags) -> Result<Command, ParseError> {
        let add = self.name == "ADD";
        let chown = self.value(flags, "chown")?;
        let chmod = self.value(flags, "chmod")?;
        let from = if add { String::new() } else { self.value(flags, "from")? };
        let mut sources = words::list(self.rest).map_err(|reason| self.wrong(reason))?;
        if sources.len() < 2 {
            let reason = match sources.len() {
                1 => {
                    "requires at least two arguments, but only one was provided. Destination could not be determined"
                }
                _ => "requires at least two arguments",
            };
            return Err(self.wrong(format!("{} {reason}", self.name)));
        }
        let destination = sources.pop().unwrap_or_default();
        Ok(Command::Copy { add, from, chown, chmod, sources, destination })
    }

    fn volume(&self) -> Result<Command, ParseError> {
        let list = self.at_least_one(words::list(self.rest).map_err(|reason| self.wrong(reason))?)?;
        if list.iter().any(|volume| volume.trim().is_empty()) {
            return Err(self.wrong("VOLUME specified can not be an empty string"));
        }
        Ok(Command::Volume(list.iter().map(|volume| volume.trim().to_owned()).collect()))
    }

    fn healthcheck(&self, flags: &mut Flags) -> Result<Command, ParseError> {
        let (kind, rest) = self.rest.split_once(char::is_whitespace).unwrap_or((self.rest, ""));
        let rest = rest.trim();
        let mut check = Healthcheck::default();
        match kind.to_ascii_uppercase().as_str() {
            "" => return Err(self.wrong("HEALTHCHECK requires at least one argument")),
            "NONE" if !rest.is_empty() => return Err(self.wrong("HEALTHCHECK NONE takes no arguments")),
            "NONE" => check.test = vec!["NONE".into()],
            "CMD" => {
                check.interval = self.duration(flags, "interval")?;
                check.timeout = self.duration(flags, "timeout")?;
                check.start_period = self.duration(flags, "start-period")?;
                check.retries = self.retries(flags)?;
                check.test = match words::json(rest).map_err(|reason| self.wrong(reason))? {
                    Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
                    None if rest.is_empty() => {
                        return Err(self.wrong("Missing command after HEALTHCHECK CMD"));
                    }
                    None => vec!["CMD-SHELL".into(), rest.to_owned()],
                };
            }
            other => return Err(self.wrong(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
        }
        Ok(Command::Healthcheck(check))
    }

    fn duration(&self, flags: &mut Flags, name: &str) -> Result<i64, ParseError> {
        let text = self.value(flags, name)?;
        if text.is_empty() {
            return Ok(0);
        }
        let nanos = crate::golang::parse_duration(&text)
            .ok_or_else(|| self.wrong(format!("time: invalid duration {text:?}")))?;
        match nanos {
            0 => Ok(0),
            1_000_000.. => Ok(nanos),
            _ => Err(self.wrong(format!("Interval {name:?} cannot be less than 1ms"))),
        }
    }

    fn retries(&self, flags: &mut Flags) -> Result<i64, ParseError> {
        let text = self.value(flags, "retries")?;
        if text.is_empty() {
            return Ok(0);
        }
        let retries: i64 = text
            .parse()
            .map_err(|_| self.wrong(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
        if retries < 1 {
            return Err(self.wrong(format!("--retries must be at least 1 (not {retries})")));
        }
        Ok(retries)
    }

    fn on_build(&self) -> Result<Command, ParseError> {
        let trigger = self.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match trigger.as_str() {
            "" => Err(self.wrong("ONBUILD requires at least one argument")),
            "ONBUILD" => Err(self.wrong("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
            "MAINTAINER" | "FROM" => {
                Err(self.wrong(format!("{trigger} isn't allowed as an ONBUILD trigger")))
            }
            _ => {
                // An instruction that cannot be read fails now, not in someone else's build.
                parse_instruction(self.rest, self.line, self.escape)?;
                Ok(Command::OnBuild(self.rest.to_owned()))
            }
        }
    }

    fn one(&self) -> Result<String, ParseError> {
        if self.rest.is_empty() {
            return Err(self.wrong(format!("{} requires exactly one argument", self.name)));
        }
        Ok(self.rest.to_owned())
    }

    fn at_least_one(&self, list: Vec<String>) -> Result<Vec<String>, ParseError> {
        if list.is_empty() {
            return Err(self.wrong(format!("{} requires at least one argument", self.name)));
        }
        Ok(list)
    }
}
