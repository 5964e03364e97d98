//! The cluster as an index: machines, units, who runs where, and what changed since the last pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleet_unit::{Placement, Resources, TargetState, UnitName};

use crate::globs::{GlobIndex, Slot};
use crate::{Machine, MachineId};

/// A unit as the scheduler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitSpec {
    /// Its name.
    pub name: UnitName,
    /// Where it may run.
    pub placement: Placement,
    /// What its user wishes.
    pub target: TargetState,
}

#[derive(Debug)]
pub(crate) struct MachineEntry {
    pub(crate) machine: Machine,
    pub(crate) units: BTreeSet<UnitName>,
    pub(crate) reserved: Resources,
}

impl MachineEntry {
    /// The larger of the reserved shares of memory and CPU, in thousandths.
    pub(crate) fn share(&self) -> u64 {
        let Some(capacity) = self.machine.capacity else { return 0 };
        let part = |used: u64, all: u64| used.saturating_mul(1000).checked_div(all).unwrap_or(0);
        part(self.reserved.memory, capacity.memory).max(part(self.reserved.milli_cpus, capacity.milli_cpus))
    }
}

#[derive(Debug)]
pub(crate) struct UnitEntry {
    pub(crate) spec: UnitSpec,
    pub(crate) slot: Option<Slot>,
    /// The store says that it runs on a machine that is not (or no longer) in the cluster.
    pub(crate) lost_machine: Option<MachineId>,
}

/// What the scheduler knows. Feed it every change; [`crate::reconcile`] tells what to do about them.
#[derive(Debug, Default)]
pub struct Cluster {
    pub(crate) slots: Vec<Option<MachineEntry>>,
    pub(crate) by_id: BTreeMap<MachineId, Slot>,
    pub(crate) units: BTreeMap<UnitName, UnitEntry>,
    /// Machines by (number of units, id): the order of `Strategy=spread`.
    pub(crate) by_count: BTreeSet<(usize, MachineId)>,
    /// Machines by (reserved share, number of units, id): the order of `Strategy=resources`.
    pub(crate) by_share: BTreeSet<(u64, usize, MachineId)>,
    /// Machines by a pair of their metadata.
    pub(crate) by_pair: HashMap<(String, String), BTreeSet<MachineId>>,
    pub(crate) conflicts: GlobIndex,
    pub(crate) replaces: GlobIndex,
    /// Followers of a unit (`MachineOf`).
    pub(crate) followers: BTreeMap<String, BTreeSet<UnitName>>,
    /// Units to look at in the next pass.
    pub(crate) dirty: BTreeSet<UnitName>,
    /// Units that found no machine: any change of the cluster may help them.
    pub(crate) unschedulable: BTreeSet<UnitName>,
    free_slots: Vec<Slot>,
}

