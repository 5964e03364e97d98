//! Which machines hold a unit that declares a glob, and which hold a unit that it matches, kept up
//! to date, so that a conflict is one look-up and not a walk over all units.

use std::collections::{BTreeMap, HashMap};

use fleet_unit::glob_matches;

/// An internal number of a machine.
pub(crate) type Slot = usize;

/// The declarers and the matches of one glob, counted by machine.
#[derive(Debug, Default)]
struct Glob {
    declared_by: usize,
    declarers: BTreeMap<Slot, Vec<String>>,
    matches: BTreeMap<Slot, Vec<String>>,
}

/// All globs of one kind (`Conflicts`, `Replaces`) that any unit declares.
#[derive(Debug, Default)]
pub(crate) struct GlobIndex {
    globs: HashMap<String, Glob>,
    /// Globs by what stands before their first special character: a name is looked up by its prefixes.
    by_prefix: HashMap<String, Vec<String>>,
}

impl GlobIndex {
    /// A unit that declares `glob` exists. Returns whether the glob is new: its matches must then be
    /// told with [`Self::place`] for every unit that has a machine.
    pub(crate) fn declare(&mut self, glob: &str) -> bool {
        let entry = self.globs.entry(glob.to_owned()).or_default();
        entry.declared_by += 1;
        if entry.declared_by > 1 {
            return false;
        }
        self.by_prefix.entry(literal_prefix(glob).to_owned()).or_default().push(glob.to_owned());
        true
    }

    /// Such a unit is gone.
    pub(crate) fn withdraw(&mut self, glob: &str) {
        let Some(entry) = self.globs.get_mut(glob) else { return };
        entry.declared_by -= 1;
        if entry.declared_by > 0 {
            return;
        }
        self.globs.remove(glob);
        let prefix = literal_prefix(glob);
        if let Some(list) = self.by_prefix.get_mut(prefix) {
            list.retain(|other| other != glob);
            if list.is_empty() {
                self.by_prefix.remove(prefix);
            }
        }
    }

    /// `unit`, which declares `declared`, now runs on a machine.
    pub(crate) fn place(&mut self, unit: &str, declared: &[String], slot: Slot) {
        for glob in self.matching(unit) {
            self.note_match(&glob, unit, slot);
        }
        for glob in declared {
            if let Some(entry) = self.globs.get_mut(glob) {
                entry.declarers.entry(slot).or_default().push(unit.to_owned());
            }
        }
    }

    /// The glob, new to the index, matches a unit that runs on a machine.
    pub(crate) fn note_match(&mut self, glob: &str, unit: &str, slot: Slot) {
        if let Some(entry) = self.globs.get_mut(glob) {
            entry.matches.entry(slot).or_default().push(unit.to_owned());
        }
    }

    /// It no longer does.
    pub(crate) fn displace(&mut self, unit: &str, declared: &[String], slot: Slot) {
        for glob in self.matching(unit) {
            if let Some(entry) = self.globs.get_mut(&glob) {
                forget(&mut entry.matches, unit, slot);
            }
        }
        for glob in declared {
            if let Some(entry) = self.globs.get_mut(glob) {
                forget(&mut entry.declarers, unit, slot);
            }
        }
    }

    /// The globs in the index that match a name.
    pub(crate) fn matching(&self, name: &str) -> Vec<String> {
        let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
        ends.filter_map(|end| self.by_prefix.get(&name[..end]))
            .flatten()
            .filter(|glob| glob_matches(glob, name))
            .cloned()
            .collect()
    }

    /// A unit other than `unit` on the machine that the glob matches.
    pub(crate) fn matched_on(&self, glob: &str, slot: Slot, unit: &str) -> Option<&str> {
        other(self.globs.get(glob)?.matches.get(&slot)?, unit)
    }

    /// A unit other than `unit` on the machine that declares the glob.
    pub(crate) fn declared_on(&self, glob: &str, slot: Slot, unit: &str) -> Option<&str> {
        other(self.globs.get(glob)?.declarers.get(&slot)?, unit)
    }

    /// All units on the machine that the glob matches.
    pub(crate) fn matches_on(&self, glob: &str, slot: Slot) -> Vec<String> {
        self.globs.get(glob).and_then(|entry| entry.matches.get(&slot)).cloned().unwrap_or_default()
    }
}

fn other<'a>(units: &'a [String], unit: &str) -> Option<&'a str> {
    units.iter().map(String::as_str).find(|name| *name != unit)
}

fn forget(by_slot: &mut BTreeMap<Slot, Vec<String>>, unit: &str, slot: Slot) {
    if let Some(units) = by_slot.get_mut(&slot) {
        units.retain(|name| name != unit);
        if units.is_empty() {
            by_slot.remove(&slot);
        }
    }
}

fn literal_prefix(glob: &str) -> &str {
    glob.find(['*', '?', '[', '\\']).map_or(glob, |end| &glob[..end])
}
