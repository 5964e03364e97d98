//! What goes wrong: a machine is lost and returns, the store is gone, daemons are replaced.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fleet_testbed::{Deed, What, eventually};

use crate::world::{PLAIN, World};

/// A lost machine's units run elsewhere within this time.
pub(crate) const TAKEN_OVER: Duration = Duration::from_secs(10);

pub(crate) fn six_units(world: &World) -> BTreeSet<String> {
    let units: BTreeSet<String> = (1..=6).map(|n| format!("u{n}.service")).collect();
    units.iter().for_each(|unit| world.put(unit, PLAIN, "launched"));
    world.all_run(&units);
    units
}

/// Nothing was started, stopped or moved since then.
pub(crate) fn assert_calm(world: &World, since: Instant) {
    for machine in &world.machines {
        let deeds = machine.deeds_since(since);
        assert!(deeds.is_empty(), "{}: {deeds:#?}", machine.id);
    }
}

#[test]
fn a_killed_daemons_units_run_elsewhere_and_it_is_fenced_when_it_returns() {
    let Some(mut world) = World::start(3) else { return };
    let units = six_units(&world);
    // Each in turn, so that the scheduler's own machine is among them.
    for lost in 0..3 {
        let its: Vec<&String> = units.iter().filter(|unit| world.runners(unit) == [lost]).collect();
        assert!(!its.is_empty(), "the machine has units");
        world.machines[lost].kill();
        let took = eventually("its units run elsewhere", TAKEN_OVER, || {
            its.iter().all(|unit| world.runners(unit).iter().any(|machine| *machine != lost))
        });
        println!("m{} lost: its {} units ran elsewhere after {took:?}", lost + 1, its.len());
        // Its processes live on, for nobody told them to end; and there is something new to start.
        assert!(its.iter().all(|unit| world.runners(unit).contains(&lost)));
        let new = format!("new{lost}.service");
        world.put(&new, &format!("{PLAIN}[X-Fleet]\nGlobal=true\n"), "launched");
        let returned = Instant::now();
        world.machines[lost].start();
        eventually("it has the new unit", TAKEN_OVER, || world.runners(&new).contains(&lost));
        let deeds = world.machines[lost].deeds_since(returned);
        assert_fenced(&deeds, &its);
        world.all_run(&units);
        // For the next round: it gets units again by being the one with the fewest.
        rebalance(&world, &units);
    }
}

/// What the machine no longer owns was stopped before anything was started.
pub(crate) fn assert_fenced(deeds: &[Deed], lost: &[&String]) {
    let at = |what: What, unit: &str| deeds.iter().position(|deed| deed.what == what && deed.unit == unit);
    let first_start =
        deeds.iter().position(|deed| deed.what == What::Started).expect("something was started");
    for unit in lost {
        let stopped = at(What::Stopped, unit).unwrap_or_else(|| panic!("{unit} was not stopped: {deeds:#?}"));
        assert!(stopped < first_start, "{unit} was stopped too late: {deeds:#?}");
        assert_eq!(at(What::Started, unit), None, "{unit} was started again: {deeds:#?}");
    }
}

fn rebalance(world: &World, units: &BTreeSet<String>) {
    units.iter().for_each(|unit| world.wish(unit, "inactive"));
    eventually("all are gone", TAKEN_OVER, || units.iter().all(|unit| world.runners(unit).is_empty()));
    units.iter().for_each(|unit| world.wish(unit, "launched"));
    world.all_run(units);
}

#[test]
fn a_store_that_is_gone_stops_and_moves_nothing() {
    let Some(world) = World::start(3) else { return };
    let units = six_units(&world);
    let places = |world: &World| units.iter().map(|unit| world.runners(unit)).collect::<Vec<_>>();
    let before = places(&world);
    let began = Instant::now();
    world.etcd.pause();
    std::thread::sleep(Duration::from_secs(20));
    assert_calm(&world, began);
    let answer = world.any().call("GET", "/units", "");
    assert_eq!(answer.status, 503, "{answer:?}");
    world.etcd.resume();
    // Longer than every lease and every patience.
    std::thread::sleep(Duration::from_secs(15));
    assert_calm(&world, began);
    assert_eq!(places(&world), before);
    eventually("all machines are back", TAKEN_OVER, || {
        world.get("/machines")["machines"].as_array().is_some_and(|all| all.len() == 3)
    });
    eventually("all states are back", TAKEN_OVER, || {
        world.get("/state")["states"].as_array().is_some_and(|all| all.len() == 6)
    });
    world.put("after.service", PLAIN, "launched");
    world.runner("after.service");
}

#[test]
fn replacing_all_daemons_stops_nothing() {
    let Some(mut world) = World::start(3) else { return };
    let units = six_units(&world);
    let began = Instant::now();
    for machine in 0..3 {
        world.machines[machine].terminate();
        std::thread::sleep(Duration::from_millis(500));
        world.machines[machine].start();
        std::thread::sleep(Duration::from_secs(2));
    }
    std::thread::sleep(Duration::from_secs(10));
    assert_calm(&world, began);
    world.all_run(&units);
    eventually("all states are told", TAKEN_OVER, || {
        world.get("/state")["states"].as_array().is_some_and(|all| all.len() == 6)
    });
    world.put("after.service", PLAIN, "launched");
    world.runner("after.service");
}

#[test]
fn a_daemon_that_reloads_keeps_its_units_and_tells_its_new_metadata() {
    let Some(world) = World::start(1) else { return };
    world.put("a.service", PLAIN, "launched");
    world.runner("a.service");
    let began = Instant::now();
    let machine = &world.machines[0];
    std::fs::write(machine.dir.join("fleet.conf"), "metadata=\"zone=a\"\n").expect("writes");
    machine.hang_up();
    let zone = || world.get("/machines")["machines"][0]["metadata"]["zone"].clone();
    eventually("it tells its new metadata", TAKEN_OVER, || zone() == "a");
    std::fs::write(machine.dir.join("fleet.conf"), "nonsense\n").expect("writes");
    machine.hang_up();
    eventually("it refuses nonsense", TAKEN_OVER, || machine.log().contains("is not `key = value`"));
    assert_eq!(zone(), "a");
    assert_calm(&world, began);
}
