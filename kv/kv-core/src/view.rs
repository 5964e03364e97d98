//! A consistent copy of the state at one revision. It reads; it never writes.

use std::{io, ops::Bound, sync::Arc};

use bytes::Bytes;
use kv_api::{ErrorKind, mvccpb::KeyValue};

use crate::{
    Backend, Failure, Overlay,
    layout::{self, At, Generation, Record, Space},
    overlay::Merged,
};

/// The state as it was at [`View::revision`]. Cloning is cheap; holding one for long keeps old pages alive.
#[derive(Clone)]
pub struct View {
    pub(crate) base: Arc<dyn Backend>,
    /// Changes being stored by somebody, newer than the base.
    pub(crate) sealed: Overlay,
    /// Changes since then.
    pub(crate) active: Overlay,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) live: i64,
}

impl View {
    /// The newest revision in this view. A fresh store is at 1.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Reads before this revision are refused; 0 when never compacted.
    #[must_use]
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Bytes that live keys and kept history take, counted against the quota.
    #[must_use]
    pub fn live_bytes(&self) -> i64 {
        self.live
    }

    /// A value of the state itself, kept by whoever drives it (the applied log position, for one).
    ///
    /// # Errors
    /// When the storage fails.
    pub fn meta(&self, name: &str) -> io::Result<Option<Bytes>> {
        self.get(&layout::meta(name))
    }

    /// Adds values of the state itself to this view only: what a snapshot must say of where it ends.
    pub fn annotate<'n>(&mut self, values: impl IntoIterator<Item = (&'n str, Bytes)>) {
        let own = [("revision", self.revision), ("compacted", self.compacted), ("live", self.live)];
        let own = own.map(|(name, value)| (name, Bytes::copy_from_slice(&value.to_be_bytes())));
        for (name, value) in own.into_iter().chain(values) {
            self.active.insert(layout::meta(name), Some(value));
        }
    }

    /// Everything in this view as flat pairs: a snapshot.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn pairs(&self) -> io::Result<impl Iterator<Item = io::Result<(Bytes, Bytes)>> + '_> {
        self.scan(&[], &[0xff])
    }

    pub(crate) fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        for overlay in [&self.active, &self.sealed] {
            if let Some(value) = overlay.get(key) {
                return Ok(value.clone());
            }
        }
        self.base.get(key)
    }

    pub(crate) fn scan(
        &self,
        start: &[u8],
        end: &[u8],
    ) -> io::Result<Box<dyn Iterator<Item = io::Result<(Bytes, Bytes)>> + '_>> {
        if start >= end {
            return Ok(Box::new(std::iter::empty()));
        }
        let base = self.base.scan(start, end)?;
        let merged: crate::Pairs<'_> = if self.sealed.is_empty() {
            base
        } else {
            Box::new(Merged::new(above(&self.sealed, start, end), base))
        };
        if self.active.is_empty() {
            return Ok(merged);
        }
        Ok(Box::new(Merged::new(above(&self.active, start, end), merged)))
    }

    /// The newest generation of a live key.
    pub(crate) fn current(&self, space: Space, key: &[u8]) -> io::Result<Option<Generation>> {
        self.get(&layout::current(space, key))?.map(|bytes| Generation::decode(&bytes)).transpose()
    }

    /// The record of a write that is known to be kept.
    pub(crate) fn record(&self, at: At) -> io::Result<Record> {
        let bytes =
            self.get(&layout::record(at))?.ok_or_else(|| layout::damaged("index: a write is missing"))?;
        Record::decode(at, &bytes)
    }

    /// The pair written then, if it is still kept and was no deletion.
    pub(crate) fn pair_at(&self, at: At) -> io::Result<Option<KeyValue>> {
        let Some(bytes) = self.get(&layout::record(at))? else { return Ok(None) };
        let record = Record::decode(at, &bytes)?;
        Ok((!record.generation.is_deletion()).then(|| pair(record)))
    }

    /// Checks a revision that a reader asks for; 0 stands for the newest.
    pub(crate) fn readable(&self, revision: i64) -> Result<i64, Failure> {
        match revision {
            ..=0 => Ok(self.revision),
            future if future > self.revision => Err(ErrorKind::FutureRev.into()),
            gone if gone < self.compacted => Err(ErrorKind::Compacted.into()),
            kept => Ok(kept),
        }
    }
}

fn above<'a>(
    overlay: &'a Overlay,
    start: &[u8],
    end: &[u8],
) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + 'a {
    let bounds =
        (Bound::Included(Bytes::copy_from_slice(start)), Bound::Excluded(Bytes::copy_from_slice(end)));
    overlay.range(bounds).map(|(key, value)| (key.clone(), value.clone()))
}

pub(crate) fn pair(record: Record) -> KeyValue {
    let Generation { at, created, version, lease } = record.generation;
    KeyValue {
        key: record.key,
        create_revision: created,
        mod_revision: at.main,
        version,
        value: record.value,
        lease,
    }
}
