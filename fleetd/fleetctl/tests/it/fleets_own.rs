//! What fleet's own functional tests ask of a cluster, asked of ours in the same order. Theirs run on
//! machines of systemd-nspawn; here one machine's supervisor keeps account instead of processes.

use std::time::Duration;

use fleet_testbed::eventually;

use crate::world::{LIMIT, World};

/// Their `hello.service` and `hello@.service`.
const HELLO: &str =
    "[Service]\nExecStart=/bin/bash -c \"while true; do echo Hello, World!; sleep 1; done\"\n";

impl World {
    fn count(&self, list: &str, state: &str) -> usize {
        self.ok(&[list, "--no-legend"]).lines().filter(|line| line.contains(state)).count()
    }
}

fn instances(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("hello@{number}.service")).collect()
}

fn with<'a>(first: &[&'a str], rest: &'a [String]) -> Vec<&'a str> {
    first.iter().copied().chain(rest.iter().map(String::as_str)).collect()
}

/// TestUnitSubmit, TestUnitLoad, TestUnitStart: a batch is made of the template's file, undone, and made
/// again, and nothing says `Error`.
#[test]
fn batches_are_made_undone_and_made_again() {
    let Some(world) = World::start() else { return };
    world.write("hello@.service", HELLO);
    for (verb, undo, list, state, count) in [
        ("submit", "destroy", "list-unit-files", "", 9),
        ("load", "unload", "list-units", "", 6),
        ("start", "stop", "list-units", "\tactive\t", 3),
    ] {
        let units = instances(count);
        for _ in 0..2 {
            let made = world.run(&with(&[verb], &units));
            assert!(made.code == Some(0) && !made.err.contains("Error"), "{verb}: {made:?}");
            eventually(&format!("{verb} made all"), LIMIT, || world.count(list, state) == count);
            for unit in &units {
                world.ok(&[undo, unit]);
            }
            eventually(&format!("{undo} undid all"), LIMIT, || world.count(list, state) == 0);
        }
        world.ok(&with(&["destroy"], &units));
    }
}

/// TestUnitSubmitReplace, TestUnitLoadReplace, TestUnitStartReplace.
#[test]
fn each_verb_replaces_what_it_made() {
    let Some(world) = World::start() else { return };
    world.write("hello@.service", HELLO);
    for verb in ["submit", "load", "start"] {
        let units = instances(4);
        world.ok(&with(&[verb], &units));
        for unit in &units {
            let before = world.ok(&["cat", unit]);
            world.write(unit, &HELLO.replace("sleep 1", "sleep 2"));
            world.ok(&[verb, "--replace", unit]);
            assert_ne!(world.ok(&["cat", unit]), before, "{verb} --replace {unit}");
        }
        for unit in &units {
            world.ok(&["destroy", unit]);
            std::fs::remove_file(world.dir.path().join(unit)).expect("removes");
        }
        assert_eq!(world.count("list-unit-files", ""), 0);
    }
    // An instance without a file of its own is compared with its template's.
    world.ok(&["submit", "hello@1.service"]);
    world.write("hello@.service", &HELLO.replace("sleep 1", "sleep 3"));
    let differs = world.run(&["submit", "hello@1.service"]);
    let expected = "WARNING: Unit hello@1.service in registry differs from local template unit file \
                    hello@1.service. Add --replace to override.\n";
    assert_eq!((differs.code, differs.err.as_str()), (Some(0), expected));
    world.ok(&["submit", "--replace", "hello@1.service"]);
    assert!(world.ok(&["cat", "hello@1"]).contains("sleep 3"));
    world.ok(&["destroy", "hello@1"]);
    // With nothing to replace it with, there is nothing to do.
    world.write("alone.service", HELLO);
    world.ok(&["submit", "alone"]);
    std::fs::remove_file(world.dir.path().join("alone.service")).expect("removes");
    assert_eq!(world.run(&["submit", "--replace", "alone"]).code, Some(1));
}

/// TestUnitCat, and TestListUnitFilesOrder.
#[test]
fn contents_come_back_and_lists_are_in_order() {
    let Some(world) = World::start() else { return };
    world.write("hello.service", HELLO);
    // A name without its type means the file with it, too.
    assert_eq!(world.ok(&["submit", "hello"]), "Unit hello.service inactive\n");
    assert_eq!(world.ok(&["cat", "hello.service"]).trim(), HELLO.trim());
    world.ok(&["destroy", "./hello"]);
    world.write("hello@.service", HELLO);
    let mut units: Vec<String> = (1..=20).map(|number| format!("hello@{number:02}.service")).collect();
    for unit in units.iter().rev() {
        world.ok(&["submit", unit]);
    }
    units.sort();
    let listed = world.ok(&["list-unit-files", "--no-legend", "--fields", "unit"]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), units);
}

