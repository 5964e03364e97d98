//! Why a command failed, in a sentence, with what to do next where there is something to do.

/// Every way in which a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("fleetd at {at} does not answer: {reason}")]
    Unreachable { at: String, reason: String },
    #[error("fleetd at {at} did not answer within {seconds} s")]
    Timeout { at: String, seconds: f64 },
    #[error("{message} ({code})")]
    Api { code: u16, message: String },
    #[error("fleetd answered something that is not understood: {0}")]
    Protocol(String),
    #[error("could not read {path}: {reason}")]
    Read { path: String, reason: String },
    #[error("{0}")]
    Usage(String),
    /// In fleet's own words, without ours around them.
    #[error("{0}")]
    Plain(String),
    #[error("unit {0} does not exist")]
    NoUnit(String),
    #[error("{path}: {reason}")]
    UnitFile { path: String, reason: String },
    /// The command was not to be called like that; in fleet's own words.
    #[error("{0}")]
    Misused(String),
    #[error("{}", chain(.0.as_ref()))]
    Join(Box<fleet_join::JoinError>),
    #[error("could not run {program}: {reason}")]
    Program { program: String, reason: String },
}

impl Failure {
    /// What goes before the sentence.
    pub(crate) fn label(&self) -> &'static str {
        if matches!(self, Self::Plain(_) | Self::Misused(_)) { "" } else { "error: " }
    }

    /// How the program ends by it.
    pub(crate) fn code(&self) -> u8 {
        if matches!(self, Self::Misused(_)) { 2 } else { 1 }
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some("is fleetd running there? --endpoint or --tunnel names another"),
            Self::NoUnit(_) => Some("`fleetctl list-unit-files` shows what there is"),
            _ => None,
        }
    }
}

/// A failure with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
