//! Reading a log back: every segment in order, until the torn tail, if there is one.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Disk, DiskFile, Options, Record, Slots, WalError,
    frame::{self, HEAD},
    index::{Index, Location},
    wal::{MAGIC, name},
};

pub(crate) struct Found {
    pub(crate) index: Index,
    pub(crate) slots: Slots,
    /// Segment number and file, oldest first, with the number of the last entry in it.
    pub(crate) segments: Vec<Segment>,
    pub(crate) next_frame: u64,
    /// Where the next frame goes in the last segment.
    pub(crate) end: u64,
}

pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The highest entry ever written to it; 0 when none.
    pub(crate) highest: u64,
}

pub(crate) fn io(what: &'static str, segment: u64) -> impl FnOnce(std::io::Error) -> WalError {
    move |source| WalError::Io { what, file: name(segment), source }
}

pub(crate) fn open(disk: &dyn Disk, _: &Options) -> Result<Found, WalError> {
    let listed =
        disk.list().map_err(|source| WalError::Io { what: "list", file: "the log".into(), source })?;
    let mut numbers: Vec<u64> =
        listed.iter().filter_map(|name| u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()).collect();
    numbers.sort_unstable();
    let mut found = Found {
        index: Index { first: 1, ..Index::default() },
        slots: Slots::default(),
        segments: Vec::new(),
        next_frame: 1,
        end: 0,
    };
    // A segment is begun before its predecessor's last frame is needed no more, so only the last may be torn.
    for (at, number) in numbers.iter().enumerate() {
        let file = disk.open(&name(*number), false).map_err(io("open", *number))?;
        let is_last = at + 1 == numbers.len();
        read_segment(&mut found, *number, file, is_last)?;
    }
    Ok(found)
}

fn read_segment(
    found: &mut Found,
    number: u64,
    file: Arc<dyn DiskFile>,
    is_last: bool,
) -> Result<(), WalError> {
    let length = file.len().map_err(io("measure", number))?;
    let mut data = vec![0; length as usize];
    file.read_at(&mut data, 0).map_err(io("read", number))?;
    let data = Bytes::from(data);
    let mut at = MAGIC.len();
    let mut segment = Segment { number, file, highest: 0 };
    let begun = data.get(..at) == Some(MAGIC);
    if !begun && data.get(..5) == Some(&MAGIC[..5]) {
        return Err(WalError::Newer(name(number)));
    }
    if begun {
        while let Some(frame) = frame::decode(&data, at) {
            // A segment's first frame may come after purged ones; within the log numbers follow each other.
            if frame.number != found.next_frame && !(found.segments.is_empty() && at == MAGIC.len()) {
                break;
            }
            for (record, payload) in &frame.records {
                apply(found, record, *payload + at, &mut segment);
            }
            found.next_frame = frame.number + 1;
            at += frame.size;
        }
    }
    let rest = at.min(data.len());
    let torn = data[rest..].iter().any(|byte| *byte != 0) || !begun;
    if torn && (!is_last || follows(&data, rest, found.next_frame)) {
        return Err(WalError::Corrupt { file: name(number), offset: rest as u64 });
    }
    if !is_last && !begun {
        return Err(WalError::Corrupt { file: name(number), offset: 0 });
    }
    if torn && begun {
        cut(&segment, rest as u64, length)?;
    }
    found.end = if begun { rest as u64 } else { 0 };
    found.segments.push(segment);
    Ok(())
}

/// Whether an intact frame with a later number lies anywhere after `from`.
fn follows(data: &Bytes, from: usize, next: u64) -> bool {
    let aligned = from.next_multiple_of(8);
    (aligned..data.len().saturating_sub(HEAD)).step_by(8).any(|at| {
        let number = u64::from_le_bytes(data[at + 8..at + 16].try_into().expect("eight bytes"));
        (next..next + (1 << 32)).contains(&number)
            && frame::decode(data, at).is_some_and(|frame| frame.number > next || at > from)
    })
}

/// Zeroes what a torn write left, so that it can never be taken for a frame.
fn cut(segment: &Segment, from: u64, length: u64) -> Result<(), WalError> {
    segment.file.truncate(from).map_err(io("cut", segment.number))?;
    segment.file.allocate(length).map_err(io("allocate", segment.number))?;
    segment.file.sync().map_err(io("sync", segment.number))
}

fn apply(found: &mut Found, record: &Record, offset: usize, segment: &mut Segment) {
    match record {
        Record::Entry(number, payload) => {
            if found.index.entries.is_empty() {
                found.index.first = *number;
            }
            let length = payload.len() as u32;
            let location = Location {
                file: segment.file.clone(),
                segment: segment.number,
                offset: offset as u64,
                length,
            };
            found.index.truncate_after(number.saturating_sub(1));
            found.index.entries.push_back(location);
            segment.highest = segment.highest.max(*number);
        }
        Record::TruncateAfter(number) => found.index.truncate_after(*number),
        Record::Purge(number) => found.index.purge(*number),
        Record::Slot(slot, value) => found.slots.set(*slot, Bytes::copy_from_slice(value)),
    }
}
