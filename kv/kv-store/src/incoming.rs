//! A state on its way in. Nothing of it is used before it is complete.

use std::{io, path::PathBuf};

use crate::Pair;

/// Collects pairs, in key order, of a state that is to replace the stored one. Dropped: forgotten.
pub trait Incoming: Send {
    /// The next pairs.
    ///
    /// # Errors
    /// When the storage fails.
    fn add(&mut self, pairs: Vec<Pair>) -> io::Result<()>;
    /// All of them are here.
    ///
    /// # Errors
    /// When the storage fails.
    fn finish(self: Box<Self>) -> io::Result<Collected>;
}

/// A whole state, ready to be put in place.
pub enum Collected {
    Memory(Vec<Pair>),
    /// A closed, synced file in the store's directory.
    File(PathBuf),
}

#[derive(Default)]
pub(crate) struct InMemory(Vec<Pair>);

impl Incoming for InMemory {
    fn add(&mut self, pairs: Vec<Pair>) -> io::Result<()> {
        self.0.extend(pairs);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Collected> {
        Ok(Collected::Memory(self.0))
    }
}
