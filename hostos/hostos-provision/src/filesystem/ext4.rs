//! Writes an empty ext4: superblocks, group descriptors, bitmaps, the root directory, `lost+found` and a
//! journal, with metadata checksums.
//!
//! Inode tables are left to the kernel, which clears them in the background after the first mount.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::ext4_layout::{
    BLOCK, DESCRIPTOR_SIZE, GROUP_BLOCKS, Group, INODE_SIZE, INODES_PER_GROUP, Layout, META_GROUP,
};
use super::{FilesystemError, Marks, label_of, uuid_of};

const ROOT_INODE: u32 = 2;
const JOURNAL_INODE: u32 = 8;
const LOST_AND_FOUND: u32 = 11;
const FIRST_FREE_INODE: u64 = 12;

const COMPAT: u32 = 0x4 | 0x8 | 0x20; // has_journal, ext_attr, dir_index
const INCOMPAT: u32 = 0x2 | 0x10 | 0x40 | 0x80; // filetype, meta_bg, extents, 64bit
const RO_COMPAT: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400; // sparse_super … metadata_csum

const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;

const EXTENTS_FLAG: u32 = 0x8_0000;
const TAIL: usize = 12;

pub(super) fn make(file: &File, device: &str, size: u64, marks: &Marks<'_>) -> Result<(), FilesystemError> {
    let layout = Layout::of(size).ok_or_else(|| FilesystemError::TooSmall {
        device: device.into(),
        size,
        format: "ext4",
    })?;
    let uuid = *uuid_of(marks, "ext4")?.as_bytes();
    let writer = Writer {
        file,
        layout,
        uuid,
        label: label_of(marks, "ext4")?,
        seed: crc32c(!0, &uuid),
        hash_seed: *uuid::Uuid::new_v4().as_bytes(),
        now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    };
    writer.write().map_err(|source| FilesystemError::Device { device: device.into(), source })
}

struct Writer<'f> {
    file: &'f File,
    layout: Layout,
    uuid: [u8; 16],
    label: [u8; 16],
    seed: u32,
    hash_seed: [u8; 16],
    now: u64,
}

/// The blocks of group 0 that hold the first files.
#[derive(Clone, Copy)]
struct FirstFiles {
    root: u64,
    lost_and_found: u64,
    journal: u64,
    end: u64,
}

