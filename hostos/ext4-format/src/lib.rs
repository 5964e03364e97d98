//! Makes an empty ext4 filesystem on a disk or in a file, as `mke2fs -t ext4` would: journal, extents
//! and checksums on everything.
//!
//! Only what the kernel needs is written: groups nobody uses yet are marked so, and the kernel fills
//! them in. Time and identity come from the caller, so equal arguments give equal bytes. There is no
//! reading, repairing or resizing here; the kernel grows a mounted filesystem by itself.

mod crc32c;
mod directory;
mod geometry;
mod inode;
mod journal;
mod superblock;

use std::io;

use geometry::Geometry;

/// Bytes of a block. The kernel can use nothing larger here, and smaller ones gain nothing.
pub const BLOCK_SIZE: u64 = 4096;

/// Where the superblock is, in bytes. What lies before it belongs to boot loaders and the caller.
pub const SUPERBLOCK: u64 = 1024;

/// What makes this filesystem different from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// At most 16 bytes.
    pub label: String,
    /// Must be random, or two disks could be mistaken for one.
    pub uuid: [u8; 16],
    /// Seconds since 1970.
    pub time: u32,
}

/// Why there is no filesystem.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The device is too small for a filesystem with a journal.
    #[error("{0} bytes are too few for an ext4 filesystem; it needs 16 MiB")]
    TooSmall(u64),
    /// Block numbers would not fit.
    #[error("{0} bytes are too many for this ext4 filesystem; it ends at 16 TiB")]
    TooLarge(u64),
    /// The label is too long.
    #[error("the label `{0}` has more than 16 bytes")]
    Label(String),
    /// The device.
    #[error("cannot write the filesystem")]
    Write(#[from] io::Error),
}

/// Something that bytes can be put into at any place, as [`std::fs::File`].
pub trait Device {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

impl Device for std::fs::File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }
}

/// Makes a filesystem of `size` bytes. The superblock is written last: an interrupted run leaves
/// nothing that looks like a filesystem. The caller syncs.
pub fn format<D: Device>(device: &mut D, size: u64, options: &Options) -> Result<(), FormatError> {
    if options.label.len() > 16 {
        return Err(FormatError::Label(options.label.clone()));
    }
    let geometry = Geometry::of(size)?;
    let seed = crc32c::update(!0, &options.uuid);
    // Of block 0 only what a superblock covers: the first 1024 bytes are nobody's.
    device.write_at(&[0; BLOCK_SIZE as usize - SUPERBLOCK as usize], SUPERBLOCK)?;
    inode::write_table(device, &geometry, options, seed)?;
    directory::write(device, &geometry, seed)?;
    journal::write(device, &geometry, &options.uuid)?;
    let descriptors = geometry::write_bitmaps(device, &geometry, seed)?;
    superblock::write_all(device, &geometry, options, &descriptors)?;
    Ok(())
}
