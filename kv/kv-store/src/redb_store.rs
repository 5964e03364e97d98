//! The redb file. One table of bytes to bytes; every flush is one durable transaction.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use kv_core::{Backend, Overlay, Pairs};
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::{Collected, Incoming, Pair, Store};

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("kv");

/// Why the state's file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("could not prepare `{}`", .path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not open the state in `{}`", .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: Box<redb::DatabaseError>,
    },
}

/// The state in one file of a directory.
pub struct RedbStore {
    dir: PathBuf,
    cache_bytes: usize,
    open: Mutex<Arc<Database>>,
    incoming: AtomicU64,
}

impl RedbStore {
    /// Opens the state of a directory, a new one when there is none. `cache_bytes` bounds what is kept in memory.
    ///
    /// # Errors
    /// When the file cannot be opened, or is not ours.
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Self, OpenError> {
        let prepare = |source| OpenError::Prepare { path: dir.into(), source };
        fs::create_dir_all(dir).map_err(prepare)?;
        for entry in fs::read_dir(dir).map_err(prepare)? {
            let path = entry.map_err(prepare)?.path();
            if path.extension().is_some_and(|extension| extension == "incoming") {
                fs::remove_file(path).map_err(prepare)?;
            }
        }
        let path = dir.join("state.redb");
        let database =
            database(&path, cache_bytes).map_err(|source| OpenError::Open { path, source: source.into() })?;
        sync_dir(dir).map_err(prepare)?;
        let open = Mutex::new(Arc::new(database));
        Ok(Self { dir: dir.into(), cache_bytes, open, incoming: AtomicU64::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Database>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn database(path: &Path, cache_bytes: usize) -> Result<Database, redb::DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder.create(path)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn failed(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

fn write(
    database: &Database,
    pairs: impl Iterator<Item = (Bytes, Option<Bytes>)>,
    safe: bool,
) -> io::Result<()> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction
        .set_durability(if safe { Durability::Immediate } else { Durability::None })
        .map_err(failed)?;
    // Opening after a crash then need not walk the whole file.
    transaction.set_quick_repair(safe);
    {
        let mut table = transaction.open_table(TABLE).map_err(failed)?;
        for (key, value) in pairs {
            match value {
                Some(value) => table.insert(key.as_ref(), value.as_ref()).map(drop).map_err(failed)?,
                None => table.remove(key.as_ref()).map(drop).map_err(failed)?,
            }
        }
    }
    transaction.commit().map_err(failed)
}

impl Store for RedbStore {
    fn current(&self) -> io::Result<Arc<dyn Backend>> {
        Ok(Arc::new(Stored::of(&self.lock())?))
    }

    fn store(&self, changes: &Overlay) -> io::Result<Arc<dyn Backend>> {
        let database = self.lock().clone();
        write(&database, changes.iter().map(|(key, value)| (key.clone(), value.clone())), true)?;
        Ok(Arc::new(Stored::of(&database)?))
    }

    fn begin(&self) -> io::Result<Box<dyn Incoming>> {
        let number = self.incoming.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number}.incoming"));
        let database = database(&path, self.cache_bytes.min(16 << 20)).map_err(failed)?;
        Ok(Box::new(IncomingFile { path, database: Some(database) }))
    }

    fn replace(&self, collected: Collected) -> io::Result<Arc<dyn Backend>> {
        let Collected::File(path) = collected else { return Err(io::ErrorKind::InvalidInput.into()) };
        fs::rename(&path, self.dir.join("state.redb"))?;
        sync_dir(&self.dir)?;
        // The old file lives on, without a name, as long as a view reads it.
        let new = Arc::new(database(&self.dir.join("state.redb"), self.cache_bytes).map_err(failed)?);
        *self.lock() = new.clone();
        Ok(Arc::new(Stored::of(&new)?))
    }

    fn size(&self) -> u64 {
        fs::metadata(self.dir.join("state.redb")).map_or(0, |file| file.len())
    }
}

struct IncomingFile {
    path: PathBuf,
    database: Option<Database>,
}

impl Incoming for IncomingFile {
    fn add(&mut self, pairs: Vec<Pair>) -> io::Result<()> {
        let Some(database) = &self.database else { return Err(io::ErrorKind::InvalidInput.into()) };
        write(database, pairs.into_iter().map(|(key, value)| (key, Some(value))), false)
    }

    fn finish(mut self: Box<Self>) -> io::Result<Collected> {
        let Some(database) = self.database.take() else { return Err(io::ErrorKind::InvalidInput.into()) };
        write(&database, std::iter::empty(), true)?;
        drop(database);
        File::open(&self.path)?.sync_all()?;
        Ok(Collected::File(self.path.clone()))
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        if self.database.take().is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The state at one flush.
struct Stored {
    /// Absent until something was stored.
    table: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    _database: Arc<Database>,
}

impl Stored {
    fn of(database: &Arc<Database>) -> io::Result<Self> {
        let transaction = database.begin_read().map_err(failed)?;
        let table = match transaction.open_table(TABLE) {
            Ok(table) => Some(table),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { table, _database: database.clone() })
    }
}

impl Backend for Stored {
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        let Some(table) = &self.table else { return Ok(None) };
        let value = table.get(key).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn scan(&self, start: &[u8], end: &[u8]) -> io::Result<Pairs<'_>> {
        let Some(table) = &self.table else { return Ok(Box::new(std::iter::empty())) };
        if start >= end {
            return Ok(Box::new(std::iter::empty()));
        }
        let range = table.range(start..end).map_err(failed)?;
        Ok(Box::new(range.map(|pair| {
            let (key, value) = pair.map_err(failed)?;
            Ok((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())))
        })))
    }

    fn keys(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        if start >= end {
            return Ok(());
        }
        for pair in table.range(start..end).map_err(failed)? {
            visit(pair.map_err(failed)?.0.value());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&'static str, Option<&'static str>)]) -> Overlay {
        pairs.iter().map(|(key, value)| (Bytes::from(*key), value.map(Bytes::from))).collect()
    }

    #[test]
    fn a_flush_is_there_after_reopening_and_old_readers_keep_theirs() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = RedbStore::open(dir.path(), 1 << 20).expect("fresh");
        let empty = store.current().expect("reads");
        let one = store.store(&changes(&[("a", Some("1")), ("b", Some("2"))])).expect("stores");
        let two = store.store(&changes(&[("a", None), ("c", Some("3"))])).expect("stores");
        assert!(empty.get(b"a").expect("reads").is_none());
        assert_eq!(one.get(b"a").expect("reads").expect("there"), "1");
        assert!(two.get(b"a").expect("reads").is_none());
        drop((store, empty, one, two));
        let again = RedbStore::open(dir.path(), 1 << 20).expect("ours");
        let now = again.current().expect("reads");
        assert_eq!(now.scan(b"", b"~").expect("reads").count(), 2);
    }

    #[test]
    fn a_collected_state_replaces_all_and_an_unfinished_one_nothing() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = RedbStore::open(dir.path(), 1 << 20).expect("fresh");
        let old = store.store(&changes(&[("old", Some("1"))])).expect("stores");
        store.begin().expect("begins").add(vec![("half".into(), "1".into())]).expect("adds");
        let mut incoming = store.begin().expect("begins");
        incoming.add(vec![("new".into(), "2".into())]).expect("adds");
        let new = store.replace(incoming.finish().expect("whole")).expect("in place");
        assert_eq!(new.get(b"new").expect("reads").expect("there"), "2");
        assert!(new.get(b"old").expect("reads").is_none());
        assert_eq!(old.get(b"old").expect("reads").expect("still"), "1");
        drop((old, new, store));
        let again = RedbStore::open(dir.path(), 1 << 20).expect("ours");
        assert!(again.current().expect("reads").get(b"new").expect("reads").is_some());
        assert_eq!(fs::read_dir(dir.path()).expect("reads").count(), 1, "nothing left behind");
    }
}
