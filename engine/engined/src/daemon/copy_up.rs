//! Filling a new volume with what the image has at its place.

use std::io::BufReader;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use engine_image::archive::{ExtractOptions, NoWatch, PackMode, Reader, Writer, extract, pack};
use engine_image::dirfd;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::Daemon;
use super::container::Mounted;
use super::error::{Refusal, Result};

impl Daemon {
    /// Copies into a volume that is empty; anything in it stays as it is.
    pub(crate) fn copy_up(&self, id: &str, mount: &Mounted) -> Result<()> {
        let wrong = |error: std::io::Error| {
            Refusal::internal(format!(
                "failed to copy the image's {} into volume {}: {error}",
                mount.target, mount.name
            ))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(&mount.source, flags, Mode::empty()).map_err(|e| wrong(e.into()))?;
        // Only a part that is there is filled; a start will say that it is missing.
        let Some(place) = part_of(top, &mount.subpath) else { return Ok(()) };
        let is_empty = dirfd::entries(place.as_fd()).map_err(wrong)?.is_empty();
        let Some(writable) = self.store.writable(id).filter(|_| is_empty) else { return Ok(()) };
        let root = self.store.view(&writable)?;
        let inside = Path::new(mount.target.trim_start_matches('/'));
        let Ok(source) = dirfd::open_folder_in(root.as_fd(), inside) else { return Ok(()) };
        copy_tree(source, place).map_err(wrong)
    }
}

/// A folder in a volume, whatever links there lead to it.
fn part_of(volume: OwnedFd, subpath: &str) -> Option<OwnedFd> {
    if subpath.is_empty() {
        return Some(volume);
    }
    let part = dirfd::open_folder_in(volume.as_fd(), Path::new(subpath)).ok()?;
    rustix::fs::openat(part, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn copy_tree(source: OwnedFd, target: OwnedFd) -> std::io::Result<()> {
    let (reader, writer) = std::io::pipe()?;
    std::thread::scope(|scope| {
        let from = source.as_fd();
        let packer = scope.spawn(move || {
            let mut out = Writer::new(writer);
            pack(from, PackMode::Tree, &mut out)?;
            out.finish().map(drop)
        });
        let mut tar = Reader::new(BufReader::new(reader), NoWatch);
        let extracted = extract(target.as_fd(), &mut tar, &ExtractOptions::default());
        drop(tar);
        let packed = packer.join().map_err(|_| std::io::Error::other("the packer panicked"))?;
        extracted.and(packed)
    })?;
    // The folder itself takes the owner and mode of the image's.
    let stat = rustix::fs::fstat(&source)?;
    let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(&target, "", Some(owner.0), Some(owner.1), AtFlags::EMPTY_PATH)?;
    Ok(rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_copied_with_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(from.path().join("d")).unwrap();
        std::fs::write(from.path().join("d/f"), "hi").unwrap();
        std::os::unix::fs::symlink("/nowhere", from.path().join("l")).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let open = |folder: &Path, how| rustix::fs::open(folder, flags | how, Mode::empty()).unwrap();
        copy_tree(open(from.path(), OFlags::PATH), open(to.path(), OFlags::empty())).unwrap();
        assert_eq!(std::fs::read(to.path().join("d/f")).unwrap(), b"hi");
        assert_eq!(std::fs::read_link(to.path().join("l")).unwrap(), Path::new("/nowhere"));
    }
}
