//! Changes of the registry as they happen, in the store's order.

use fleet_unit::UnitName;
use kv_client::{Event, EventType, WatchOptions, Watcher};

use crate::registry::{read, text};
use crate::{Assignment, Key, Keys, MachineRecord, Registry, RegistryError, StateRecord, StoredUnit};

/// One change; nothing as the value means that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A unit was put or destroyed.
    Unit(UnitName, Option<StoredUnit>),
    /// A global unit was put or destroyed.
    Global(UnitName, Option<Assignment>),
    /// A unit came to a machine or left it.
    Schedule(String, UnitName, Option<Assignment>),
    /// A machine came, changed or is lost.
    Machine(String, Option<MachineRecord>),
    /// A unit's state on a machine.
    State(String, UnitName, Option<StateRecord>),
    /// Metadata at run time: machine, key, value (empty removes a configured one).
    Metadata(String, String, Option<String>),
    /// A machine is drained or not.
    Drain(String, bool),
    /// A machine was removed from the cluster, or let in again.
    Removed(String, bool),
}

/// Changes of one or more whole revisions.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The store's revision with these.
    pub revision: i64,
    /// In the store's order.
    pub changes: Vec<Change>,
}

/// A running watch; dropping it ends it.
pub struct ChangeWatch {
    watcher: Watcher,
    states: bool,
    keys: Keys,
}

impl Registry {
    /// Watches everything, from the revision after `revision`.
    ///
    /// # Errors
    /// The store does not answer, or has forgotten that revision: take a new snapshot.
    pub async fn watch_all(&self, revision: i64) -> Result<ChangeWatch, RegistryError> {
        self.watch_prefix(self.keys.all().to_owned(), revision).await
    }

    /// Watches what is scheduled on a machine.
    ///
    /// # Errors
    /// As [`Registry::watch_all`].
    pub async fn watch_schedule_of(
        &self,
        machine: &str,
        revision: i64,
    ) -> Result<ChangeWatch, RegistryError> {
        self.watch_prefix(self.keys.schedule_of(machine), revision).await
    }

    /// Watches the global units.
    ///
    /// # Errors
    /// As [`Registry::watch_all`].
    pub async fn watch_globals(&self, revision: i64) -> Result<ChangeWatch, RegistryError> {
        self.watch_prefix(self.keys.globals(), revision).await
    }

    /// Watches what is set for a machine at run time.
    ///
    /// # Errors
    /// As [`Registry::watch_all`].
    pub async fn watch_settings_of(
        &self,
        machine: &str,
        revision: i64,
    ) -> Result<ChangeWatch, RegistryError> {
        self.watch_prefix(self.keys.settings_of(machine), revision).await
    }

    /// Tells when certificates were revoked, by changes that say nothing.
    ///
    /// # Errors
    /// As [`Registry::watch_all`].
    pub async fn watch_revoked(&self, revision: i64) -> Result<ChangeWatch, RegistryError> {
        self.watch_prefix(self.keys.revoked(), revision).await
    }

    async fn watch_prefix(&self, prefix: String, revision: i64) -> Result<ChangeWatch, RegistryError> {
        let options = WatchOptions::prefix(prefix).from_revision(revision + 1);
        Ok(ChangeWatch { watcher: self.client.watch(options).await?, states: true, keys: self.keys.clone() })
    }
}

impl ChangeWatch {
    /// Tells of no unit's state from now on: most changes of a busy cluster are not even read then, and
    /// wake nobody.
    #[must_use]
    pub fn without_states(self) -> Self {
        Self { states: false, ..self }
    }

    /// The next changes; waits as long as it takes.
    ///
    /// # Errors
    /// The watch cannot go on: take a new snapshot.
    pub async fn next(&mut self) -> Result<Changes, RegistryError> {
        loop {
            let watched = self.watcher.next().await?;
            let events = watched.events.into_iter();
            let changes: Vec<Change> =
                events.filter_map(|event| change(&self.keys, event, self.states)).collect();
            if self.states || !changes.is_empty() {
                return Ok(Changes { revision: watched.revision, changes });
            }
        }
    }
}

fn change(keys: &Keys, event: Event, states: bool) -> Option<Change> {
    let gone = event.r#type() == EventType::Delete;
    let pair = event.kv?;
    let value = (!gone).then_some(&pair);
    Some(match keys.parse(&pair.key)? {
        Key::Unit(name) => Change::Unit(name, value.and_then(read)),
        Key::Global(name) => Change::Global(name, value.and_then(read)),
        Key::Schedule(machine, name) => Change::Schedule(machine, name, value.and_then(read)),
        Key::Machine(id) => Change::Machine(id, value.and_then(read)),
        Key::State(..) if !states => return None,
        Key::State(machine, name) => Change::State(machine, name, value.and_then(read)),
        Key::Metadata(id, key) => Change::Metadata(id, key, value.map(text)),
        Key::Drain(id) => Change::Drain(id, !gone),
        Key::Removed(id) => Change::Removed(id, !gone),
        Key::Token(_) | Key::Invitation(_) | Key::Member(_) | Key::Revoked(_) => return None,
    })
}
