//! Where a member's state is stored: one redb file holding the flat pairs of `kv-core`.
//!
//! The raft log is this file's write-ahead log: the state is flushed here now and then, with the position it
//! covers, and the log is only purged up to there. So a flush need not be frequent, and opening reads nothing but
//! what is asked for. A snapshot from the leader is collected in a second file and takes the place of the first by
//! a rename. [`Store`] is the same over memory, for simulations.

mod incoming;
mod redb_store;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use kv_core::{Backend, Memory, Overlay};

pub use incoming::{Collected, Incoming};
pub use redb_store::{OpenError, RedbStore};

/// A place for the state.
pub trait Store: Send + Sync + 'static {
    /// The state as stored last.
    ///
    /// # Errors
    /// When the storage fails.
    fn current(&self) -> io::Result<Arc<dyn Backend>>;
    /// Stores changes durably, as a whole or not at all.
    ///
    /// # Errors
    /// When the storage fails. The process must not go on.
    fn store(&self, changes: &Overlay) -> io::Result<Arc<dyn Backend>>;
    /// Begins to collect a state that is to replace this one.
    ///
    /// # Errors
    /// When the storage fails.
    fn begin(&self) -> io::Result<Box<dyn Incoming>>;
    /// Replaces the state by a collected one, durably.
    ///
    /// # Errors
    /// When the storage fails. The process must not go on.
    fn replace(&self, collected: Collected) -> io::Result<Arc<dyn Backend>>;
    /// Bytes the state takes where it is stored.
    fn size(&self) -> u64;
}

/// A store in memory. Clones share; what was stored survives as long as one of them.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Memory>>);

impl Store for MemoryStore {
    fn current(&self) -> io::Result<Arc<dyn Backend>> {
        Ok(Arc::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }

    fn store(&self, changes: &Overlay) -> io::Result<Arc<dyn Backend>> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *memory = memory.with(changes);
        Ok(Arc::new(memory.clone()))
    }

    fn begin(&self) -> io::Result<Box<dyn Incoming>> {
        Ok(Box::new(incoming::InMemory::default()))
    }

    fn replace(&self, collected: Collected) -> io::Result<Arc<dyn Backend>> {
        let Collected::Memory(pairs) = collected else { return Err(io::ErrorKind::InvalidInput.into()) };
        let memory: Memory = pairs.into_iter().collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = memory.clone();
        Ok(Arc::new(memory))
    }

    fn size(&self) -> u64 {
        0
    }
}

/// One pair of the flat state.
pub type Pair = (Bytes, Bytes);
