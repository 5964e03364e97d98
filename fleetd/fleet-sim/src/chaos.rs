//! A fleet whose ways to the store fail at random, while users keep changing their minds. What must hold:
//! no unit is started by a machine that has lost it (its fence never falls), and once all is well again
//! every unit that is to run does, on one machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fleet_registry::{Registry, StoredUnit};
use fleet_unit::{TargetState, UnitName, UnitOptions};

use crate::fleet::Fleet;
use crate::proxy::{Fault, Proxy};

/// What is to be survived.
#[derive(Clone, Debug)]
pub struct Chaos {
    /// The store, one endpoint.
    pub store: String,
    /// How many machines.
    pub machines: usize,
    /// How many units.
    pub units: usize,
    /// How long faults go on.
    pub lasts: Duration,
    /// Same seed, same faults at the same times; the rest is the machine's doing.
    pub seed: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Survived {
    /// Faults of ways to the store.
    pub faults: usize,
    /// Wishes of users that the store took.
    pub wishes: usize,
    /// From the last fault until all was as wished.
    pub healed: Duration,
}

/// Longer than a lease: a machine that is silent so long is given up.
const LONGEST_FAULT_MS: u64 = 12_000;
const HEALS_WITHIN: Duration = Duration::from_secs(60);
/// As short as a daemon's: a request that hangs is given up.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

impl Chaos {
    /// Lets it happen.
    ///
    /// # Errors
    /// What must hold does not.
    pub async fn run(&self) -> Result<Survived> {
        let mut random = Random(self.seed);
        let mut fleet = Fleet::new(std::slice::from_ref(&self.store))?;
        let users = fleet.connect()?;
        let mut ways = Vec::new();
        for _ in 0..self.machines {
            let way = Proxy::start(&self.store).await?;
            fleet.add_machine_on(Fleet::connect_to(&[way.endpoint().to_owned()], REQUEST_LIMIT)?)?;
            ways.push(way);
        }
        let scheduling = [Proxy::start(&self.store).await?, Proxy::start(&self.store).await?];
        let _schedulers = [
            fleet.scheduler_on(
                "sim-a",
                Fleet::connect_to(&[scheduling[0].endpoint().to_owned()], REQUEST_LIMIT)?,
            ),
            fleet.scheduler_on(
                "sim-b",
                Fleet::connect_to(&[scheduling[1].endpoint().to_owned()], REQUEST_LIMIT)?,
            ),
        ];
        ways.extend(scheduling);

        let mut survived = Survived::default();
        let mut wished: BTreeMap<UnitName, TargetState> = BTreeMap::new();
        for number in 0..self.units {
            let name: UnitName = format!("unit-{number}.service").parse()?;
            put(&users, &name, TargetState::Launched).await?;
            wished.insert(name, TargetState::Launched);
        }
        let began = Instant::now();
        let mut until = vec![began; ways.len()];
        while began.elapsed() < self.lasts {
            let way = random.below(ways.len() as u64) as usize;
            if until[way] <= Instant::now() {
                let fault = match random.below(3) {
                    0 => Fault::Cut,
                    1 => Fault::Silent,
                    _ => Fault::Slow(Duration::from_millis(random.below(1500))),
                };
                ways[way].set(fault);
                until[way] = Instant::now() + Duration::from_millis(random.below(LONGEST_FAULT_MS));
                survived.faults += 1;
            }
            if random.below(3) == 0 {
                let name: UnitName = format!("unit-{}.service", random.below(self.units as u64)).parse()?;
                let target = if random.below(3) == 0 { TargetState::Loaded } else { TargetState::Launched };
                put(&users, &name, target).await?;
                wished.insert(name, target);
                survived.wishes += 1;
            }
            tokio::time::sleep(Duration::from_millis(100 + random.below(300))).await;
            for (way, until) in ways.iter().zip(&until) {
                if *until <= Instant::now() {
                    way.set(Fault::None);
                }
            }
        }
        ways.iter().for_each(|way| way.set(Fault::None));
        survived.healed = heals(&fleet, &wished).await?;
        let stale = fleet.account.stale_starts();
        ensure!(stale == 0, "{stale} times a unit was started by a machine that had lost it");
        Ok(survived)
    }
}

async fn put(registry: &Registry, name: &UnitName, target: TargetState) -> Result<()> {
    let options = UnitOptions::parse("[Service]\nExecStart=/bin/sleep infinity\n")?;
    registry.put_unit(name, &StoredUnit { options, target }).await?;
    Ok(())
}

async fn heals(fleet: &Fleet, wished: &BTreeMap<UnitName, TargetState>) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let wrong: Vec<String> = wished
            .iter()
            .map(|(name, target)| {
                (name, usize::from(*target == TargetState::Launched), fleet.account.runs_on(name))
            })
            .filter(|(_, should, does)| should != does)
            .map(|(name, should, does)| format!("{name} runs {does} times instead of {should}"))
            .collect();
        if wrong.is_empty() {
            return Ok(began.elapsed());
        }
        ensure!(
            began.elapsed() < HEALS_WITHIN,
            "{HEALS_WITHIN:?} after the last fault: {}",
            wrong.join(", ")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Knuth's generator: enough to choose faults by.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}
