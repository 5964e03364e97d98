//! Reading and changing what users and machines own. What the scheduler owns is in `schedule`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_unit::{Placement, TargetState, UnitName};
use kv_client::{Client, KeyValue, LeaseKeeper, Txn, compare, op};

use crate::store::Store;
use crate::{Assignment, AssignmentWish, Key, Keys, MachineRecord, Operations, StateRecord, StoredUnit};

/// Why the registry could not do it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store did not answer, or refused.
    #[error("the key-value store did not do it")]
    Store(#[from] kv_client::Error),
    /// A watch on the store broke off for good.
    #[error("the watch on the key-value store ended")]
    Watch(#[from] kv_client::WatchError),
    /// Another writer was faster, again and again.
    #[error("{what} changed under our hands, again and again; try again")]
    Contended {
        /// What.
        what: String,
    },
    /// No such unit.
    #[error("unit does not exist")]
    NoUnit,
    /// The scheduler's lead was taken by another.
    #[error("this scheduler no longer leads")]
    Deposed,
    /// The machine was removed.
    #[error("this machine was removed from the cluster; join it again with a token")]
    Removed,
}

/// What became of a unit that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// It is new.
    Created,
    /// One of that name was there, with other options: it is replaced.
    Replaced,
    /// Exactly this content was there; only the desired state may have changed.
    Unchanged,
}

/// Everything in the store at one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The revision that it was read at; watch on from the next.
    pub revision: i64,
    /// Units by name.
    pub units: BTreeMap<UnitName, StoredUnit>,
    /// Machines by id, metadata set at run time merged in.
    pub machines: BTreeMap<String, MachineRecord>,
    /// (machine, unit) → assignment.
    pub schedule: BTreeMap<(String, UnitName), Assignment>,
    /// (unit, machine) → state.
    pub states: BTreeMap<(UnitName, String), StateRecord>,
    /// Machines that are being drained.
    pub draining: BTreeSet<String>,
}

/// Everything that a machine is to know.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The revision that it was read at; watch on from the next.
    pub revision: i64,
    /// Units scheduled on it.
    pub scheduled: BTreeMap<UnitName, Assignment>,
    /// Units that run on every machine that will do.
    pub global: BTreeMap<UnitName, Assignment>,
    /// Metadata set at run time; an empty value removes a configured one.
    pub metadata: BTreeMap<String, String>,
    /// It is being drained.
    pub draining: bool,
    /// It was removed from the cluster and is to run nothing.
    pub removed: bool,
}

impl Snapshot {
    /// The machine that a unit is assigned to.
    #[must_use]
    pub fn machine_of(&self, unit: &UnitName) -> Option<&str> {
        self.schedule.keys().find(|(_, name)| name == unit).map(|(machine, _)| machine.as_str())
    }
}

/// A handle to a cluster's registry. Clones share their connections.
#[derive(Clone)]
pub struct Registry {
    pub(crate) client: Store,
    pub(crate) keys: Keys,
}

/// How often a change is tried against others that change the same.
const TRIES: u32 = 8;

impl Registry {
    /// The registry below a prefix of a store.
    #[must_use]
    pub fn new(client: Client, prefix: &str) -> Self {
        Self { client: Store::new(client), keys: Keys::new(prefix) }
    }

    /// The names of its keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What was asked of the store so far.
    #[must_use]
    pub fn operations(&self) -> Vec<Operations> {
        self.client.operations()
    }

