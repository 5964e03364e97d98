//! Machines in network namespaces: one is cut off, one stands still, one is lost, and the store is gone
//! longer than all leases.

use std::time::{Duration, Instant};

use fleet_testbed::{Network, What, eventually};

use crate::outage::{TAKEN_OVER, assert_calm, assert_fenced, six_units};
use crate::world::{PLAIN, World};

/// How long the store is gone: `FLEET_TEST_OUTAGE_S` seconds; five minutes are the promise.
fn outage() -> Duration {
    let seconds = std::env::var("FLEET_TEST_OUTAGE_S").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

#[test]
fn a_machine_that_was_cut_off_or_stood_still_is_fenced_before_it_starts_anything() {
    let Some(network) = Network::start(3) else { return };
    let Some(world) = World::start_with_network(3, &network) else { return };
    let units = six_units(&world);
    for (lost, how) in [(1, "cut off"), (2, "standing still")] {
        let its: Vec<&String> = units.iter().filter(|unit| world.runners(unit) == [lost]).collect();
        assert!(!its.is_empty(), "m{} has units", lost + 1);
        let began = Instant::now();
        if how == "cut off" {
            network.cut(lost + 1)
        } else {
            world.machines[lost].pause()
        }
        let took = eventually("its units run elsewhere", TAKEN_OVER, || {
            its.iter().all(|unit| world.runners(unit).iter().any(|machine| *machine != lost))
        });
        println!("m{} {how}: its {} units ran elsewhere after {took:?}", lost + 1, its.len());
        // It sees no store: it stops nothing and starts nothing.
        assert!(
            world.machines[lost].deeds_since(began).is_empty(),
            "{:#?}",
            world.machines[lost].deeds_since(began)
        );
        let new = format!("new{lost}.service");
        world.put(&new, &format!("{PLAIN}[X-Fleet]\nGlobal=true\n"), "launched");
        let returned = Instant::now();
        if how == "cut off" {
            network.mend(lost + 1)
        } else {
            world.machines[lost].resume()
        }
        eventually("it has the new unit", Duration::from_secs(30), || world.runners(&new).contains(&lost));
        assert_fenced(&world.machines[lost].deeds_since(returned), &its);
        world.all_run(&units);
    }
}

#[test]
fn a_store_that_is_gone_longer_than_all_leases_stops_nothing() {
    let Some(network) = Network::start(3) else { return };
    let Some(mut world) = World::start_with_network(3, &network) else { return };
    let units = six_units(&world);
    let places: Vec<Vec<usize>> = units.iter().map(|unit| world.runners(unit)).collect();
    let began = Instant::now();
    // Two ways at once: one machine's cable, and the store itself.
    world.etcd.pause();
    network.cut(1);
    std::thread::sleep(outage() / 2);
    // A daemon that is replaced in the meantime knows what it left running.
    world.machines[1].terminate();
    world.machines[1].start();
    std::thread::sleep(outage() / 2);
    network.mend(1);
    world.etcd.resume();
    std::thread::sleep(Duration::from_secs(15));
    assert_calm(&world, began);
    assert_eq!(units.iter().map(|unit| world.runners(unit)).collect::<Vec<_>>(), places);
    eventually("all machines are back", Duration::from_secs(30), || {
        world.get("/machines")["machines"].as_array().is_some_and(|all| all.len() == 3)
    });
    // And a machine that is lost for good right after that is replaced as ever.
    let lost = world.runners(units.first().expect("six"))[0];
    let its: Vec<&String> = units.iter().filter(|unit| world.runners(unit) == [lost]).collect();
    network.cut(lost + 1);
    world.machines[lost].kill();
    eventually("its units run elsewhere", Duration::from_secs(20), || {
        its.iter().all(|unit| world.runners(unit).iter().any(|machine| *machine != lost))
    });
    let moved = |machine: usize| world.machines[machine].deeds_since(began);
    let stops = (0..3).flat_map(moved).filter(|deed| deed.what == What::Stopped).count();
    assert_eq!(stops, 0, "units of machines that live are left alone");
}
