//! Which units of the cluster this machine has loaded, in a file beside them: a daemon that starts
//! again learns what it left running. It lies on /run, as the units do: a reboot forgets both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleet_unit::UnitName;
use serde::{Deserialize, Serialize};

use crate::Loaded;

/// The ledger; every change is on disk when the call returns.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    units: BTreeMap<UnitName, Loaded>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    hash: String,
    launched: bool,
}

/// Why the ledger could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Reading.
    #[error("could not read {}", path.display())]
    Read {
        /// The ledger's file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what this program writes.
    #[error("{} is damaged; remove it to forget which units this machine has loaded", path.display())]
    Damaged {
        /// The ledger's file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// Writing.
    #[error("could not write {}", path.display())]
    Write {
        /// The ledger's file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Ledger {
    /// Opens the ledger in a directory, which is made if need be.
    ///
    /// # Errors
    /// A ledger that cannot be read or is damaged.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let path = dir.join("ledger.json");
        let write = |source| LedgerError::Write { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(write)?;
        let entries: BTreeMap<String, Entry> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| LedgerError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(LedgerError::Read { path, source }),
        };
        let units = entries
            .into_iter()
            .filter_map(|(name, it)| {
                Some((name.parse().ok()?, Loaded { hash: it.hash, launched: it.launched }))
            })
            .collect();
        Ok(Self { path, units })
    }

    /// What the machine has.
    #[must_use]
    pub fn units(&self) -> &BTreeMap<UnitName, Loaded> {
        &self.units
    }

    /// A unit was loaded, started or stopped.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&mut self, name: &UnitName, loaded: Loaded) -> Result<(), LedgerError> {
        self.units.insert(name.clone(), loaded);
        self.write()
    }

    /// A unit was unloaded.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove(&mut self, name: &UnitName) -> Result<(), LedgerError> {
        self.units.remove(name);
        self.write()
    }

    fn write(&self) -> Result<(), LedgerError> {
        let entry = |it: &'_ Loaded| Entry { hash: it.hash.clone(), launched: it.launched };
        let entries: BTreeMap<&str, Entry> =
            self.units.iter().map(|(name, it)| (name.as_str(), entry(it))).collect();
        let failed = |source| LedgerError::Write { path: self.path.clone(), source };
        let new = self.path.with_extension("new");
        // A writer that is a file would be asked for a write with each comma.
        let text = serde_json::to_vec(&entries).map_err(|error| failed(error.into()))?;
        std::fs::write(&new, text).map_err(failed)?;
        std::fs::rename(&new, &self.path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_outlives_its_keeper() -> Result<(), LedgerError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let a: UnitName = "a.service".parse().expect("a valid name");
        let loaded = Loaded { hash: "1".into(), launched: true };
        let mut ledger = Ledger::open(dir.path())?;
        ledger.set(&a, loaded.clone())?;
        assert_eq!(Ledger::open(dir.path())?.units().get(&a), Some(&loaded));
        ledger.remove(&a)?;
        assert!(Ledger::open(dir.path())?.units().is_empty());
        std::fs::write(dir.path().join("ledger.json"), "{").expect("writes");
        assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::Damaged { .. })));
        Ok(())
    }
}
