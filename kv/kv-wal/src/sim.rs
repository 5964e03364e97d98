//! A disk in memory that misbehaves on demand: it loses what was not synced, tears the last write, fails, fills up.
//! For tests and simulations; everything it does is decided by its caller.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Disk, DiskFile};

/// What a crash leaves of writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// Everything.
    Kept,
    /// The first this many bytes of the last write, and everything before it.
    Torn(usize),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// This many bytes may still be written, then there is no space.
    pub space: Option<u64>,
    /// Writes fail.
    pub write_error: bool,
    /// Syncs fail.
    pub sync_error: bool,
    /// Syncs claim success and do nothing: a planted lie, to prove that tests notice.
    pub sync_lies: bool,
}

#[derive(Default, Clone)]
struct Content {
    safe: Vec<u8>,
    now: Vec<u8>,
    /// Offset and bytes of writes since the last sync.
    pending: Vec<(u64, Vec<u8>)>,
    name_is_safe: bool,
}

#[derive(Default)]
struct Inner {
    files: BTreeMap<String, Content>,
    removed: Vec<(String, Content)>,
    faults: Faults,
    syncs: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Inner>>);

impl SimDisk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets things go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// How often files were synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Cuts the power; what is left is what opens next.
    pub fn crash(&self, unsynced: Unsynced) {
        let mut inner = self.lock();
        for (name, content) in std::mem::take(&mut inner.removed) {
            inner.files.insert(name, content);
        }
        inner.files.retain(|_, content| content.name_is_safe || unsynced != Unsynced::Lost);
        for content in inner.files.values_mut() {
            match unsynced {
                Unsynced::Lost => content.now = content.safe.clone(),
                Unsynced::Kept => {}
                Unsynced::Torn(bytes) => content.tear(bytes),
            }
            content.safe = content.now.clone();
            content.pending.clear();
            content.name_is_safe = true;
        }
        inner.faults = Faults::default();
    }

    /// Flips bits of a byte of a file, counted over what was written.
    pub fn damage(&self, name: &str, offset: usize, mask: u8) {
        if let Some(content) = self.lock().files.get_mut(name)
            && let Some(byte) = content.now.get_mut(offset)
        {
            *byte ^= mask;
            content.safe = content.now.clone();
        }
    }

    /// The bytes of a file as a program would read them.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().files.get(name).map(|content| content.now.clone())
    }

    /// An independent copy.
    #[must_use]
    pub fn copy(&self) -> Self {
        let inner = self.lock();
        let copy = Inner { files: inner.files.clone(), ..Inner::default() };
        Self(Arc::new(Mutex::new(copy)))
    }
}

impl Content {
    fn tear(&mut self, bytes: usize) {
        let Some((offset, written)) = self.pending.last().cloned() else { return };
        let from = (offset as usize + bytes).min(self.now.len());
        let to = (offset as usize + written.len()).min(self.now.len());
        for at in from.min(to)..to {
            self.now[at] = self.safe.get(at).copied().unwrap_or(0);
        }
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().files.keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.lock();
        if !inner.files.contains_key(name) {
            if !create {
                return Err(io::ErrorKind::NotFound.into());
            }
            inner.files.insert(name.to_owned(), Content::default());
        }
        Ok(Arc::new(SimFile { disk: self.clone(), name: name.to_owned() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        if let Some(content) = inner.files.remove(name) {
            inner.removed.push((name.to_owned(), content));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.removed.clear();
        inner.files.values_mut().for_each(|content| content.name_is_safe = true);
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    name: String,
}

impl SimFile {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Content, &mut Faults, &mut u64) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.disk.lock();
        let Inner { files, faults, syncs, .. } = &mut *inner;
        work(files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?, faults, syncs)
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|content, _, _| Ok(content.now.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|content, _, _| {
            let from = offset as usize;
            let found = content.now.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(found);
            Ok(())
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.with(|content, faults, _| {
            if faults.write_error {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            let (mut fits, mut full) = (data, false);
            if let Some(space) = &mut faults.space {
                full = (data.len() as u64) > *space;
                fits = &data[..data.len().min(*space as usize)];
                *space -= fits.len() as u64;
            }
            let end = offset as usize + fits.len();
            if content.now.len() < end {
                content.now.resize(end, 0);
            }
            content.now[offset as usize..end].copy_from_slice(fits);
            content.pending.push((offset, fits.to_vec()));
            if full { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.with(|content, faults, _| {
            if faults.space.is_some_and(|space| space < length) {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            if content.now.len() < length as usize {
                content.now.resize(length as usize, 0);
            }
            Ok(())
        })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.with(|content, _, _| {
            content.now.truncate(length as usize);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|content, faults, syncs| {
            if faults.sync_error {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            *syncs += 1;
            if !faults.sync_lies {
                content.safe = content.now.clone();
                content.pending.clear();
            }
            Ok(())
        })
    }
}
