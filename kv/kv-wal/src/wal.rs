//! Writing: frames at the end of the newest segment, a new segment when it is full.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Disk, Reader, Record, WalError, frame,
    index::Location,
    open::{self, Segment, io},
};

pub(crate) const MAGIC: &[u8; 8] = b"RKVWAL1\n";

pub(crate) fn name(segment: u64) -> String {
    format!("{segment:016x}.wal")
}

/// How the log lays out its files.
#[derive(Debug, Clone)]
pub struct Options {
    /// A new segment begins when one holds this many bytes.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20 }
    }
}

/// The newest value of each slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots([Option<Bytes>; 8]);

impl Slots {
    /// The newest value, if there ever was one.
    #[must_use]
    pub fn get(&self, slot: u8) -> Option<&Bytes> {
        self.0[usize::from(slot)].as_ref()
    }

    pub(crate) fn set(&mut self, slot: u8, value: Bytes) {
        self.0[usize::from(slot)] = Some(value);
    }
}

/// The log, held by the one who writes.
pub struct Wal {
    disk: Arc<dyn Disk>,
    options: Options,
    reader: Reader,
    slots: Slots,
    segments: Vec<Segment>,
    next_frame: u64,
    end: u64,
    purged: Option<u64>,
    poisoned: bool,
}

impl Wal {
    /// Opens the log in a directory, a new one if it is empty.
    ///
    /// # Errors
    /// When the disk fails or the log is damaged in the middle.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Self, WalError> {
        let found = open::open(&*disk, &options)?;
        let reader = Reader::default();
        *reader.lock() = found.index;
        let mut wal = Self {
            disk,
            options,
            reader,
            slots: found.slots,
            segments: found.segments,
            next_frame: found.next_frame,
            end: found.end,
            purged: None,
            poisoned: false,
        };
        if wal.end == 0 {
            wal.begin_segment()?;
        }
        Ok(wal)
    }

    /// For reading entries, also while this writes.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The newest values of the slots.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.segments.len() as u64 * self.options.segment_bytes
    }

    /// Writes the records as one, and returns when they are safe. All of them or none survive a crash.
    ///
    /// # Errors
    /// When an entry leaves a gap (nothing is written then), or the disk fails (nothing is certain then).
    pub fn write(&mut self, records: &[Record]) -> Result<(), WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        self.check_order(records)?;
        self.poisoned = true;
        if self.end >= self.options.segment_bytes {
            self.begin_segment()?;
        }
        self.write_frame(records)?;
        self.drop_segments()?;
        self.poisoned = false;
        Ok(())
    }

    /// Entries must follow each other: a hole would be taken for something that was never said.
    fn check_order(&self, records: &[Record]) -> Result<(), WalError> {
        let (mut next, mut empty) = {
            let index = self.reader.lock();
            (index.next(), index.entries.is_empty() && index.first == 1)
        };
        for record in records {
            match record {
                // The first entry of all may have any number.
                Record::Entry(number, _) if empty => (next, empty) = (number + 1, false),
                Record::Entry(number, _) if *number == next => (next, empty) = (next + 1, false),
                Record::Entry(number, _) => return Err(WalError::Gap { last: next - 1, got: *number }),
                Record::TruncateAfter(number) => next = next.min(number + 1),
                Record::Purge(number) => (next, empty) = (next.max(number + 1), false),
                Record::Slot(..) => {}
            }
        }
        Ok(())
    }

    fn write_frame(&mut self, records: &[Record]) -> Result<(), WalError> {
        let (frame, placed) = frame::encode(self.next_frame, records);
        let segment = self.segments.last_mut().expect("begun in open");
        segment.file.write_at(&frame, self.end).map_err(io("write to", segment.number))?;
        segment.file.sync().map_err(io("sync", segment.number))?;
        let mut index = self.reader.lock();
        let mut placed = placed.into_iter();
        for record in records {
            match record {
                Record::Entry(number, _) => {
                    let place = placed.next().expect("one per entry");
                    debug_assert_eq!(place.index, *number);
                    let location = Location {
                        file: segment.file.clone(),
                        segment: segment.number,
                        offset: self.end + place.offset as u64,
                        length: place.length as u32,
                    };
                    if index.entries.is_empty() {
                        index.first = *number;
                    }
                    index.entries.push_back(location);
                    segment.highest = segment.highest.max(*number);
                }
                Record::TruncateAfter(number) => index.truncate_after(*number),
                Record::Purge(number) => {
                    index.purge(*number);
                    self.purged = self.purged.max(Some(*number));
                }
                Record::Slot(slot, value) => self.slots.set(*slot, value.clone()),
            }
        }
        self.next_frame += 1;
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Begins a segment with what must not be lost with older ones.
    fn begin_segment(&mut self) -> Result<(), WalError> {
        let reuse = self.end == 0 && !self.segments.is_empty();
        let number = match self.segments.last() {
            Some(last) if reuse => last.number,
            Some(last) => last.number + 1,
            None => 1,
        };
        let file = self.disk.open(&name(number), true).map_err(io("create", number))?;
        if reuse {
            file.truncate(0).map_err(io("cut", number))?;
            self.segments.pop();
        }
        file.allocate(self.options.segment_bytes).map_err(io("allocate", number))?;
        file.write_at(MAGIC, 0).map_err(io("write to", number))?;
        file.sync().map_err(io("sync", number))?;
        self.disk.sync().map_err(io("sync the directory of", number))?;
        self.segments.push(Segment { number, file, highest: 0 });
        self.end = MAGIC.len() as u64;
        let mut records: Vec<Record> = (0..8_u8)
            .filter_map(|slot| self.slots.get(slot).map(|value| Record::Slot(slot, value.clone())))
            .collect();
        let first = self.reader.lock().first;
        if first > 1 {
            records.push(Record::Purge(first - 1));
        }
        if !records.is_empty() {
            self.write_frame(&records)?;
        }
        Ok(())
    }

    /// Removes the oldest segments whose entries are all purged.
    fn drop_segments(&mut self) -> Result<(), WalError> {
        let Some(purged) = self.purged.take() else { return Ok(()) };
        let mut any = false;
        while self.segments.len() > 1 && self.segments[0].highest <= purged {
            let number = self.segments.remove(0).number;
            self.disk.remove(&name(number)).map_err(io("remove", number))?;
            any = true;
        }
        if any {
            let number = self.segments[0].number;
            self.disk.sync().map_err(io("sync the directory of", number))?;
        }
        Ok(())
    }
}
