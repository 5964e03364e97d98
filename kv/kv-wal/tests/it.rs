//! The log against a model, on a disk that crashes, tears, fills up and rots.

use std::sync::Arc;

use bytes::Bytes;
use kv_wal::{
    Options, Record, Wal, WalError,
    sim::{Faults, SimDisk, Unsynced},
};
use proptest::prelude::*;

const SMALL: Options = Options { segment_bytes: 512 };

fn open(disk: &SimDisk) -> Result<Wal, WalError> {
    Wal::open(Arc::new(disk.clone()), SMALL)
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Model {
    purged: u64,
    entries: Vec<Bytes>,
    vote: Option<Bytes>,
}

impl Model {
    fn next(&self) -> u64 {
        self.purged + 1 + self.entries.len() as u64
    }

    fn apply(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Entry(_, payload) => self.entries.push(payload.clone()),
                Record::TruncateAfter(number) => self.entries.truncate((number - self.purged) as usize),
                Record::Purge(number) => {
                    self.entries.drain(..((number - self.purged) as usize).min(self.entries.len()));
                    self.purged = *number;
                }
                Record::Slot(_, value) => self.vote = Some(value.clone()),
            }
        }
    }

    fn of(wal: &Wal) -> Self {
        let reader = wal.reader();
        let range = reader.range();
        let entries = range.clone().map(|number| reader.read(number).expect("listed")).collect();
        Self { purged: range.start - 1, entries, vote: wal.slots().get(0).cloned() }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize, usize),
    Truncate(u64),
    Purge(u64),
    Vote(u8),
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4_usize, 0..90_usize).prop_map(|(n, size)| Step::Append(n, size)),
        1 => (0..6_u64).prop_map(Step::Truncate),
        1 => (0..12_u64).prop_map(Step::Purge),
        1 => any::<u8>().prop_map(Step::Vote),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

