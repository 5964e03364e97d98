//! What is wrong with a command line, as etcd says it.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::environment;

/// A command line that cannot be obeyed, or one that asks for nothing but help.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Misuse {
    text: String,
    pub(crate) code: u8,
    /// Help was asked for: the text is no error.
    pub(crate) help: bool,
}

const USAGE: &str = "Usage:

  etcd [flags]
    Start an etcd server.

  etcd --version
    Show the version of etcd.

  etcd -h | --help
    Show the help information about etcd.

  etcd --config-file
    Path to the server configuration file. Note that if a configuration file is provided, other command line flags
    and environment variables will be ignored.
";

impl Misuse {
    /// Help was asked for.
    pub(super) fn help(command: &mut clap::Command) -> Self {
        Self { text: command.render_long_help().to_string(), code: 0, help: true }
    }

    /// The command line makes no sense.
    pub(super) fn usage(text: String) -> Self {
        Self { text: format!("{text}\n{USAGE}"), code: 2, help: false }
    }

    /// A variable says what a flag says too.
    pub(super) fn shadowed(variable: &str) -> Self {
        let text = format!(
            "conflicting environment variable \"{variable}\" is shadowed by corresponding command-line flag (either \
             unset environment variable or disable flag)"
        );
        Self { text, code: 1, help: false }
    }

    /// It makes sense, but not here.
    pub(super) fn refused(text: String) -> Self {
        Self { text: format!("error verifying flags, {text}. See 'etcd --help'."), code: 1, help: false }
    }
}

/// `from_environment` are the flags that came from there.
pub(super) fn of(error: clap::Error, from_environment: &[OsString]) -> Misuse {
    let text = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let flag = || {
        let arg = text(ContextKind::InvalidArg);
        let name = arg.split([' ', '=', '[']).next().unwrap_or("");
        format!("-{}", name.trim_start_matches('-'))
    };
    match error.kind() {
        ErrorKind::UnknownArgument if text(ContextKind::InvalidArg).starts_with('-') => {
            Misuse::usage(format!("flag provided but not defined: {}", flag()))
        }
        ErrorKind::UnknownArgument => {
            Misuse::refused(format!("'{}' is not a valid flag", text(ContextKind::InvalidArg)))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation
            if text(ContextKind::InvalidValue).is_empty() =>
        {
            Misuse::usage(format!("flag needs an argument: {}", flag()))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue);
            let name = flag().trim_start_matches('-').to_owned();
            if from_environment.contains(&format!("--{name}={value}").into()) {
                let variable = environment::variable(&name);
                return Misuse::refused(format!("invalid value {value:?} for {variable}: parse error"));
            }
            Misuse::usage(format!("invalid value {value:?} for flag {}: parse error", flag()))
        }
        _ => Misuse { text: error.to_string(), code: 2, help: false },
    }
}
