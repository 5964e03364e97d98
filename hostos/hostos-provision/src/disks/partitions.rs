//! The new partition table of a disk: a pure function of the old one and the config.
//!
//! A partition that is as wanted stays; one that differs stops everything unless the config says that it
//! may be resized or wiped. Positions are sectors; new partitions start at whole MiB.

use std::collections::BTreeMap;

use hostos_config::Partition;

/// Type of a partition unless the config names one: Linux data.
const LINUX_DATA: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const MAX_PARTITIONS: u32 = 128;

/// A partition as a table holds it. GUIDs are upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) flags: u64,
    pub(super) label: String,
    pub(super) type_guid: String,
    /// Drawn at random when empty.
    pub(super) guid: String,
}

/// The room for partitions on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Sectors in a MiB.
    pub(super) per_mib: u64,
}

pub(super) type Table = BTreeMap<u32, Entry>;

/// Which partition is at fault, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) partition: String,
    pub(super) why: String,
}

/// The table with all wishes fulfilled.
pub(super) fn arrange(old: &Table, wishes: &[Partition], room: Room) -> Result<Table, Fault> {
    let mut disk = Arrangement { table: old.clone(), room };
    let resolved: Vec<(u32, &Partition)> = wishes.iter().map(|wish| (existing(old, wish), wish)).collect();
    // Removals first: they make room. Then those with numbers, so that the others see which are free.
    for (number, wish) in &resolved {
        disk.remove(*number, wish)?;
    }
    let (numbered, free): (Vec<_>, Vec<_>) = resolved.into_iter().partition(|(number, _)| *number != 0);
    for (number, wish) in numbered.into_iter().chain(free) {
        if wish.should_exist != Some(false) && !disk.table.contains_key(&number) {
            disk.create(number, wish)?;
        }
    }
    Ok(disk.table)
}

/// The number of a wish, found by its label if it has none; 0 if no partition is meant yet.
fn existing(old: &Table, wish: &Partition) -> u32 {
    if wish.number > 0 {
        return u32::try_from(wish.number).unwrap_or(u32::MAX);
    }
    let label = wish.label.as_deref().unwrap_or_default();
    let found = old.iter().find(|(_, entry)| !label.is_empty() && entry.label == label);
    found.map_or(0, |(number, _)| *number)
}

struct Arrangement {
    table: Table,
    room: Room,
}

/// In what an entry is not as wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Difference {
    what: &'static str,
    size_only: bool,
}

impl Arrangement {
    /// Takes away what should not be there, and what has to be made anew.
    fn remove(&mut self, number: u32, wish: &Partition) -> Result<(), Fault> {
        let Some(entry) = self.table.get(&number).cloned() else { return Ok(()) };
        let wipe = wish.wipe_partition_entry == Some(true);
        if wish.should_exist == Some(false) {
            if !wipe {
                return Err(fault(wish, "it exists, and wipePartitionEntry does not allow to remove it"));
            }
            self.table.remove(&number);
            return Ok(());
        }
        let Some(difference) = self.difference(number, &entry, wish) else { return Ok(()) };
        if difference.size_only && wish.resize == Some(true) {
            return self.resize(number, entry, wish);
        }
        if !wipe {
            let why = format!(
                "it exists with another {}, and wipePartitionEntry does not allow to replace it",
                difference.what
            );
            return Err(fault(wish, &why));
        }
        self.table.remove(&number);
        Ok(())
    }

