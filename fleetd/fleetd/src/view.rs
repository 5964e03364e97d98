//! What the store says, as the scheduler and the API's questions need it: the index of the cluster and
//! the contents behind it, kept up to date by changes.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::{Action, Cluster, Machine, MachineId, UnitSpec, reconcile};
use fleet_registry::{Assignment, Change, MachineRecord, Move, Snapshot, StoredUnit, override_metadata};
use fleet_unit::{Placement, Resources, TargetState, UnitName};

/// A cluster as last heard of.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) cluster: Cluster,
    units: BTreeMap<UnitName, StoredUnit>,
    records: BTreeMap<String, MachineRecord>,
    overrides: BTreeMap<String, BTreeMap<String, String>>,
    draining: BTreeSet<String>,
    assigned: BTreeMap<UnitName, (String, Assignment)>,
    /// Units whose assignment may say something old.
    stale: BTreeSet<UnitName>,
    /// Assignments that a move must remove: a unit that is on two machines, or no unit any more.
    surplus: BTreeSet<(String, UnitName)>,
}

impl View {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        let mut view = Self { draining: snapshot.draining, ..Self::default() };
        for (id, record) in snapshot.machines {
            // A snapshot's metadata holds what was set at run time already.
            view.set_machine(id, record);
        }
        for (name, unit) in snapshot.units {
            view.set_unit(name, unit);
        }
        for ((machine, name), assignment) in snapshot.schedule {
            view.set_schedule(machine, name, Some(assignment));
        }
        view
    }

    /// Machines that are to run units and are not there.
    pub(crate) fn absent_machines(&self) -> BTreeSet<&str> {
        let named = self.assigned.values().map(|(machine, _)| machine.as_str());
        named.filter(|machine| !self.records.contains_key(*machine)).collect()
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Unit(name, Some(unit)) => self.set_unit(name, unit),
            Change::Unit(name, None) => self.remove_unit(&name),
            Change::Machine(id, Some(record)) => self.set_machine(id, record),
            Change::Machine(id, None) => {
                self.records.remove(&id);
                self.cluster.remove_machine(&MachineId(id));
            }
            Change::Schedule(machine, name, assignment) => self.set_schedule(machine, name, assignment),
            Change::Metadata(id, key, value) => {
                let of_machine = self.overrides.entry(id.clone()).or_default();
                match value {
                    Some(value) => drop(of_machine.insert(key, value)),
                    None => drop(of_machine.remove(&key)),
                }
                self.refresh_machine(&id);
            }
            Change::Drain(id, draining) => {
                if draining {
                    self.draining.insert(id.clone());
                } else {
                    self.draining.remove(&id);
                }
                self.refresh_machine(&id);
            }
            Change::Global(..) | Change::State(..) | Change::Removed(..) => {}
        }
    }

    fn set_machine(&mut self, id: String, record: MachineRecord) {
        self.records.insert(id.clone(), record);
        self.refresh_machine(&id);
    }

    fn refresh_machine(&mut self, id: &str) {
        let Some(record) = self.records.get(id) else { return };
        let mut metadata = record.metadata.clone();
        for (key, value) in self.overrides.get(id).into_iter().flatten() {
            override_metadata(&mut metadata, key.clone(), value.clone());
        }
        let resources = Resources { memory: record.memory, milli_cpus: record.milli_cpus };
        let capacity = (resources != Resources::default()).then_some(resources);
        let draining = self.draining.contains(id);
        self.cluster.set_machine(Machine { id: id.into(), metadata, capacity, draining });
    }

    fn set_unit(&mut self, name: UnitName, unit: StoredUnit) {
        match Placement::of(&name, &unit.options) {
            Ok(placement) => {
                self.cluster.set_unit(UnitSpec { name: name.clone(), placement, target: unit.target });
            }
            // It was refused at the door; whoever put it past that gets it nowhere.
            Err(error) => {
                tracing::warn!(unit = %name, %error, "unit cannot be placed");
                self.cluster.remove_unit(&name);
            }
        }
        self.stale.insert(name.clone());
        self.units.insert(name.clone(), unit);
        if let Some((machine, _)) = self.assigned.get(&name) {
            let machine = MachineId(machine.clone());
            self.surplus.remove(&(machine.0.clone(), name.clone()));
            self.cluster.set_assignment(&name, Some(&machine));
        }
    }

    fn remove_unit(&mut self, name: &UnitName) {
        self.cluster.remove_unit(name);
        self.units.remove(name);
        if let Some((machine, _)) = self.assigned.get(name) {
            self.surplus.insert((machine.clone(), name.clone()));
        }
    }

    fn set_schedule(&mut self, machine: String, name: UnitName, assignment: Option<Assignment>) {
        let current = self.assigned.get(&name).map(|(machine, _)| machine.clone());
        match assignment {
            Some(assignment) => {
                if let Some(other) = current.filter(|current| *current != machine) {
                    self.surplus.insert((other, name.clone()));
                }
                self.surplus.remove(&(machine.clone(), name.clone()));
                if !self.units.contains_key(&name) {
                    self.surplus.insert((machine.clone(), name.clone()));
                }
                self.cluster.set_assignment(&name, Some(&MachineId(machine.clone())));
                self.stale.insert(name.clone());
                self.assigned.insert(name, (machine, assignment));
            }
            None => {
                self.surplus.remove(&(machine.clone(), name.clone()));
                if current.as_deref() == Some(machine.as_str()) {
                    self.assigned.remove(&name);
                    self.cluster.set_assignment(&name, None);
                }
            }
        }
    }

    /// What to write so that the schedule is as it should be. The view counts on it being written:
    /// after a failure, make a new one from a snapshot.
    pub(crate) fn moves(&mut self) -> Vec<Move> {
        let mut touched: BTreeSet<UnitName> = std::mem::take(&mut self.stale);
        for action in reconcile(&mut self.cluster) {
            match action {
                Action::Assign { unit, machine } => {
                    tracing::info!(unit = %unit, machine = %machine, "unit scheduled");
                    touched.insert(unit);
                }
                Action::Unassign { unit, machine, reason } => {
                    tracing::info!(unit = %unit, machine = %machine, reason = %reason, "unit unscheduled");
                    touched.insert(unit);
                }
                Action::Wait { unit, why } => tracing::info!(unit = %unit, why = %why, "unit waits"),
            }
        }
        let mut moves: Vec<Move> = touched.into_iter().filter_map(|name| self.move_of(name)).collect();
        let gone = std::mem::take(&mut self.surplus);
        moves.extend(gone.into_iter().map(|(machine, unit)| Move { unit, from: Some(machine), to: None }));
        moves
    }

    fn move_of(&mut self, name: UnitName) -> Option<Move> {
        let unit = self.units.get(&name)?;
        let machine = self.cluster.machine_of(&name).map(|id| id.0.clone());
        let is = self.assigned.get(&name);
        let to = machine
            .filter(|_| unit.target != TargetState::Inactive)
            .map(|machine| (machine, Assignment::new(unit.options.clone(), unit.target)));
        let is_so = match (is, &to) {
            (Some((on, says)), Some((machine, should))) => on == machine && says.says_the_same(should),
            (None, None) => true,
            _ => false,
        };
        if is_so {
            return None;
        }
        let from = is.map(|(machine, _)| machine.clone());
        let to = to.map(|(machine, assignment)| {
            let before = match is {
                // Wherever it comes from, it may not have started yet.
                Some((on, says)) if *on == machine => says.from.clone(),
                _ => from.clone().filter(|from| self.records.contains_key(from)),
            };
            (machine, Assignment { from: before, ..assignment })
        });
        match &to {
            Some(to) => drop(self.assigned.insert(name.clone(), to.clone())),
            None => drop(self.assigned.remove(&name)),
        }
        Some(Move { unit: name, from, to })
    }
}

