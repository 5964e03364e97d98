//! What a unit manager does for an agent: the host's own supervisor, systemd, or a fake in a
//! simulation.

use std::future::Future;

use fleet_unit::UnitName;

/// A unit's state in systemd's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitStatus {
    /// LOAD.
    pub load: String,
    /// ACTIVE.
    pub active: String,
    /// SUB.
    pub sub: String,
}

/// Why the manager did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// It cannot be reached.
    #[error("the unit manager at {at} does not answer")]
    Unreachable {
        /// Its socket.
        at: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("the unit manager did not answer to `{what}` within its limit")]
    Timeout {
        /// What was asked.
        what: String,
    },
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// It spoke nonsense.
    #[error("the unit manager answered something that is not understood: {0}")]
    Protocol(String),
}

/// Loads, starts and stops units. Starting and stopping are asked for, not waited for: how it went is
/// told by the states.
pub trait UnitManager: Send {
    /// Writes a unit's file and loads it; an `[Install]` section is honoured.
    fn load(&mut self, name: &UnitName, text: &str) -> impl Future<Output = Result<(), ManagerError>> + Send;

    /// Stops a unit and removes its file; returns when it has stopped.
    fn unload(&mut self, name: &UnitName) -> impl Future<Output = Result<(), ManagerError>> + Send;

    /// Asks for a start. `fence` grows whenever the unit comes to a machine: of two machines that run it,
    /// the one with the lower fence has lost it and does not know yet. 0 for units that run everywhere.
    fn start(&mut self, name: &UnitName, fence: i64)
    -> impl Future<Output = Result<(), ManagerError>> + Send;

    /// Asks for a stop.
    fn stop(&mut self, name: &UnitName) -> impl Future<Output = Result<(), ManagerError>> + Send;

    /// The states of these units, in the same order.
    fn states(
        &mut self,
        names: &[UnitName],
    ) -> impl Future<Output = Result<Vec<UnitStatus>, ManagerError>> + Send;

    /// Returns when some unit may have changed its state since the last call; after an error, states
    /// are to be asked for anew.
    fn changed(&mut self) -> impl Future<Output = Result<(), ManagerError>> + Send;
}
