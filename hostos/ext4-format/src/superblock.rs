//! The superblock and its copies, each with the group descriptors behind it.

use std::io;

use crate::geometry::{BLOCKS_PER_GROUP, Geometry, INODE_SIZE, USED_INODES};
use crate::inode::{self, JOURNAL, LOST_FOUND};
use crate::{BLOCK_SIZE, Device, Options, SUPERBLOCK, crc32c};

/// Journal, extended attributes, indexed directories.
const COMPATIBLE: u32 = 0x4 | 0x8 | 0x20;
/// File types in directories, extents.
const INCOMPATIBLE: u32 = 0x2 | 0x40;
/// Sparse copies, large and huge files, many links, extra inode space, checksums.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;

/// Writes all copies, the real one last.
pub(crate) fn write_all<D: Device>(
    device: &mut D,
    geometry: &Geometry,
    options: &Options,
    descriptors: &[u8],
) -> io::Result<()> {
    for group in (0..geometry.groups).rev().filter(|group| Geometry::has_super(*group)) {
        let first = Geometry::first_block(group) * BLOCK_SIZE;
        device.write_at(descriptors, first + BLOCK_SIZE)?;
        let within = if group == 0 { SUPERBLOCK } else { 0 };
        device.write_at(&superblock(geometry, options, group), first + within)?;
    }
    Ok(())
}

fn superblock(geometry: &Geometry, options: &Options, group: u64) -> [u8; 1024] {
    let mut sb = Fields([0; 1024]);
    let inodes = geometry.inodes_per_group * geometry.groups;
    sb.u32(0x00, inodes as u32);
    sb.u32(0x04, geometry.blocks as u32);
    sb.u32(0x0C, geometry.free_blocks() as u32);
    sb.u32(0x10, (inodes - USED_INODES) as u32);
    sb.u32(0x18, 2);
    sb.u32(0x1C, 2);
    sb.u32(0x20, BLOCKS_PER_GROUP as u32);
    sb.u32(0x24, BLOCKS_PER_GROUP as u32);
    sb.u32(0x28, geometry.inodes_per_group as u32);
    sb.u32(0x30, options.time);
    sb.u16(0x36, u16::MAX);
    sb.u16(0x38, 0xEF53);
    sb.u16(0x3A, 1);
    sb.u16(0x3C, 1);
    sb.u32(0x40, options.time);
    sb.u32(0x4C, 1);
    sb.u32(0x54, LOST_FOUND);
    sb.u16(0x58, INODE_SIZE as u16);
    sb.u16(0x5A, group as u16);
    sb.u32(0x5C, COMPATIBLE);
    sb.u32(0x60, INCOMPATIBLE);
    sb.u32(0x64, READ_ONLY_COMPATIBLE);
    sb.bytes(0x68, &options.uuid);
    sb.bytes(0x78, options.label.as_bytes());
    sb.u32(0xE0, JOURNAL);
    sb.bytes(0xEC, &options.uuid);
    sb.u8(0xFC, 1);
    sb.u8(0xFD, 1);
    // Extended attributes and access lists without being asked for.
    sb.u32(0x100, 0x000C);
    sb.u32(0x108, options.time);
    // A second copy of what leads to the journal: its extents and its size.
    sb.bytes(0x10C, &inode::extent(geometry.journal_block(), geometry.journal_blocks));
    sb.u32(0x10C + 64, (geometry.journal_blocks * BLOCK_SIZE) as u32);
    sb.u16(0x15C, 32);
    sb.u16(0x15E, 32);
    sb.u32(0x160, 1);
    sb.u8(0x175, 1);
    let sum = crc32c::update(!0, &sb.0[..0x3FC]);
    sb.u32(0x3FC, sum);
    sb.0
}

struct Fields([u8; 1024]);

impl Fields {
    fn bytes(&mut self, at: usize, value: &[u8]) {
        self.0[at..at + value.len()].copy_from_slice(value);
    }

    fn u8(&mut self, at: usize, value: u8) {
        self.0[at] = value;
    }

    fn u16(&mut self, at: usize, value: u16) {
        self.bytes(at, &value.to_le_bytes());
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.bytes(at, &value.to_le_bytes());
    }
}
