//! Crash-safe small files: written aside, synced, renamed, and the folder synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `path` with `bytes`; after it returns, a power cut leaves the old or the new content, and a reader never half.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_aside(path, bytes, true)?;
    sync_folder(path)
}

/// As [`replace`], but durable only once the file system is synced. Atomic for readers and against kill.
pub(crate) fn replace_lazily(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_aside(path, bytes, false)
}

fn write_aside(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{:x}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&aside, path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file; that it is gone already is fine.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
