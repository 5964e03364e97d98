//! Where each entry lies, shared between the writer and those who read.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{DiskFile, WalError};

#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

#[derive(Default)]
pub(crate) struct Index {
    /// Number of the first entry kept; the entries follow each other.
    pub(crate) first: u64,
    pub(crate) entries: VecDeque<Location>,
}

impl Index {
    /// The number the next entry must have.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(crate) fn truncate_after(&mut self, index: u64) {
        let keep = (index + 1).saturating_sub(self.first);
        self.entries.truncate(keep as usize);
    }

    pub(crate) fn purge(&mut self, index: u64) {
        while self.first <= index && self.entries.pop_front().is_some() {
            self.first += 1;
        }
        // Nothing kept: whatever comes next must follow the purged one.
        if self.entries.is_empty() {
            self.first = self.first.max(index + 1);
        }
    }
}

/// Reads entries, while the writer goes on.
#[derive(Clone, Default)]
pub struct Reader(pub(crate) Arc<Mutex<Index>>);

impl Reader {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of the entries there are.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        let index = self.lock();
        index.first..index.next()
    }

    /// The bytes of all entries, and the number of the oldest of the newest that take no more than `most` together.
    #[must_use]
    pub fn tail(&self, most: u64) -> (u64, u64) {
        let index = self.lock();
        let (mut bytes, mut first) = (0, index.next());
        for entry in index.entries.iter().rev() {
            bytes += u64::from(entry.length);
            if bytes <= most {
                first -= 1;
            }
        }
        (bytes, first)
    }

    /// One entry's payload.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn read(&self, number: u64) -> Result<Bytes, WalError> {
        let found = {
            let index = self.lock();
            number.checked_sub(index.first).and_then(|at| index.entries.get(at as usize)).cloned()
        };
        let Location { file, segment, offset, length } = found.ok_or(WalError::Missing(number))?;
        let mut payload = vec![0; length as usize];
        file.read_at(&mut payload, offset).map_err(|source| WalError::Io {
            what: "read",
            file: crate::wal::name(segment),
            source,
        })?;
        Ok(payload.into())
    }
}