impl Writer<'_> {
    fn first_files(&self) -> FirstFiles {
        let root = self.layout.group(0).data;
        let journal = root + 2;
        FirstFiles { root, lost_and_found: root + 1, journal, end: journal + self.layout.journal_blocks }
    }

    fn write(&self) -> io::Result<()> {
        self.write_journal()?;
        self.write_directories()?;
        self.write_inodes()?;
        self.write_bitmaps()?;
        self.write_descriptors()?;
        // The superblock at the front comes last: without it there is no filesystem.
        let copies = (1..self.layout.groups).filter(|number| self.layout.group(*number).superblock);
        for number in copies.collect::<Vec<_>>() {
            self.put(self.layout.group(number).first, &self.superblock(number))?;
        }
        self.file.sync_data()?;
        self.file.write_all_at(&self.superblock(0), 1024)
    }

    fn put(&self, block: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, block * BLOCK)
    }

    /// An empty journal: its superblock alone is read until something is logged.
    fn write_journal(&self) -> io::Result<()> {
        let mut block = Block::new();
        let blocks = u32::try_from(self.layout.journal_blocks).unwrap_or(u32::MAX);
        for (at, word) in [(0, 0xc03b_3998), (4, 4), (12, 4096), (16, blocks), (20, 1), (24, 1), (0x40, 1)] {
            block.0[at..at + 4].copy_from_slice(&u32::to_be_bytes(word));
        }
        block.0[0x30..0x40].copy_from_slice(&self.uuid);
        self.put(self.first_files().journal, &block.0)
    }

    fn write_directories(&self) -> io::Result<()> {
        let files = self.first_files();
        let root = [(ROOT_INODE, "."), (ROOT_INODE, ".."), (LOST_AND_FOUND, "lost+found")];
        self.put(files.root, &self.directory(ROOT_INODE, &root))?;
        let lost = [(LOST_AND_FOUND, "."), (ROOT_INODE, "..")];
        self.put(files.lost_and_found, &self.directory(LOST_AND_FOUND, &lost))
    }

    fn directory(&self, inode: u32, entries: &[(u32, &str)]) -> Vec<u8> {
        let mut block = Block::new();
        let end = block.0.len() - TAIL;
        let mut at = 0;
        for (index, (child, name)) in entries.iter().enumerate() {
            let needed = (8 + name.len()).next_multiple_of(4);
            let length = if index + 1 == entries.len() { end - at } else { needed };
            block.word(at, *child);
            block.half(at + 4, u16::try_from(length).unwrap_or_default());
            block.0[at + 6] = u8::try_from(name.len()).unwrap_or_default();
            block.0[at + 7] = 2;
            block.0[at + 8..at + 8 + name.len()].copy_from_slice(name.as_bytes());
            at += length;
        }
        block.half(end + 4, u16::try_from(TAIL).unwrap_or_default());
        block.0[end + 7] = 0xde;
        let checksum = crc32c(self.inode_seed(inode), &block.0[..end]);
        block.word(end + 8, checksum);
        block.0
    }

    fn write_inodes(&self) -> io::Result<()> {
        let files = self.first_files();
        let table = self.layout.group(0).inode_table * BLOCK;
        let journal = self.layout.journal_blocks;
        // The first blocks of the table hold all inodes that exist; the reserved ones are empty.
        let head = (FIRST_FREE_INODE * INODE_SIZE).next_multiple_of(BLOCK);
        let mut inodes = vec![0; usize::try_from(head).unwrap_or_default()];
        for inode in 1..u32::try_from(FIRST_FREE_INODE).unwrap_or_default() {
            let bytes = match inode {
                ROOT_INODE => self.inode(inode, 0o40755, 3, files.root, 1),
                JOURNAL_INODE => self.inode(inode, 0o100_600, 1, files.journal, journal),
                LOST_AND_FOUND => self.inode(inode, 0o40700, 2, files.lost_and_found, 1),
                _ => self.empty_inode(inode),
            };
            let at = usize::try_from(u64::from(inode - 1) * INODE_SIZE).unwrap_or_default();
            inodes[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        self.file.write_all_at(&inodes, table)
    }

    fn inode(&self, number: u32, mode: u16, links: u16, first: u64, blocks: u64) -> Vec<u8> {
        let mut inode = Block(vec![0; usize::try_from(INODE_SIZE).unwrap_or_default()]);
        let size = blocks * BLOCK;
        let seconds = low(self.now);
        inode.half(0, mode);
        inode.word(4, low(size));
        for at in [8, 12, 16, 0x90] {
            inode.word(at, seconds);
        }
        inode.half(0x1a, links);
        inode.word(0x1c, low(size / 512));
        inode.word(0x20, EXTENTS_FLAG);
        inode.half(0x28, 0xf30a);
        inode.half(0x2a, 1);
        inode.half(0x2c, 4);
        inode.half(0x38, u16::try_from(blocks).unwrap_or_default());
        inode.half(0x3a, u16::try_from(first >> 32).unwrap_or_default());
        inode.word(0x3c, low(first));
        inode.word(0x6c, high(size));
        inode.half(0x80, 32);
        self.seal_inode(number, inode)
    }

    fn empty_inode(&self, number: u32) -> Vec<u8> {
        self.seal_inode(number, Block(vec![0; usize::try_from(INODE_SIZE).unwrap_or_default()]))
    }

    fn seal_inode(&self, number: u32, mut inode: Block) -> Vec<u8> {
        let checksum = crc32c(self.inode_seed(number), &inode.0);
        inode.half(0x7c, (checksum & 0xffff) as u16);
        if inode.0[0x80] > 0 {
            inode.half(0x82, (checksum >> 16) as u16);
        }
        inode.0
    }

    fn inode_seed(&self, number: u32) -> u32 {
        crc32c(crc32c(self.seed, &number.to_le_bytes()), &0_u32.to_le_bytes())
    }

    /// Bitmaps of the groups that the kernel cannot work out for itself: the first and the last one.
    fn write_bitmaps(&self) -> io::Result<()> {
        for number in 0..self.layout.groups {
            if self.flags(number) & BLOCK_UNINIT == 0 {
                let group = self.layout.group(number);
                self.put(group.block_bitmap, &self.block_bitmap(number, &group))?;
                self.put(group.inode_bitmap, &inode_bitmap(number))?;
            }
        }
        Ok(())
    }

    fn used_until(&self, number: u64, group: &Group) -> u64 {
        if number == 0 { self.first_files().end } else { group.data }
    }

    fn block_bitmap(&self, number: u64, group: &Group) -> Vec<u8> {
        let mut bitmap = vec![0; usize::try_from(BLOCK).unwrap_or_default()];
        set_bits(&mut bitmap, 0, self.used_until(number, group) - group.first);
        set_bits(&mut bitmap, group.blocks, GROUP_BLOCKS);
        bitmap
    }

    fn flags(&self, number: u64) -> u16 {
        match number {
            0 => 0,
            number if number + 1 == self.layout.groups => INODE_UNINIT,
            _ => INODE_UNINIT | BLOCK_UNINIT,
        }
    }

    fn write_descriptors(&self) -> io::Result<()> {
        for first in (0..self.layout.groups).step_by(usize::try_from(META_GROUP).unwrap_or(1)) {
            let mut block = Block::new();
            let last = self.layout.groups.min(first + META_GROUP);
            for number in first..last {
                let at = usize::try_from((number - first) * DESCRIPTOR_SIZE).unwrap_or_default();
                let descriptor = self.descriptor(number);
                block.0[at..at + descriptor.len()].copy_from_slice(&descriptor);
            }
            for number in first..last {
                if let Some(copy) = self.layout.group(number).descriptors {
                    self.put(copy, &block.0)?;
                }
            }
        }
        Ok(())
    }

    fn descriptor(&self, number: u64) -> Vec<u8> {
        let group = self.layout.group(number);
        let flags = self.flags(number);
        let mut descriptor = Block(vec![0; usize::try_from(DESCRIPTOR_SIZE).unwrap_or_default()]);
        for (at, block) in [(0, group.block_bitmap), (4, group.inode_bitmap), (8, group.inode_table)] {
            descriptor.word(at, low(block));
            descriptor.word(at + 0x20, high(block));
        }
        let free_inodes = free_inodes(number);
        descriptor.half(0xc, (self.free_blocks(number) & 0xffff) as u16);
        descriptor.half(0xe, (free_inodes & 0xffff) as u16);
        descriptor.half(0x10, if number == 0 { 2 } else { 0 });
        descriptor.half(0x12, flags);
        descriptor.half(0x1c, (free_inodes & 0xffff) as u16);
        if flags & BLOCK_UNINIT == 0 {
            let blocks = crc32c(self.seed, &self.block_bitmap(number, &group));
            let bits = usize::try_from(INODES_PER_GROUP / 8).unwrap_or_default();
            let inodes = crc32c(self.seed, &inode_bitmap(number)[..bits]);
            descriptor.half(0x18, (blocks & 0xffff) as u16);
            descriptor.half(0x38, (blocks >> 16) as u16);
            descriptor.half(0x1a, (inodes & 0xffff) as u16);
            descriptor.half(0x3a, (inodes >> 16) as u16);
        }
        let checksum = crc32c(crc32c(self.seed, &low(number).to_le_bytes()), &descriptor.0);
        descriptor.half(0x1e, (checksum & 0xffff) as u16);
        descriptor.0
    }

    fn free_blocks(&self, number: u64) -> u64 {
        let group = self.layout.group(number);
        group.first + group.blocks - self.used_until(number, &group)
    }

    fn superblock(&self, group: u64) -> Vec<u8> {
        let mut block = Block(vec![0; 1024]);
        let layout = &self.layout;
        let free_blocks: u64 = (0..layout.groups).map(|number| self.free_blocks(number)).sum();
        let free_inodes: u64 = (0..layout.groups).map(free_inodes).sum();
        let now = low(self.now);
        for (at, word) in [
            (0x00, low(layout.groups * INODES_PER_GROUP)),
            (0x04, low(layout.blocks)),
            (0x0c, low(free_blocks)),
            (0x10, low(free_inodes)),
            (0x18, 2),
            (0x1c, 2),
            (0x20, low(GROUP_BLOCKS)),
            (0x24, low(GROUP_BLOCKS)),
            (0x28, low(INODES_PER_GROUP)),
            (0x30, now),
            (0x40, now),
            (0x4c, 1),
            (0x54, LOST_AND_FOUND),
            (0x5c, COMPAT),
            (0x60, INCOMPAT),
            (0x64, RO_COMPAT),
            (0xe0, JOURNAL_INODE),
            (0x100, 0xc),
            (0x108, now),
            (0x150, high(layout.blocks)),
            (0x158, high(free_blocks)),
            (0x160, 1),
        ] {
            block.word(at, word);
        }
        block.half(0x36, u16::MAX);
        block.half(0x38, 0xef53);
        block.half(0x3a, 1);
        block.half(0x3c, 1);
        block.half(0x58, u16::try_from(INODE_SIZE).unwrap_or_default());
        block.half(0x5a, u16::try_from(group).unwrap_or_default());
        block.half(0xfe, u16::try_from(DESCRIPTOR_SIZE).unwrap_or_default());
        block.half(0x15c, 32);
        block.half(0x15e, 32);
        block.0[0x68..0x78].copy_from_slice(&self.uuid);
        block.0[0x78..0x88].copy_from_slice(&self.label);
        block.0[0xec..0xfc].copy_from_slice(&self.hash_seed);
        block.0[0xfc] = 1; // half MD4 for directory hashes
        self.back_up_journal(&mut block);
        block.0[0x175] = 1; // crc32c
        let checksum = crc32c(!0, &block.0[..0x3fc]);
        block.word(0x3fc, checksum);
        block.0
    }

    /// The superblock repeats where the journal is, for when its inode is lost.
    fn back_up_journal(&self, block: &mut Block) {
        let journal = self.layout.journal_blocks;
        let inode = self.inode(JOURNAL_INODE, 0o100_600, 1, self.first_files().journal, journal);
        block.0[0xfd] = 1;
        block.0[0x10c..0x10c + 60].copy_from_slice(&inode[0x28..0x28 + 60]);
        block.word(0x10c + 60, high(journal * BLOCK));
        block.word(0x10c + 64, low(journal * BLOCK));
    }
}

fn free_inodes(group: u64) -> u64 {
    if group == 0 { INODES_PER_GROUP - (FIRST_FREE_INODE - 1) } else { INODES_PER_GROUP }
}

fn inode_bitmap(group: u64) -> Vec<u8> {
    let mut bitmap = vec![0; usize::try_from(BLOCK).unwrap_or_default()];
    if group == 0 {
        set_bits(&mut bitmap, 0, FIRST_FREE_INODE - 1);
    }
    set_bits(&mut bitmap, INODES_PER_GROUP, BLOCK * 8);
    bitmap
}

fn set_bits(bitmap: &mut [u8], from: u64, to: u64) {
    for bit in from..to {
        let byte = usize::try_from(bit / 8).unwrap_or_default();
        bitmap[byte] |= 1 << (bit % 8);
    }
}

fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

/// Bytes with little-endian fields.
struct Block(Vec<u8>);

impl Block {
    fn new() -> Self {
        Self(vec![0; usize::try_from(BLOCK).unwrap_or_default()])
    }

    fn half(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn word(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// CRC-32C, continued from `state`, without the final inversion, as ext4 has it.
fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    bytes.iter().fold(state, |state, byte| (state >> 8) ^ TABLE[usize::from((state as u8) ^ byte)])
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::{Format, make_filesystem, probe};
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }

    /// Sizes around every bound of the layout; e2fsck finds nothing to say about any of them.
    #[test]
    fn e2fsck_finds_nothing_wrong_at_any_size() {
        let Ok(version) = Command::new("/usr/sbin/e2fsck").arg("-V").output() else {
            println!("skipped: e2fsck is not installed (apt-get install e2fsprogs)");
            return;
        };
        assert!(version.status.success());
        let group = GROUP_BLOCKS * BLOCK;
        let mib = 1 << 20;
        for size in [
            10 * mib,
            64 * mib,
            group,
            group + 3 * mib,
            5 * group - 4096,
            64 * group,
            65 * group + mib * 7,
            200 * group,
        ] {
            let image = tempfile::NamedTempFile::new().expect("a temporary file");
            image.as_file().set_len(size).expect("it is sparse");
            let marks = Marks { label: Some("STATE"), uuid: Some("01234567-89ab-cdef-0123-456789abcdef") };
            make_filesystem(image.path(), Format::Ext4, &marks).expect("it is made");
            let check = Command::new("/usr/sbin/e2fsck")
                .args(["-f", "-n"])
                .arg(image.path())
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&check.stdout);
            assert!(check.status.success(), "{size}: {said}\n{}", String::from_utf8_lossy(&check.stderr));
            let found = probe(image.path()).expect("it can be read");
            assert_eq!((found.format.as_str(), found.label.as_str()), ("ext4", "STATE"));
            assert_eq!(found.uuid, "01234567-89ab-cdef-0123-456789abcdef");
        }
    }

    #[test]
    fn a_device_without_room_is_refused() {
        let image = tempfile::NamedTempFile::new().expect("a temporary file");
        image.as_file().set_len(1 << 20).expect("it is sparse");
        let error = make_filesystem(image.path(), Format::Ext4, &Marks::default()).expect_err("too small");
        assert!(error.to_string().ends_with("has 1048576 bytes, too few for ext4"), "{error}");
    }
}
