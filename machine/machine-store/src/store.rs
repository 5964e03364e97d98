//! The store itself: folders, records, who may touch what.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_types::{MachineName, Progress, Record};

use crate::file::{sync_dir, temporary_beside, write_atomic, write_unsynced};
use crate::{Lock, StoreError};

const CONFIG: &str = "config.json";

/// A folder with machines, keys and images.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in this folder, which need not exist yet: reading commands make nothing.
    pub fn at(root: &Path) -> Result<Self, StoreError> {
        let root =
            std::path::absolute(root).map_err(|source| StoreError::Read { path: root.to_owned(), source })?;
        Ok(Self { root })
    }

    /// Its folder, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of the authority and the client.
    #[must_use]
    pub fn certs(&self) -> PathBuf {
        self.root.join("certs")
    }

    /// Folder of a machine.
    #[must_use]
    pub fn machine(&self, name: &MachineName) -> PathBuf {
        self.root.join("machines").join(name.as_str())
    }

    /// Folder of the images.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Folder of what can be found out again.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Folder of serial logs of machines that never got ready.
    #[must_use]
    pub fn failed(&self) -> PathBuf {
        self.root.join("failed")
    }

    /// Makes a folder of the store, for its owner only.
    pub fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| StoreError::Write { path: dir.to_owned(), source })
    }

    /// Waits until no other rmachine works on this machine.
    pub fn lock_machine(
        &self,
        name: &MachineName,
        limit: Duration,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Lock, StoreError> {
        self.lock(&format!("machine-{name}"), &format!("machine `{name}`"), limit, give_up)
    }

    /// Whether another rmachine works on this machine right now.
    #[must_use]
    pub fn is_locked(&self, name: &MachineName) -> bool {
        matches!(self.lock_machine(name, Duration::ZERO, &|| false), Err(StoreError::Busy { .. }))
    }

    /// Says that this machine is being made, from before it has a record and for as long as the lock is
    /// held. Nothing if another rmachine says so already.
    pub fn announce(&self, name: &MachineName) -> Result<Option<Lock>, StoreError> {
        match self.lock(&format!("making-{name}"), &format!("machine `{name}`"), Duration::ZERO, &|| false) {
            Ok(lock) => Ok(Some(lock)),
            Err(StoreError::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether an rmachine makes this machine right now.
    #[must_use]
    pub fn is_announced(&self, name: &MachineName) -> bool {
        matches!(self.announce(name), Ok(None))
    }

    /// Waits until no other rmachine makes keys of the store.
    pub fn lock_certs(&self, limit: Duration) -> Result<Lock, StoreError> {
        self.lock("certs", "the keys of the store", limit, &|| false)
    }

    /// Waits until no other rmachine changes this cluster.
    pub fn lock_cluster(&self, name: &MachineName, limit: Duration) -> Result<Lock, StoreError> {
        self.lock(&format!("cluster-{name}"), &format!("cluster `{name}`"), limit, &|| false)
    }

    /// Folder of everything about a cluster.
    #[must_use]
    pub fn cluster(&self, name: &MachineName) -> PathBuf {
        self.root.join("clusters").join(name.as_str())
    }

    /// Waits until no other rmachine adds or removes images.
    pub fn lock_images(&self, limit: Duration) -> Result<Lock, StoreError> {
        self.lock("images", "the images of the store", limit, &|| false)
    }

    fn lock(
        &self,
        file: &str,
        what: &str,
        limit: Duration,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Lock, StoreError> {
        let dir = self.root.join("locks");
        self.make_dir(&dir)?;
        Lock::take(&dir.join(file), what, limit, give_up)
    }

    /// Names of all machines, in natural order without regard to case.
    pub fn names(&self) -> Result<Vec<MachineName>, StoreError> {
        let dir = self.root.join("machines");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StoreError::Read { path: dir, source }),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| StoreError::Read { path: dir.clone(), source })?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let (true, Ok(name)) = (is_dir, entry.file_name().to_string_lossy().parse()) {
                names.push(name);
            }
        }
        names.sort_by_cached_key(natural_key);
        Ok(names)
    }

    /// Whether there is anything of that name, be it whole or not.
    #[must_use]
    pub fn exists(&self, name: &MachineName) -> bool {
        fs::symlink_metadata(self.machine(name)).is_ok()
    }

    /// Whether a create was ended before it could write a record: there is a folder, with nothing in
    /// it or with half a record.
    #[must_use]
    pub fn is_barely_begun(&self, name: &MachineName) -> bool {
        let half = |entry: fs::DirEntry| {
            let file = entry.file_name();
            file.as_encoded_bytes().starts_with(b".config.json.")
                && file.as_encoded_bytes().ends_with(b".tmp")
        };
        fs::read_dir(self.machine(name)).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(half)))
    }

    /// The record of a machine.
    pub fn load(&self, name: &MachineName) -> Result<Record, StoreError> {
        if !self.exists(name) {
            return Err(StoreError::NoMachine(name.to_string()));
        }
        let path = self.machine(name).join(CONFIG);
        let bytes = crate::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Parse { path, source })
    }

    /// Writes the record of a machine. The caller holds the machine's lock.
    ///
    /// The record of a machine that is not finished need not survive a crash of this computer: what
    /// runs here does not survive it either.
    pub fn save(&self, record: &Record) -> Result<(), StoreError> {
        let dir = self.machine(&record.name);
        self.make_dir(&dir)?;
        let mut text = serde_json::to_vec_pretty(record).expect("a record is plain JSON");
        text.push(b'\n');
        let write = match record.progress {
            Progress::Recorded | Progress::Keys => write_unsynced,
            Progress::Driver | Progress::Done => write_atomic,
        };
        write(&dir.join(CONFIG), &text, 0o600)
    }

    /// Removes a machine's folder: it is gone at once, or still there whole. The caller holds the
    /// machine's lock.
    pub fn remove(&self, name: &MachineName) -> Result<(), StoreError> {
        let dir = self.machine(name);
        let aside = temporary_beside(&dir);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Remove { path, source }
        };
        match fs::rename(&dir, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed(&dir))?,
        }
        // Not a folder: someone put a file there. It goes as well.
        let result = if aside.is_dir() { fs::remove_dir_all(&aside) } else { fs::remove_file(&aside) };
        result.map_err(failed(&aside))?;
        sync_dir(&self.root.join("machines")).map_err(failed(&dir))
    }
}

