//! The agent of this machine: keeps the units that the machine is to run, and tells how they are.
//!
//! Whenever it has lost sight of the store it first reads what it is to run now, and what it no longer
//! is to run is stopped before anything starts: a machine that was given up while it was away is
//! fenced by that. While it sees nothing it changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleet_agent::{Ledger, Loaded, ManagerError, Task, UnitManager, UnitStatus, Wished, plan};
use fleet_core::{Cluster, Machine, UnitSpec, runs_global};
use fleet_registry::{
    Assignment, AssignmentWish, Change, ChangeWatch, Desired, MachineRecord, Registry, RegistryError,
    StateRecord, override_metadata,
};
use fleet_unit::{Placement, TargetState, UnitName, UnitOptions};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::member::LeaseView;
use crate::metrics::Metrics;
use crate::neighbours::Neighbours;

const PAUSE: Duration = Duration::from_millis(500);
/// Changes of state that come close together are published together.
const GATHER: Duration = Duration::from_millis(50);
/// What the store said of our units is not relied upon longer than this when something starts.
const FRESH: Duration = Duration::from_secs(1);
/// How often it is looked whether another machine has let go of a unit.
const LET_GO: Duration = Duration::from_millis(300);
/// Everything is looked at again although nothing was told.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What an agent works with.
pub struct Agent<M> {
    /// Where it reads what is desired, and tells what is.
    pub registry: Registry,
    /// Id of its machine.
    pub machine: String,
    /// What the machine says of itself.
    pub record: watch::Receiver<MachineRecord>,
    /// The lease that the states hang on.
    pub lease: LeaseView,
    /// Does the work.
    pub manager: M,
    /// Remembers what was loaded.
    pub ledger: Ledger,
    /// Notified whenever some unit of the manager may have changed.
    pub units_changed: Arc<Notify>,
    /// Counts what it does.
    pub metrics: Arc<Metrics>,
    /// Know of its removal when the store tells it nothing any more.
    pub neighbours: Option<Neighbours>,
}

/// What is known in one session with the store.
struct Session {
    desired: Desired,
    watches: [ChangeWatch; 3],
    /// What the store has of our states, and under which lease.
    published: BTreeMap<UnitName, StateRecord>,
    published_under: i64,
}

