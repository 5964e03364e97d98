//! The inodes of an empty filesystem: root, journal, `lost+found`.

use std::io;

use crate::geometry::{Geometry, INODE_SIZE, USED_INODES};
use crate::{BLOCK_SIZE, Device, Options, crc32c};

pub(crate) const ROOT: u32 = 2;
pub(crate) const JOURNAL: u32 = 8;
pub(crate) const LOST_FOUND: u32 = 11;

const EXTENTS: u32 = 0x8_0000;
const EXTRA_SIZE: u16 = 32;

/// Writes the inodes in use into the table of group 0, the rest of their blocks zero.
pub(crate) fn write_table<D: Device>(
    device: &mut D,
    geometry: &Geometry,
    options: &Options,
    seed: u32,
) -> io::Result<()> {
    let mut table = vec![0; (USED_INODES * INODE_SIZE).next_multiple_of(BLOCK_SIZE) as usize];
    let inodes = [
        (ROOT, 0o040_755, 3, geometry.root_block(), 1),
        (LOST_FOUND, 0o040_700, 2, geometry.lost_found_block(), 1),
        (JOURNAL, 0o100_600, 1, geometry.journal_block(), geometry.journal_blocks),
    ];
    for (number, mode, links, first, blocks) in inodes {
        let bytes = inode(number, mode, links, first, blocks, options.time, seed);
        let at = (u64::from(number) - 1) * INODE_SIZE;
        table[at as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    // The kernel checks the sums of its reserved inodes too, empty as they are.
    for number in (1..=USED_INODES as u32).filter(|number| ![ROOT, JOURNAL, LOST_FOUND].contains(number)) {
        let at = (u64::from(number) - 1) * INODE_SIZE;
        let mut empty = [0; INODE_SIZE as usize];
        put_sum(&mut empty, number, seed);
        table[at as usize..][..empty.len()].copy_from_slice(&empty);
    }
    device.write_at(&table, geometry.inode_table(0) * BLOCK_SIZE)
}

fn inode(
    number: u32,
    mode: u16,
    links: u16,
    first: u64,
    blocks: u64,
    time: u32,
    seed: u32,
) -> [u8; INODE_SIZE as usize] {
    let mut bytes = [0; INODE_SIZE as usize];
    let size = blocks * BLOCK_SIZE;
    bytes[0x00..0x02].copy_from_slice(&mode.to_le_bytes());
    bytes[0x04..0x08].copy_from_slice(&(size as u32).to_le_bytes());
    for at in [0x08, 0x0C, 0x10, 0x90] {
        bytes[at..at + 4].copy_from_slice(&time.to_le_bytes());
    }
    bytes[0x1A..0x1C].copy_from_slice(&links.to_le_bytes());
    bytes[0x1C..0x20].copy_from_slice(&((size / 512) as u32).to_le_bytes());
    bytes[0x20..0x24].copy_from_slice(&EXTENTS.to_le_bytes());
    bytes[0x28..0x28 + 60].copy_from_slice(&extent(first, blocks));
    bytes[0x80..0x82].copy_from_slice(&EXTRA_SIZE.to_le_bytes());
    put_sum(&mut bytes, number, seed);
    bytes
}

/// The whole extent tree of a file in one piece: header and one extent.
pub(crate) fn extent(first: u64, blocks: u64) -> [u8; 60] {
    let mut bytes = [0; 60];
    bytes[0..2].copy_from_slice(&0xF30Au16.to_le_bytes());
    bytes[2..4].copy_from_slice(&1u16.to_le_bytes());
    bytes[4..6].copy_from_slice(&4u16.to_le_bytes());
    bytes[16..18].copy_from_slice(&(blocks as u16).to_le_bytes());
    bytes[20..24].copy_from_slice(&(first as u32).to_le_bytes());
    bytes
}

/// The seed of everything that belongs to an inode; generations are zero here.
pub(crate) fn seed_of(number: u32, seed: u32) -> u32 {
    crc32c::update(crc32c::update(seed, &number.to_le_bytes()), &[0; 4])
}

fn put_sum(bytes: &mut [u8; INODE_SIZE as usize], number: u32, seed: u32) {
    let sum = crc32c::update(seed_of(number, seed), bytes);
    bytes[0x7C..0x7E].copy_from_slice(&(sum as u16).to_le_bytes());
    let extra = u16::from_le_bytes([bytes[0x80], bytes[0x81]]);
    if extra >= 4 {
        bytes[0x82..0x84].copy_from_slice(&((sum >> 16) as u16).to_le_bytes());
    }
}
