//! What is on a device, by its signature: format, label and UUID.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use uuid::Uuid;

/// A filesystem that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `ext4`, `vfat`, `swap`, `xfs`, `btrfs`, `squashfs`, `iso9660`, `crypto_LUKS`, `linux_raid_member`,
    /// or empty if nothing that we know is there.
    pub format: String,
    /// Empty if it has none.
    pub label: String,
    /// As `blkid` prints it.
    pub uuid: String,
}

/// Reads the signatures of a device or file.
///
/// # Errors
/// It cannot be read.
pub fn probe(device: &Path) -> io::Result<Found> {
    let file = File::open(device)?;
    let mut head = vec![0; 72 * 1024];
    let mut length = 0;
    while length < head.len() {
        match file.read_at(&mut head[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(signature(&head).unwrap_or_default())
}

fn signature(head: &[u8]) -> Option<Found> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    let text = |from: usize, length: usize| text(&head[from..from + length]);
    let uuid = |from: usize| {
        Uuid::from_slice(&head[from..from + 16]).map_or_else(|_| String::new(), |id| id.to_string())
    };
    let found =
        |format: &str, label: String, uuid: String| Some(Found { format: format.into(), label, uuid });
    if at(1024 + 0x38, &[0x53, 0xef]) {
        return found(ext_version(&head[1024..]), text(1024 + 0x78, 16), uuid(1024 + 0x68));
    }
    if at(0, b"XFSB") {
        return found("xfs", text(108, 12), uuid(32));
    }
    if at(0x10040, b"_BHRfS_M") {
        return found("btrfs", text(0x1012b, 256), uuid(0x10020));
    }
    if at(4086, b"SWAPSPACE2") {
        return found("swap", text(1052, 16), uuid(1036));
    }
    if at(0, b"LUKS\xba\xbe") {
        return found("crypto_LUKS", String::new(), text(168, 40));
    }
    if at(0, b"hsqs") {
        return found("squashfs", String::new(), String::new());
    }
    if at(0x8001, b"CD001") {
        return found("iso9660", text(0x8028, 32), String::new());
    }
    if at(4096, &[0xfc, 0x4e, 0x2b, 0xa9]) {
        return found("linux_raid_member", text(4096 + 32, 32), String::new());
    }
    if at(510, &[0x55, 0xaa]) {
        return fat(head);
    }
    None
}

fn ext_version(superblock: &[u8]) -> &'static str {
    let word = |at: usize| u32::from_le_bytes(superblock[at..at + 4].try_into().unwrap_or_default());
    let (compat, incompat) = (word(0x5c), word(0x60));
    if incompat & 0x2c0 != 0 {
        "ext4"
    } else if compat & 4 != 0 {
        "ext3"
    } else {
        "ext2"
    }
}

fn fat(head: &[u8]) -> Option<Found> {
    let (label, id) = if head.get(82..87) == Some(b"FAT32") {
        (71, 67)
    } else if head.get(54..57) == Some(b"FAT") {
        (43, 39)
    } else {
        return None;
    };
    let id = u32::from_le_bytes(head[id..id + 4].try_into().ok()?);
    let label = text(&head[label..label + 11]);
    let label = if label == "NO NAME" { String::new() } else { label };
    Some(Found { format: "vfat".into(), label, uuid: format!("{:04X}-{:04X}", id >> 16, id & 0xffff) })
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim_end().to_owned()
}