    /// Reads everything at one revision.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn snapshot(&self) -> Result<Snapshot, RegistryError> {
        let answer = self.client.get_prefix(self.keys.all().to_owned()).await?;
        let mut snapshot =
            Snapshot { revision: answer.header.map_or(0, |header| header.revision), ..Snapshot::default() };
        let mut overrides = Vec::new();
        for pair in answer.kvs {
            let Some(key) = self.keys.parse(&pair.key) else { continue };
            match key {
                Key::Unit(name) => drop(read(&pair).map(|unit| snapshot.units.insert(name, unit))),
                Key::Machine(id) => drop(read(&pair).map(|machine| snapshot.machines.insert(id, machine))),
                Key::Schedule(machine, name) => {
                    drop(read(&pair).map(|it| snapshot.schedule.insert((machine, name), it)));
                }
                Key::State(machine, name) => {
                    drop(read(&pair).map(|it| snapshot.states.insert((name, machine), it)));
                }
                Key::Drain(id) => drop(snapshot.draining.insert(id)),
                Key::Metadata(id, key) => overrides.push((id, key, text(&pair))),
                Key::Global(_)
                | Key::Removed(_)
                | Key::Token(_)
                | Key::Invitation(_)
                | Key::Member(_)
                | Key::Revoked(_) => {}
            }
        }
        for (id, key, value) in overrides {
            if let Some(machine) = snapshot.machines.get_mut(&id) {
                override_metadata(&mut machine.metadata, key, value);
            }
        }
        Ok(snapshot)
    }

    /// One unit.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn unit(&self, name: &UnitName) -> Result<Option<StoredUnit>, RegistryError> {
        let pair = self.client.get(self.keys.text(&Key::Unit(name.clone()))).await?;
        Ok(pair.as_ref().and_then(read))
    }

    /// Puts a unit: a new one, or another content under the same name.
    ///
    /// # Errors
    /// The store does not answer, or others keep changing the same unit.
    pub async fn put_unit(&self, name: &UnitName, unit: &StoredUnit) -> Result<CreateOutcome, RegistryError> {
        let mut outcome = CreateOutcome::Created;
        self.change_unit(name, Expects::Nothing, |old| {
            outcome = match old {
                None => CreateOutcome::Created,
                Some(old) if old.options == unit.options => CreateOutcome::Unchanged,
                Some(_) => CreateOutcome::Replaced,
            };
            Ok(Some(unit.clone()))
        })
        .await?;
        Ok(outcome)
    }

    /// Wishes a unit another state.
    ///
    /// # Errors
    /// There is no such unit, or the store does not answer.
    pub async fn set_target(&self, name: &UnitName, target: TargetState) -> Result<(), RegistryError> {
        self.change_unit(name, Expects::Something, |old| {
            let old = old.ok_or(RegistryError::NoUnit)?;
            Ok(Some(StoredUnit { target, ..old }))
        })
        .await
    }

    /// Forgets a unit; the scheduler takes it from its machine.
    ///
    /// # Errors
    /// There is no such unit, or the store does not answer.
    pub async fn destroy_unit(&self, name: &UnitName) -> Result<(), RegistryError> {
        self.change_unit(name, Expects::Something, |old| old.map(|_| None).ok_or(RegistryError::NoUnit)).await
    }

    /// Changes a unit, if nobody else has in between. Whoever `expects` it to be new need not read it first:
    /// most units that are put are.
    async fn change_unit(
        &self,
        name: &UnitName,
        expects: Expects,
        mut change: impl FnMut(Option<StoredUnit>) -> Result<Option<StoredUnit>, RegistryError>,
    ) -> Result<(), RegistryError> {
        let key = self.keys.text(&Key::Unit(name.clone()));
        let global = self.keys.text(&Key::Global(name.clone()));
        let mut found = match expects {
            Expects::Nothing => None,
            Expects::Something => self.client.get(key.clone()).await?,
        };
        for attempt in 0..TRIES {
            let revision = found.as_ref().map_or(0, |pair| pair.mod_revision);
            let old: Option<StoredUnit> = found.as_ref().and_then(read);
            // One that is not understood may have been anything.
            let was_global = found.is_some() && old.as_ref().is_none_or(|unit| is_global(name, unit));
            let new = change(old)?;
            let for_all = new.as_ref().and_then(|unit| global_assignment(name, unit));
            let mut ops = vec![
                new.as_ref().map_or_else(|| op::delete(key.clone()), |unit| op::put(key.clone(), json(unit))),
            ];
            match for_all {
                Some(it) => ops.push(op::put(global.clone(), json(&it))),
                None if was_global => ops.push(op::delete(global.clone())),
                None => {}
            }
            let txn = Txn::new().when([compare::modified_at(key.clone(), revision)]).then(ops);
            let answer = self.client.txn(txn.or_else([op::get(key.clone())])).await?;
            if answer.succeeded {
                return Ok(());
            }
            found = crate::schedule::pairs(answer).pop();
            tracing::debug!(unit = %name, attempt, "unit is another than was thought");
        }
        Err(RegistryError::Contended { what: format!("unit {name}") })
    }

    /// Grants the lease that all of a machine's keys hang on.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn machine_lease(&self, ttl: Duration) -> Result<LeaseKeeper, RegistryError> {
        Ok(self.client.lease(ttl).await?)
    }

    /// Says that a machine is there, as long as its lease lives.
    ///
    /// # Errors
    /// The store does not answer, the lease is gone, or the machine was removed.
    pub async fn register_machine(
        &self,
        id: &str,
        record: &MachineRecord,
        lease: &LeaseKeeper,
    ) -> Result<(), RegistryError> {
        let key = self.keys.text(&Key::Machine(id.to_owned()));
        let removed = self.keys.text(&Key::Removed(id.to_owned()));
        let put = op::put_leased(key, json(record), lease.id());
        let txn = Txn::new().when([compare::absent(removed)]).then([put]);
        if self.client.txn(txn).await?.succeeded { Ok(()) } else { Err(RegistryError::Removed) }
    }

    /// Publishes states of a machine's units, and withdraws those that are nothing, in as few writes as
    /// the store allows.
    ///
    /// # Errors
    /// The store does not answer, or the lease is gone.
    pub async fn publish_states(
        &self,
        machine: &str,
        states: &BTreeMap<UnitName, Option<StateRecord>>,
        lease: &LeaseKeeper,
    ) -> Result<(), RegistryError> {
        let ops: Vec<_> = states
            .iter()
            .map(|(name, state)| {
                let key = self.keys.text(&Key::State(machine.to_owned(), name.clone()));
                match state {
                    Some(state) => op::put_leased(key, json(state), lease.id()),
                    None => op::delete(key),
                }
            })
            .collect();
        for chunk in ops.chunks(crate::schedule::OPS_PER_TXN) {
            self.client.txn(Txn::new().then(chunk.to_vec())).await?;
        }
        Ok(())
    }

    /// Sets or (with nothing) removes metadata of a machine at run time; it outlives the machine's lease.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn set_metadata(&self, id: &str, key: &str, value: Option<&str>) -> Result<(), RegistryError> {
        let key = self.keys.text(&Key::Metadata(id.to_owned(), key.to_owned()));
        self.client.put(key, value.unwrap_or_default().to_owned()).await?;
        Ok(())
    }

    /// Drains a machine, or lets it have units again.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn set_draining(&self, id: &str, draining: bool) -> Result<(), RegistryError> {
        let key = self.keys.text(&Key::Drain(id.to_owned()));
        if draining {
            self.client.put(key, "draining".to_owned()).await?;
        } else {
            self.client.delete(key).await?;
        }
        Ok(())
    }

    /// Does a machine still tell of this unit? It does until the unit has stopped there and its file is
    /// gone, or until the machine's lease has run out.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn is_told_of(&self, machine: &str, name: &UnitName) -> Result<bool, RegistryError> {
        let key = self.keys.text(&Key::State(machine.to_owned(), name.clone()));
        Ok(self.client.get(key).await?.is_some())
    }

    /// What is scheduled on a machine now, each with the revision that it came or changed with.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn scheduled_on(
        &self,
        machine: &str,
    ) -> Result<BTreeMap<UnitName, (i64, AssignmentWish)>, RegistryError> {
        let answer = self.client.get_prefix(self.keys.schedule_of(machine)).await?;
        let scheduled = answer.kvs.iter().filter_map(|pair| match self.keys.parse(&pair.key)? {
            Key::Schedule(_, name) => Some((name, (pair.mod_revision, read(pair)?))),
            _ => None,
        });
        Ok(scheduled.collect())
    }

    /// What one machine is to know, at one revision.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn desired_of(&self, machine: &str) -> Result<Desired, RegistryError> {
        let reads = [self.keys.schedule_of(machine), self.keys.globals(), self.keys.settings_of(machine)];
        let answer = self.client.txn(Txn::new().then(reads.map(op::get_prefix))).await?;
        let mut desired = Desired {
            revision: answer.header.as_ref().map_or(0, |header| header.revision),
            ..Desired::default()
        };
        for pair in crate::schedule::pairs(answer) {
            match self.keys.parse(&pair.key) {
                Some(Key::Schedule(_, name)) => {
                    drop(read(&pair).map(|it| desired.scheduled.insert(name, it)))
                }
                Some(Key::Global(name)) => drop(read(&pair).map(|it| desired.global.insert(name, it))),
                Some(Key::Metadata(_, key)) => drop(desired.metadata.insert(key, text(&pair))),
                Some(Key::Drain(_)) => desired.draining = true,
                Some(Key::Removed(_)) => desired.removed = true,
                _ => {}
            }
        }
        Ok(desired)
    }
}

