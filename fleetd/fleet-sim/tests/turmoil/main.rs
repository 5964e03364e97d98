//! The reconcile loops of a whole fleet in a storm: real schedulers, agents and clients on turmoil's network,
//! under its clock, on a store in memory. All that goes wrong is drawn from one seed: ways to the store that
//! are cut, one way or both, or that hold back what was said; daemons and machines that crash; a store that
//! is gone for seconds; users who change their minds all the while. What must hold:
//!
//! - no unit is started by a machine that has lost it: its fence never falls;
//! - no unit is started while it runs elsewhere, but on a machine that was given up since it got it;
//! - once all is well again every unit that is to run does, on one machine, and no other.
//!
//! `FLEET_SEED=n` runs one seed, `FLEET_SEEDS=n` that many. A failure prints its seed.

mod server;
mod store;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_registry::{DEFAULT_PREFIX, Key, Keys, StoredUnit};
use fleet_unit::{TargetState, UnitName, UnitOptions};
use kv_client::op;
use turmoil::Sim;

use world::World;

const MACHINES: usize = 4;
const UNITS: usize = 12;
const STORM: Duration = Duration::from_secs(120);
/// From the last fault until all must be as wished: a lease, a patient scheduler, and what they wait.
const HEALS_WITHIN: Duration = Duration::from_secs(60);
/// Longer than a lease: a machine that is silent so long is given up.
const LONGEST_FAULT_MS: u64 = 12_000;

/// Knuth's generator: enough to choose faults by.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What is wrong with a machine, or the store, and until when.
enum Fault {
    Partition(String),
    Deaf(String),
    Mute(String),
    Held(String),
    Crashed(String),
}

/// A storm and what is known of it outside.
struct Storm<'a> {
    sim: Sim<'a>,
    world: World,
    dice: Dice,
    faults: Vec<(Duration, Fault)>,
    wished: BTreeMap<UnitName, TargetState>,
    draining: BTreeSet<String>,
    keys: Keys,
}

fn machine(number: u64) -> String {
    format!("m{number}")
}

fn unit(number: u64) -> UnitName {
    format!("unit-{number}.service").parse().expect("a valid name")
}

/// Every third unit shares no machine with the others of its kind; some run anywhere.
fn content(number: u64, version: u64) -> UnitOptions {
    let apart = if number.is_multiple_of(3) { "[X-Fleet]\nConflicts=unit-[0369].service\n" } else { "" };
    let text = format!("[Service]\nExecStart=/bin/sleep {version}\n{apart}");
    UnitOptions::parse(&text).expect("it parses")
}