#[cfg(test)]
mod tests {
    use fleet_unit::UnitOptions;

    use super::*;

    fn name(text: &str) -> UnitName {
        text.parse().expect("a valid name")
    }

    fn unit(text: &str, target: TargetState) -> StoredUnit {
        StoredUnit { options: UnitOptions::parse(text).expect("parses"), target }
    }

    const PLAIN: &str = "[Service]\nExecStart=/bin/true\n";

    #[test]
    fn a_unit_is_placed_told_of_changes_and_taken_away() {
        let mut view = View::default();
        view.apply(Change::Machine("m1".into(), Some(MachineRecord::default())));
        view.apply(Change::Unit(name("a.service"), Some(unit(PLAIN, TargetState::Launched))));
        let moves = view.moves();
        assert_eq!(moves.len(), 1);
        assert_eq!(moves[0].to.as_ref().map(|(machine, _)| machine.as_str()), Some("m1"));
        // The store tells the scheduler of its own write: nothing is left to do.
        let (machine, assignment) = moves[0].to.clone().expect("it was placed");
        view.apply(Change::Schedule(machine, name("a.service"), Some(assignment)));
        assert_eq!(view.moves(), []);
        // Another target state is told to the machine.
        view.apply(Change::Unit(name("a.service"), Some(unit(PLAIN, TargetState::Loaded))));
        let moves = view.moves();
        assert_eq!(moves[0].from.as_deref(), Some("m1"));
        assert_eq!(moves[0].to.as_ref().map(|(_, it)| it.target), Some(TargetState::Loaded));
        view.apply(Change::Unit(name("a.service"), None));
        let gone = Move { unit: name("a.service"), from: Some("m1".into()), to: None };
        assert_eq!(view.moves(), [gone]);
    }

