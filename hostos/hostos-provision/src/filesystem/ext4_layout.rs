//! Where everything of an ext4 goes: pure arithmetic over the size of the device.
//!
//! Blocks of 4 KiB in groups of 32,768. A group begins with a copy of the superblock (groups 0, 1 and the
//! powers of 3, 5 and 7), a block of group descriptors (`meta_bg`: the first, second and last group of each
//! 64 hold those of the 64), its two bitmaps and its inode table. `meta_bg` needs no reserved blocks to grow.

pub(super) const BLOCK: u64 = 4096;
pub(super) const GROUP_BLOCKS: u64 = 32_768;
pub(super) const INODES_PER_GROUP: u64 = 8_192;
pub(super) const INODE_SIZE: u64 = 256;
pub(super) const TABLE_BLOCKS: u64 = INODES_PER_GROUP * INODE_SIZE / BLOCK;
pub(super) const DESCRIPTOR_SIZE: u64 = 64;
/// Groups whose descriptors share a block.
pub(super) const META_GROUP: u64 = BLOCK / DESCRIPTOR_SIZE;

/// A whole filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) blocks: u64,
    pub(super) groups: u64,
    pub(super) journal_blocks: u64,
}

/// One group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) first: u64,
    pub(super) blocks: u64,
    pub(super) superblock: bool,
    /// Where its copy of the descriptors of its 64 groups is, if it holds one.
    pub(super) descriptors: Option<u64>,
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    /// The first block that holds no metadata of the group.
    pub(super) data: u64,
}

/// Blocks that a group needs beside its data: the smallest last group that is worth having.
const LEAST_GROUP: u64 = TABLE_BLOCKS + 64;

impl Layout {
    /// The layout for a device, or nothing if it is too small.
    pub(super) fn of(size: u64) -> Option<Self> {
        let blocks = size / BLOCK;
        let rest = blocks % GROUP_BLOCKS;
        let blocks = if blocks > GROUP_BLOCKS && rest < LEAST_GROUP { blocks - rest } else { blocks };
        let journal_blocks = match (blocks * BLOCK) >> 20 {
            0..=7 => return None,
            8..=63 => 1024,
            64..=511 => 4096,
            512..=4095 => 8192,
            _ => 16_384,
        };
        let layout = Self { blocks, groups: blocks.div_ceil(GROUP_BLOCKS), journal_blocks };
        let first = layout.group(0);
        (first.data + journal_blocks + 8 <= first.first + first.blocks).then_some(layout)
    }

    pub(super) fn group(&self, number: u64) -> Group {
        let first = number * GROUP_BLOCKS;
        let superblock = has_superblock(number);
        let meta_groups = [0, 1, META_GROUP - 1];
        let holds = meta_groups.contains(&(number % META_GROUP));
        let next = first + u64::from(superblock);
        let block_bitmap = next + u64::from(holds);
        Group {
            first,
            blocks: GROUP_BLOCKS.min(self.blocks - first),
            superblock,
            descriptors: holds.then_some(next),
            block_bitmap,
            inode_bitmap: block_bitmap + 1,
            inode_table: block_bitmap + 2,
            data: block_bitmap + 2 + TABLE_BLOCKS,
        }
    }
}

fn has_superblock(group: u64) -> bool {
    group <= 1 || [3_u64, 5, 7].into_iter().any(|base| is_power(group, base))
}

fn is_power(mut number: u64, base: u64) -> bool {
    while number > 1 && number.is_multiple_of(base) {
        number /= base;
    }
    number == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_are_where_sparse_super_wants_them() {
        let with: Vec<u64> = (0..130).filter(|group| has_superblock(*group)).collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn a_stub_of_a_last_group_is_left_out() {
        let whole = GROUP_BLOCKS * BLOCK;
        let layout = Layout::of(2 * whole + 100 * BLOCK).expect("it fits");
        assert_eq!((layout.groups, layout.blocks), (2, 2 * GROUP_BLOCKS));
        assert_eq!(Layout::of(1 << 20), None);
    }
}
