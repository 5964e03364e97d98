//! Filesystems on block devices or image files: made and recognised, without any program of the host.
//!
//! ext4 is written by the crate `ext4-format`, vfat by the crate `fatfs`, swap by [`swap`]. Others are recognised, so
//! that nothing is overwritten by mistake, and refused.

mod ext4;
mod probe;
mod swap;
mod vfat;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;

pub use probe::{Found, probe};
use uuid::Uuid;

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With a journal and metadata checksums.
    Ext4,
    /// FAT12, FAT16 or FAT32, as the size asks for.
    Vfat,
    /// Swap space.
    Swap,
}

/// How a filesystem is marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks<'m> {
    /// Label, or none.
    pub label: Option<&'m str>,
    /// UUID, for vfat an id such as `12AB-34CD`; drawn at random unless given.
    pub uuid: Option<&'m str>,
}

/// Why a filesystem cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum FilesystemError {
    /// The device.
    #[error("cannot access {device}")]
    Device {
        /// Which.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not enough room.
    #[error("{device} has {size} bytes, too few for {format}")]
    TooSmall {
        /// Which.
        device: String,
        /// How large it is.
        size: u64,
        /// What for.
        format: &'static str,
    },
    /// A UUID that is none.
    #[error("`{uuid}` is no UUID for {format}")]
    BadUuid {
        /// Which.
        uuid: String,
        /// What for.
        format: &'static str,
    },
    /// A label that does not fit.
    #[error("the label `{label}` is too long for {format}")]
    BadLabel {
        /// Which.
        label: String,
        /// What for.
        format: &'static str,
    },
}

impl Format {
    /// The format of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ext4" => Some(Self::Ext4),
            "vfat" => Some(Self::Vfat),
            "swap" => Some(Self::Swap),
            _ => None,
        }
    }

    /// Its name in a config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Vfat => "vfat",
            Self::Swap => "swap",
        }
    }
}

/// Makes a filesystem that fills the device or file, and waits until it is on the disk.
///
/// # Errors
/// The device cannot be opened or written, is too small, or the marks do not fit.
pub fn make_filesystem(device: &Path, format: Format, marks: &Marks<'_>) -> Result<(), FilesystemError> {
    let shown = device.display().to_string();
    let failed = |source| FilesystemError::Device { device: shown.clone(), source };
    let mut file = OpenOptions::new().read(true).write(true).open(device).map_err(failed)?;
    let size = size_of(&mut file).map_err(failed)?;
    wipe_signatures(&file, size).map_err(failed)?;
    match format {
        Format::Ext4 => ext4::make(&file, &shown, size, marks)?,
        Format::Vfat => vfat::make(&file, &shown, marks)?,
        Format::Swap => swap::make(&file, &shown, size, marks)?,
    }
    file.sync_all().map_err(failed)
}

/// Removes what other tools would take for a filesystem: the first and last places where signatures are.
pub(crate) fn wipe_signatures(file: &File, size: u64) -> io::Result<()> {
    const ENDS: u64 = 128 * 1024;
    let zeros = vec![0; usize::try_from(ENDS.min(size)).unwrap_or_default()];
    std::os::unix::fs::FileExt::write_all_at(file, &zeros, 0)?;
    if size > 2 * ENDS {
        std::os::unix::fs::FileExt::write_all_at(file, &zeros, size - ENDS)?;
    }
    Ok(())
}

/// The size of a file or block device.
pub(crate) fn size_of(file: &mut File) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    Ok(size)
}

fn uuid_of(marks: &Marks<'_>, format: &'static str) -> Result<Uuid, FilesystemError> {
    match marks.uuid.filter(|uuid| !uuid.is_empty()) {
        None => Ok(Uuid::new_v4()),
        Some(uuid) => {
            Uuid::parse_str(uuid).map_err(|_| FilesystemError::BadUuid { uuid: uuid.into(), format })
        }
    }
}

/// A label padded with zeros to the length of its field.
fn label_of<const N: usize>(marks: &Marks<'_>, format: &'static str) -> Result<[u8; N], FilesystemError> {
    let mut field = [0; N];
    let label = marks.label.unwrap_or_default();
    match field.get_mut(..label.len()) {
        Some(room) => room.copy_from_slice(label.as_bytes()),
        None => return Err(FilesystemError::BadLabel { label: label.into(), format }),
    }
    Ok(field)
}
