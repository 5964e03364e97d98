//! Why an operation was not done. Does not decide how that is told on a wire.

use kv_api::ErrorKind;

/// Either the cluster refuses, as etcd would, or this member cannot read its own state.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Refused(ErrorKind),
    /// The member must stop: its storage failed or is damaged.
    #[error("could not read the state")]
    Storage(#[source] std::io::Error),
}

impl From<ErrorKind> for Failure {
    fn from(kind: ErrorKind) -> Self {
        Self::Refused(kind)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error)
    }
}
