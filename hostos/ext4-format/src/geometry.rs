//! Where everything is: block groups, their bitmaps and inode tables.

use std::io;

use crate::{BLOCK_SIZE, Device, FormatError, crc32c};

pub(crate) const BLOCKS_PER_GROUP: u64 = 32768;
pub(crate) const INODE_SIZE: u64 = 256;
const DESCRIPTOR_SIZE: u64 = 32;
const BYTES_PER_INODE: u64 = 16384;
const SMALLEST: u64 = 16 * 1024 * 1024;

/// Inodes 1 to 10 are the kernel's own, 11 is `lost+found`.
pub(crate) const USED_INODES: u64 = 11;

const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) blocks: u64,
    pub(crate) groups: u64,
    pub(crate) inodes_per_group: u64,
    pub(crate) journal_blocks: u64,
}

impl Geometry {
    pub(crate) fn of(size: u64) -> Result<Self, FormatError> {
        if size < SMALLEST {
            return Err(FormatError::TooSmall(size));
        }
        let mut blocks = size / BLOCK_SIZE;
        if blocks > u64::from(u32::MAX) {
            return Err(FormatError::TooLarge(size));
        }
        let inodes = (blocks.min(BLOCKS_PER_GROUP) * BLOCK_SIZE / BYTES_PER_INODE).next_multiple_of(16);
        let journal_blocks = match blocks {
            0..32768 => 1024,
            32768..262_144 => 4096,
            262_144..524_288 => 8192,
            _ => 16384,
        };
        let mut geometry = Self { blocks, groups: 0, inodes_per_group: inodes, journal_blocks };
        geometry.groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let last = blocks - (geometry.groups - 1) * BLOCKS_PER_GROUP;
        // A last group with room for little more than its own tables is not worth having.
        if geometry.groups > 1 && last < geometry.overhead(geometry.groups - 1) + 64 {
            blocks -= last;
            geometry.groups -= 1;
            geometry.blocks = blocks;
        }
        Ok(geometry)
    }

    pub(crate) fn first_block(group: u64) -> u64 {
        group * BLOCKS_PER_GROUP
    }

    pub(crate) fn blocks_in(&self, group: u64) -> u64 {
        (self.blocks - Self::first_block(group)).min(BLOCKS_PER_GROUP)
    }

    pub(crate) fn descriptor_blocks(&self) -> u64 {
        (self.groups * DESCRIPTOR_SIZE).div_ceil(BLOCK_SIZE)
    }

    pub(crate) fn table_blocks(&self) -> u64 {
        (self.inodes_per_group * INODE_SIZE).div_ceil(BLOCK_SIZE)
    }

    /// Whether the group holds a copy of superblock and descriptors.
    pub(crate) fn has_super(group: u64) -> bool {
        let power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        group <= 1 || power_of(3) || power_of(5) || power_of(7)
    }

    pub(crate) fn block_bitmap(&self, group: u64) -> u64 {
        let before = if Self::has_super(group) { 1 + self.descriptor_blocks() } else { 0 };
        Self::first_block(group) + before
    }

    pub(crate) fn inode_bitmap(&self, group: u64) -> u64 {
        self.block_bitmap(group) + 1
    }

    pub(crate) fn inode_table(&self, group: u64) -> u64 {
        self.block_bitmap(group) + 2
    }

    /// Blocks at the start of a group that hold its own tables.
    pub(crate) fn overhead(&self, group: u64) -> u64 {
        self.inode_table(group) + self.table_blocks() - Self::first_block(group)
    }

    /// In group 0, after its tables: root directory, `lost+found`, journal.
    pub(crate) fn root_block(&self) -> u64 {
        self.overhead(0)
    }

    pub(crate) fn lost_found_block(&self) -> u64 {
        self.root_block() + 1
    }

    pub(crate) fn journal_block(&self) -> u64 {
        self.root_block() + 2
    }

    pub(crate) fn used_blocks(&self, group: u64) -> u64 {
        let data = if group == 0 { 2 + self.journal_blocks } else { 0 };
        self.overhead(group) + data
    }

