//! Partition tables on disks and in image files, read and written with the crate `gpt`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{OperatingSystem, Type};
use gpt::{GptConfig, partition};
use hostos_config::Disk;
use uuid::Uuid;

use super::partitions::{Entry, Room, Table, arrange};
use super::{DiskError, devices, failed};
use crate::filesystem::{size_of, wipe_signatures};

const MIB: u64 = 1 << 20;

/// A table to write.
#[derive(Debug)]
pub(super) struct Change {
    device: PathBuf,
    /// Nothing if the table is as wanted.
    table: Option<Table>,
    wipe: bool,
    sector: u64,
}

/// What is to be done to a disk.
pub(super) fn plan(disk: &Disk, device: &Path) -> Result<Change, DiskError> {
    let mut file = File::open(device).map_err(failed("open", device))?;
    let sector = sector_size(device);
    let size = size_of(&mut file).map_err(failed("measure", device))?;
    let wipe = disk.wipe_table == Some(true);
    let old = if wipe { None } else { read(device, sector)? };
    let room = room(size, sector);
    let before = old.clone().unwrap_or_default();
    let after = arrange(&before, &disk.partitions, room).map_err(|fault| DiskError::Partition {
        partition: fault.partition,
        device: device.display().to_string(),
        why: fault.why,
    })?;
    // A disk without partitions in the config keeps what it has; one to wipe gets its empty table.
    let changed = wipe || after != before;
    Ok(Change { device: device.into(), table: changed.then_some(after), wipe: wipe || old.is_none(), sector })
}

/// The sectors between the two copies of a table of 128 entries.
fn room(size: u64, sector: u64) -> Room {
    let table = (128 * 128_u64).div_ceil(sector);
    Room { first: 2 + table, last: (size / sector).saturating_sub(2 + table), per_mib: MIB / sector }
}

/// The partitions of a disk; nothing if it has no table.
fn read(device: &Path, sector: u64) -> Result<Option<Table>, DiskError> {
    let config = GptConfig::new().writable(false).logical_block_size(block_size(sector));
    match config.open(device) {
        Ok(disk) => {
            Ok(Some(disk.partitions().iter().filter(|(_, part)| part.is_used()).map(entry).collect()))
        }
        Err(gpt::GptError::Io(source)) => Err(failed("read the partition table of", device)(source)),
        Err(_) => Ok(None),
    }
}

fn entry((number, part): (&u32, &partition::Partition)) -> (u32, Entry) {
    let entry = Entry {
        first: part.first_lba,
        last: part.last_lba,
        label: part.name.trim_end_matches('\0').to_owned(),
        type_guid: part.part_type_guid.guid.to_string().to_ascii_uppercase(),
        guid: part.part_guid.to_string().to_ascii_uppercase(),
    };
    (*number, entry)
}

/// Writes a table and makes the kernel read it.
pub(super) fn write(change: Change) -> Result<(), DiskError> {
    let Some(table) = &change.table else { return Ok(()) };
    let device = change.device.as_path();
    let refused = |why: String| DiskError::Table { what: "write", device: device.display().to_string(), why };
    let mut file = OpenOptions::new().read(true).write(true).open(device).map_err(failed("open", device))?;
    let size = size_of(&mut file).map_err(failed("measure", device))?;
    if change.wipe {
        wipe_signatures(&file, size).map_err(failed("wipe", device))?;
        let sectors = u32::try_from(size / change.sector - 1).unwrap_or(u32::MAX);
        ProtectiveMBR::with_lb_size(sectors)
            .overwrite_lba0(&mut file)
            .map_err(|error| refused(error.to_string()))?;
    }
    let config = GptConfig::new().writable(true).logical_block_size(block_size(change.sector));
    let opened =
        if change.wipe { config.create_from_device(file, None) } else { config.open_from_device(file) };
    let mut disk = opened.map_err(|error| refused(error.to_string()))?;
    let partitions = table.iter().map(|(number, entry)| (*number, partition_of(entry))).collect();
    let partitions = keep_flags(partitions, disk.partitions());
    disk.update_partitions(partitions).map_err(|error| refused(error.to_string()))?;
    let file = disk.write().map_err(|error| refused(error.to_string()))?;
    file.sync_all().map_err(failed("write", device))?;
    reread(&file).map_err(failed("make the kernel read the partition table of", device))
}

fn partition_of(entry: &Entry) -> partition::Partition {
    let guid = |text: &str| Uuid::parse_str(text).unwrap_or_else(|_| Uuid::new_v4());
    partition::Partition {
        part_type_guid: Type { guid: guid(&entry.type_guid), os: OperatingSystem::None },
        part_guid: guid(&entry.guid),
        first_lba: entry.first,
        last_lba: entry.last,
        flags: 0,
        name: entry.label.clone(),
    }
}

/// A partition that stays keeps its flags.
fn keep_flags(
    mut new: BTreeMap<u32, partition::Partition>,
    old: &BTreeMap<u32, partition::Partition>,
) -> BTreeMap<u32, partition::Partition> {
    for (number, part) in &mut new {
        if let Some(before) = old.get(number).filter(|before| before.part_guid == part.part_guid) {
            part.flags = before.flags;
        }
    }
    new
}

/// The GUID of the partition that a device is.
pub(super) fn partition_guid(device: &Path) -> Option<String> {
    let (disk, number) = devices::disk_of(device)?;
    let table = read(&disk, sector_size(&disk)).ok()??;
    table.get(&number).map(|entry| entry.guid.clone())
}

fn sector_size(device: &Path) -> u64 {
    let name = device.canonicalize().unwrap_or_else(|_| device.into());
    let path = Path::new("/sys/class/block").join(name.file_name().unwrap_or_default());
    let text = std::fs::read_to_string(path.join("queue/logical_block_size")).unwrap_or_default();
    text.trim().parse().ok().filter(|size| matches!(size, 512 | 4096)).unwrap_or(512)
}

fn block_size(sector: u64) -> LogicalBlockSize {
    if sector == 4096 { LogicalBlockSize::Lb4096 } else { LogicalBlockSize::Lb512 }
}

/// Makes the kernel read the table of a block device; an image file has nobody to tell.
fn reread(file: &File) -> io::Result<()> {
    if file.metadata()?.file_type().is_block_device() { reread::tell_kernel(file.as_fd()) } else { Ok(()) }
}

#[allow(unsafe_code, reason = "the request to read a partition table is an ioctl that no crate wraps")]
mod reread {
    use std::io;
    use std::os::fd::{AsRawFd as _, BorrowedFd};

    nix::ioctl_none!(read_table, 0x12, 95);

    pub(super) fn tell_kernel(device: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the descriptor is borrowed for the whole call, and the request takes no argument.
        unsafe { read_table(device.as_raw_fd()) }?;
        Ok(())
    }
}
