//! Frees the memory that holds the compressed root: a machine with a state disk reads its root from a
//! copy there instead.
//!
//! Each boot still starts from the release that it was given, so the copy is nothing that a boot
//! depends on: it is compared, and written anew when it differs. It is also the first thing to go when
//! the disk is full, see [`crate::space`].

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hostos_stage1::loopdev;

use crate::space;

const COPY: &str = "/var/lib/hostos/root.squashfs";

/// What is compared and copied at a time.
const CHUNK: usize = 256 * 1024;

/// The machine is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Held while the copy is written.
static COPYING: Mutex<()> = Mutex::new(());

/// Puts the copy in the place of the image in memory. Blocks for as long as the disk needs, or until
/// [`let_go`].
pub(crate) fn move_to_disk() -> io::Result<()> {
    let _copying = copying();
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let Some(device) = root_device(&mounts) else { return Ok(()) };
    let copy = Path::new(COPY);
    if !same(&device, copy) {
        goes_on()?;
        // Nothing reads the old one, and there may be no room for two.
        remove_copy();
        let size = File::open(&device)?.seek(SeekFrom::End(0))?;
        if !space::is_room_for(size) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the state disk has no room for a copy"));
        }
        copy_to(&device, copy)?;
    }
    loopdev::change_backing(&device, &File::open(copy)?)
}

/// Stops a copy that is under way: the disk cannot be unmounted while it is written.
pub(crate) fn let_go() {
    ENDING.store(true, Ordering::Relaxed);
    drop(copying());
}

fn copying() -> MutexGuard<'static, ()> {
    COPYING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the room of the copy back. Only before [`move_to_disk`], which puts it into use.
pub(crate) fn remove_copy() {
    // Mostly there is none.
    let _ = fs::remove_file(COPY);
}

/// The loop device below `/`.
fn root_device(mounts: &str) -> Option<PathBuf> {
    let root = mounts.lines().find_map(|line| {
        let (device, rest) = line.split_once(' ')?;
        rest.starts_with("/ squashfs ").then_some(device)
    })?;
    root.starts_with("/dev/loop").then(|| root.into())
}

fn same(device: &Path, copy: &Path) -> bool {
    let (Ok(mut one), Ok(mut other)) = (File::open(device), File::open(copy)) else { return false };
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        match (fill(&mut one, &mut left), fill(&mut other, &mut right)) {
            (Ok(0), Ok(0)) => return true,
            (Ok(a), Ok(b)) if left[..a] == right[..b] => {}
            _ => return false,
        }
    }
}

fn copy_to(device: &Path, copy: &Path) -> io::Result<()> {
    let fresh = copy.with_extension("new");
    if let Some(dir) = copy.parent() {
        fs::create_dir_all(dir)?;
    }
    let written = (|| {
        let (mut from, mut to) = (File::open(device)?, File::create(&fresh)?);
        let mut chunk = vec![0; CHUNK];
        loop {
            match fill(&mut from, &mut chunk)? {
                0 => break,
                count => to.write_all(&chunk[..count])?,
            }
        }
        to.sync_all()?;
        fs::rename(&fresh, copy)
    })();
    if written.is_err() {
        // A disk without room for it needs what was written of it most.
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn goes_on() -> io::Result<()> {
    if ENDING.load(Ordering::Relaxed) { Err(io::Error::other("the machine ends")) } else { Ok(()) }
}

/// Reads until the buffer is full or the file ends; fails once the machine ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    goes_on()?;
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_among_the_mounts() {
        let mounts =
            "rootfs / rootfs rw 0 0\n/dev/loop0 / squashfs ro,nodev,relatime 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(root_device(mounts), Some("/dev/loop0".into()));
        assert_eq!(root_device("/dev/vda / squashfs ro 0 0\n"), None);
        assert_eq!(root_device("/dev/loop1 /mnt squashfs ro 0 0\n"), None);
    }

    #[test]
    fn a_copy_is_made_when_there_is_none_like_it() {
        let dir = std::env::temp_dir().join(format!("hostos-init-root-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (image, copy) = (dir.join("image"), dir.join("deep/copy"));
        fs::write(&image, vec![7; 3 * CHUNK + 5]).unwrap();
        assert!(!same(&image, &copy));
        copy_to(&image, &copy).unwrap();
        assert!(same(&image, &copy));
        fs::write(&image, vec![7; 3 * CHUNK + 6]).unwrap();
        assert!(!same(&image, &copy));
        fs::remove_dir_all(dir).unwrap();
    }
}
