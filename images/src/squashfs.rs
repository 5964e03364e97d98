//! Writes a tree as a squashfs image: zstd, owned by root, dated at the release's own date.

use std::io::Cursor;

use backhand::compression::{CompressionOptions, Compressor, Zstd};
use backhand::{BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader};

use crate::tree::{Node, Tree};

/// Large blocks pack better, small ones waste less memory when a page of a program is needed.
const BLOCK_SIZE: u32 = 128 * 1024;

/// The image of `tree`, every file dated `date` (seconds since 1970).
pub(crate) fn write(tree: &Tree, date: u32) -> Result<Vec<u8>, BackhandError> {
    let mut writer = FilesystemWriter::default();
    writer.set_time(date);
    writer.set_block_size(BLOCK_SIZE);
    let zstd = CompressionOptions::Zstd(Zstd { compression_level: 19 });
    writer.set_compressor(FilesystemCompressor::new(Compressor::Zstd, Some(zstd))?);
    writer.set_root_mode(0o755);
    for (path, entry) in tree.iter() {
        let permissions = u16::try_from(entry.mode).expect("permission bits fit");
        let header = NodeHeader { permissions, uid: 0, gid: 0, mtime: date };
        match &entry.node {
            Node::Dir => writer.push_dir(path, header)?,
            Node::File(content) => writer.push_file(Cursor::new(content.clone()), path, header)?,
            Node::Link(target) => writer.push_symlink(target, path, header)?,
            Node::CharDevice(major, minor) => writer.push_char_device((major << 8) | minor, path, header)?,
        }
    }
    let mut out = Cursor::new(Vec::new());
    writer.write(&mut out)?;
    Ok(out.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        let mut tree = Tree::default();
        tree.file("usr/bin/x", 0o755, vec![7; 300_000]);
        tree.link("bin", "usr/bin");
        let first = write(&tree, 5).unwrap();
        assert_eq!(first, write(&tree, 5).unwrap());
        assert!(first.starts_with(b"hsqs"));
    }
}
