//! What changed at which revision: handed to watchers as it happens, or read back for those that are behind.

use std::io;

use bytes::Bytes;
use kv_api::mvccpb::{Event, KeyValue, event::EventType};

use crate::{
    View,
    layout::{self, At, Record, Space},
    view::pair,
};

/// One write of one key.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose key it is.
    pub space: Space,
    /// Put or delete; `prev_kv` is not filled in, see [`View::before`].
    pub event: Event,
    previous: At,
    /// What the record holds: of a deletion the event does not tell it.
    recorded: Bytes,
}

impl Change {
    pub(crate) fn new(record: Record) -> Self {
        let (space, previous) = (record.space, record.previous);
        let deletion = record.generation.is_deletion();
        let recorded = record.value.clone();
        let mut kv = pair(record);
        if deletion {
            kv = KeyValue { key: kv.key, mod_revision: kv.mod_revision, ..Default::default() };
        }
        let kind = if deletion { EventType::Delete } else { EventType::Put };
        Self { space, event: Event { r#type: kind.into(), kv: Some(kv), prev_kv: None }, previous, recorded }
    }

    pub(crate) fn recorded(&self) -> &Bytes {
        &self.recorded
    }

    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        &self.event.kv.as_ref().expect("set in new").key
    }

    /// The revision of the change.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.event.kv.as_ref().expect("set in new").mod_revision
    }

    /// Whether the key went away.
    #[must_use]
    pub fn is_deletion(&self) -> bool {
        self.event.r#type() == EventType::Delete
    }
}

impl View {
    /// The changes from revision `first` on, whole revisions, until about `enough` are found; the second value is
    /// the revision to go on from. `first` must not be below [`View::compacted`].
    ///
    /// # Errors
    /// When the storage fails.
    pub fn changes(&self, first: i64, enough: usize) -> io::Result<(Vec<Change>, i64)> {
        let start = layout::record(At { main: first, sub: 0 });
        let end = layout::record(At { main: self.revision + 1, sub: 0 });
        let mut found: Vec<Change> = Vec::new();
        for entry in self.scan(&start, &end)? {
            let (key, bytes) = entry?;
            let at = layout::parse_stamp(&key)?;
            if found.len() >= enough && found.last().is_some_and(|last| last.revision() < at.main) {
                return Ok((found, at.main));
            }
            found.push(Change::new(Record::decode(at, &bytes)?));
        }
        Ok((found, self.revision + 1))
    }

    /// The pair as it was before the change, unless it was new or that version is compacted away.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn before(&self, change: &Change) -> io::Result<Option<KeyValue>> {
        if change.previous == At::default() { Ok(None) } else { self.pair_at(change.previous) }
    }
}
