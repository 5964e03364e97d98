//! Finds the disk that keeps a machine's state, makes its filesystem the first time, and grows it to
//! the size of the disk.
//!
//! A disk is ours if its ext4 label says so, or if it is blank and its serial number says so. Nothing
//! else is ever written to.
#![allow(unsafe_code, reason = "a mounted filesystem is grown by ioctl, which nix has no wrapper for")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ext4_format::{BLOCK_SIZE, FormatError, Options};
use hostos_stage1::mounts::{MountError, mount_at};
use nix::mount::MsFlags;

/// Label of the filesystem and serial number of the disk.
pub(crate) const NAME: &str = "rmachine-state";

/// At the very start of a disk while its filesystem is being made, so that a power cut in between
/// does not leave something that is neither blank nor a filesystem.
const MARK: &[u8] = b"rmachine-state: being formatted\n";

/// What is looked at to call a disk blank, at its start and at its end.
const BLANK: usize = 128 * 1024;

/// `_IOW('f', 16, __u64)` of the kernel's <linux/ext4.h>.
const EXT4_IOC_RESIZE_FS: libc::Ioctl = 0x4008_6610;

/// Why a state disk that is there cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("cannot read the disk {}", device.display())]
    Read { device: PathBuf, source: io::Error },
    #[error("the state disk {} holds something that rmachine did not put there", device.display())]
    Foreign { device: PathBuf },
    #[error("cannot make a filesystem on the state disk {}", device.display())]
    Format { device: PathBuf, source: FormatError },
    #[error("cannot write to the state disk {}", device.display())]
    Write { device: PathBuf, source: io::Error },
    #[error(transparent)]
    Mount(#[from] MountError),
}

/// A state disk that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateDisk {
    pub(crate) device: PathBuf,
    /// Bytes.
    pub(crate) size: u64,
    /// Whether its filesystem was made just now.
    pub(crate) fresh: bool,
}

/// Mounts the state disk on `at`; nothing if the machine has none.
pub(crate) fn mount(at: &Path) -> Result<Option<StateDisk>, DiskError> {
    let Some((device, fresh)) = find_or_make(Path::new("/sys/class/block"))? else { return Ok(None) };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    // What nobody uses need not be written with zeros: on a disk image that would take space.
    let data = Some("noinit_itable,errors=remount-ro");
    mount_at(Some(&device), at, Some("ext4"), flags, data)?;
    let size = size_of(&device).unwrap_or(0);
    if !fresh && let Err(error) = grow(at, size) {
        tracing::warn!(device = %device.display(), %error, "state disk not grown");
    }
    Ok(Some(StateDisk { device, size, fresh }))
}

fn find_or_make(class: &Path) -> Result<Option<(PathBuf, bool)>, DiskError> {
    let names = disks(class);
    let device = |name: &String| Path::new("/dev").join(name);
    if let Some(name) = names.iter().find(|name| label(&device(name)).as_deref() == Some(NAME)) {
        return Ok(Some((device(name), false)));
    }
    let ours = names.iter().find(|name| {
        fs::read_to_string(class.join(name).join("serial")).is_ok_and(|serial| serial.trim() == NAME)
    });
    let Some(name) = ours else { return Ok(None) };
    make(&device(name))?;
    Ok(Some((device(name), true)))
}

/// Disks and partitions in the order of their names; no loop devices, no memory disks.
fn disks(class: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(class) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !["loop", "ram", "zram", "sr", "fd", "dm-"].iter().any(|no| name.starts_with(no)));
    names.sort();
    names
}

/// The label of an ext4 filesystem.
fn label(device: &Path) -> Option<String> {
    let mut superblock = [0; 1024];
    File::open(device).ok()?.read_exact_at(&mut superblock, ext4_format::SUPERBLOCK).ok()?;
    if superblock[0x38..0x3A] != [0x53, 0xEF] {
        return None;
    }
    let label = superblock[0x78..0x88].split(|byte| *byte == 0).next()?;
    String::from_utf8(label.to_vec()).ok()
}

fn make(device: &Path) -> Result<(), DiskError> {
    let read = |source| DiskError::Read { device: device.to_owned(), source };
    let write = |source| DiskError::Write { device: device.to_owned(), source };
    let mut disk = OpenOptions::new().read(true).write(true).open(device).map_err(read)?;
    let size = size_of(device).map_err(read)?;
    if !marked(&disk).map_err(read)? && !blank(&disk, size).map_err(read)? {
        return Err(DiskError::Foreign { device: device.to_owned() });
    }
    disk.write_all_at(MARK, 0).and_then(|()| disk.sync_all()).map_err(write)?;
    let options = Options { label: NAME.to_owned(), uuid: random_uuid().map_err(read)?, time: seconds() };
    ext4_format::format(&mut disk, size, &options)
        .map_err(|source| DiskError::Format { device: device.to_owned(), source })?;
    disk.sync_all().map_err(write)?;
    disk.write_all_at(&[0; MARK.len()], 0).and_then(|()| disk.sync_all()).map_err(write)
}

fn marked(disk: &File) -> io::Result<bool> {
    let mut start = [0; MARK.len()];
    disk.read_exact_at(&mut start, 0)?;
    Ok(start == MARK)
}

fn blank(disk: &File, size: u64) -> io::Result<bool> {
    let mut bytes = vec![0; BLANK];
    for offset in [0, size.saturating_sub(BLANK as u64)] {
        let count = disk.read_at(&mut bytes, offset)?;
        if bytes[..count].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn size_of(device: &Path) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    File::open(device)?.seek(SeekFrom::End(0))
}

fn random_uuid() -> io::Result<[u8; 16]> {
    let mut uuid = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut uuid)?;
    uuid[6] = uuid[6] & 0x0F | 0x40;
    uuid[8] = uuid[8] & 0x3F | 0x80;
    Ok(uuid)
}

fn seconds() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

/// Lets the filesystem mounted on `at` take the whole of a disk of `size` bytes.
fn grow(at: &Path, size: u64) -> io::Result<()> {
    let now = nix::sys::statvfs::statvfs(at)?;
    let wanted = size / BLOCK_SIZE;
    // A group of blocks is the least that is worth the effort, and less may be left over anyway.
    if wanted < now.blocks() + 2 * 32768 {
        return Ok(());
    }
    let root = File::open(at)?;
    // SAFETY: the argument is one 64-bit number that outlives the call.
    if unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_RESIZE_FS, &raw const wanted) } < 0 {
        return Err(io::Error::last_os_error());
    }
    tracing::info!(blocks = wanted, "state disk grown");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 64 * 1024 * 1024;

    fn disk(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hostos-init-{name}-{}", std::process::id()));
        File::create(&path).unwrap().set_len(SIZE).unwrap();
        path
    }

    #[test]
    fn a_blank_disk_is_made_ours_and_found_again() {
        let path = disk("blank");
        assert_eq!(label(&path), None);
        make(&path).unwrap();
        assert_eq!(label(&path).as_deref(), Some(NAME));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_power_cut_while_it_is_made_is_made_good() {
        let path = disk("cut");
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(MARK, 0).unwrap();
        file.write_all_at(&[1; 4096], 8192).unwrap();
        make(&path).unwrap();
        assert_eq!(label(&path).as_deref(), Some(NAME));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_not_blank_is_left_alone() {
        let path = disk("foreign");
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"data", SIZE - 4).unwrap();
        assert!(matches!(make(&path), Err(DiskError::Foreign { .. })));
        let mut bytes = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes[..BLANK].iter().all(|byte| *byte == 0));
        fs::remove_file(path).unwrap();
    }
}
