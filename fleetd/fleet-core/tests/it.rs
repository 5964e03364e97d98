//! The scheduler told as stories (`scripts/*.txt`), against laws (random clusters), and timed.
//! `UPDATE_SCRIPTS=1` writes what happens into the scripts, for a person to read and judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Instant;

use fleet_core::{Action, Cluster, Machine, MachineId, UnitSpec, reconcile};
use fleet_unit::{Placement, Resources, TargetState, UnitName, UnitOptions};
use proptest::prelude::*;

fn name(text: &str) -> UnitName {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn spec(unit: &str, section: &str, target: TargetState) -> UnitSpec {
    let options = UnitOptions::parse(&format!("[X-Fleet]\n{section}\n")).expect("the section parses");
    let name = name(unit);
    UnitSpec { placement: Placement::of(&name, &options).expect("the section is obeyable"), name, target }
}

fn machine(id: &str, facts: &BTreeMap<String, String>) -> Machine {
    let number = |key: &str| facts.get(key).map(|text| text.parse::<u64>().expect("a number"));
    let capacity = number("memory")
        .map(|memory| Resources { memory: memory << 20, milli_cpus: number("cpu").unwrap_or(1) * 1000 });
    let draining = facts.contains_key("draining");
    let metadata = facts
        .iter()
        .filter(|(key, _)| !["memory", "cpu", "draining"].contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Machine { id: id.into(), metadata, capacity, draining }
}

/// One command of a script; what it answers is compared with the `>` lines below it.
fn run(cluster: &mut Cluster, line: &str) -> String {
    let mut words = line.split_whitespace();
    let (verb, rest) = (words.next().unwrap_or_default(), words.clone().collect::<Vec<_>>());
    let subject = rest.first().copied().unwrap_or_default();
    let pair = |word: &&str| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    match verb {
        "machine" => cluster.set_machine(machine(subject, &rest[1..].iter().filter_map(pair).collect())),
        "lose" => cluster.remove_machine(&subject.into()),
        "unit" | "inactive" => {
            let target = if verb == "unit" { TargetState::Launched } else { TargetState::Inactive };
            let section = rest[1..].join("\n");
            cluster.set_unit(spec(subject, &section.replace(',', " "), target));
        }
        "destroy" => cluster.remove_unit(&name(subject)),
        "assigned" => {
            cluster.set_assignment(&name(subject), rest.get(1).map(|id| MachineId::from(*id)).as_ref())
        }
        "why" => return format!("{}\n", cluster.explain(&name(subject)).expect("a known unit")),
        "pass" => return reconcile(cluster).iter().map(tell).collect(),
        other => panic!("no command `{other}`"),
    }
    String::new()
}

fn tell(action: &Action) -> String {
    match action {
        Action::Assign { unit, machine } => format!("{unit} -> {machine}\n"),
        Action::Unassign { unit, machine, reason } => format!("{unit} leaves {machine}: {reason}\n"),
        Action::Wait { unit, why } => format!("{unit} waits: {why}\n"),
    }
}

#[test]
fn scripts() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).expect("the scripts are there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a script");
        let mut cluster = Cluster::default();
        let mut told = String::new();
        for line in text.lines() {
            if line.starts_with('>') {
                continue;
            }
            writeln!(told, "{line}").expect("a string grows");
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            for answer in run(&mut cluster, line).lines() {
                writeln!(told, "> {answer}").expect("a string grows");
            }
        }
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, &told).expect("the script can be written");
            continue;
        }
        assert_eq!(told, text, "{}: told what happens (left), the script says (right)", path.display());
        seen += 1;
    }
    assert!(seen >= 5 || std::env::var_os("UPDATE_SCRIPTS").is_some(), "only {seen} scripts were found");
}

#[derive(Clone, Debug)]
enum Event {
    Machine(u8, u8, bool),
    Lose(u8),
    Unit(u8, u8),
    Inactive(u8),
    Destroy(u8),
    Pass,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..6u8, 0..3u8, prop::bool::weighted(0.1)).prop_map(|(m, r, d)| Event::Machine(m, r, d)),
        1 => (0..6u8).prop_map(Event::Lose),
        6 => (0..20u8, 0..6u8).prop_map(|(u, kind)| Event::Unit(u, kind)),
        1 => (0..20u8).prop_map(Event::Inactive),
        1 => (0..20u8).prop_map(Event::Destroy),
        3 => Just(Event::Pass),
    ];
    prop::collection::vec(event, 1..60)
}

fn section_of(kind: u8) -> &'static str {
    match kind {
        0 => "",
        1 => "Conflicts=u*.service",
        2 => "MachineMetadata=region=r1",
        3 => "Memory=300M",
        4 => "MachineOf=u0.service",
        _ => "Conflicts=u1*.service",
    }
}