impl Cluster {
    /// The machines, by id.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.by_id.values().filter_map(|&slot| Some(&self.slots[slot].as_ref()?.machine))
    }

    /// A unit that the cluster knows.
    #[must_use]
    pub fn unit(&self, name: &UnitName) -> Option<&UnitSpec> {
        Some(&self.units.get(name)?.spec)
    }

    /// The machine that a unit is assigned to, present or lost.
    #[must_use]
    pub fn machine_of(&self, name: &UnitName) -> Option<&MachineId> {
        let unit = self.units.get(name)?;
        unit.slot.map(|slot| &self.entry(slot).machine.id).or(unit.lost_machine.as_ref())
    }

    /// The units assigned to a machine.
    pub fn units_on(&self, id: &MachineId) -> impl Iterator<Item = &UnitName> {
        self.by_id.get(id).into_iter().flat_map(|&slot| &self.entry(slot).units)
    }

    /// A machine joined, or says something new of itself.
    pub fn set_machine(&mut self, machine: Machine) {
        self.wake_unschedulable();
        match self.by_id.get(&machine.id) {
            Some(&slot) => self.change_machine(slot, machine),
            None => self.add_machine(machine),
        }
    }

    fn change_machine(&mut self, slot: Slot, machine: Machine) {
        if self.entry(slot).machine == machine {
            return;
        }
        self.unindex_metadata(slot);
        self.unindex_load(slot);
        self.entry_mut(slot).machine = machine;
        self.index_load(slot);
        self.index_metadata(slot);
        self.dirty.extend(self.entry(slot).units.clone());
    }

    fn add_machine(&mut self, machine: Machine) {
        let id = machine.id.clone();
        let entry = MachineEntry { machine, units: BTreeSet::new(), reserved: Resources::default() };
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.slots[slot] = Some(entry);
                slot
            }
            None => {
                self.slots.push(Some(entry));
                self.slots.len() - 1
            }
        };
        self.by_id.insert(id.clone(), slot);
        self.index_load(slot);
        self.index_metadata(slot);
        let returning: Vec<UnitName> = self
            .units
            .values()
            .filter(|unit| unit.lost_machine.as_ref() == Some(&id))
            .map(|unit| unit.spec.name.clone())
            .collect();
        for name in returning {
            self.set_assignment(&name, Some(&id));
        }
    }

    /// A machine is gone. Its units stay assigned to it until a pass decides otherwise.
    pub fn remove_machine(&mut self, id: &MachineId) {
        let Some(&slot) = self.by_id.get(id) else { return };
        for name in self.entry(slot).units.clone() {
            self.detach(&name);
            if let Some(unit) = self.units.get_mut(&name) {
                unit.lost_machine = Some(id.clone());
            }
        }
        self.unindex_metadata(slot);
        self.unindex_load(slot);
        self.by_id.remove(id);
        self.slots[slot] = None;
        self.free_slots.push(slot);
        self.wake_unschedulable();
    }

    /// A unit is new, or its options or its target state changed.
    pub fn set_unit(&mut self, spec: UnitSpec) {
        let name = spec.name.clone();
        if self.units.get(&name).is_some_and(|unit| unit.spec == spec) {
            return;
        }
        let (machine, lost) = self.units.get(&name).map_or((None, None), |unit| {
            (unit.slot.map(|slot| self.entry(slot).machine.id.clone()), unit.lost_machine.clone())
        });
        self.remove_unit(&name);
        for glob in &spec.placement.conflicts {
            if self.conflicts.declare(glob) {
                Self::tell_matches(&mut self.conflicts, &self.units, glob);
            }
        }
        for glob in &spec.placement.replaces {
            if self.replaces.declare(glob) {
                Self::tell_matches(&mut self.replaces, &self.units, glob);
            }
        }
        for peer in &spec.placement.machine_of {
            self.followers.entry(peer.clone()).or_default().insert(name.clone());
        }
        self.units.insert(name.clone(), UnitEntry { spec, slot: None, lost_machine: lost });
        if let Some(machine) = machine {
            self.set_assignment(&name, Some(&machine));
        }
        self.touch(&name);
    }

    fn tell_matches(index: &mut GlobIndex, units: &BTreeMap<UnitName, UnitEntry>, glob: &str) {
        for (name, unit) in units {
            if let Some(slot) = unit.slot
                && fleet_unit::glob_matches(glob, name.as_str())
            {
                index.note_match(glob, name.as_str(), slot);
            }
        }
    }

    /// A unit was destroyed.
    pub fn remove_unit(&mut self, name: &UnitName) {
        self.detach(name);
        let Some(unit) = self.units.remove(name) else { return };
        for glob in &unit.spec.placement.conflicts {
            self.conflicts.withdraw(glob);
        }
        for glob in &unit.spec.placement.replaces {
            self.replaces.withdraw(glob);
        }
        for peer in &unit.spec.placement.machine_of {
            if let Some(followers) = self.followers.get_mut(peer) {
                followers.remove(name);
            }
        }
        self.dirty.remove(name);
        self.unschedulable.remove(name);
        self.wake_followers(name);
        self.wake_unschedulable();
    }

    /// The store says where a unit is assigned.
    pub fn set_assignment(&mut self, name: &UnitName, machine: Option<&MachineId>) {
        if !self.units.contains_key(name)
            || (self.machine_of(name) == machine && self.is_attached_if(machine, name))
        {
            return;
        }
        self.detach(name);
        let slot = machine.and_then(|id| self.by_id.get(id).copied());
        if let Some(unit) = self.units.get_mut(name) {
            unit.lost_machine = if slot.is_none() { machine.cloned() } else { None };
        }
        if let Some(slot) = slot {
            self.attach(name, slot);
        }
        self.touch(name);
    }

    fn is_attached_if(&self, machine: Option<&MachineId>, name: &UnitName) -> bool {
        let known = machine.is_some_and(|id| self.by_id.contains_key(id));
        known == self.units.get(name).is_some_and(|unit| unit.slot.is_some())
    }

    fn attach(&mut self, name: &UnitName, slot: Slot) {
        self.unindex_load(slot);
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.slot = Some(slot);
        let placement = &unit.spec.placement;
        self.conflicts.place(name.as_str(), &placement.conflicts, slot);
        self.replaces.place(name.as_str(), &placement.replaces, slot);
        let resources = placement.resources;
        let entry = self.entry_mut(slot);
        entry.units.insert(name.clone());
        entry.reserved = entry.reserved.plus(resources);
        self.index_load(slot);
        self.wake_followers(name);
    }

    fn detach(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.lost_machine = None;
        let Some(slot) = unit.slot.take() else { return };
        let placement = &unit.spec.placement;
        self.conflicts.displace(name.as_str(), &placement.conflicts, slot);
        self.replaces.displace(name.as_str(), &placement.replaces, slot);
        let resources = placement.resources;
        self.unindex_load(slot);
        let entry = self.entry_mut(slot);
        entry.units.remove(name);
        entry.reserved = entry.reserved.minus(resources);
        self.index_load(slot);
        self.dirty.insert(name.clone());
        self.wake_followers(name);
        self.wake_unschedulable();
    }

    fn touch(&mut self, name: &UnitName) {
        self.dirty.insert(name.clone());
        self.wake_followers(name);
        self.wake_unschedulable();
    }

    fn wake_followers(&mut self, name: &UnitName) {
        if let Some(followers) = self.followers.get(name.as_str()) {
            self.dirty.extend(followers.iter().cloned());
        }
    }

    fn wake_unschedulable(&mut self) {
        self.dirty.append(&mut self.unschedulable);
    }

    pub(crate) fn entry(&self, slot: Slot) -> &MachineEntry {
        self.slots[slot].as_ref().expect("a slot in use")
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut MachineEntry {
        self.slots[slot].as_mut().expect("a slot in use")
    }

    fn index_load(&mut self, slot: Slot) {
        let entry = self.entry(slot);
        let (count, share, id) = (entry.units.len(), entry.share(), entry.machine.id.clone());
        self.by_count.insert((count, id.clone()));
        self.by_share.insert((share, count, id));
    }

    fn unindex_load(&mut self, slot: Slot) {
        let entry = self.entry(slot);
        let (count, share, id) = (entry.units.len(), entry.share(), entry.machine.id.clone());
        self.by_count.remove(&(count, id.clone()));
        self.by_share.remove(&(share, count, id));
    }

    fn index_metadata(&mut self, slot: Slot) {
        let machine = self.entry(slot).machine.clone();
        for pair in machine.metadata {
            self.by_pair.entry(pair).or_default().insert(machine.id.clone());
        }
    }

    fn unindex_metadata(&mut self, slot: Slot) {
        let machine = self.entry(slot).machine.clone();
        for pair in machine.metadata {
            if let Some(machines) = self.by_pair.get_mut(&pair) {
                machines.remove(&machine.id);
                if machines.is_empty() {
                    self.by_pair.remove(&pair);
                }
            }
        }
    }
}
