//! What a supervisor tells the program that runs it.

use units_api::{ShutdownAction, UnitState};

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// LOAD, ACTIVE or SUB of a unit changed.
    UnitChanged(Box<UnitState>),
    /// A job ended; `result` is `done`, `failed`, `timeout`, `dependency`, `canceled`, `skipped`, …
    JobEnded {
        /// Unit of the job.
        unit: String,
        /// `start`, `stop`, …
        kind: &'static str,
        /// How it ended.
        result: &'static str,
    },
    /// All jobs that were queued have ended (again).
    Idle,
    /// A shutdown begins.
    ShuttingDown {
        /// What comes after.
        action: ShutdownAction,
        /// Who asked and why.
        reason: String,
    },
}

/// Something went wrong in the supervisor itself; a unit's failure is no such thing.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A socket or folder it needs could not be made.
    #[error("could not set up {what}")]
    Setup {
        /// What it is for, with its path.
        what: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// Waiting for events failed.
    #[error("could not wait for events")]
    Wait(#[source] std::io::Error),
    /// A job could not be queued.
    #[error(transparent)]
    Refused(#[from] units_api::WireError),
}
