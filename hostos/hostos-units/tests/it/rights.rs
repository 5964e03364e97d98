//! Who may ask, and who may change things.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use crate::world::World;

/// `daemon` is in the group of the same name on every Linux system.
const ADMIN: u32 = 1;
const NOBODY: u32 = 65_534;

fn systemctl(world: &World, uid: u32, args: &[&str]) -> Option<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostos-units"));
    command.arg("systemctl").args(args).env("UNITS_SOCKET", world.socket());
    if uid != 0 {
        command.uid(uid).gid(uid);
    }
    command.output().ok()
}

#[test]
fn everybody_looks_and_administrators_change() {
    let Some(world) = World::ours_with("rights", &["--admins", "daemon"]) else { return };
    world.write_unit("a.service", "[Service]\nExecStart=/bin/sleep 1000\n");
    let socket = world.socket();
    for dir in socket.ancestors().skip(1).take(2) {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let Some(looked) = systemctl(&world, NOBODY, &["is-active", "basic.target"]) else {
        eprintln!("skipped: other users cannot run programs of this folder");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&looked.stdout).trim(), "active", "{looked:?}");
    let run = |uid, args: &[&str]| systemctl(&world, uid, args).expect("it runs");
    let refused = run(NOBODY, &["start", "a.service"]);
    assert_eq!(refused.status.code(), Some(4));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.starts_with("Failed to start a.service: Access denied"), "{said}");
    assert_eq!(world.property("a.service", "ActiveState"), "inactive");
    for verb in ["daemon-reload", "reset-failed", "poweroff"] {
        assert!(!run(NOBODY, &[verb]).status.success(), "{verb}");
    }
    assert_eq!(run(ADMIN, &["start", "a.service"]).status.code(), Some(0));
    assert_eq!(world.property("a.service", "ActiveState"), "active");
    assert_eq!(run(NOBODY, &["stop", "a.service"]).status.code(), Some(4));
    assert_eq!(run(0, &["stop", "a.service"]).status.code(), Some(0));
    assert_eq!(run(NOBODY, &["cat", "a.service"]).status.code(), Some(0));
}

#[test]
fn asking_for_what_is_not_there_fills_no_memory() {
    let Some(world) = World::ours_with("asking", &[]) else { return };
    let socket = world.socket();
    for dir in socket.ancestors().skip(1).take(2) {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let before = world.systemctl(&["show", "--value", "-p", "NNames"]).1.trim().to_owned();
    for number in 0..5 {
        let names: Vec<String> = (0..40).map(|at| format!("none-{number}-{at}.service")).collect();
        let mut args = vec!["is-active"];
        args.extend(names.iter().map(String::as_str));
        if systemctl(&world, NOBODY, &args).is_none() {
            eprintln!("skipped: other users cannot run programs of this folder");
            return;
        }
    }
    let after: usize =
        world.systemctl(&["show", "--value", "-p", "NNames"]).1.trim().to_owned().parse().expect("a number");
    assert!(after <= before.parse::<usize>().expect("a number") + 45, "{before} became {after}");
}
