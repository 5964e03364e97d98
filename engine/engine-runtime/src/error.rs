//! What can go wrong with a container.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The container or its program could not be set up or executed. The
    /// message is Docker's inner sentence, e.g.
    /// `exec: "nosuch": executable file not found in $PATH`.
    #[error("{message}")]
    Start {
        /// 126, 127, or 128 for anything but the program itself.
        code: i32,
        message: String,
    },
    #[error("the shim refused: {0}")]
    Refused(String),
    #[error("could not spawn the shim of container {id}")]
    Spawn {
        id: String,
        #[source]
        source: io::Error,
    },
    #[error("lost the shim of container {id}")]
    ShimGone {
        id: String,
        #[source]
        source: io::Error,
    },
    #[error("the shim of container {id} did not answer within {seconds} s")]
    Timeout { id: String, seconds: u64 },
    #[error("container {0} is not running")]
    NotRunning(String),
    #[error("{action} {path}")]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot {what}: {why}")]
    Unsupported { what: String, why: String },
    /// Every failure of a teardown that went on regardless.
    #[error("left behind: {}", .0.join("; "))]
    Cleanup(Vec<String>),
}

pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, RuntimeError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, RuntimeError> {
        self.map_err(|source| RuntimeError::File { action, path: path.into(), source })
    }
}