/// What whoever changes a unit thinks is there.
enum Expects {
    Nothing,
    Something,
}

fn is_global(name: &UnitName, unit: &StoredUnit) -> bool {
    Placement::of(name, &unit.options).is_ok_and(|placement| placement.global)
}

/// What every machine is to know of a global unit that is not inactive.
fn global_assignment(name: &UnitName, unit: &StoredUnit) -> Option<Assignment> {
    (is_global(name, unit) && !name.is_template() && unit.target != TargetState::Inactive)
        .then(|| Assignment::new(unit.options.clone(), unit.target))
}

/// Metadata set at run time goes before what is configured; an empty value removes it.
pub fn override_metadata(metadata: &mut BTreeMap<String, String>, key: String, value: String) {
    if value.is_empty() {
        metadata.remove(&key);
    } else {
        metadata.insert(key, value);
    }
}

/// The value of a pair; one that does not parse is logged and left out, so that one bad key does not
/// stop a cluster.
pub(crate) fn read<T: serde::de::DeserializeOwned>(pair: &KeyValue) -> Option<T> {
    match serde_json::from_slice(&pair.value) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(key = %String::from_utf8_lossy(&pair.key), %error, "value is not understood");
            None
        }
    }
}

pub(crate) fn text(pair: &KeyValue) -> String {
    String::from_utf8_lossy(&pair.value).into_owned()
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records hold only strings, numbers and maps of them")
}