impl Storm<'_> {
    fn new(seed: u64) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(Duration::from_millis(5))
            .min_message_latency(Duration::from_micros(200))
            .max_message_latency(Duration::from_millis(20))
            .simulation_duration(Duration::from_secs(3600))
            .tcp_capacity(4096)
            .build();
        let world = World::new();
        let store = world.store.clone();
        sim.host("kv", move || store.clone().serve());
        for number in 0..MACHINES as u64 {
            let world = world.clone();
            sim.host(machine(number), move || world.clone().daemon(machine(number)));
        }
        Self {
            sim,
            world,
            dice: Dice(seed),
            faults: Vec::new(),
            wished: BTreeMap::new(),
            draining: BTreeSet::new(),
            keys: Keys::new(DEFAULT_PREFIX),
        }
    }

    fn go_on(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().expect("no daemon ends");
        }
        let wrong = self.world.wrong();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Users reach the store whatever happens: what they wish is in it at once.
    fn users_change_their_minds(&mut self) {
        let number = self.dice.below(UNITS as u64);
        let name = unit(number);
        let key = self.keys.text(&Key::Unit(name.clone()));
        let ops = match self.dice.below(8) {
            0 => {
                self.wished.remove(&name);
                op::delete(key)
            }
            1 => {
                let at = machine(self.dice.below(MACHINES as u64));
                let key = self.keys.text(&Key::Drain(at.clone()));
                // Somebody must be left to run all those that keep apart: enough if three are.
                if self.draining.remove(&at) || !self.draining.is_empty() {
                    op::delete(key)
                } else {
                    self.draining.insert(at);
                    op::put(key, "draining")
                }
            }
            dice => {
                let target = if dice == 2 { TargetState::Loaded } else { TargetState::Launched };
                let options = content(number, self.dice.below(3));
                self.wished.insert(name, target);
                op::put(key, serde_json::to_vec(&StoredUnit { options, target }).expect("a unit is JSON"))
            }
        };
        let txn = kv_api::etcdserverpb::TxnRequest { success: vec![ops], ..Default::default() };
        self.world.store.change(|core| core.txn(&txn)).expect("no lease is named");
    }

    fn something_goes_wrong(&mut self) {
        let at = machine(self.dice.below(MACHINES as u64));
        let is_hurt = |fault: &Fault| match fault {
            Fault::Partition(it)
            | Fault::Deaf(it)
            | Fault::Mute(it)
            | Fault::Held(it)
            | Fault::Crashed(it) => *it == at || it == "kv",
        };
        if self.faults.iter().any(|(_, fault)| is_hurt(fault)) {
            return;
        }
        let fault = match self.dice.below(12) {
            0..=2 => {
                self.sim.partition(at.as_str(), "kv");
                Fault::Partition(at)
            }
            3 | 4 => {
                self.sim.partition_oneway("kv", at.as_str());
                Fault::Deaf(at)
            }
            5 | 6 => {
                self.sim.partition_oneway(at.as_str(), "kv");
                Fault::Mute(at)
            }
            7 => {
                self.sim.hold(at.as_str(), "kv");
                Fault::Held(at)
            }
            8 | 9 => {
                // The daemon alone: what it started goes on.
                self.sim.crash(at.as_str());
                Fault::Crashed(at)
            }
            10 => {
                self.sim.crash(at.as_str());
                self.world.power_cut(&at);
                Fault::Crashed(at)
            }
            _ => {
                self.sim.crash("kv");
                Fault::Crashed("kv".to_owned())
            }
        };
        let until = self.sim.elapsed() + Duration::from_millis(100 + self.dice.below(LONGEST_FAULT_MS));
        self.faults.push((until, fault));
    }

    fn heal(&mut self, everything: bool) {
        let now = self.sim.elapsed();
        let (over, go_on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.faults).into_iter().partition(|(until, _)| everything || *until <= now);
        self.faults = go_on;
        for (_, fault) in over {
            match fault {
                Fault::Partition(at) => self.sim.repair(at.as_str(), "kv"),
                Fault::Deaf(at) => self.sim.repair_oneway("kv", at.as_str()),
                Fault::Mute(at) => self.sim.repair_oneway(at.as_str(), "kv"),
                Fault::Held(at) => self.sim.release(at.as_str(), "kv"),
                Fault::Crashed(at) => self.sim.bounce(at.as_str()),
            }
        }
    }

    /// Units that are not as they should be.
    fn amiss(&self) -> Vec<String> {
        let all = (0..UNITS as u64).map(unit);
        all.filter_map(|name| {
            let should = usize::from(self.wished.get(&name) == Some(&TargetState::Launched));
            let on = self.world.runs_on(&name);
            (on.len() != should).then(|| format!("{name} runs on {on:?} instead of {should} machine(s)"))
        })
        .collect()
    }

    fn rage(mut self) -> (usize, usize, usize) {
        let mut faults = 0;
        while self.sim.elapsed() < STORM {
            let pause = 50 + self.dice.below(400);
            self.go_on(Duration::from_millis(pause));
            self.heal(false);
            if self.dice.below(2) == 0 {
                let before = self.faults.len();
                self.something_goes_wrong();
                faults += self.faults.len() - before;
            }
            if self.dice.below(3) == 0 {
                self.users_change_their_minds();
            }
        }
        self.heal(true);
        for at in std::mem::take(&mut self.draining) {
            let drain = op::delete(self.keys.text(&Key::Drain(at)));
            let txn = kv_api::etcdserverpb::TxnRequest { success: vec![drain], ..Default::default() };
            self.world.store.change(|core| core.txn(&txn)).expect("no lease is named");
        }
        let until = self.sim.elapsed() + HEALS_WITHIN;
        while !self.amiss().is_empty() && self.sim.elapsed() < until {
            self.go_on(Duration::from_millis(200));
        }
        let amiss = self.amiss();
        assert!(amiss.is_empty(), "{HEALS_WITHIN:?} after the last fault: {}", amiss.join(", "));
        let (starts, handed_over) = self.world.starts();
        (faults, starts, handed_over)
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn no_unit_runs_twice_and_none_is_lost() {
    let seeds: Vec<u64> = match (number("FLEET_SEED"), number("FLEET_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (1..=count.unwrap_or(2)).collect(),
    };
    let (mut faults, mut starts, mut handed_over) = (0, 0, 0);
    for seed in &seeds {
        let raged = std::panic::catch_unwind(|| Storm::new(*seed).rage());
        let Ok(seen) = raged else { panic!("it was seed {seed}: FLEET_SEED={seed} repeats it") };
        println!("seed {seed}: {} faults, {} starts, {} of them handed over", seen.0, seen.1, seen.2);
        faults += seen.0;
        starts += seen.1;
        handed_over += seen.2;
    }
    // A storm in which nothing happens proves nothing.
    assert!(faults > 20 * seeds.len() && starts > 20 * seeds.len(), "{faults} faults, {starts} starts");
    assert!(seeds.len() < 4 || handed_over > 0, "no machine was given up while it lived");
}
