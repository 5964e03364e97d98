//! State as JSON files that are whole or absent, whatever happens to the process or the power.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

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
}
