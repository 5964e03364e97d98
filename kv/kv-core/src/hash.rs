//! A checksum over everything that can be read at a revision, equal on all members that have the same history,
//! however far each got with removing what was compacted.

use std::io;

use crate::{
    Failure, View,
    layout::{self, At, Record},
};

impl View {
    /// The checksum of history up to `revision` (0: newest), and that revision.
    ///
    /// # Errors
    /// When the revision is compacted or not there yet, or the storage fails.
    pub fn hash(&self, revision: i64) -> Result<(u32, i64), Failure> {
        let revision = self.readable(revision)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.compacted.to_be_bytes());
        let end = layout::record(At { main: revision + 1, sub: 0 });
        for entry in self.scan(&[layout::RECORD], &end)? {
            let (key, bytes) = entry?;
            let record = Record::decode(layout::parse_stamp(&key)?, &bytes)?;
            if self.is_kept(&record)? {
                hasher.update(&key);
                hasher.update(&bytes);
            }
        }
        Ok((hasher.finalize(), revision))
    }

    /// Whether compaction leaves the record: it is newer, or the key's living version at that revision.
    fn is_kept(&self, record: &Record) -> io::Result<bool> {
        let at = record.generation.at;
        if at.main > self.compacted {
            return Ok(true);
        }
        if record.generation.is_deletion() {
            return Ok(false);
        }
        let after = At { main: at.main, sub: at.sub + 1 };
        let first = layout::old(record.space, &record.key, after);
        let last = layout::old(record.space, &record.key, At { main: self.compacted + 1, sub: 0 });
        if self.scan(&first, &last)?.next().transpose()?.is_some() {
            return Ok(false);
        }
        let current = self.current(record.space, &record.key)?;
        Ok(current.is_none_or(|now| now.at <= at || now.at.main > self.compacted))
    }
}
