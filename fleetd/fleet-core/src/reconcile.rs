//! All units that something changed for: what to write so that the cluster is as its users wish.

use std::collections::BTreeSet;
use std::fmt;

use fleet_unit::{TargetState, UnitName};

use crate::schedule::{is_circular, obstacle, schedule};
use crate::{Cluster, Decision, Explanation, MachineId, Obstacle};

/// One thing to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The unit runs on this machine from now on.
    Assign {
        /// Which unit.
        unit: UnitName,
        /// Its new machine.
        machine: MachineId,
    },
    /// The unit leaves its machine.
    Unassign {
        /// Which unit.
        unit: UnitName,
        /// The machine it had.
        machine: MachineId,
        /// Why.
        reason: Reason,
    },
    /// The unit waits: no machine will do.
    Wait {
        /// Which unit.
        unit: UnitName,
        /// Why.
        why: Explanation,
    },
}

/// Why a unit leaves its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its user wishes it inactive.
    Inactive,
    /// Globals are no business of the scheduler.
    Global,
    /// The machine is gone.
    MachineLost,
    /// The machine will no longer do.
    Obstacle(Obstacle),
    /// Another unit that replaces it came.
    ReplacedBy(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inactive => f.write_str("target state inactive"),
            Self::Global => f.write_str("unit is global"),
            Self::MachineLost => f.write_str("machine lost"),
            Self::Obstacle(obstacle) => write!(f, "{obstacle}"),
            Self::ReplacedBy(unit) => write!(f, "replaced by {unit}"),
        }
    }
}

/// Decides about every unit that was touched since the last pass, and takes its own decisions for
/// done, so that each is made in sight of those before it. Nothing is ever moved for a better place:
/// a unit leaves its machine only when it must.
pub fn reconcile(cluster: &mut Cluster) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut waiting = Vec::new();
    // Those that must leave go first, so that those that come see the room they leave.
    for name in cluster.dirty.clone() {
        if let Some((machine, reason)) = must_leave(cluster, &name) {
            leave(cluster, &name, machine, reason, &mut actions);
        }
    }
    // A unit that is placed wakes its followers, one that is kicked out is dirty again. A unit is
    // decided twice at most: a peer that came after it may help it, nothing else can.
    let mut tried = std::collections::BTreeMap::<UnitName, u8>::new();
    while let Some(name) = next_undecided(cluster, &tried) {
        *tried.entry(name.clone()).or_default() += 1;
        cluster.dirty.remove(&name);
        if let Some((machine, reason)) = must_leave(cluster, &name) {
            leave(cluster, &name, machine, reason, &mut actions);
            cluster.dirty.remove(&name);
        }
        if wants_machine(cluster, &name) {
            place(cluster, &name, &mut actions, &mut waiting);
        }
    }
    let waits: BTreeSet<UnitName> = waiting.into_iter().collect();
    for unit in waits {
        if !wants_machine(cluster, &unit) {
            continue;
        }
        if let Some(why) = cluster.explain(&unit) {
            actions.push(Action::Wait { unit: unit.clone(), why });
        }
        cluster.unschedulable.insert(unit);
    }
    cluster.dirty.clear();
    actions
}

fn next_undecided(cluster: &Cluster, tried: &std::collections::BTreeMap<UnitName, u8>) -> Option<UnitName> {
    cluster.dirty.iter().find(|name| tried.get(*name).is_none_or(|times| *times < 3)).cloned()
}

fn wants_machine(cluster: &Cluster, name: &UnitName) -> bool {
    cluster.units.get(name).is_some_and(|unit| {
        unit.slot.is_none()
            && unit.spec.target != TargetState::Inactive
            && !unit.spec.placement.global
            && !unit.spec.name.is_template()
    })
}

fn must_leave(cluster: &Cluster, name: &UnitName) -> Option<(MachineId, Reason)> {
    let unit = cluster.units.get(name)?;
    let machine = cluster.machine_of(name)?.clone();
    let reason = if unit.spec.placement.global {
        Reason::Global
    } else if unit.spec.target == TargetState::Inactive {
        Reason::Inactive
    } else {
        match unit.slot {
            None => Reason::MachineLost,
            // Of two that cannot stay together, the one looked at first leaves, and the other may stay.
            Some(slot) => Reason::Obstacle(obstacle(cluster, &unit.spec, slot)?),
        }
    };
    Some((machine, reason))
}

fn leave(
    cluster: &mut Cluster,
    name: &UnitName,
    machine: MachineId,
    reason: Reason,
    actions: &mut Vec<Action>,
) {
    cluster.set_assignment(name, None);
    actions.push(Action::Unassign { unit: name.clone(), machine, reason });
}

fn place(cluster: &mut Cluster, name: &UnitName, actions: &mut Vec<Action>, waiting: &mut Vec<UnitName>) {
    let Some(unit) = cluster.units.get(name) else { return };
    let spec = unit.spec.clone();
    match schedule(cluster, &spec) {
        Decision::Unschedulable(_) => waiting.push(name.clone()),
        Decision::Place(machine) => {
            let woken = std::mem::take(&mut cluster.unschedulable);
            cluster.set_assignment(name, Some(&machine));
            cluster.unschedulable = woken;
            cluster.dirty.remove(name);
            actions.push(Action::Assign { unit: name.clone(), machine: machine.clone() });
            for kicked in replaced_on(cluster, &spec, &machine) {
                let reason = Reason::ReplacedBy(name.to_string());
                leave(cluster, &kicked, machine.clone(), reason, actions);
            }
        }
    }
}

fn replaced_on(cluster: &Cluster, spec: &crate::UnitSpec, machine: &MachineId) -> Vec<UnitName> {
    let Some(&slot) = cluster.by_id.get(machine) else { return Vec::new() };
    spec.placement
        .replaces
        .iter()
        .flat_map(|glob| cluster.replaces.matches_on(glob, slot))
        .filter(|unit| unit != spec.name.as_str() && !is_circular(cluster, spec, unit))
        .filter_map(|unit| unit.parse().ok())
        .collect()
}
