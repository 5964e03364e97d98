//! What is done to the fleet, and what is measured.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fleet_registry::{Registry, StoredUnit};
use fleet_unit::{TargetState, UnitName, UnitOptions};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::Options;
use crate::alone::placements_per_second;
use crate::fleet::{Fleet, Observer};

/// Longest time for one step.
const LIMIT: Duration = Duration::from_secs(300);
/// Units that are submitted at the same time.
const SUBMITTERS: usize = 64;

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The scheduler alone, 5,000 machines and 50,000 units.
    pub placements_per_s: f64,
    /// From the first submission until the store says of every unit that it runs.
    pub all_running_s: f64,
    /// The same until 10, 50, 90 and 99 of 100 units run: the curve.
    pub running_s: [f64; 4],
    /// Reads and writes of machines and schedulers meanwhile, for each unit; its submission is one more.
    pub requests_per_unit: [f64; 2],
    /// One unit in the full fleet, from submission to running: 99 of 100 are faster.
    pub p99_ms: f64,
    /// A tenth of the machines lost at once: from the loss (leases have still to run out) until every
    /// unit runs again.
    pub storm_s: f64,
    /// The leading scheduler lost: from the loss until a unit runs that was submitted just then.
    pub leader_loss_s: f64,
    /// Units that were started while a machine that was given up still ran them: it lived, and was too
    /// slow to keep its lease. On a computer with room for the simulation there are none.
    pub overlaps: usize,
}

impl Figures {
    /// One JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("figures are numbers")
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "scheduler alone       {:>10.0} placements/s", self.placements_per_s)?;
        writeln!(f, "all units running     {:>10.2} s", self.all_running_s)?;
        let [p10, p50, p90, p99] = self.running_s;
        writeln!(f, "  10/50/90/99 % of them  {p10:>6.2} {p50:>6.2} {p90:>6.2} {p99:>6.2} s")?;
        let [reads, writes] = self.requests_per_unit;
        writeln!(f, "  for each of them    {reads:>10.2} reads {writes:.2} writes")?;
        writeln!(f, "one unit, p99         {:>10.0} ms", self.p99_ms)?;
        writeln!(f, "a tenth lost          {:>10.2} s", self.storm_s)?;
        writeln!(f, "leader lost           {:>10.2} s", self.leader_loss_s)?;
        writeln!(f, "started while running {:>10}", self.overlaps)
    }
}

/// Builds the fleet, fills it, hurts it, and measures.
///
/// # Errors
/// The store does not answer or is not empty, a step takes too long, a unit was started by a machine
/// that had lost it, or moved without need.
pub async fn simulate(options: &Options) -> Result<Figures> {
    let total = options.machines * options.units;
    let placements_per_s = placements_per_second(5000, options.alone);
    let mut fleet = Fleet::new(&options.etcd_servers)?;
    let registry = fleet.connect()?;
    let mut observer = Observer::new(&registry).await.context("could not observe the store")?;
    let mut schedulers = [fleet.scheduler("sim-a")?, fleet.scheduler("sim-b")?];
    for _ in 0..options.machines {
        fleet.add_machine()?;
    }
    observer.until("all machines are registered", LIMIT, |seen| seen.machines == options.machines).await?;

    let before = fleet.asked();
    let (all_running_s, running_s) = fill(&registry, &mut observer, total).await?;
    let after = fleet.asked();
    let requests_per_unit = [0, 1].map(|kind| (after[kind] - before[kind]) as f64 / total as f64);

    let p99_ms = one_by_one(&registry, &mut observer, options.single).await?;
    let total = total + options.single;
    let storm_s = storm(&mut fleet, &mut observer, options.machines, total).await?;
    let leader_loss_s = lose_leader(&registry, &mut observer, &mut schedulers).await?;
    let stale = fleet.account.stale_starts();
    ensure!(stale == 0, "{stale} times a unit was started by a machine that had lost it");
    let overlaps = fleet.account.doubles();
    Ok(Figures {
        placements_per_s,
        all_running_s,
        running_s,
        requests_per_unit,
        p99_ms,
        storm_s,
        leader_loss_s,
        overlaps,
    })
}

