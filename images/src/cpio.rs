//! The `newc` cpio archive that the kernel unpacks as its initramfs.

use crate::tree::{Node, Tree};

const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHAR: u32 = 0o020_000;

/// The archive of `tree`: owned by root, dated 1970, inode numbers counted up.
pub(crate) fn write(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, (path, entry)) in tree.iter().enumerate() {
        let (kind, data, device): (u32, &[u8], (u32, u32)) = match &entry.node {
            Node::Dir => (DIR, &[], (0, 0)),
            Node::File(content) => (FILE, content, (0, 0)),
            Node::Link(target) => (LINK, target.as_bytes(), (0, 0)),
            Node::CharDevice(major, minor) => (CHAR, &[], (*major, *minor)),
        };
        let inode = u32::try_from(index).expect("a tree has fewer than four billion paths") + 1;
        member(&mut out, inode, kind | entry.mode, device, path, data);
    }
    member(&mut out, 0, 0, (0, 0), "TRAILER!!!", &[]);
    out
}

fn member(out: &mut Vec<u8>, inode: u32, mode: u32, device: (u32, u32), name: &str, data: &[u8]) {
    let size = u32::try_from(data.len()).expect("a file of an initramfs is smaller than 4 GiB");
    let name_size = u32::try_from(name.len() + 1).expect("a path is short");
    let links = 1;
    let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(data);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_aligned_and_the_trailer_ends_it() {
        let mut tree = Tree::default();
        tree.file("init", 0o755, b"#!x".to_vec());
        tree.char_device("dev/console", 0o600, 5, 1);
        let bytes = write(&tree);
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"070701"));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("TRAILER!!!"));
        assert_eq!(text.matches("070701").count(), 4);
        // init: inode 3, regular file 0755
        assert!(text.contains("07070100000003000081ED"), "{text}");
    }
}
