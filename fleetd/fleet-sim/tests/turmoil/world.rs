//! The machines of the simulation: what runs on them outlives their daemons, and every start is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fleet_agent::{Ledger, ManagerError, UnitManager, UnitStatus};
use fleet_registry::{DEFAULT_PREFIX, MachineRecord, Registry};
use fleet_unit::UnitName;
use fleetd::parts::{Agent, Metrics, keep_registered, schedule};
use kv_client::Dialer;
use kv_client::connect::Wire;
use tokio::sync::{Notify, watch};
use turmoil::net::TcpStream;

use crate::server::{PORT, Store, now};

/// As the daemon's own default.
const TTL: Duration = Duration::from_secs(5);
/// As short as a daemon's: a request that hangs is given up.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// What all machines did.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Store,
    inner: Arc<Mutex<Inner>>,
    ledgers: Arc<tempfile::TempDir>,
}

#[derive(Default)]
struct Inner {
    /// Of each machine: its units, and the fences of those that run. A fence is the store's revision when
    /// the unit was given to the machine.
    units: BTreeMap<String, BTreeMap<UnitName, Option<i64>>>,
    /// Units that run on a machine that was given up, while others run them: nobody can stop those before
    /// the machine comes back.
    orphans: BTreeSet<(String, UnitName)>,
    fences: BTreeMap<UnitName, i64>,
    wrong: Vec<String>,
    starts: usize,
    handed_over: usize,
}

impl World {
    pub(crate) fn new() -> Self {
        let ledgers = Arc::new(tempfile::tempdir().expect("a directory"));
        Self { store: Store::new(), inner: Arc::default(), ledgers }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// What must never happen and did.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.inner().wrong.clone()
    }

    /// Starts, and those of them that took over from a machine that was given up while it lived.
    pub(crate) fn starts(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.starts, inner.handed_over)
    }

    pub(crate) fn runs_on(&self, name: &UnitName) -> Vec<String> {
        let inner = self.inner();
        let runs = |units: &BTreeMap<UnitName, Option<i64>>| units.get(name).is_some_and(Option::is_some);
        inner.units.iter().filter(|(_, units)| runs(units)).map(|(machine, _)| machine.clone()).collect()
    }

    /// It loses its power: nothing runs there any more, and nothing is remembered.
    pub(crate) fn power_cut(&self, machine: &str) {
        let mut inner = self.inner();
        inner.units.remove(machine);
        inner.orphans.retain(|(at, _)| at != machine);
        let _ = std::fs::remove_dir_all(self.ledger(machine));
    }

    fn ledger(&self, machine: &str) -> PathBuf {
        self.ledgers.path().join(machine)
    }

    fn started(&self, machine: &str, name: &UnitName, fence: i64) {
        // Given up since it got the unit; or, if the unit was taken from it while it lived, since then: its new
        // machine waits until it has let go or is given up.
        let assigned = self.store.look().text(&format!("{DEFAULT_PREFIX}/schedule/{machine}/{name}"));
        let given_up = |other: &str, theirs: i64| {
            let was_taken = assigned.contains(&format!("\"from\":\"{other}\""));
            let since = if was_taken { fence } else { theirs };
            self.store.look().was_deleted_since(&format!("{DEFAULT_PREFIX}/machine/{other}"), since)
        };
        let mut inner = self.inner();
        inner.starts += 1;
        let highest = inner.fences.get(name).copied().unwrap_or(fence);
        if fence < highest {
            let wrong = format!("{:?}: {machine} starts {name} by {fence}, after {highest}", now());
            inner.wrong.push(wrong);
        }
        inner.fences.insert(name.clone(), fence.max(highest));
        let others: Vec<(String, i64)> = inner
            .units
            .iter()
            .filter(|(other, _)| *other != machine)
            .filter_map(|(other, units)| Some((other.clone(), (*units.get(name)?)?)))
            .collect();
        for (other, since) in others {
            let orphan = (other.clone(), name.clone());
            if inner.orphans.contains(&orphan) {
                continue;
            }
            if given_up(&other, since) {
                inner.handed_over += 1;
                inner.orphans.insert(orphan);
            } else {
                let wrong = format!(
                    "{:?}: {machine} starts {name} by {fence}, which runs on {other} by {since}: {assigned}",
                    now()
                );
                inner.wrong.push(wrong);
            }
        }
        inner.units.entry(machine.to_owned()).or_default().insert(name.clone(), Some(fence));
    }

    fn stopped(&self, machine: &str, name: &UnitName, stays: bool) {
        let mut inner = self.inner();
        inner.orphans.remove(&(machine.to_owned(), name.clone()));
        let units = inner.units.entry(machine.to_owned()).or_default();
        if stays {
            units.insert(name.clone(), None);
        } else {
            units.remove(name);
        }
    }

    /// A daemon's own way to the store.
    pub(crate) fn registry() -> Registry {
        let mut config = kv_client::Config::new([format!("http://kv:{PORT}")]);
        config.request_timeout = REQUEST_LIMIT;
        config.dialer = Some(Dialer::new(|host, port| {
            Box::pin(async move {
                let stream = TcpStream::connect((host, port)).await?;
                Ok(Box::new(stream) as Box<dyn Wire>)
            })
        }));
        let client = kv_client::Client::new(config).expect("a good endpoint");
        Registry::new(client, DEFAULT_PREFIX)
    }

    /// The daemon of a machine, until it crashes.
    pub(crate) async fn daemon(self, machine: String) -> turmoil::Result {
        let registry = Self::registry();
        let (_record_in, record) = watch::channel(MachineRecord::default());
        let (lease_in, lease) = watch::channel(None);
        let manager = Supervisor { world: self.clone(), machine: machine.clone() };
        let agent = Agent {
            registry: registry.clone(),
            machine: machine.clone(),
            record: record.clone(),
            lease,
            manager,
            ledger: Ledger::open(&self.ledger(&machine))?,
            units_changed: Arc::new(Notify::new()),
            metrics: Arc::new(Metrics::default()),
            neighbours: None,
        };
        let interval = Duration::from_secs(2);
        tokio::join!(
            keep_registered(registry.clone(), machine.clone(), record, TTL, lease_in),
            agent.run(),
            schedule(registry, machine, interval, TTL, Arc::new(Metrics::default())),
        );
        Ok(())
    }
}

/// What runs units on a machine; the daemon comes and goes beside it.
struct Supervisor {
    world: World,
    machine: String,
}

impl UnitManager for Supervisor {
    async fn load(&mut self, name: &UnitName, _text: &str) -> Result<(), ManagerError> {
        self.world.stopped(&self.machine, name, true);
        Ok(())
    }

    async fn unload(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        self.world.stopped(&self.machine, name, false);
        Ok(())
    }

    async fn start(&mut self, name: &UnitName, fence: i64) -> Result<(), ManagerError> {
        self.world.started(&self.machine, name, fence);
        Ok(())
    }

    async fn stop(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        self.world.stopped(&self.machine, name, true);
        Ok(())
    }

    async fn states(&mut self, names: &[UnitName]) -> Result<Vec<UnitStatus>, ManagerError> {
        let inner = self.world.inner();
        let units = inner.units.get(&self.machine);
        let status = |name: &UnitName| {
            let runs = units.and_then(|units| units.get(name)).is_some_and(Option::is_some);
            let (active, sub) = if runs { ("active", "running") } else { ("inactive", "dead") };
            UnitStatus { load: "loaded".into(), active: active.into(), sub: sub.into() }
        };
        Ok(names.iter().map(status).collect())
    }

    async fn changed(&mut self) -> Result<(), ManagerError> {
        std::future::pending().await
    }
}