fn units(name: &str, count: usize) -> Vec<UnitName> {
    (0..count).map(|number| format!("{name}-{number}.service").parse().expect("a valid name")).collect()
}

async fn submit(registry: &Registry, names: &[UnitName]) -> Result<()> {
    let options = UnitOptions::parse("[Service]\nExecStart=/bin/sleep infinity\n").expect("it parses");
    let unit = StoredUnit { options, target: TargetState::Launched };
    let mut submitters = JoinSet::new();
    for share in names.chunks(names.len().div_ceil(SUBMITTERS).max(1)) {
        let (registry, share, unit) = (registry.clone(), share.to_vec(), unit.clone());
        submitters.spawn(async move {
            for name in &share {
                registry.put_unit(name, &unit).await?;
            }
            Ok::<_, fleet_registry::RegistryError>(())
        });
    }
    while let Some(done) = submitters.join_next().await {
        done?.context("could not submit")?;
    }
    Ok(())
}

/// Submits all units at once; tells when all run, and when these parts of them did.
async fn fill(registry: &Registry, observer: &mut Observer, total: usize) -> Result<(f64, [f64; 4])> {
    let began = Instant::now();
    let submitting = {
        let (registry, names) = (registry.clone(), units("unit", total));
        tokio::spawn(async move { submit(&registry, &names).await })
    };
    let mut curve = [0.0; 4];
    for (at, percent) in curve.iter_mut().zip([10, 50, 90, 99]) {
        let count = (total * percent).div_ceil(100);
        observer.until("a part of the units runs", LIMIT, |seen| seen.count() >= count).await?;
        *at = began.elapsed().as_secs_f64();
    }
    observer.until("all units run", LIMIT, |seen| seen.count() == total).await?;
    let all = began.elapsed().as_secs_f64();
    submitting.await.context("could not submit")??;
    Ok((all, curve))
}

async fn one_by_one(registry: &Registry, observer: &mut Observer, count: usize) -> Result<f64> {
    let mut took = Vec::with_capacity(count);
    for name in units("single", count) {
        let began = Instant::now();
        submit(registry, std::slice::from_ref(&name)).await?;
        observer.until("one unit runs", LIMIT, |seen| seen.runs(&name)).await?;
        took.push(began.elapsed());
    }
    took.sort();
    let at = (took.len() * 99).div_ceil(100).saturating_sub(1);
    Ok(took.get(at).map_or(0.0, |it| it.as_secs_f64() * 1000.0))
}

async fn storm(fleet: &mut Fleet, observer: &mut Observer, machines: usize, total: usize) -> Result<f64> {
    let lost = machines.div_ceil(10);
    let is_lost = |machine: &str| {
        machine
            .strip_prefix("sim-")
            .and_then(|number| number.parse::<usize>().ok())
            .is_some_and(|it| it < lost)
    };
    let safe = observer.on(|machine| !is_lost(machine));
    let began = Instant::now();
    for number in 0..lost {
        fleet.lose_machine(number).await;
    }
    observer.until("the lost machines are missed", LIMIT, |seen| seen.machines == machines - lost).await?;
    let mut moved = None;
    observer
        .until("all units run again", LIMIT, |seen| {
            moved = moved.take().or_else(|| safe.iter().find(|name| !seen.runs(name)).cloned());
            seen.count() == total && seen.on(is_lost).is_empty()
        })
        .await?;
    if let Some(moved) = moved {
        anyhow::bail!("{moved} was stopped although its machine was not lost");
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn lose_leader(
    registry: &Registry,
    observer: &mut Observer,
    schedulers: &mut [JoinSet<()>; 2],
) -> Result<f64> {
    let leader = registry.leader().await?.context("nobody leads")?;
    let began = Instant::now();
    schedulers[usize::from(leader == "sim-b")].shutdown().await;
    let name = units("after", 1).remove(0);
    submit(registry, std::slice::from_ref(&name)).await?;
    observer.until("a unit runs after the leader was lost", LIMIT, |seen| seen.runs(&name)).await?;
    Ok(began.elapsed().as_secs_f64())
}