impl<M: UnitManager> Agent<M> {
    /// Runs until it is cancelled.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.session().await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(machine = %self.machine, error, "agent lost sight of the store; units go on");
            }
            if self.was_removed().await {
                let mut nothing = Desired { removed: true, ..Desired::default() };
                if let Err(error) = self.carry_out(&mut nothing).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(machine = %self.machine, error, "not all units stopped");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether it has units that it should not have, for they run elsewhere by now.
    async fn was_removed(&mut self) -> bool {
        let has_units = !self.ledger.units().is_empty();
        let Some(neighbours) = self.neighbours.as_mut().filter(|_| has_units) else { return false };
        let removed = neighbours.say_removed().await;
        if removed {
            tracing::warn!(machine = %self.machine, "this machine was removed from the cluster: its units stop");
        }
        removed
    }

    async fn session(&mut self) -> Result<(), RegistryError> {
        let desired = self.registry.desired_of(&self.machine).await?;
        let revision = desired.revision;
        let watches = [
            self.registry.watch_schedule_of(&self.machine, revision).await?,
            self.registry.watch_globals(revision).await?,
            self.registry.watch_settings_of(&self.machine, revision).await?,
        ];
        let mut session = Session { desired, watches, published: BTreeMap::new(), published_under: 0 };
        loop {
            // Without a lease the store may not answer, or may not let this machine in any more.
            if self.lease.borrow().is_none() && self.was_removed().await {
                session.desired.removed = true;
            }
            let carried = self.carry_out(&mut session.desired).await?;
            if carried.started {
                // Most are up soon: one write tells it, instead of one for each step.
                tokio::time::sleep(GATHER).await;
            }
            self.publish(&mut session).await?;
            let look_again = Instant::now() + if carried.waits { LET_GO } else { LOOK_AGAIN };
            let [schedule, globals, settings] = &mut session.watches;
            let changes = tokio::select! {
                changes = schedule.next() => changes?.changes,
                changes = globals.next() => changes?.changes,
                changes = settings.next() => changes?.changes,
                () = self.units_changed.notified() => {
                    tokio::time::sleep(GATHER).await;
                    Vec::new()
                }
                _ = self.lease.changed() => Vec::new(),
                _ = self.record.changed() => Vec::new(),
                () = tokio::time::sleep_until(look_again) => Vec::new(),
            };
            changes.into_iter().for_each(|change| learn(&mut session.desired, change));
        }
    }

    /// Brings the machine's units to what is desired; what fails is tried again at the next look.
    ///
    /// What we were told may be old by now, for this machine may have stood still. So before anything starts,
    /// be it a unit of all machines, the store is asked, and what it does not give us any more goes first.
    async fn carry_out(&mut self, desired: &mut Desired) -> Result<Carried, RegistryError> {
        let mut owned = Owned::default();
        let mut tasks = self.plan(desired);
        if tasks.iter().any(|task| matches!(task, Task::Start(_))) {
            owned.ask(&self.registry, &self.machine).await?;
            let told = desired.scheduled.len();
            desired.scheduled.retain(|name, _| owned.scheduled.contains_key(name));
            if desired.scheduled.len() < told {
                tasks = self.plan(desired);
            }
        }
        let desired = &*desired;
        let contents = self.wished(desired);
        let mut carried = Carried::default();
        for task in tasks {
            let fence = match &task {
                Task::Start(name) if desired.scheduled.contains_key(name) => {
                    let Some((fence, from)) = owned.fence(&self.registry, &self.machine, name).await? else {
                        continue;
                    };
                    if let Some(from) = from
                        && self.registry.is_told_of(&from, name).await?
                    {
                        carried.waits = true;
                        continue;
                    }
                    fence
                }
                _ => 0,
            };
            let done = self.carry_out_one(&task, fence, &contents).await;
            carried.started |= matches!(task, Task::Start(_));
            self.metrics.agent_task(done.is_ok());
            if let Err(error) = done {
                tracing::warn!(machine = %self.machine, ?task, error = %format!("{error:#}"), "unit task failed");
            }
        }
        Ok(carried)
    }

    fn plan(&self, desired: &Desired) -> Vec<Task> {
        let wish = |it: &Assignment| Wished { hash: it.options.hash(), target: it.target };
        let wished = self.wished(desired).into_iter().map(|(name, it)| (name, wish(it))).collect();
        plan(&wished, self.ledger.units())
    }

    /// The units to have: the scheduled ones, and the global ones that this machine will do for.
    fn wished<'a>(&self, desired: &'a Desired) -> BTreeMap<UnitName, &'a Assignment> {
        if desired.removed {
            return BTreeMap::new();
        }
        let mut wished: BTreeMap<UnitName, &Assignment> =
            desired.scheduled.iter().map(|(name, it)| (name.clone(), it)).collect();
        // Nothing else is decided here: it is done each time that anything changes.
        if desired.global.is_empty() {
            return wished;
        }
        let mut metadata = self.record.borrow().metadata.clone();
        for (key, value) in &desired.metadata {
            override_metadata(&mut metadata, key.clone(), value.clone());
        }
        let mut cluster = Cluster::default();
        let id = fleet_core::MachineId(self.machine.clone());
        cluster.set_machine(Machine { id: id.clone(), metadata, capacity: None, draining: desired.draining });
        for (name, it) in &desired.scheduled {
            settle(&mut cluster, &id, name, it);
        }
        for (name, it) in &desired.global {
            if let Some(spec) = spec(name, it)
                && runs_global(&cluster, &spec, &id).is_ok()
            {
                settle(&mut cluster, &id, name, it);
                wished.insert(name.clone(), it);
            }
        }
        wished
    }

    async fn carry_out_one(
        &mut self,
        task: &Task,
        fence: i64,
        contents: &BTreeMap<UnitName, &Assignment>,
    ) -> anyhow::Result<()> {
        match task {
            Task::Unload(name) => {
                self.manager.unload(name).await?;
                self.ledger.remove(name)?;
            }
            Task::Load(name) => {
                let options: &UnitOptions = &contents[name].options;
                self.manager.load(name, &options.to_text()).await?;
                self.ledger.set(name, Loaded { hash: options.hash(), launched: false })?;
            }
            Task::Stop(name) => {
                self.manager.stop(name).await?;
                self.note_launched(name, false)?;
            }
            Task::Start(name) => {
                self.note_launched(name, true)?;
                match self.manager.start(name, fence).await {
                    Ok(()) => {}
                    // It was told to start; that it cannot shows in its state.
                    Err(ManagerError::Refused(reason)) => {
                        tracing::warn!(unit = %name, %reason, "unit does not start");
                    }
                    Err(error) => {
                        self.note_launched(name, false)?;
                        return Err(error.into());
                    }
                }
            }
        }
        tracing::info!(machine = %self.machine, ?task, fence, "unit task done");
        Ok(())
    }

    fn note_launched(&mut self, name: &UnitName, launched: bool) -> anyhow::Result<()> {
        if let Some(has) = self.ledger.units().get(name).cloned() {
            self.ledger.set(name, Loaded { launched, ..has })?;
        }
        Ok(())
    }

    /// Writes the states that the store does not have yet, all under the present lease.
    async fn publish(&mut self, session: &mut Session) -> Result<(), RegistryError> {
        let Some(lease) = self.lease.borrow_and_update().clone() else { return Ok(()) };
        if session.published_under != lease.id() {
            session.published.clear();
            session.published_under = lease.id();
        }
        let names: Vec<UnitName> = self.ledger.units().keys().cloned().collect();
        let statuses = match self.manager.states(&names).await {
            Ok(statuses) => statuses,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(machine = %self.machine, error, "states of units are not known");
                return Ok(());
            }
        };
        let states: BTreeMap<UnitName, StateRecord> =
            names.into_iter().zip(statuses).map(|(name, status)| self.state(name, status)).collect();
        let mut news: BTreeMap<UnitName, Option<StateRecord>> = states
            .iter()
            .filter(|(name, state)| session.published.get(*name) != Some(*state))
            .map(|(name, state)| (name.clone(), Some(state.clone())))
            .collect();
        let gone = session.published.keys().filter(|name| !states.contains_key(*name));
        news.extend(gone.map(|name| (name.clone(), None)));
        if !news.is_empty() {
            self.registry.publish_states(&self.machine, &news, &lease).await?;
            session.published = states;
        }
        Ok(())
    }

    fn state(&self, name: UnitName, status: UnitStatus) -> (UnitName, StateRecord) {
        let has = self.ledger.units().get(&name);
        let record = StateRecord {
            load: status.load,
            active: status.active,
            sub: status.sub,
            hash: has.map(|has| has.hash.clone()).unwrap_or_default(),
            launched: has.is_some_and(|has| has.launched),
        };
        (name, record)
    }
}

