//! The journal: empty, so its first block says everything.

use std::io;

use crate::geometry::Geometry;
use crate::{BLOCK_SIZE, Device};

pub(crate) fn write<D: Device>(device: &mut D, geometry: &Geometry, uuid: &[u8; 16]) -> io::Result<()> {
    let mut bytes = vec![0; BLOCK_SIZE as usize];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0x00, 0xC03B_3998);
    put(0x04, 4);
    put(0x0C, BLOCK_SIZE as u32);
    put(0x10, geometry.journal_blocks as u32);
    put(0x14, 1);
    // Blocks of an older journal below this one must not look like its successors.
    let sequence = u32::from_be_bytes([uuid[0] & 0x3F, uuid[1], uuid[2], uuid[3]]) | 1;
    put(0x18, sequence);
    put(0x40, 1);
    device.write_at(&bytes, geometry.journal_block() * BLOCK_SIZE)
}
