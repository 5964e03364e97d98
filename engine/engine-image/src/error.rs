//! Why an image operation failed, in the words Docker's clients show, with the HTTP status they expect.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::reference::ReferenceError;

/// Failure of a store operation.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// 404
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// 404, with a text of its own (`reference does not exist`, `manifest unknown`).
    #[error("{0}")]
    NotFound(String),
    /// 409
    #[error("{0}")]
    Conflict(String),
    /// 400
    #[error("{0}")]
    Invalid(String),
    /// 400
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// 500: what came was not what its digest promised.
    #[error("{what} has digest {found}, not {expected}: the data was damaged on its way")]
    Mismatch { what: String, expected: Digest, found: Digest },
    /// 500
    #[error("could not {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// 500: reading or writing an archive or a stream.
    #[error("{what}")]
    Stream {
        what: String,
        #[source]
        source: io::Error,
    },
    /// 500, or what a registry said.
    #[error("{message}")]
    Registry { message: String, status: u16 },
}

impl ImageError {
    /// The HTTP status Docker would answer with.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoSuchImage(_) | Self::NotFound(_) => 404,
            Self::Conflict(_) => 409,
            Self::Invalid(_) | Self::Reference(_) => 400,
            Self::Registry { status, .. } => *status,
            Self::Mismatch { .. } | Self::File { .. } | Self::Stream { .. } => 500,
        }
    }

    /// The message with its causes, one line.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn stream(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Stream { what, source }
    }
}

pub type Result<T, E = ImageError> = std::result::Result<T, E>;