/// What came of bringing units to what is desired.
#[derive(Default)]
struct Carried {
    /// A unit waits for another machine to let go of it.
    waits: bool,
    /// Some unit was told to start.
    started: bool,
}

/// What the store says that the machine owns, asked just before it starts something.
#[derive(Default)]
struct Owned {
    asked: Option<Instant>,
    scheduled: BTreeMap<UnitName, (i64, AssignmentWish)>,
}

impl Owned {
    async fn ask(&mut self, registry: &Registry, machine: &str) -> Result<(), RegistryError> {
        self.asked = Some(Instant::now());
        self.scheduled = registry.scheduled_on(machine).await?;
        Ok(())
    }

    /// The fence of a unit that is to run here, and the machine that it comes from; nothing when it is not
    /// to run here any more.
    async fn fence(
        &mut self,
        registry: &Registry,
        machine: &str,
        name: &UnitName,
    ) -> Result<Option<(i64, Option<String>)>, RegistryError> {
        if self.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            self.ask(registry, machine).await?;
        }
        let launched = self.scheduled.get(name).filter(|(_, it)| it.target == TargetState::Launched);
        Ok(launched.map(|(revision, it)| (*revision, it.from.clone())))
    }
}

fn learn(desired: &mut Desired, change: Change) {
    match change {
        Change::Schedule(_, name, Some(it)) => drop(desired.scheduled.insert(name, it)),
        Change::Schedule(_, name, None) => drop(desired.scheduled.remove(&name)),
        Change::Global(name, Some(it)) => drop(desired.global.insert(name, it)),
        Change::Global(name, None) => drop(desired.global.remove(&name)),
        Change::Metadata(_, key, Some(value)) => drop(desired.metadata.insert(key, value)),
        Change::Metadata(_, key, None) => drop(desired.metadata.remove(&key)),
        Change::Drain(_, draining) => desired.draining = draining,
        Change::Removed(_, removed) => desired.removed = removed,
        Change::Unit(..) | Change::Machine(..) | Change::State(..) => {}
    }
}

fn spec(name: &UnitName, assignment: &Assignment) -> Option<UnitSpec> {
    let placement = Placement::of(name, &assignment.options).ok()?;
    Some(UnitSpec { name: name.clone(), placement, target: TargetState::Launched })
}

/// The unit is here: others are judged beside it.
fn settle(cluster: &mut Cluster, machine: &fleet_core::MachineId, name: &UnitName, assignment: &Assignment) {
    if let Some(spec) = spec(name, assignment) {
        cluster.set_unit(spec);
        cluster.set_assignment(name, Some(machine));
    }
}
