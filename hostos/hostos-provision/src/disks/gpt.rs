//! Partition tables of disks and image files: planned from what is there, written, and read by the kernel.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use hostos_config::Disk;

use super::gpt_format::{self, Gpt, ReadError};
use super::partitions::{Table, arrange};
use super::{DiskError, devices, failed};
use crate::filesystem::{probe, size_of, wipe_signatures};

/// A table to write.
#[derive(Debug)]
pub(super) struct Change {
    device: PathBuf,
    /// Nothing if the table is as wanted.
    gpt: Option<Gpt>,
    /// Whether what is on the disk now is to be forgotten.
    wipe: bool,
}

/// What is to be done to a disk.
pub(super) fn plan(disk: &Disk, device: &Path) -> Result<Change, DiskError> {
    let mut file = File::open(device).map_err(failed("open", device))?;
    let sector = sector_size(device);
    let size = size_of(&mut file).map_err(failed("measure", device))?;
    let wanted = disk.wipe_table == Some(true);
    let old = if wanted { None } else { read(device, &file, size, sector)? };
    if !wanted && old.is_none() && !disk.partitions.is_empty() {
        refuse_to_overwrite(device)?;
    }
    let wipe = wanted || old.is_none() && !disk.partitions.is_empty();
    let mut gpt = old.unwrap_or_else(|| Gpt::new(size / sector, sector));
    let before = gpt.table.clone();
    gpt.table = arrange(&before, &disk.partitions, gpt.room()).map_err(|fault| DiskError::Partition {
        partition: fault.partition,
        device: device.display().to_string(),
        why: fault.why,
    })?;
    let changed = wipe || gpt.table != before;
    Ok(Change { device: device.into(), gpt: changed.then_some(gpt), wipe })
}

/// A disk without a table of ours may still hold something that somebody misses.
fn refuse_to_overwrite(device: &Path) -> Result<(), DiskError> {
    let found = probe(device).map_err(failed("read", device))?.format;
    let mbr = gpt_format::has_mbr_partitions(device).map_err(failed("read", device))?;
    let what = match (found.as_str(), mbr) {
        ("", false) => return Ok(()),
        ("", true) => "an MBR partition table".to_owned(),
        (format, _) => format!("a filesystem ({format})"),
    };
    Err(table_error(device, "make", format!("it holds {what}; set wipeTable to forget that")))
}

fn read(device: &Path, file: &File, size: u64, sector: u64) -> Result<Option<Gpt>, DiskError> {
    match Gpt::read(file, size / sector, sector) {
        Ok(gpt) => Ok(Some(gpt)),
        Err(ReadError::None) => Ok(None),
        Err(ReadError::Unusual(why)) => Err(table_error(device, "use", why.into())),
        Err(ReadError::Io(source)) => Err(failed("read the partition table of", device)(source)),
    }
}

fn table_error(device: &Path, what: &'static str, why: String) -> DiskError {
    DiskError::Table { what, device: device.display().to_string(), why }
}

/// Writes a table and makes the kernel read it.
pub(super) fn write(change: Change) -> Result<(), DiskError> {
    let Some(gpt) = &change.gpt else { return Ok(()) };
    let device = change.device.as_path();
    let mut file = OpenOptions::new().read(true).write(true).open(device).map_err(failed("open", device))?;
    let size = size_of(&mut file).map_err(failed("measure", device))?;
    let write = || {
        if change.wipe {
            wipe_signatures(&file, size)?;
        }
        gpt.write(&file, change.wipe)?;
        file.sync_all()
    };
    write().map_err(failed("write the partition table of", device))?;
    reread(&file).map_err(failed("make the kernel read the partition table of", device))
}

/// The GUID of the partition that a device is.
pub(super) fn partition_guid(device: &Path) -> Option<String> {
    let (disk, number) = devices::disk_of(device)?;
    let mut file = File::open(&disk).ok()?;
    let sector = sector_size(&disk);
    let size = size_of(&mut file).ok()?;
    let table: Table = Gpt::read(&file, size / sector, sector).ok()?.table;
    table.get(&number).map(|entry| entry.guid.clone())
}

fn sector_size(device: &Path) -> u64 {
    let name = device.canonicalize().unwrap_or_else(|_| device.into());
    let path = Path::new("/sys/class/block").join(name.file_name().unwrap_or_default());
    let text = std::fs::read_to_string(path.join("queue/logical_block_size")).unwrap_or_default();
    text.trim().parse().ok().filter(|size| matches!(size, 512 | 4096)).unwrap_or(512)
}

/// Makes the kernel read the table of a block device; an image file has nobody to tell.
fn reread(file: &File) -> io::Result<()> {
    if file.metadata()?.file_type().is_block_device() { request::tell_kernel(file.as_fd()) } else { Ok(()) }
}

#[allow(unsafe_code, reason = "the request to read a partition table is an ioctl that no crate wraps")]
mod request {
    use std::io;
    use std::os::fd::{AsRawFd as _, BorrowedFd};

    nix::ioctl_none!(read_table, 0x12, 95);

    pub(super) fn tell_kernel(device: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the descriptor is borrowed for the whole call, and the request takes no argument.
        unsafe { read_table(device.as_raw_fd()) }?;
        Ok(())
    }
}
