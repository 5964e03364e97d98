//! State as JSON files that are whole or absent, whatever happens to the process or the power.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How much must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survive {
    /// A power cut: the file and its name are synced.
    PowerCut,
    /// A crash of the engine: the new file replaces the old one at once.
    Crash,
}

/// Replaces the file at `path`.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T, survive: Survive) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    if survive == Survive::PowerCut {
        file.sync_data()?;
    }
    std::fs::rename(&temporary, path)?;
    if survive == Survive::PowerCut {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Writes a new file at `path` that outlives a power cut, and what it relies on with it: `before` is synced before the
/// file gets its name, `folders` along with the file's own folder after.
///
/// Each sync makes the disk empty its cache, and syncs at the same time share that: so they run together.
pub(crate) fn write_new<T: Serialize>(
    path: &Path,
    value: &T,
    before: &[PathBuf],
    folders: &[&Path],
) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    let mut files = vec![file];
    for path in before {
        files.push(File::open(path)?);
    }
    sync_together(&files)?;
    std::fs::rename(&temporary, path)?;
    let own = path.parent().unwrap_or(Path::new("/"));
    let folders = [own].iter().chain(folders).map(File::open).collect::<io::Result<Vec<_>>>()?;
    sync_together(&folders)
}

fn sync_together(files: &[File]) -> io::Result<()> {
    let Some((first, rest)) = files.split_first() else { return Ok(()) };
    std::thread::scope(|scope| {
        let (mut threads, mut result) = (Vec::new(), Ok(()));
        for file in rest {
            match std::thread::Builder::new().name("sync".into()).spawn_scoped(scope, move || file.sync_all())
            {
                Ok(thread) => threads.push(thread),
                // No thread to be had: one after the other, then.
                Err(_) => result = result.and(file.sync_all()),
            }
        }
        result = result.and(first.sync_all());
        threads.into_iter().fold(result, |result, thread| {
            result.and(thread.join().unwrap_or_else(|_| Err(io::Error::other("a sync panicked"))))
        })
    })
}

/// Reads it; `None` when it is not there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), None);
        write(&path, &vec![1, 2], Survive::PowerCut).unwrap();
        write(&path, &vec![3], Survive::Crash).unwrap();
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), Some(vec![3]));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_new_file_relies_on_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("x.json"), dir.path().join("other"));
        let missing = write_new(&path, &1, std::slice::from_ref(&other), &[]).unwrap_err();
        assert_eq!((missing.kind(), path.exists()), (io::ErrorKind::NotFound, false));
        std::fs::write(&other, "").unwrap();
        write_new(&path, &1, &[other], &[dir.path()]).unwrap();
        assert_eq!(read::<u8>(&path).unwrap(), Some(1));
    }
}
