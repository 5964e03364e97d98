//! What can go wrong with files of the store.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong with files of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("could not write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or folder could not be removed.
    #[error("could not remove {}", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record is no JSON, or not a machine's.
    #[error("{} does not describe a machine", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No such machine.
    #[error(
        "Docker machine \"{0}\" does not exist. Use \"rmachine ls\" to list machines. Use \"rmachine create\" to add a new one."
    )]
    NoMachine(String),
    /// Someone else holds a lock for longer than we wait.
    #[error("another rmachine has worked on {what} for more than {} s", limit.as_secs())]
    Busy {
        /// On what.
        what: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The user gave up while we waited for a lock.
    #[error("interrupted while waiting for another rmachine that works on {0}")]
    Interrupted(String),
}