    pub(crate) fn free_blocks(&self) -> u64 {
        (0..self.groups).map(|group| self.blocks_in(group) - self.used_blocks(group)).sum()
    }
}

/// Writes the bitmaps that the kernel will not make by itself, and gives back all descriptors.
pub(crate) fn write_bitmaps<D: Device>(
    device: &mut D,
    geometry: &Geometry,
    seed: u32,
) -> io::Result<Vec<u8>> {
    let mut descriptors = Vec::new();
    for group in 0..geometry.groups {
        // The kernel wants to see the end of the filesystem in the last bitmap.
        let real = group == 0 || group == geometry.groups - 1;
        let mut flags = if group == 0 { 0 } else { INODE_UNINIT };
        let (mut block_sum, mut inode_sum) = (0, 0);
        if real {
            let map = bitmap(geometry.used_blocks(group), geometry.blocks_in(group));
            device.write_at(&map, geometry.block_bitmap(group) * BLOCK_SIZE)?;
            block_sum = crc32c::update(seed, &map);
        } else {
            flags |= BLOCK_UNINIT;
        }
        if group == 0 {
            let map = bitmap(USED_INODES, geometry.inodes_per_group);
            device.write_at(&map, geometry.inode_bitmap(0) * BLOCK_SIZE)?;
            inode_sum = crc32c::update(seed, &map[..(geometry.inodes_per_group / 8) as usize]);
        }
        descriptors.extend(descriptor(geometry, group, flags, block_sum, inode_sum, seed));
    }
    descriptors.resize((geometry.descriptor_blocks() * BLOCK_SIZE) as usize, 0);
    Ok(descriptors)
}

fn descriptor(
    geometry: &Geometry,
    group: u64,
    flags: u16,
    block_sum: u32,
    inode_sum: u32,
    seed: u32,
) -> [u8; DESCRIPTOR_SIZE as usize] {
    let used_inodes = if group == 0 { USED_INODES } else { 0 };
    let free_blocks = geometry.blocks_in(group) - geometry.used_blocks(group);
    let free_inodes = (geometry.inodes_per_group - used_inodes) as u16;
    let directories: u16 = if group == 0 { 2 } else { 0 };
    let mut bytes = [0; DESCRIPTOR_SIZE as usize];
    bytes[0..4].copy_from_slice(&(geometry.block_bitmap(group) as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&(geometry.inode_bitmap(group) as u32).to_le_bytes());
    bytes[8..12].copy_from_slice(&(geometry.inode_table(group) as u32).to_le_bytes());
    bytes[12..14].copy_from_slice(&(free_blocks as u16).to_le_bytes());
    bytes[14..16].copy_from_slice(&free_inodes.to_le_bytes());
    bytes[16..18].copy_from_slice(&directories.to_le_bytes());
    bytes[18..20].copy_from_slice(&flags.to_le_bytes());
    bytes[24..26].copy_from_slice(&(block_sum as u16).to_le_bytes());
    bytes[26..28].copy_from_slice(&(inode_sum as u16).to_le_bytes());
    bytes[28..30].copy_from_slice(&free_inodes.to_le_bytes());
    let sum = crc32c::update(crc32c::update(seed, &(group as u32).to_le_bytes()), &bytes);
    bytes[30..32].copy_from_slice(&(sum as u16).to_le_bytes());
    bytes
}

/// One block of bits: the first `used` taken, and everything from `end` on, which does not exist.
fn bitmap(used: u64, end: u64) -> Vec<u8> {
    let mut map = vec![0; BLOCK_SIZE as usize];
    for bit in (0..used).chain(end..BLOCK_SIZE * 8) {
        map[(bit / 8) as usize] |= 1 << (bit % 8);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_in_groups_0_1_and_powers_of_3_5_7() {
        let with: Vec<_> = (0..50).filter(|group| Geometry::has_super(*group)).collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49]);
    }

    #[test]
    fn a_useless_last_group_is_left_out() {
        let size = (BLOCKS_PER_GROUP + 10) * BLOCK_SIZE;
        assert_eq!(Geometry::of(size).unwrap().groups, 1);
    }
}