/// TestRunStopUnits and its like: names that nobody knows are no failure beside those that are there.
#[test]
fn some_of_the_named_units_may_not_be_there() {
    let Some(world) = World::start() else { return };
    world.write("j@.service", HELLO);
    let there: Vec<String> = (1..=3).map(|number| format!("j@{number}.service")).collect();
    let mixed: Vec<String> =
        ["y1".into(), "y2".into()].into_iter().chain(there.clone()).chain(["y0".into()]).collect();
    world.ok(&with(&["start"], &there));
    world.ok(&with(&["stop"], &mixed));
    eventually("they are stopped", LIMIT, || world.supervisor.running().is_empty());
    world.ok(&with(&["unload", "--no-block"], &mixed));
    world.ok(&with(&["destroy"], &mixed));
    assert_eq!(world.count("list-unit-files", ""), 0);
}

/// TestScheduleOneWayConflict, and conflicts with several names in one line.
#[test]
fn a_conflict_that_one_side_declares_binds_both() {
    let Some(world) = World::start() else { return };
    let conflicts = format!("{HELLO}\n[X-Fleet]\nConflicts=goodbye.service hello.service\n");
    world.write("conflicts-with-hello.service", &conflicts);
    world.write("hello.service", HELLO);
    let running = || world.supervisor.running().into_iter().collect::<Vec<_>>();
    world.ok(&["start", "--no-block", "conflicts-with-hello.service"]);
    eventually("the first runs", LIMIT, || running() == ["conflicts-with-hello.service"]);
    world.ok(&["start", "--no-block", "hello.service"]);
    eventually("both are known", LIMIT, || world.count("list-unit-files", "launched") == 2);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(running(), ["conflicts-with-hello.service"]);
    world.ok(&["destroy", "conflicts-with-hello.service"]);
    eventually("the other may run now", LIMIT, || running() == ["hello.service"]);
}

/// TestScheduleGlobalUnits with conflicts among globals: of two on one machine, one runs.
#[test]
fn globals_that_conflict_share_no_machine() {
    let Some(world) = World::start() else { return };
    let global = format!("{HELLO}\n[X-Fleet]\nGlobal=true\nConflicts=conflict-global.*.service\n");
    for number in 0..2 {
        let name = format!("conflict-global.{number}.service");
        world.write(&name, &global);
        let started = world.ok(&["start", "--no-block", &name]);
        assert_eq!(started, format!("Unit {name} inactive\nTriggered global unit {name} start\n"));
    }
    eventually("one runs", LIMIT, || world.supervisor.running().len() == 1);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(world.supervisor.running().len(), 1);
}

/// TestMetadataOperator, on a machine with `ram=1024`.
#[test]
fn metadata_is_compared_by_operators() {
    let Some(world) = World::start() else { return };
    for (asked, may_run) in [
        ("ram>=1024", true),
        ("ram<=1024", true),
        ("ram>1023", true),
        ("ram<1025", true),
        ("ram!=1025", true),
        ("ram==1024", true),
        ("ram>=1025", false),
        ("ram<=1023", false),
        ("ram>1024", false),
        ("ram<1024", false),
        ("ram!=1024", false),
        ("ram==1025", false),
    ] {
        world.write("op.service", &format!("{HELLO}\n[X-Fleet]\nMachineMetadata=\"{asked}\"\n"));
        let started =
            world.run(&["start", "--block-attempts", if may_run { "40" } else { "3" }, "op.service"]);
        assert_eq!(started.code, Some(i32::from(!may_run)), "{asked}: {started:?}");
        assert_eq!(world.supervisor.running().is_empty(), !may_run, "{asked}");
        assert!(may_run || world.ok(&["why", "op"]).contains(asked), "{asked} is told as the reason");
        world.ok(&["destroy", "op"]);
    }
}

/// TestTemplatesWithSpecifiersInMetadata.
#[test]
fn an_instance_says_where_its_template_runs() {
    let Some(world) = World::start() else { return };
    world.write("metadata@.service", &format!("{HELLO}\n[X-Fleet]\nMachineMetadata=zone=%i\n"));
    world.ok(&["submit", "metadata@.service"]);
    let started = world.ok(&["start", "metadata@a.service"]);
    assert!(started.ends_with("Unit metadata@a.service launched on 01234567.../10.0.0.1\n"), "{started}");
    let invalid = world.run(&["start", "--block-attempts=2", "metadata@invalid.service"]);
    assert_eq!(invalid.code, Some(1), "{invalid:?}");
    let unit = "metadata@invalid.service";
    let expected = format!("timed out waiting for unit {unit} to report state launched");
    assert!(invalid.err.contains(&expected), "{invalid:?}");
}
