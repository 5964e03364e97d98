//! The simulated machines, and what the store says of their units.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fleet_agent::Ledger;
use fleet_registry::{Change, ChangeWatch, DEFAULT_PREFIX, MachineRecord, Registry};
use fleet_unit::UnitName;
use fleetd::parts::{Agent, Metrics, keep_registered, schedule};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::manager::{Account, SimManager};

/// Machines that share one connection to the store.
const PER_CONNECTION: usize = 32;
/// As the daemon's own default.
const TTL: Duration = Duration::from_secs(5);

/// The machines that live.
pub(crate) struct Fleet {
    endpoints: Vec<String>,
    connections: Vec<Registry>,
    /// Those of machines and schedulers, whose requests are counted.
    counted: Vec<Registry>,
    machines: Vec<Option<JoinSet<()>>>,
    /// What each machine says of itself; it never says anything else.
    records: Vec<watch::Sender<MachineRecord>>,
    pub(crate) account: Arc<Account>,
    /// In memory, as those on /run.
    ledgers: tempfile::TempDir,
}

impl Fleet {
    pub(crate) fn new(endpoints: &[String]) -> Result<Self> {
        Ok(Self {
            endpoints: endpoints.to_vec(),
            connections: Vec::new(),
            counted: Vec::new(),
            machines: Vec::new(),
            records: Vec::new(),
            account: Arc::default(),
            ledgers: tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?,
        })
    }

    /// Another connection to the store.
    pub(crate) fn connect(&self) -> Result<Registry> {
        Self::connect_to(&self.endpoints, Duration::from_secs(10))
    }

    pub(crate) fn connect_to(endpoints: &[String], limit: Duration) -> Result<Registry> {
        let mut config = kv_client::Config::new(endpoints.to_vec());
        config.request_timeout = limit;
        let client = kv_client::Client::new(config).context("could not use the endpoints")?;
        Ok(Registry::new(client, DEFAULT_PREFIX))
    }

    pub(crate) fn add_machine(&mut self) -> Result<()> {
        let number = self.machines.len();
        if number.is_multiple_of(PER_CONNECTION) {
            let connection = self.connect()?;
            self.counted.push(connection.clone());
            self.connections.push(connection);
        }
        self.add_machine_on(self.connections[number / PER_CONNECTION].clone())
    }

    /// A machine with its own way to the store.
    pub(crate) fn add_machine_on(&mut self, registry: Registry) -> Result<()> {
        let number = self.machines.len();
        let id = format!("sim-{number:05}");
        let (record_in, record) = watch::channel(MachineRecord::default());
        self.records.push(record_in);
        let (lease_in, lease) = watch::channel(None);
        let changed = Arc::new(Notify::new());
        let agent = Agent {
            registry: registry.clone(),
            machine: id.clone(),
            record: record.clone(),
            lease,
            manager: SimManager::new(Arc::clone(&self.account), Arc::clone(&changed), number as u64),
            ledger: Ledger::open(Path::new(&self.ledgers.path().join(&id)))?,
            units_changed: changed,
            metrics: Arc::new(Metrics::default()),
            neighbours: None,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_registered(registry, id, record, TTL, lease_in));
        tasks.spawn(agent.run());
        self.machines.push(Some(tasks));
        Ok(())
    }

    /// Loses a machine with all that runs on it; its lease runs out by itself.
    pub(crate) async fn lose_machine(&mut self, number: usize) {
        if let Some(mut tasks) = self.machines[number].take() {
            tasks.shutdown().await;
        }
    }

    /// A scheduler of its own connection, that leads when no other does.
    pub(crate) fn scheduler(&mut self, name: &str) -> Result<JoinSet<()>> {
        let connection = self.connect()?;
        self.counted.push(connection.clone());
        Ok(self.scheduler_on(name, connection))
    }

    /// How often machines and schedulers have read and written so far.
    pub(crate) fn asked(&self) -> [u64; 2] {
        let operations: Vec<_> = self.counted.iter().flat_map(Registry::operations).collect();
        ["get", "set"].map(|kind| operations.iter().filter(|it| it.kind == kind).map(|it| it.count).sum())
    }

    /// The same with its own way to the store.
    pub(crate) fn scheduler_on(&self, name: &str, registry: Registry) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let interval = Duration::from_secs(2);
        tasks.spawn(schedule(registry, name.to_owned(), interval, TTL, Arc::new(Metrics::default())));
        tasks
    }
}

/// What the store says of units and machines, kept up to date.
pub(crate) struct Observer {
    watch: ChangeWatch,
    /// Where each unit runs.
    running: BTreeMap<UnitName, Vec<String>>,
    pub(crate) machines: usize,
}

impl Observer {
    pub(crate) async fn new(registry: &Registry) -> Result<Self> {
        let snapshot = registry.snapshot().await?;
        if !snapshot.units.is_empty() || !snapshot.machines.is_empty() {
            bail!("the store holds a fleet already; give this simulation an empty one");
        }
        let watch = registry.watch_all(snapshot.revision).await?;
        Ok(Self { watch, running: BTreeMap::new(), machines: 0 })
    }

    /// Whether the unit runs somewhere.
    pub(crate) fn runs(&self, unit: &UnitName) -> bool {
        self.running.contains_key(unit)
    }

    /// How many units run.
    pub(crate) fn count(&self) -> usize {
        self.running.len()
    }

    /// The units that run on such machines.
    pub(crate) fn on(&self, is_one: impl Fn(&str) -> bool) -> Vec<UnitName> {
        let on_one = |machines: &Vec<String>| machines.iter().any(|machine| is_one(machine));
        self.running.iter().filter(|(_, machines)| on_one(machines)).map(|(name, _)| name.clone()).collect()
    }

    /// Watches until it is so, and tells how long that took.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<Duration> {
        let began = Instant::now();
        while !is_so(self) {
            let left = limit.saturating_sub(began.elapsed());
            let Ok(changes) = tokio::time::timeout(left, self.watch.next()).await else {
                bail!("after {limit:?} it is not so: {what}; {} units run", self.running.len());
            };
            changes?.changes.into_iter().for_each(|change| self.learn(change));
        }
        Ok(began.elapsed())
    }

    fn learn(&mut self, change: Change) {
        match change {
            Change::Machine(_, Some(_)) => self.machines += 1,
            Change::Machine(_, None) => self.machines -= 1,
            Change::State(machine, name, state) => {
                let machines = self.running.entry(name.clone()).or_default();
                machines.retain(|other| *other != machine);
                if state.is_some_and(|state| state.active == "active") {
                    machines.push(machine);
                }
                if machines.is_empty() {
                    self.running.remove(&name);
                }
            }
            _ => {}
        }
    }
}
