//! One unit: which machines will do, and which of them it gets.

use fleet_unit::{Placement, Strategy, UnitName};

use crate::cluster::{Cluster, UnitSpec};
use crate::globs::Slot;
use crate::{Explanation, MachineId, Obstacle};

/// What becomes of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It gets this machine.
    Place(MachineId),
    /// No machine will do, and why.
    Unschedulable(Explanation),
}

/// Chooses a machine for a unit that has none (or is about to lose its own).
///
/// Looks at as few machines as it can: it walks them in the order of the strategy and takes the
/// first that will do. Only when none does are all of them counted, for the explanation.
#[must_use]
pub fn schedule(cluster: &Cluster, unit: &UnitSpec) -> Decision {
    if let Some(global) = cluster_wide_obstacle(cluster, &unit.placement) {
        return Decision::Unschedulable(Explanation {
            machines: cluster.by_id.len(),
            obstacles: [(global, cluster.by_id.len())].into(),
            ..Explanation::default()
        });
    }
    match choose(cluster, unit) {
        Some(machine) => Decision::Place(machine),
        None => Decision::Unschedulable(explain(cluster, unit)),
    }
}

impl Cluster {
    /// Why a unit is where it is, or nowhere; nothing when the cluster does not know the unit.
    #[must_use]
    pub fn explain(&self, name: &UnitName) -> Option<Explanation> {
        let unit = self.units.get(name)?;
        let mut explanation = match cluster_wide_obstacle(self, &unit.spec.placement) {
            Some(obstacle) => Explanation {
                machines: self.by_id.len(),
                obstacles: [(obstacle, self.by_id.len())].into(),
                ..Explanation::default()
            },
            None => explain(self, &unit.spec),
        };
        explanation.machine = self.machine_of(name).cloned();
        Some(explanation)
    }
}

/// Whether a machine runs its copy of a global unit, or what keeps it from that.
///
/// # Errors
/// The obstacle.
pub fn runs_global(cluster: &Cluster, unit: &UnitSpec, machine: &MachineId) -> Result<(), Obstacle> {
    match cluster.by_id.get(machine) {
        None => Err(Obstacle::MachineGone(machine.0.clone())),
        Some(&slot) => obstacle(cluster, unit, slot).map_or(Ok(()), Err),
    }
}

/// A reason that concerns no single machine.
fn cluster_wide_obstacle(cluster: &Cluster, placement: &Placement) -> Option<Obstacle> {
    if let Some(wanted) = &placement.machine_id
        && !cluster.by_id.keys().any(|id| placement.wants_machine(&id.0))
    {
        return Some(Obstacle::MachineGone(wanted.clone()));
    }
    let unplaced = |peer: &&String| {
        let name: Option<UnitName> = peer.parse().ok();
        name.and_then(|name| cluster.units.get(&name)).is_none_or(|unit| unit.slot.is_none())
    };
    placement.machine_of.iter().find(unplaced).map(|peer| Obstacle::PeerUnscheduled(peer.clone()))
}

fn choose(cluster: &Cluster, unit: &UnitSpec) -> Option<MachineId> {
    let will_do = |id: &&MachineId| obstacle(cluster, unit, cluster.by_id[*id]).is_none();
    if let Some(few) = few_candidates(cluster, &unit.placement) {
        return best_of(cluster, unit, few.into_iter().filter(will_do));
    }
    match unit.placement.strategy {
        Strategy::Spread => cluster.by_count.iter().map(|(_, id)| id).find(will_do).cloned(),
        Strategy::Binpack => fullest_first(cluster).find(will_do).cloned(),
        Strategy::Resources => cluster.by_share.iter().map(|(_, _, id)| id).find(will_do).cloned(),
        Strategy::Random => {
            let start = name_hash(unit.name.as_str()) as usize % cluster.by_id.len().max(1);
            cluster.by_id.keys().cycle().skip(start).take(cluster.by_id.len()).find(will_do).cloned()
        }
    }
}

/// Most units first; among equals the smallest id.
fn fullest_first(cluster: &Cluster) -> impl Iterator<Item = &MachineId> {
    let mut counts: Vec<usize> = Vec::new();
    let mut next = cluster.by_count.iter().next_back().map(|(count, _)| *count);
    while let Some(count) = next {
        counts.push(count);
        let below = (count, MachineId(String::new()));
        next = cluster.by_count.range(..below).next_back().map(|(count, _)| *count);
    }
    counts.into_iter().flat_map(|count| {
        let (from, to) = ((count, MachineId(String::new())), (count + 1, MachineId(String::new())));
        cluster.by_count.range(from..to).map(|(_, id)| id)
    })
}

