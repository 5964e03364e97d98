//! From what is wished and what is loaded to what is to be done, in the order to do it.

use std::collections::BTreeMap;

use fleet_unit::{TargetState, UnitName};

/// A unit that the machine is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wished {
    /// Hash of its content.
    pub hash: String,
    /// `Loaded` or `Launched`.
    pub target: TargetState,
}

/// A unit that the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Hash of the content that was loaded.
    pub hash: String,
    /// It was told to start, and not to stop since.
    pub launched: bool,
}

/// One step. The order of the variants is the order of the steps: what must go goes first, and all
/// units of a pass are written before the first of them starts, so that they find each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Stop it, and remove its file.
    Unload(UnitName),
    /// Write its file.
    Load(UnitName),
    /// Stop it; its file stays.
    Stop(UnitName),
    /// Start it.
    Start(UnitName),
}

/// What to do. A unit whose content changed is unloaded and loaded anew.
#[must_use]
pub fn plan(wished: &BTreeMap<UnitName, Wished>, loaded: &BTreeMap<UnitName, Loaded>) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (name, has) in loaded {
        match wished.get(name).filter(|wish| wish.hash == has.hash && wish.target != TargetState::Inactive) {
            None => tasks.push(Task::Unload(name.clone())),
            Some(wish) if has.launched && wish.target == TargetState::Loaded => {
                tasks.push(Task::Stop(name.clone()))
            }
            Some(wish) if !has.launched && wish.target == TargetState::Launched => {
                tasks.push(Task::Start(name.clone()));
            }
            Some(_) => {}
        }
    }
    for (name, wish) in wished.iter().filter(|(_, wish)| wish.target != TargetState::Inactive) {
        if loaded.get(name).is_some_and(|has| has.hash == wish.hash) {
            continue;
        }
        tasks.push(Task::Load(name.clone()));
        if wish.target == TargetState::Launched {
            tasks.push(Task::Start(name.clone()));
        }
    }
    tasks.sort();
    tasks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> UnitName {
        text.parse().expect("a valid name")
    }

    fn wish(hash: &str, target: TargetState) -> Wished {
        Wished { hash: hash.into(), target }
    }

    fn has(hash: &str, launched: bool) -> Loaded {
        Loaded { hash: hash.into(), launched }
    }

    #[test]
    fn everything_is_written_before_anything_starts() {
        let wished = [
            (name("a.service"), wish("1", TargetState::Launched)),
            (name("b.service"), wish("1", TargetState::Loaded)),
            (name("c.service"), wish("2", TargetState::Launched)),
            (name("d.service"), wish("1", TargetState::Loaded)),
        ]
        .into();
        let loaded = [
            (name("c.service"), has("1", true)),
            (name("d.service"), has("1", true)),
            (name("e.service"), has("1", false)),
        ]
        .into();
        assert_eq!(
            plan(&wished, &loaded),
            [
                Task::Unload(name("c.service")),
                Task::Unload(name("e.service")),
                Task::Load(name("a.service")),
                Task::Load(name("b.service")),
                Task::Load(name("c.service")),
                Task::Stop(name("d.service")),
                Task::Start(name("a.service")),
                Task::Start(name("c.service")),
            ]
        );
    }

    fn apply(loaded: &mut BTreeMap<UnitName, Loaded>, wished: &BTreeMap<UnitName, Wished>, task: &Task) {
        match task {
            Task::Unload(unit) => drop(loaded.remove(unit)),
            Task::Load(unit) => drop(loaded.insert(unit.clone(), has(&wished[unit].hash, false))),
            Task::Stop(unit) => loaded.get_mut(unit).expect("it is loaded").launched = false,
            Task::Start(unit) => loaded.get_mut(unit).expect("it is loaded").launched = true,
        }
    }

    proptest! {
        #[test]
        fn a_plan_once_done_leaves_nothing_to_do(
            wishes in prop::collection::btree_map(0..9u8, (0..3u8, 0..3u8), 0..9),
            have in prop::collection::btree_map(0..9u8, (0..3u8, any::<bool>()), 0..9),
        ) {
            let unit = |n: u8| name(&format!("u{n}.service"));
            let target = |n: u8| [TargetState::Inactive, TargetState::Loaded, TargetState::Launched][usize::from(n)];
            let wished: BTreeMap<_, _> =
                wishes.iter().map(|(n, (h, t))| (unit(*n), wish(&h.to_string(), target(*t)))).collect();
            let mut loaded: BTreeMap<_, _> =
                have.iter().map(|(n, (h, l))| (unit(*n), has(&h.to_string(), *l))).collect();
            for task in plan(&wished, &loaded) {
                apply(&mut loaded, &wished, &task);
            }
            prop_assert_eq!(plan(&wished, &loaded), vec![]);
            for (unit, wish) in &wished {
                let is = loaded.get(unit).map(|has| (has.hash.clone(), has.launched));
                let should = (wish.target != TargetState::Inactive)
                    .then(|| (wish.hash.clone(), wish.target == TargetState::Launched));
                prop_assert_eq!(is, should);
            }
        }
    }
}
