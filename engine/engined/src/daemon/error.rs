//! Why the engine could not do what it was asked, with the status the API answers.

use http::StatusCode;

/// A failure with its HTTP status and Docker's sentence.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// What to say instead in a stream that has begun.
    pub(crate) event: Option<engine_image::Event>,
}

pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Refusal {
    pub(crate) fn bad(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, message: message.into(), event: None }
    }

    pub(crate) fn missing(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::NOT_FOUND, message: message.into(), event: None }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::CONFLICT, message: message.into(), event: None }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message: message.into(), event: None }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::FORBIDDEN, message: message.into(), event: None }
    }

    /// An error and its causes, in one line.
    pub(crate) fn from_error(error: &dyn std::error::Error) -> Refusal {
        Refusal::internal(chain(error))
    }
}

/// An error's message followed by those of its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<engine_image::ImageError> for Refusal {
    fn from(error: engine_image::ImageError) -> Refusal {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Refusal { status, message: error.report(), event: None }
    }
}

impl From<engine_runtime::RuntimeError> for Refusal {
    fn from(error: engine_runtime::RuntimeError) -> Refusal {
        Refusal::from_error(&error)
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Refusal {
        Refusal::internal(error.to_string())
    }
}

impl From<super::volumes::VolumeError> for Refusal {
    fn from(error: super::volumes::VolumeError) -> Refusal {
        use super::volumes::VolumeError;
        match error {
            VolumeError::Invalid(text) => Refusal::bad(text),
            VolumeError::Missing(_) => Refusal::missing(error.to_string()),
            VolumeError::Write { .. } => Refusal::from_error(&error),
        }
    }
}
