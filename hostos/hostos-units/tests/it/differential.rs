//! The same units and commands under systemd 252 and under ours.
//!
//! `cases/NAME.expected` holds what systemd did; it was recorded with
//! `UNITS_RECORD=1 cargo nextest run -p hostos-units systemd_is_recorded` on a Debian 12 with the
//! package systemd, which runs it as PID 1 of its own namespaces (`elder-boot.sh`).
//!
//! One difference is on purpose: systemd forgets a unit that is down and that nobody refers to, and
//! with it the exit code and result that ours still shows.

use std::fs;
use std::path::Path;

use crate::case::Case;
use crate::world::World;

fn expected_path(case: &Case) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases").join(format!("{}.expected", case.name))
}

#[test]
fn systemd_is_recorded() {
    if std::env::var_os("UNITS_RECORD").is_none() {
        eprintln!("skipped: set UNITS_RECORD=1 to record what systemd does");
        return;
    }
    let world = World::systemd().expect("systemd in namespaces");
    for case in Case::all() {
        if std::env::var("UNITS_CASE").is_ok_and(|only| !case.name.contains(&only)) {
            continue;
        }
        let seen = case.play(&world);
        fs::write(expected_path(&case), seen.join("\n") + "\n").expect("write");
    }
}

#[test]
fn ours_does_what_systemd_does() {
    let Some(world) = World::ours("diff") else { return };
    let (mut units, mut lines, mut equal) = (0, 0, 0);
    let mut differences = Vec::new();
    for case in Case::all() {
        if std::env::var("UNITS_CASE").is_ok_and(|only| !case.name.contains(&only)) {
            continue;
        }
        let expected = fs::read_to_string(expected_path(&case))
            .unwrap_or_else(|_| panic!("{} was not recorded", case.name));
        let expected: Vec<_> = expected.lines().collect();
        let seen = case.play(&world);
        units += case.unit_count();
        lines += expected.len().max(seen.len());
        for index in 0..expected.len().max(seen.len()) {
            let (theirs, ours) =
                (expected.get(index).copied().unwrap_or("-"), seen.get(index).map_or("-", String::as_str));
            if theirs == ours {
                equal += 1;
            } else {
                differences.push(format!("{}:{}: systemd: {theirs} | ours: {ours}", case.name, index + 1));
            }
        }
    }
    eprintln!("{units} units, {equal} of {lines} observations equal");
    for difference in &differences {
        eprintln!("{difference}");
    }
    let all = std::env::var_os("UNITS_CASE").is_none();
    assert!(!all || units >= 60, "only {units} units");
    assert!(equal * 100 >= lines * 95, "{equal} of {lines} observations equal");
}
