//! What is wrong with a command line, as etcd says it.

use clap::error::{ContextKind, ContextValue, ErrorKind};

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
    /// The command line makes no sense.
    pub(super) fn usage(text: String) -> Self {
        Self { text: format!("{text}\n{USAGE}"), code: 2, help: false }
    }

    /// It makes sense, but not here.
    pub(super) fn refused(text: String) -> Self {
        Self { text: format!("error verifying flags, {text}. See 'etcd --help'."), code: 1, help: false }
    }
}

pub(super) fn of(error: clap::Error) -> Misuse {
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
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Misuse { text: error.to_string(), code: 0, help: true }
        }
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
            Misuse::usage(format!("invalid value {value:?} for flag {}: parse error", flag()))
        }
        _ => Misuse { text: error.to_string(), code: 2, help: false },
    }
}