    #[test]
    fn who_gets_a_unit_of_a_living_machine_is_told_to_wait_for_it() {
        let mut view = View::default();
        for machine in ["m1", "m2"] {
            view.apply(Change::Machine(machine.into(), Some(MachineRecord::default())));
        }
        view.apply(Change::Unit(name("a.service"), Some(unit(PLAIN, TargetState::Launched))));
        view.moves();
        view.apply(Change::Drain("m1".into(), true));
        let (to, assignment) = view.moves()[0].to.clone().expect("it moves");
        assert_eq!((to.as_str(), assignment.from.as_deref()), ("m2", Some("m1")));
        // That it was told is not a reason to tell it again; another wish does not forget it.
        view.apply(Change::Schedule(to, name("a.service"), Some(assignment)));
        assert_eq!(view.moves(), []);
        view.apply(Change::Unit(name("a.service"), Some(unit(PLAIN, TargetState::Loaded))));
        let again = view.moves()[0].to.clone().expect("it stays");
        assert_eq!(again.1.from.as_deref(), Some("m1"));
        // A machine that is lost has nothing to let go of.
        view.apply(Change::Drain("m1".into(), false));
        view.apply(Change::Machine("m2".into(), None));
        let back = view.moves()[0].to.clone().expect("it moves");
        assert_eq!((back.0.as_str(), back.1.from), ("m1", None));
    }

    #[test]
    fn a_lost_machine_is_known_until_its_units_have_moved() {
        let mut view = View::default();
        for machine in ["m1", "m2"] {
            view.apply(Change::Machine(machine.into(), Some(MachineRecord::default())));
        }
        view.apply(Change::Unit(name("a.service"), Some(unit(PLAIN, TargetState::Launched))));
        view.moves();
        view.apply(Change::Machine("m1".into(), None));
        assert_eq!(view.absent_machines(), ["m1"].into());
        let moves = view.moves();
        assert_eq!(moves[0].from.as_deref(), Some("m1"));
        assert_eq!(moves[0].to.as_ref().map(|(machine, _)| machine.as_str()), Some("m2"));
        assert!(view.absent_machines().is_empty());
    }
}
