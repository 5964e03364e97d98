//! Where units run, while nothing goes wrong.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fleet_testbed::{What, eventually};

use crate::world::{Machine, PLAIN, SOON, World};

#[test]
fn a_unit_runs_on_one_machine_and_conflicting_ones_keep_apart() {
    let Some(world) = World::start(3) else { return };
    world.put("web.service", PLAIN, "launched");
    let machine = world.runner("web.service");
    let id = world.machines[machine].id.clone();
    eventually("the API says so", SOON, || world.state_is("web.service", &id, "active"));
    let unit = world.get("/units/web.service");
    assert_eq!(unit["machineID"], id.as_str());
    eventually("the unit is launched", SOON, || {
        world.get("/units/web.service")["currentState"] == "launched"
    });

    let apart = format!("{PLAIN}[X-Fleet]\nConflicts=lb@*.service\n");
    let units: BTreeSet<String> = (1..=3).map(|n| format!("lb@{n}.service")).collect();
    units.iter().for_each(|unit| world.put(unit, &apart, "launched"));
    world.all_run(&units);
    let on: BTreeSet<usize> = units.iter().map(|unit| world.runner(unit)).collect();
    assert_eq!(on.len(), 3, "conflicting units share a machine");

    world.put("lb@4.service", &apart, "launched");
    eventually("a reason is given", SOON, || {
        let why = world.get("/why/lb@4.service");
        why["eligible"] == 0 && why["explanation"].as_str().is_some_and(|why| why.contains("conflict"))
    });
    assert!(world.runners("lb@4.service").is_empty());

    // The follower goes where its peer is.
    world.put("side.service", &format!("{PLAIN}[X-Fleet]\nMachineOf=lb@2.service\n"), "launched");
    assert_eq!(world.runner("side.service"), world.runner("lb@2.service"));
}

#[test]
fn wishes_are_carried_out_in_both_directions() {
    let Some(world) = World::start(1) else { return };
    let supervisor = &world.machines[0].supervisor;
    world.put("a.service", PLAIN, "inactive");
    world.wish("a.service", "loaded");
    eventually("it is loaded", SOON, || world.get("/units/a.service")["currentState"] == "loaded");
    assert_eq!(supervisor.text("a.service").as_deref(), Some(PLAIN));
    assert!(supervisor.running().is_empty());
    world.wish("a.service", "launched");
    eventually("it runs", SOON, || supervisor.running().contains("a.service"));
    // A unit that dies stays launched; its state tells.
    supervisor.fail("a.service");
    eventually("its failure is told", SOON, || world.state_is("a.service", "m1", "failed"));
    assert_eq!(world.get("/units/a.service")["currentState"], "launched");
    world.wish("a.service", "loaded");
    eventually("it is loaded again", SOON, || world.get("/units/a.service")["currentState"] == "loaded");
    world.wish("a.service", "launched");
    eventually("it runs again", SOON, || supervisor.running().contains("a.service"));

    // Another content under the same name is loaded anew.
    let other = "[Service]\nExecStart=/bin/sleep 5\n";
    world.put("a.service", other, "launched");
    eventually("it has the new content", SOON, || {
        supervisor.text("a.service").as_deref() == Some(other) && supervisor.running().contains("a.service")
    });
    world.wish("a.service", "inactive");
    eventually("it is gone from the machine", SOON, || supervisor.text("a.service").is_none());
    eventually("it is inactive", SOON, || world.get("/units/a.service")["currentState"] == "inactive");
    world.wish("a.service", "launched");
    eventually("it runs once more", SOON, || supervisor.running().contains("a.service"));
    assert_eq!(world.any().call("DELETE", "/units/a.service", "").status, 204);
    eventually("it is destroyed", SOON, || {
        supervisor.text("a.service").is_none() && world.get("/state")["states"].is_null()
    });
}

#[test]
fn global_units_run_everywhere_and_a_drained_machine_runs_nothing() {
    let metadata = |number, _: &_| vec![format!("metadata=zone=z{number}")];
    let Some(world) = World::start_with(3, metadata) else { return };
    world.put("agent.service", &format!("{PLAIN}[X-Fleet]\nGlobal=true\n"), "launched");
    eventually("it runs on all", SOON, || world.runners("agent.service").len() == 3);
    let some = format!("{PLAIN}[X-Fleet]\nGlobal=true\nMachineMetadata=zone=z1\nMachineMetadata=zone=z2\n");
    world.put("zoned.service", &some, "launched");
    eventually("it runs where it may", SOON, || world.runners("zoned.service") == [0, 1]);

    let units: BTreeSet<String> = (1..=6).map(|n| format!("u{n}.service")).collect();
    units.iter().for_each(|unit| world.put(unit, PLAIN, "launched"));
    world.all_run(&units);
    let spread: Vec<usize> =
        (0..3).map(|machine| units.iter().filter(|unit| world.runners(unit) == [machine]).count()).collect();
    assert_eq!(spread, [2, 2, 2]);

    let drained = Instant::now();
    assert_eq!(world.any().call("PUT", "/drain/m2", "").status, 204);
    eventually("m2 runs nothing", SOON, || world.machines[1].supervisor.running().is_empty());
    world.all_run(&units);
    // What did not run on m2 was left alone.
    for machine in [0, 2] {
        let deeds = world.machines[machine].deeds_since(drained);
        assert!(deeds.iter().all(|deed| deed.what != What::Stopped), "{deeds:#?}");
    }
    assert_eq!(world.any().call("DELETE", "/drain/m2", "").status, 204);
    eventually("its global units are back", SOON, || {
        world.runners("agent.service").len() == 3 && world.runners("zoned.service") == [0, 1]
    });
    // Metadata at run time decides too.
    let patch = r#"[{"op":"replace","path":"/m1/metadata/zone","value":"z9"}]"#;
    assert_eq!(world.any().call("PATCH", "/machines", patch).status, 204);
    eventually("it left m1", SOON, || world.runners("zoned.service") == [1]);
}

#[test]
fn a_unit_that_moves_starts_only_after_it_has_stopped() {
    let Some(world) = World::start_with(2, |_, _| vec!["agent_ttl=9s".to_owned()]) else { return };
    world.put("a.service", PLAIN, "launched");
    let from = world.runner("a.service");
    let (old, new) = (&world.machines[from], &world.machines[1 - from]);
    eventually("it is told of", SOON, || world.state_is("a.service", &old.id, "active"));
    // The machine that is to let go of it stands still: longer than a leader's lease, so that somebody
    // decides, and not so long that the machine is given up.
    old.pause();
    assert_eq!(new.call("PUT", &format!("/drain/{}", old.id), "").status, 204);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(world.runners("a.service"), [from], "it waits for the other machine");
    old.resume();
    eventually("it has moved", SOON, || world.runners("a.service") == [1 - from]);
    let at = |machine: &Machine, what: What| {
        machine
            .supervisor
            .deeds()
            .into_iter()
            .find(|deed| deed.what == what && deed.unit == "a.service")
            .map(|it| it.at)
    };
    assert!(at(old, What::Stopped) < at(new, What::Started), "{:#?}", new.supervisor.deeds());
}
