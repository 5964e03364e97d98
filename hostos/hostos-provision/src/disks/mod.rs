//! Disks of a config: partition tables, then filesystems, then mounts while the files are written.

mod devices;
mod filesystems;
mod gpt;
mod gpt_format;
mod mounts;
mod partitions;

use std::io;
use std::path::PathBuf;

use hostos_config::Storage;

use crate::filesystem::FilesystemError;
pub(crate) use mounts::Mounts;

/// Why the disks are not as the config wants them.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No such device.
    #[error("there is no device {0}")]
    NoDevice(String),
    /// The system refused.
    #[error("cannot {what} {device}")]
    Device {
        /// What was attempted.
        what: &'static str,
        /// On which.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The table.
    #[error("cannot {what} the partition table of {device}: {why}")]
    Table {
        /// What was attempted.
        what: &'static str,
        /// On which.
        device: String,
        /// Why.
        why: String,
    },
    /// A partition that cannot be as it should.
    #[error("partition {partition} of {device}: {why}")]
    Partition {
        /// Which.
        partition: String,
        /// On which.
        device: String,
        /// Why.
        why: String,
    },
    /// Something else is there.
    #[error("{device} holds {found} already, the config wants {wanted}; set wipeFilesystem to replace it")]
    OtherFilesystem {
        /// On which.
        device: String,
        /// What is there.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// Making it.
    #[error(transparent)]
    Make(#[from] FilesystemError),
}

/// What is to be done to the disks, decided before anything is written.
#[derive(Debug, Default)]
pub(crate) struct DiskPlan {
    tables: Vec<gpt::Change>,
}

/// Reads the disks and works out the new tables; nothing is written.
pub(crate) fn plan(storage: &Storage) -> Result<DiskPlan, DiskError> {
    let mut plan = DiskPlan::default();
    for disk in &storage.disks {
        plan.tables.push(gpt::plan(disk, &devices::find(&disk.device)?)?);
    }
    // A filesystem on a disk that keeps its table can be judged now; one on a new partition cannot.
    if storage.disks.is_empty() {
        for filesystem in &storage.filesystems {
            filesystems::judge(filesystem, &devices::find(&filesystem.device)?)?;
        }
    }
    Ok(plan)
}

/// Writes tables, then filesystems.
pub(crate) fn write(plan: DiskPlan, storage: &Storage) -> Result<(), DiskError> {
    for change in plan.tables {
        gpt::write(change)?;
    }
    for filesystem in &storage.filesystems {
        filesystems::make(filesystem, &devices::wait_for(&filesystem.device)?)?;
    }
    Ok(())
}

/// Mounts the filesystems with a path below the root until the guard is dropped.
pub(crate) fn mount(storage: &Storage, root: &std::path::Path) -> Result<Mounts, DiskError> {
    let mut wanted: Vec<_> =
        storage.filesystems.iter().filter(|filesystem| mounts::is_mounted(filesystem)).collect();
    wanted.sort_by_key(|filesystem| filesystem.path.as_deref().unwrap_or_default().matches('/').count());
    let mut mounts = Mounts::default();
    for filesystem in wanted {
        mounts.mount(filesystem, &devices::wait_for(&filesystem.device)?, root)?;
    }
    Ok(mounts)
}

fn failed(what: &'static str, device: &std::path::Path) -> impl FnOnce(io::Error) -> DiskError {
    let device = device.display().to_string();
    move |source| DiskError::Device { what, device, source }
}

/// The device of that name, which may be one below `/dev/disk/by-label` and the like.
pub(crate) fn find_device(name: &str) -> Result<PathBuf, DiskError> {
    devices::find(name)
}