fn play(cluster: &mut Cluster, event: &Event) {
    let unit = |u: &u8| format!("u{u}.service");
    match event {
        Event::Machine(m, region, draining) => cluster.set_machine(Machine {
            id: format!("m{m}").as_str().into(),
            metadata: [("region".to_owned(), format!("r{region}"))].into(),
            capacity: Some(Resources { memory: 1 << 30, milli_cpus: 4000 }),
            draining: *draining,
        }),
        Event::Lose(m) => cluster.remove_machine(&format!("m{m}").as_str().into()),
        // u0 is everybody's peer: were it a follower of itself, nothing could be said of it.
        Event::Unit(0, _) => cluster.set_unit(spec("u0.service", "", TargetState::Launched)),
        // A unit must not conflict with the peer that it follows.
        Event::Unit(u, kind) => cluster.set_unit(spec(&unit(u), section_of(*kind), TargetState::Launched)),
        Event::Inactive(u) => {
            if let Some(known) = cluster.unit(&name(&unit(u))).cloned() {
                cluster.set_unit(UnitSpec { target: TargetState::Inactive, ..known });
            }
        }
        Event::Destroy(u) => cluster.remove_unit(&name(&unit(u))),
        Event::Pass => drop(reconcile(cluster)),
    }
}

fn check_laws(cluster: &Cluster, units: &BTreeSet<UnitName>) -> Result<(), TestCaseError> {
    for machine in cluster.machines() {
        let here: Vec<&UnitName> = cluster.units_on(&machine.id).collect();
        let mut memory = 0;
        for unit in &here {
            let placement = &cluster.unit(unit).expect("an assigned unit is known").placement;
            memory += placement.resources.memory;
            prop_assert!(placement.metadata.fits(&machine.metadata), "{unit} does not fit {}", machine.id);
            prop_assert!(!machine.draining, "{unit} runs on {}, which drains", machine.id);
            for other in here.iter().filter(|other| *other != unit) {
                let clash =
                    placement.conflicts.iter().any(|glob| fleet_unit::glob_matches(glob, other.as_str()));
                prop_assert!(!clash, "{unit} runs beside {other} on {}", machine.id);
            }
            for peer in &placement.machine_of {
                prop_assert!(here.iter().any(|other| other.as_str() == peer), "{unit} runs without {peer}");
            }
        }
        prop_assert!(memory <= 1 << 30, "{} is overbooked", machine.id);
    }
    for unit in units {
        let Some(known) = cluster.unit(unit) else { continue };
        let placed = cluster.machine_of(unit);
        prop_assert!(
            placed.is_none() || known.target != TargetState::Inactive,
            "{unit} is inactive and placed"
        );
        if placed.is_none() && known.target != TargetState::Inactive {
            let why = cluster.explain(unit).expect("a known unit");
            prop_assert_eq!(why.eligible, 0, "{} waits although {}", unit, why);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn laws_hold_after_every_pass(events in events()) {
        let mut cluster = Cluster::default();
        let units: BTreeSet<UnitName> = (0..20).map(|u| name(&format!("u{u}.service"))).collect();
        for event in &events {
            play(&mut cluster, event);
            if matches!(event, Event::Pass) {
                check_laws(&cluster, &units)?;
                prop_assert_eq!(reconcile(&mut cluster), vec![], "a second pass finds something to do");
            }
        }
    }

    #[test]
    fn nothing_moves_when_a_machine_joins(events in events()) {
        let mut cluster = Cluster::default();
        for event in &events {
            play(&mut cluster, event);
        }
        reconcile(&mut cluster);
        play(&mut cluster, &Event::Machine(9, 1, false));
        for action in reconcile(&mut cluster) {
            let moved = matches!(action, Action::Unassign { .. });
            prop_assert!(!moved, "{action:?}");
        }
    }
}

/// The shape of the aim: 5,000 machines, 50,000 units, with a constraint, a reservation, conflicts.
#[test]
fn ten_thousand_placements_a_second() {
    let (machines, units) = if cfg!(debug_assertions) { (500, 5_000) } else { (5_000, 50_000) };
    let mut cluster = Cluster::default();
    for m in 0..machines {
        cluster.set_machine(Machine {
            id: format!("{m:032x}").as_str().into(),
            metadata: [("zone".to_owned(), format!("z{}", m % 3))].into(),
            capacity: Some(Resources { memory: 64 << 30, milli_cpus: 64_000 }),
            draining: false,
        });
    }
    for u in 0..units {
        let section = match u % 5 {
            0 => "MachineMetadata=zone=z1\nMemory=256M",
            1 => "Conflicts=app@*111.service\nMemory=128M",
            2 => "CPU=0.1\nMemory=64M",
            _ => "",
        };
        cluster.set_unit(spec(&format!("app@{u}.service"), section, TargetState::Launched));
    }
    let began = Instant::now();
    let actions = reconcile(&mut cluster);
    let rate = f64::from(units) / began.elapsed().as_secs_f64();
    println!("{machines} machines, {units} units: {rate:.0} placements/s");
    assert_eq!(actions.len(), units as usize);
    assert!(actions.iter().all(|action| matches!(action, Action::Assign { .. })));
    let floor = if cfg!(debug_assertions) { 500.0 } else { 10_000.0 };
    assert!(rate > floor, "only {rate:.0} placements/s");
}
