//! Files that are either the old or the new ones, never half of each.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::StoreError;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Replaces a file: temporary file beside it, `fsync`, rename, `fsync` of the folder.
///
/// A reader at any time, and after a crash, sees the old or the new contents.
pub fn write_atomic(path: &Path, contents: &[u8], mode: u32) -> Result<(), StoreError> {
    replace(path, contents, mode, true)
}

/// As [`write_atomic`] towards other processes, but a crash of this computer may still lose it:
/// for files of a machine that is not finished. [`sync_files`] makes up for it later.
pub fn write_unsynced(path: &Path, contents: &[u8], mode: u32) -> Result<(), StoreError> {
    replace(path, contents, mode, false)
}

/// Brings the plain files of a folder, up to `largest` bytes each, and the folder itself to the disk.
pub fn sync_files(dir: &Path, largest: u64) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write { path: dir.to_owned(), source };
    let is_small = |entry: &fs::DirEntry| {
        entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= largest)
    };
    let entries = fs::read_dir(dir).map_err(failed)?.flatten();
    let files: Vec<PathBuf> = entries.filter(is_small).map(|entry| entry.path()).collect();
    sync_paths(&files)?;
    sync_dir(dir).map_err(failed)
}

/// Brings these files and their folders to the disk, all at once: a disk that is asked for several
/// commits together needs hardly longer than for one.
pub fn sync_paths(files: &[PathBuf]) -> Result<(), StoreError> {
    let sync = |path: &Path| {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|source| StoreError::Write { path: path.to_owned(), source })
    };
    let all = |paths: Vec<&Path>| {
        thread::scope(|scope| {
            let running: Vec<_> = paths.iter().map(|path| scope.spawn(|| sync(path))).collect();
            running.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
        })
    };
    all(files.iter().map(PathBuf::as_path).collect())?;
    let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    all(folders.into_iter().collect())
}

fn replace(path: &Path, contents: &[u8], mode: u32, sync: bool) -> Result<(), StoreError> {
    let temporary = temporary_beside(path);
    write_and_rename(path, &temporary, contents, mode, sync).map_err(|source| {
        // Best effort: the error below is the one that counts.
        let _ = fs::remove_file(&temporary);
        StoreError::Write { path: path.to_owned(), source }
    })
}

/// The contents of a file.
pub fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|source| StoreError::Read { path: path.to_owned(), source })
}

pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!(".{name}.{}.{number}.tmp", std::process::id()))
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_and_rename(path: &Path, temporary: &Path, contents: &[u8], mode: u32, sync: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
    file.write_all(contents)?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(temporary, path)?;
    if sync { sync_dir(path.parent().unwrap_or(Path::new("."))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key.pem");
        write_atomic(&path, b"one", 0o600).expect("first write");
        write_atomic(&path, b"two", 0o600).expect("second write");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_keeps_the_old_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("gone/key.pem");
        let error = write_atomic(&path, b"x", 0o600).expect_err("its folder is missing");
        assert!(error.to_string().contains("gone/key.pem"));
    }
}
