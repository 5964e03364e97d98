//! The blocks of the two directories.

use std::io;

use crate::geometry::Geometry;
use crate::inode::{self, LOST_FOUND, ROOT};
use crate::{BLOCK_SIZE, Device, crc32c};

const DIRECTORY: u8 = 2;

/// Bytes at the end of a block that hold its checksum.
const TAIL: usize = 12;

pub(crate) fn write<D: Device>(device: &mut D, geometry: &Geometry, seed: u32) -> io::Result<()> {
    let root = block(ROOT, &[(ROOT, "."), (ROOT, ".."), (LOST_FOUND, "lost+found")], seed);
    device.write_at(&root, geometry.root_block() * BLOCK_SIZE)?;
    let lost = block(LOST_FOUND, &[(LOST_FOUND, "."), (ROOT, "..")], seed);
    device.write_at(&lost, geometry.lost_found_block() * BLOCK_SIZE)
}

fn block(owner: u32, entries: &[(u32, &str)], seed: u32) -> Vec<u8> {
    let end = BLOCK_SIZE as usize - TAIL;
    let mut bytes = Vec::new();
    for (index, (number, name)) in entries.iter().enumerate() {
        let last = index + 1 == entries.len();
        let short = (8 + name.len()).next_multiple_of(4);
        let length = if last { end - bytes.len() } else { short };
        let start = bytes.len();
        bytes.extend(number.to_le_bytes());
        bytes.extend((length as u16).to_le_bytes());
        bytes.push(name.len() as u8);
        bytes.push(DIRECTORY);
        bytes.extend(name.as_bytes());
        bytes.resize(start + length, 0);
    }
    let sum = crc32c::update(inode::seed_of(owner, seed), &bytes);
    bytes.extend([0, 0, 0, 0, TAIL as u8, 0, 0, 0xDE]);
    bytes.extend(sum.to_le_bytes());
    bytes
}
