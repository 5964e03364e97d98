//! The command line, built from the table of options.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use serde_json::{Map, Value};

use super::table::{Kind, OPTIONS, Opt};
use super::{OptionsError, Settings, config, values};

/// What the command line said.
pub(crate) struct Flags {
    pub(crate) settings: Settings,
    pub(crate) config_file: Option<PathBuf>,
    /// Check only.
    pub(crate) validate: bool,
}

/// The command line, for help, man pages and completions.
pub fn command() -> Command {
    let command = Command::new("engined")
        .about("Serves the Docker Remote API and runs containers")
        .version(crate::version::PRODUCT)
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .args_override_self(true);
    OPTIONS.iter().fold(command, |command, option| command.arg(argument(option)))
}

fn argument(option: &Opt) -> Arg {
    let mut arg = Arg::new(option.flag).long(option.flag).help(option.help);
    if let Some(c) = option.short {
        arg = arg.short(c);
    }
    if option.help.is_empty() {
        arg = arg.hide(true);
    }
    match option.kind {
        Kind::Bool => {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
        }
        Kind::Text => arg.value_name("TEXT"),
        Kind::Number => arg.value_name("NUMBER").allow_hyphen_values(true),
        Kind::List => arg.value_name("VALUE").action(ArgAction::Append),
        Kind::Map | Kind::Nested => arg.value_name("KEY=VALUE").action(ArgAction::Append),
    }
}

pub(crate) fn parse(args: Vec<OsString>) -> Result<Flags, OptionsError> {
    let matches = command().try_get_matches_from(args).map_err(in_dockers_words)?;
    let mut flags = Flags { settings: Settings::new(), config_file: None, validate: false };
    for option in OPTIONS {
        let Some(values) = matches.get_many::<String>(option.flag) else { continue };
        let values: Vec<&str> = values.map(String::as_str).collect();
        let value = read(option, &values)?;
        if option.flag == "config-file" {
            flags.config_file = value.as_str().map(Into::into);
        } else if option.flag == "validate" {
            flags.validate = value == Value::Bool(true);
        } else if !option.key.is_empty() {
            flags.settings.insert(option.key, value);
        }
    }
    Ok(flags)
}

fn in_dockers_words(error: clap::Error) -> OptionsError {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg)
    {
        if !arg.starts_with('-') {
            return OptionsError::Flag(r#""engined" accepts no argument(s)."#.into());
        }
        return OptionsError::Flag(format!("unknown flag: {arg}"));
    }
    OptionsError::Usage(error)
}

fn read(option: &Opt, values: &[&str]) -> Result<Value, OptionsError> {
    let last = values.last().copied().unwrap_or_default();
    match option.kind {
        Kind::Text => {
            check_item(option, last).map_err(|problem| bad(option, last, &problem))?;
            Ok(last.into())
        }
        Kind::List => {
            for value in values {
                check_item(option, value).map_err(|problem| bad(option, value, &problem))?;
            }
            Ok(values.into())
        }
        Kind::Bool => match last {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false.into()),
            _ => Err(bad(option, last, &format!("strconv.ParseBool: parsing {last:?}: invalid syntax"))),
        },
        Kind::Number => last
            .parse::<i64>()
            .map(Into::into)
            .map_err(|_| bad(option, last, &format!("strconv.ParseInt: parsing {last:?}: invalid syntax"))),
        Kind::Map => Ok(Value::Object(values.iter().map(|text| pair(text)).collect())),
        Kind::Nested => {
            let mut outer = Map::new();
            for text in values {
                let wrong = || bad(option, text, "it is written name=key=value");
                let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
                let (key, value) = rest.split_once('=').ok_or_else(wrong)?;
                let inner = outer.entry(name).or_insert_with(|| Value::Object(Map::new()));
                inner[key] = value.into();
            }
            Ok(Value::Object(outer))
        }
    }
}

/// `key=value`; without the sign the value is empty.
fn pair(text: &str) -> (String, Value) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.into())
}

fn check_item(option: &Opt, value: &str) -> Result<(), String> {
    match option.flag {
        "host" => config::parse_host(value).map(drop),
        "label" => values::check_label(value),
        "dns" | "ip" | "host-gateway-ip" => values::check_ip(value),
        "dns-search" => values::check_domain(value),
        "registry-mirror" => values::check_mirror(value),
        "insecure-registry" => values::check_registry(value),
        "default-ulimit" => values::parse_ulimit(value).map(drop),
        "default-address-pool" => values::parse_pool(value).map(drop),
        "default-shm-size" => values::parse_size(value).map(drop),
        _ => Ok(()),
    }
}

fn bad(option: &Opt, value: &str, problem: &str) -> OptionsError {
    let name = match option.short {
        Some(c) => format!("-{c}, --{}", option.flag),
        None => format!("--{}", option.flag),
    };
    OptionsError::Flag(format!("invalid argument {value:?} for {name:?} flag: {problem}"))
}