fn records(step: &Step, model: &Model, counter: &mut u8) -> Vec<Record> {
    let last = model.next() - 1;
    match step {
        Step::Append(n, size) => (0..*n as u64)
            .map(|i| {
                *counter = counter.wrapping_add(1);
                Record::Entry(last + 1 + i, Bytes::from(vec![*counter; *size]))
            })
            .collect(),
        Step::Truncate(back) => vec![Record::TruncateAfter(last.saturating_sub(*back).max(model.purged))],
        Step::Purge(ahead) => vec![Record::Purge((model.purged + ahead).min(last))],
        Step::Vote(vote) => vec![Record::Slot(0, Bytes::from(vec![*vote; 9]))],
        Step::Reopen | Step::Crash => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn what_was_written_is_there_after_reopening_and_crashes(steps in proptest::collection::vec(step(), 1..60)) {
        let disk = SimDisk::default();
        let mut wal = open(&disk).expect("fresh");
        let (mut model, mut counter) = (Model::default(), 0);
        for step in &steps {
            match step {
                Step::Reopen => wal = open(&disk).expect("intact"),
                Step::Crash => {
                    disk.crash(Unsynced::Lost);
                    wal = open(&disk).expect("all was synced");
                }
                step => {
                    let records = records(step, &model, &mut counter);
                    wal.write(&records).expect("healthy disk");
                    model.apply(&records);
                }
            }
            prop_assert_eq!(&Model::of(&wal), &model, "after {:?}", step);
        }
        disk.crash(Unsynced::Lost);
        prop_assert_eq!(&Model::of(&open(&disk).expect("intact")), &model);
    }
}

fn filled(disk: &SimDisk, entries: u64) -> (Wal, Model) {
    let mut wal = open(disk).expect("fresh");
    let mut model = Model::default();
    for number in 1..=entries {
        let records = [
            Record::Slot(0, Bytes::from(vec![number as u8; 8])),
            Record::Entry(number, Bytes::from(vec![number as u8; 30])),
        ];
        wal.write(&records).expect("healthy");
        model.apply(&records);
    }
    (wal, model)
}

#[test]
fn a_write_torn_at_any_byte_is_all_or_nothing() {
    for torn in 0..140 {
        let disk = SimDisk::default();
        let (mut wal, before) = filled(&disk, 3);
        disk.set_faults(Faults { sync_error: true, ..Faults::default() });
        let records =
            [Record::Entry(4, Bytes::from(vec![44; 50])), Record::Entry(5, Bytes::from(vec![55; 30]))];
        assert!(matches!(wal.write(&records), Err(WalError::Io { .. })));
        assert!(matches!(wal.write(&records), Err(WalError::Poisoned)), "never a second chance");
        disk.crash(Unsynced::Torn(torn));
        let mut after = before.clone();
        after.apply(&records);
        let mut wal = open(&disk).unwrap_or_else(|error| panic!("torn at {torn}: {error}"));
        let found = Model::of(&wal);
        assert!(found == before || found == after, "torn at {torn}: {found:?}");
        // The log goes on, and is whole once more.
        let next = found.next();
        wal.write(&[Record::Entry(next, Bytes::from_static(b"on"))]).expect("healthy");
        assert_eq!(open(&disk).expect("intact").reader().range().end, next + 1);
    }
}

#[test]
fn every_flipped_byte_before_the_last_frame_is_noticed() {
    let disk = SimDisk::default();
    let (_, model) = filled(&disk, 8);
    let names = ["0000000000000001.wal", "0000000000000002.wal"];
    let mut noticed = 0;
    for (at, name) in names.iter().enumerate() {
        let Some(content) = disk.content(name) else { continue };
        let used = content.len() - content.iter().rev().take_while(|byte| **byte == 0).count();
        for offset in 0..used {
            let copy = disk.copy();
            copy.damage(name, offset, 0x40);
            match open(&copy) {
                Err(WalError::Corrupt { .. } | WalError::Newer(_)) => noticed += 1,
                Err(other) => panic!("{other}"),
                Ok(wal) => {
                    // Only the very last frame, or padding, can pass for a torn write.
                    let found = Model::of(&wal);
                    let lost_last = found.next() + 1 == model.next() && at == 1;
                    assert!(found == model || lost_last, "{name} byte {offset}: {found:?}");
                }
            }
        }
    }
    assert!(noticed > 300, "only {noticed}");
}

#[test]
fn a_full_disk_stops_the_log_and_loses_nothing() {
    for space in (0..700).step_by(7) {
        let disk = SimDisk::default();
        let (mut wal, mut model) = filled(&disk, 2);
        disk.set_faults(Faults { space: Some(space), ..Faults::default() });
        let mut perhaps = model.clone();
        for number in 3.. {
            let records = [Record::Entry(number, Bytes::from(vec![number as u8; 40]))];
            perhaps.apply(&records);
            if wal.write(&records).is_err() {
                break;
            }
            model.apply(&records);
        }
        disk.crash(Unsynced::Kept);
        // The write that failed may be there (only its padding had no room), or not: its fate was never told.
        let found = Model::of(&open(&disk).expect("torn tail at worst"));
        assert!(found == model || found == perhaps, "space {space}");
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed_by_this_very_harness() {
    let disk = SimDisk::default();
    let (mut wal, model) = filled(&disk, 2);
    disk.set_faults(Faults { sync_lies: true, ..Faults::default() });
    wal.write(&[Record::Entry(3, Bytes::from_static(b"gone"))]).expect("it claims so");
    disk.crash(Unsynced::Lost);
    assert_eq!(Model::of(&open(&disk).expect("opens")), model, "the entry is lost, and we can tell");
}

#[test]
fn gaps_are_refused_and_purged_segments_go() {
    let disk = SimDisk::default();
    let (mut wal, _) = filled(&disk, 40);
    let many = disk.content("0000000000000001.wal").is_some();
    assert!(many);
    let gap = wal.write(&[Record::Entry(42, Bytes::new())]);
    assert!(matches!(gap, Err(WalError::Gap { last: 40, got: 42 })));
    wal.write(&[Record::Purge(38)]).expect("healthy");
    assert!(disk.content("0000000000000001.wal").is_none());
    assert!(matches!(wal.reader().read(38), Err(WalError::Missing(38))));
    let wal = open(&disk).expect("intact");
    assert_eq!(wal.reader().range(), 39..41);
    assert_eq!(wal.slots().get(0).expect("kept").as_ref(), [40; 8]);
}

#[test]
fn a_real_directory_works_the_same() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let disk = || Arc::new(kv_wal::RealDisk::new(dir.path()).expect("made"));
    let mut wal = Wal::open(disk(), SMALL).expect("fresh");
    for number in 1..=50 {
        wal.write(&[Record::Entry(number, Bytes::from(format!("entry {number}")))]).expect("healthy");
    }
    wal.write(&[Record::Purge(20), Record::TruncateAfter(45)]).expect("healthy");
    drop(wal);
    let wal = Wal::open(disk(), SMALL).expect("intact");
    assert_eq!(wal.reader().range(), 21..46);
    assert_eq!(wal.reader().read(33).expect("there").as_ref(), b"entry 33");
}

#[test]
fn the_tail_is_what_fits() {
    let mut wal = open(&SimDisk::default()).expect("fresh");
    for number in 1..=10 {
        wal.write(&[Record::Entry(number, Bytes::from(vec![0; 100]))]).expect("healthy");
    }
    assert_eq!(wal.reader().tail(350), (1000, 8));
    assert_eq!(wal.reader().tail(99), (1000, 11));
    assert_eq!(wal.reader().tail(5000), (1000, 1));
    wal.write(&[Record::Purge(8)]).expect("healthy");
    assert_eq!(wal.reader().tail(5000), (200, 9));
}
