//! The journal over the life of units and supervisors.

use std::process::Command;

use crate::world::World;

fn journalctl(world: &World, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hostos-units"))
        .arg("journalctl")
        .args(args)
        .env("UNITS_JOURNAL", &world.journal)
        .output()
        .expect("journalctl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn output_is_kept_by_unit_with_its_pid_and_survives_a_crash() {
    let Some(mut world) = World::ours("journal") else { return };
    world.write_unit(
        "a.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo one; echo \"<3>bad\" >&2; printf torn'\n",
    );
    world.write_unit("b.service", "[Service]\nType=oneshot\nExecStart=/bin/echo other\n");
    assert_eq!(world.systemctl(&["start", "a", "b"]).0, 0);
    world.crash();
    assert_eq!(
        journalctl(&world, &["-u", "a", "-o", "cat", "_SYSTEMD_UNIT=a.service", "-t", "sh"]),
        "one\nbad\ntorn\n"
    );
    let json = journalctl(&world, &["-u", "a.service", "-p", "err", "-o", "json"]);
    let record: serde_json::Value = serde_json::from_str(json.trim()).expect("one JSON object");
    assert_eq!((record["MESSAGE"].as_str(), record["PRIORITY"].as_str()), (Some("bad"), Some("3")));
    assert!(record["_PID"].as_str().is_some_and(|pid| pid.parse::<u32>().is_ok_and(|pid| pid > 1)));
    assert_eq!(journalctl(&world, &["-u", "b", "-o", "cat", "-n", "1", "-t", "echo"]), "other\n");
    assert_eq!(journalctl(&world, &["-u", "none"]), "-- No entries --\n");
}