/// The machines that can do at all, where an index knows that they are few.
fn few_candidates<'a>(cluster: &'a Cluster, placement: &Placement) -> Option<Vec<&'a MachineId>> {
    if placement.machine_id.is_some() {
        return Some(cluster.by_id.keys().filter(|id| placement.wants_machine(&id.0)).collect());
    }
    if let Some(peer) = placement.machine_of.first() {
        let name: UnitName = peer.parse().ok()?;
        let slot = cluster.units.get(&name)?.slot?;
        return Some(vec![&cluster.entry(slot).machine.id]);
    }
    let machines_with =
        |(key, values): (&String, &std::collections::BTreeSet<String>)| -> Vec<&'a MachineId> {
            values
                .iter()
                .filter_map(|value| cluster.by_pair.get(&(key.clone(), value.clone())))
                .flatten()
                .collect()
        };
    let fewest = placement.metadata.any_of.iter().map(machines_with).min_by_key(Vec::len)?;
    (fewest.len() * 16 <= cluster.by_id.len()).then_some(fewest)
}

fn best_of<'a>(
    cluster: &'a Cluster,
    unit: &UnitSpec,
    candidates: impl Iterator<Item = &'a MachineId>,
) -> Option<MachineId> {
    let count = |id: &MachineId| cluster.entry(cluster.by_id[id]).units.len();
    match unit.placement.strategy {
        Strategy::Spread => candidates.min_by_key(|id| (count(id), *id)),
        Strategy::Binpack => candidates.min_by_key(|id| (std::cmp::Reverse(count(id)), *id)),
        Strategy::Resources => {
            candidates.min_by_key(|id| (cluster.entry(cluster.by_id[*id]).share(), count(id), *id))
        }
        Strategy::Random => candidates.min_by_key(|id| name_hash(&format!("{}{id}", unit.name))),
    }
    .cloned()
}

fn explain(cluster: &Cluster, unit: &UnitSpec) -> Explanation {
    let mut explanation = Explanation { machines: cluster.by_id.len(), ..Explanation::default() };
    for &slot in cluster.by_id.values() {
        match obstacle(cluster, unit, slot) {
            None => explanation.eligible += 1,
            Some(found) => *explanation.obstacles.entry(found).or_default() += 1,
        }
    }
    explanation
}

/// What keeps a unit from a machine: the first filter that says no, cheapest first. The unit itself,
/// where it already runs there, is no obstacle to itself.
pub(crate) fn obstacle(cluster: &Cluster, unit: &UnitSpec, slot: Slot) -> Option<Obstacle> {
    let entry = cluster.entry(slot);
    let placement = &unit.placement;
    if entry.machine.draining {
        return Some(Obstacle::Draining);
    }
    if !placement.wants_machine(&entry.machine.id.0) {
        return Some(Obstacle::OtherMachine);
    }
    if let Some(missing) = placement.metadata.missing(&entry.machine.metadata) {
        return Some(Obstacle::Metadata(missing));
    }
    let runs_here = |peer: &str| peer.parse().is_ok_and(|name| entry.units.contains(&name));
    if let Some(peer) = placement.machine_of.iter().find(|peer| !runs_here(peer)) {
        return Some(Obstacle::PeerElsewhere(peer.clone()));
    }
    conflict(cluster, unit, slot).or_else(|| lacking(cluster, unit, slot))
}

fn conflict(cluster: &Cluster, unit: &UnitSpec, slot: Slot) -> Option<Obstacle> {
    let name = unit.name.as_str();
    let mine =
        unit.placement.conflicts.iter().find_map(|glob| cluster.conflicts.matched_on(glob, slot, name));
    let theirs = || {
        cluster
            .conflicts
            .matching(name)
            .iter()
            .find_map(|glob| cluster.conflicts.declared_on(glob, slot, name).map(str::to_owned))
    };
    if let Some(found) = mine.map(str::to_owned).or_else(theirs) {
        return Some(Obstacle::Conflict(found));
    }
    let replaced_by = cluster.replaces.matching(name).iter().find_map(|glob| {
        let by = cluster.replaces.declared_on(glob, slot, name)?;
        (!is_circular(cluster, unit, by)).then(|| by.to_owned())
    });
    replaced_by.map(Obstacle::ReplacedBy)
}

/// Two units that replace each other: neither does.
pub(crate) fn is_circular(cluster: &Cluster, unit: &UnitSpec, other: &str) -> bool {
    let replaces = |spec: &UnitSpec, name: &str| {
        spec.placement.replaces.iter().any(|glob| fleet_unit::glob_matches(glob, name))
    };
    let Some(other) = other.parse().ok().and_then(|name: UnitName| cluster.units.get(&name)) else {
        return false;
    };
    replaces(unit, other.spec.name.as_str()) && replaces(&other.spec, unit.name.as_str())
}

fn lacking(cluster: &Cluster, unit: &UnitSpec, slot: Slot) -> Option<Obstacle> {
    let entry = cluster.entry(slot);
    let capacity = entry.machine.capacity?;
    let mut reserved = entry.reserved;
    if entry.units.contains(&unit.name) {
        let own =
            cluster.units.get(&unit.name).map(|known| known.spec.placement.resources).unwrap_or_default();
        reserved = reserved.minus(own);
    }
    let wanted = unit.placement.resources;
    let free = capacity.minus(reserved);
    if wanted.memory > free.memory {
        return Some(Obstacle::Memory);
    }
    (wanted.milli_cpus > free.milli_cpus).then_some(Obstacle::Cpu)
}

/// FNV-1a: the same on every machine and in every version.
fn name_hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
