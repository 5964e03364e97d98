//! The scheduler alone: no store, no agents.

use std::time::Instant;

use fleet_core::{Action, Cluster, Machine, MachineId, UnitSpec, reconcile};
use fleet_unit::{Placement, Resources, TargetState, UnitName, UnitOptions};

/// How many units the scheduler places in a second: on machines in three zones, each unit with a zone
/// and a reservation of memory.
///
/// # Panics
/// When a unit finds no place, which this fleet has room for.
#[must_use]
pub fn placements_per_second(machines: usize, units: usize) -> f64 {
    let mut cluster = Cluster::default();
    for number in 0..machines {
        cluster.set_machine(Machine {
            id: MachineId(format!("machine-{number:05}")),
            metadata: [("zone".to_owned(), format!("z{}", number % 3))].into(),
            capacity: Some(Resources { memory: 64 << 30, milli_cpus: 64_000 }),
            draining: false,
        });
    }
    for number in 0..units {
        let name: UnitName = format!("unit-{number}.service").parse().expect("a valid name");
        let text = format!(
            "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=zone=z{}\nMemory=64M\n",
            number % 3
        );
        let options = UnitOptions::parse(&text).expect("it parses");
        let placement = Placement::of(&name, &options).expect("it can be placed");
        cluster.set_unit(UnitSpec { name, placement, target: TargetState::Launched });
    }
    let began = Instant::now();
    let actions = reconcile(&mut cluster);
    let took = began.elapsed();
    let placed = actions.iter().filter(|action| matches!(action, Action::Assign { .. })).count();
    assert_eq!(placed, units, "some unit found no place");
    units as f64 / took.as_secs_f64()
}