/// Sorts `w2` before `w10`.
fn natural_key(name: &MachineName) -> Vec<(String, u64)> {
    let lower = name.as_str().to_lowercase();
    let mut key = Vec::new();
    let mut rest = lower.as_str();
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(text);
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(digits);
        key.push((word.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = tail;
    }
    key
}

#[cfg(test)]
mod tests {
    use machine_types::{CONFIG_VERSION, HostOptions};

    use super::*;

    fn record(name: &str) -> Record {
        Record {
            config_version: CONFIG_VERSION,
            name: name.parse().expect("a name"),
            id: uuid::Uuid::nil(),
            created: "2026-01-01T00:00:00Z".into(),
            progress: Progress::Done,
            driver_name: "none".into(),
            driver: serde_json::json!({"URL": "tcp://127.0.0.1:1"}),
            host_options: HostOptions::default(),
        }
    }

    #[test]
    fn records_come_back_sorted_as_a_person_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(&dir.path().join("new")).expect("a store");
        assert_eq!(store.names().expect("empty"), []);
        for name in ["w10", "W2", "a", "w1"] {
            store.save(&record(name)).expect("saved");
        }
        fs::create_dir(store.root().join("machines/.w9.1.tmp")).expect("a leftover");
        let names: Vec<String> = store.names().expect("names").into_iter().map(String::from).collect();
        assert_eq!(names, ["a", "w1", "W2", "w10"]);
        assert_eq!(store.load(&"a".parse().expect("a name")).expect("loaded"), record("a"));
    }

    #[test]
    fn a_machine_is_removed_even_when_it_is_half_made_or_vanished() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(dir.path()).expect("a store");
        let name = "w1".parse().expect("a name");
        assert!(matches!(store.load(&name), Err(StoreError::NoMachine(_))));
        store.make_dir(&store.machine(&name)).expect("half made");
        assert!(matches!(store.load(&name), Err(StoreError::Read { .. })));
        store.remove(&name).expect("removed");
        store.remove(&name).expect("removed again");
        assert_eq!(fs::read_dir(dir.path().join("machines")).expect("list").count(), 0);
    }

    #[test]
    fn a_folder_with_half_a_record_is_a_create_that_barely_began() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(dir.path()).expect("a store");
        let name = "w1".parse().expect("a name");
        assert!(!store.is_barely_begun(&name), "nothing is there");
        let folder = store.machine(&name);
        store.make_dir(&folder).expect("a folder");
        fs::write(folder.join(".config.json.1.0.tmp"), "{").expect("written");
        assert!(store.is_barely_begun(&name));
        fs::write(folder.join("disk.qcow2"), "").expect("written");
        assert!(!store.is_barely_begun(&name));
    }

    #[test]
    fn a_lock_holds_off_another_taker_for_the_named_limit_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(dir.path()).expect("a store");
        let name = "w1".parse().expect("a name");
        let held = store.lock_machine(&name, Duration::ZERO, &|| false).expect("free");
        let error = store.lock_machine(&name, Duration::from_millis(30), &|| false).expect_err("held");
        assert!(error.to_string().contains("machine `w1`"), "{error}");
        drop(held);
        store.lock_machine(&name, Duration::ZERO, &|| false).expect("free again");
    }

    #[test]
    fn a_machine_is_being_made_as_long_as_its_maker_holds_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(dir.path()).expect("a store");
        let name = "w1".parse().expect("a name");
        assert!(!store.is_announced(&name));
        let maker = store.announce(&name).expect("a lock").expect("the first");
        assert!(store.is_announced(&name));
        assert!(store.announce(&name).expect("a lock").is_none(), "one maker is enough");
        drop(maker);
        assert!(!store.is_announced(&name));
    }
}
