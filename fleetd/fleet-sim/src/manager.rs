//! A unit manager that keeps account instead of processes; a start takes 5 to 50 ms.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet_agent::{ManagerError, UnitManager, UnitStatus};
use fleet_unit::UnitName;
use tokio::sync::Notify;

/// Which units run, over all machines: a unit that runs twice is seen at once.
#[derive(Default)]
pub(crate) struct Account {
    running: Mutex<BTreeMap<UnitName, usize>>,
    doubles: AtomicUsize,
    /// The highest fence that each unit was started with, and how often a lower one came after it.
    fences: Mutex<BTreeMap<UnitName, i64>>,
    stale: AtomicUsize,
}

impl Account {
    /// How often a unit was started that ran elsewhere.
    pub(crate) fn doubles(&self) -> usize {
        self.doubles.load(Ordering::Relaxed)
    }

    /// How often a unit was started by a machine that had lost it already.
    pub(crate) fn stale_starts(&self) -> usize {
        self.stale.load(Ordering::Relaxed)
    }

    /// On how many machines a unit runs.
    pub(crate) fn runs_on(&self, name: &UnitName) -> usize {
        self.running.lock().expect("no holder of this lock panics").get(name).copied().unwrap_or(0)
    }

    fn told_to_start(&self, name: &UnitName, fence: i64) {
        let mut fences = self.fences.lock().expect("no holder of this lock panics");
        let highest = fences.entry(name.clone()).or_insert(fence);
        if fence < *highest {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
        *highest = fence.max(*highest);
    }

    fn started(&self, name: &UnitName) {
        let mut running = self.running.lock().expect("no holder of this lock panics");
        let count = running.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            self.doubles.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stopped(&self, name: &UnitName) {
        let mut running = self.running.lock().expect("no holder of this lock panics");
        if let Some(count) = running.get_mut(name) {
            *count = count.saturating_sub(1);
        }
    }
}

/// One machine's manager. What runs ends with it, as on a machine that loses its power.
pub(crate) struct SimManager {
    account: Arc<Account>,
    changed: Arc<Notify>,
    units: Arc<Mutex<BTreeMap<UnitName, &'static str>>>,
    seed: u64,
}

impl SimManager {
    pub(crate) fn new(account: Arc<Account>, changed: Arc<Notify>, seed: u64) -> Self {
        Self { account, changed, units: Arc::default(), seed }
    }

    fn set(&self, name: &UnitName, active: &'static str) {
        let before = self.units.lock().expect("no holder of this lock panics").insert(name.clone(), active);
        if before == Some("active") && active != "active" {
            self.account.stopped(name);
        }
        self.changed.notify_one();
    }

    /// Some number of milliseconds from 5 to 50, the same in every run.
    fn start_delay(&mut self) -> Duration {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(5 + (self.seed >> 33) % 46)
    }
}

impl Drop for SimManager {
    fn drop(&mut self) {
        let units = self.units.lock().expect("no holder of this lock panics");
        units
            .iter()
            .filter(|(_, active)| **active == "active")
            .for_each(|(name, _)| self.account.stopped(name));
    }
}

impl UnitManager for SimManager {
    async fn load(&mut self, name: &UnitName, _text: &str) -> Result<(), ManagerError> {
        self.set(name, "inactive");
        Ok(())
    }

    async fn unload(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        self.set(name, "inactive");
        self.units.lock().expect("no holder of this lock panics").remove(name);
        Ok(())
    }

    async fn start(&mut self, name: &UnitName, fence: i64) -> Result<(), ManagerError> {
        self.account.told_to_start(name, fence);
        self.set(name, "activating");
        let delay = self.start_delay();
        let (account, changed) = (Arc::clone(&self.account), Arc::clone(&self.changed));
        let (units, name) = (Arc::downgrade(&self.units), name.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let Some(units) = units.upgrade() else { return };
            let mut units = units.lock().expect("no holder of this lock panics");
            if let Some(active) = units.get_mut(&name).filter(|active| **active == "activating") {
                *active = "active";
                account.started(&name);
            }
            changed.notify_one();
        });
        Ok(())
    }

    async fn stop(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        self.set(name, "inactive");
        Ok(())
    }

    async fn states(&mut self, names: &[UnitName]) -> Result<Vec<UnitStatus>, ManagerError> {
        let units = self.units.lock().expect("no holder of this lock panics");
        let status = |name: &UnitName| {
            let active = units.get(name).copied().unwrap_or("inactive");
            let sub = match active {
                "active" => "running",
                "activating" => "start",
                _ => "dead",
            };
            UnitStatus { load: "loaded".into(), active: active.into(), sub: sub.into() }
        };
        Ok(names.iter().map(status).collect())
    }

    async fn changed(&mut self) -> Result<(), ManagerError> {
        self.changed.notified().await;
        Ok(())
    }
}