    fn difference(&self, number: u32, entry: &Entry, wish: &Partition) -> Option<Difference> {
        let differs = |what, size_only| Some(Difference { what, size_only });
        let given = |wanted: &Option<String>| wanted.clone().filter(|wanted| !wanted.is_empty());
        if given(&wish.label).is_some_and(|label| label != entry.label) {
            return differs("label", false);
        }
        if given(&wish.type_guid).is_some_and(|guid| !guid.eq_ignore_ascii_case(&entry.type_guid)) {
            return differs("type", false);
        }
        if given(&wish.guid).is_some_and(|guid| !guid.eq_ignore_ascii_case(&entry.guid)) {
            return differs("GUID", false);
        }
        if self.mib(wish.start_mib).is_some_and(|start| start != entry.first) {
            return differs("start", false);
        }
        let length = entry.last - entry.first + 1;
        let size_differs = match (wish.size_mib, self.mib(wish.size_mib)) {
            (_, Some(size)) => size != length,
            // All that is free behind it, but for less than a MiB.
            (Some(0), _) => self.end_of_gap(number, entry.first) - entry.last >= self.room.per_mib,
            _ => false,
        };
        if size_differs { differs("size", true) } else { None }
    }

    /// A wish in sectors; nothing if it is 0 or not there.
    fn mib(&self, mib: Option<i64>) -> Option<u64> {
        let mib = mib.and_then(|mib| u64::try_from(mib).ok()).filter(|mib| *mib > 0)?;
        Some(mib.saturating_mul(self.room.per_mib))
    }

    /// The last sector that a partition starting there could have, others left as they are.
    fn end_of_gap(&self, number: u32, first: u64) -> u64 {
        let others = self.table.iter().filter(|(other, _)| **other != number).map(|(_, entry)| entry.first);
        others.filter(|start| *start > first).min().map_or(self.room.last, |start| start - 1)
    }

    fn resize(&mut self, number: u32, mut entry: Entry, wish: &Partition) -> Result<(), Fault> {
        let end = self.end_of_gap(number, entry.first);
        entry.last = match self.mib(wish.size_mib) {
            Some(size) => entry.first + size - 1,
            None => end,
        };
        if entry.last > end {
            return Err(fault(wish, "there is not enough room behind it to grow"));
        }
        self.table.insert(number, entry);
        Ok(())
    }

    fn create(&mut self, number: u32, wish: &Partition) -> Result<(), Fault> {
        let number = match number {
            0 => (1..=MAX_PARTITIONS).find(|number| !self.table.contains_key(number)),
            number => Some(number).filter(|number| *number <= MAX_PARTITIONS),
        };
        let number = number.ok_or_else(|| fault(wish, "a table has at most 128 partitions"))?;
        let (first, last) = self.extent(wish)?;
        let entry = Entry {
            first,
            last,
            flags: 0,
            label: wish.label.clone().unwrap_or_default(),
            type_guid: or(&wish.type_guid, LINUX_DATA).to_ascii_uppercase(),
            guid: or(&wish.guid, "").to_ascii_uppercase(),
        };
        self.table.insert(number, entry);
        Ok(())
    }

    fn extent(&self, wish: &Partition) -> Result<(u64, u64), Fault> {
        let size = self.mib(wish.size_mib);
        let (first, end) = match self.mib(wish.start_mib) {
            Some(first) => {
                let gap = self.gaps().into_iter().find(|(start, end)| (*start..=*end).contains(&first));
                let (_, end) = gap.ok_or_else(|| fault(wish, "its start is taken or outside of the disk"))?;
                (first, end)
            }
            None => {
                let largest =
                    self.gaps().into_iter().max_by_key(|(start, end)| (end - start, u64::MAX - start));
                largest.ok_or_else(|| fault(wish, "there is no room left on the disk"))?
            }
        };
        let last = size.map_or(end, |size| first.saturating_add(size) - 1);
        if last > end {
            let have = (end + 1 - first) / self.room.per_mib;
            let want = wish.size_mib.unwrap_or_default();
            return Err(fault(wish, &format!("it needs {want} MiB, there are {have} MiB free")));
        }
        Ok((first, last))
    }

    /// What is free, from the first whole MiB of each gap on.
    fn gaps(&self) -> Vec<(u64, u64)> {
        let mut taken: Vec<(u64, u64)> = self.table.values().map(|entry| (entry.first, entry.last)).collect();
        taken.sort_unstable();
        taken.push((self.room.last + 1, self.room.last + 1));
        let mut gaps = Vec::new();
        let mut from = self.room.first;
        for (first, last) in taken {
            let start = from.next_multiple_of(self.room.per_mib);
            if start < first {
                gaps.push((start, first - 1));
            }
            from = from.max(last + 1);
        }
        gaps
    }
}

