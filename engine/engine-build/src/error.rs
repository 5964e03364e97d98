//! Why a build failed, in Docker's words.

use engine_image::{Event, ImageError};

use crate::dockerfile::ParseError;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Command { command: String, code: i64 },
    #[error("{}", .0.report())]
    Image(#[from] ImageError),
    /// A sentence for the user; `bad_request` for what the client got wrong.
    #[error("{message}")]
    Message { message: String, bad_request: bool },
    #[error("Build cancelled")]
    Cancelled,
}

impl BuildError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Message { message: message.into(), bad_request: false }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::Message { message: message.into(), bad_request: true }
    }

    /// The same failure of another instruction that copies.
    pub(crate) fn of_instruction(self, name: &str) -> Self {
        match self {
            Self::Message { message, bad_request } => {
                let message = match message.strip_prefix("COPY failed") {
                    Some(rest) => format!("{name} failed{rest}"),
                    None => message,
                };
                Self::Message { message, bad_request }
            }
            other => other,
        }
    }

    /// For an answer of which nothing was sent yet.
    pub fn status(&self) -> u16 {
        match self {
            Self::Parse(_) | Self::Message { bad_request: true, .. } => 400,
            Self::Image(error) => error.status(),
            _ => 500,
        }
    }

    /// For a stream that has begun.
    pub fn event(&self) -> Event {
        let code = match self {
            Self::Command { code, .. } => i32::try_from(*code).ok(),
            _ => None,
        };
        Event::Error { message: self.to_string(), code }
    }
}