fn or<'a>(value: &'a Option<String>, fallback: &'a str) -> &'a str {
    value.as_deref().filter(|value| !value.is_empty()).unwrap_or(fallback)
}

fn fault(wish: &Partition, why: &str) -> Fault {
    let partition = match (wish.number, wish.label.as_deref()) {
        (0, Some(label)) => format!("`{label}`"),
        (number, _) => number.to_string(),
    };
    Fault { partition, why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { first: 34, last: 2048 * 100 - 34, per_mib: 2048 };

    fn wish(number: i64, start_mib: Option<i64>, size_mib: Option<i64>) -> Partition {
        Partition { number, start_mib, size_mib, label: Some(format!("p{number}")), ..Partition::default() }
    }

    fn extents(table: &Table) -> Vec<(u32, u64, u64)> {
        table
            .iter()
            .map(|(number, entry)| (*number, entry.first / 2048, (entry.last + 1).div_ceil(2048)))
            .collect()
    }

    #[test]
    fn an_empty_disk_is_filled_in_order() {
        let wishes = [wish(1, None, Some(10)), wish(3, Some(20), Some(5)), wish(0, None, Some(0))];
        let table = arrange(&Table::new(), &wishes, ROOM).expect("it fits");
        assert_eq!(extents(&table), [(1, 1, 11), (2, 25, 100), (3, 20, 25)]);
        assert_eq!(table[&1].type_guid, LINUX_DATA);
    }

    #[test]
    fn what_is_as_wanted_stays_as_it_is() {
        let wishes = [wish(1, None, Some(10)), wish(0, None, Some(0))];
        let table = arrange(&Table::new(), &wishes, ROOM).expect("it fits");
        assert_eq!(arrange(&table, &wishes, ROOM), Ok(table));
    }

    #[test]
    fn a_difference_stops_unless_wiping_is_allowed() {
        let old = arrange(&Table::new(), &[wish(1, None, Some(10))], ROOM).expect("it fits");
        let mut larger = wish(1, None, Some(20));
        let fault = arrange(&old, std::slice::from_ref(&larger), ROOM).expect_err("it differs");
        assert!(fault.why.contains("another size"), "{}", fault.why);
        larger.resize = Some(true);
        let grown = arrange(&old, std::slice::from_ref(&larger), ROOM).expect("it grows");
        assert_eq!(extents(&grown), [(1, 1, 21)]);
        larger.label = Some("other".into());
        assert!(arrange(&old, std::slice::from_ref(&larger), ROOM).is_err());
        larger.wipe_partition_entry = Some(true);
        let new = arrange(&old, std::slice::from_ref(&larger), ROOM).expect("it is made anew");
        assert_eq!(new[&1].label, "other");
    }

    #[test]
    fn removal_needs_permission() {
        let old = arrange(&Table::new(), &[wish(1, None, Some(10))], ROOM).expect("it fits");
        let mut gone = Partition { number: 1, should_exist: Some(false), ..Partition::default() };
        assert!(arrange(&old, std::slice::from_ref(&gone), ROOM).is_err());
        gone.wipe_partition_entry = Some(true);
        assert_eq!(arrange(&old, &[gone], ROOM), Ok(Table::new()));
    }

    #[test]
    fn what_does_not_fit_says_how_much_there_is() {
        let fault = arrange(&Table::new(), &[wish(1, None, Some(1000))], ROOM).expect_err("too large");
        assert_eq!(fault.why, "it needs 1000 MiB, there are 98 MiB free");
        let taken = [wish(1, Some(1), Some(10)), wish(2, Some(5), Some(1))];
        assert!(arrange(&Table::new(), &taken, ROOM).expect_err("taken").why.contains("its start is taken"));
    }
}
