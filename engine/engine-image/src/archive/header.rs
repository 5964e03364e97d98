//! One tar entry's metadata, and its 512-byte form: ustar, GNU long names and numbers, PAX records.

use std::io;

pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Folder,
    Fifo,
    /// Anything else by its type flag; extractors skip or refuse it.
    Other(u8),
}

/// Metadata of one entry. Paths are raw bytes as the archive has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of content that follow (for a sparse file: the size it will have).
    pub size: u64,
    pub mtime: i64,
    pub mtime_nanos: u32,
    pub link: Vec<u8>,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Data segments (offset, length) of a sparse file, in order.
    pub sparse: Option<Vec<(u64, u64)>>,
}

impl Entry {
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            mtime_nanos: 0,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        }
    }
}

pub(crate) fn bad(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// The plain fields of a header block.
pub(super) fn parse(block: &[u8; BLOCK]) -> io::Result<Entry> {
    if !checksum_fits(block) {
        return Err(bad("archive/tar: invalid tar header"));
    }
    let gnu = &block[257..265] == b"ustar  \0";
    let posix = &block[257..263] == b"ustar\0";
    let mut path = text(&block[0..100]).to_vec();
    if posix && block[345] != 0 {
        let mut long = text(&block[345..500]).to_vec();
        long.push(b'/');
        long.append(&mut path);
        path = long;
    }
    let flag = block[156];
    let kind = match flag {
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Folder,
        b'6' => Kind::Fifo,
        other => Kind::Other(other),
    };
    // Before POSIX a folder was a file whose name ends in a slash.
    let kind = if kind == Kind::File && flag != b'S' && path.ends_with(b"/") { Kind::Folder } else { kind };
    let mut entry = Entry::new(path, kind, (number(&block[100..108])? & 0o7777) as u32);
    entry.uid = id(number(&block[108..116])?)?;
    entry.gid = id(number(&block[116..124])?)?;
    entry.size = u64::try_from(number(&block[124..136])?).map_err(|_| bad("archive/tar: negative size"))?;
    entry.mtime = number(&block[136..148])?;
    entry.link = text(&block[157..257]).to_vec();
    if posix || gnu {
        let part = |bytes| number(bytes).map(|value| value as u32);
        entry.device = (part(&block[329..337])?, part(&block[337..345])?);
    }
    Ok(entry)
}

pub(super) fn id(value: i64) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| bad(format!("archive/tar: user or group ID {value} out of range")))
}

fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let Ok(stored) = number(&block[148..156]) else { return false };
    let (unsigned, signed) = checksums(block);
    stored == unsigned || stored == signed
}

fn checksums(block: &[u8; BLOCK]) -> (i64, i64) {
    block.iter().enumerate().fold((0, 0), |(unsigned, signed), (at, &byte)| {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        (unsigned + i64::from(byte), signed + i64::from(byte as i8))
    })
}

/// Bytes up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Octal text, or GNU's base 256 when the first bit is set.
pub(super) fn number(field: &[u8]) -> io::Result<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (at, &byte) in field.iter().enumerate() {
            let byte = if at == 0 && !negative { byte & 0x7f } else { byte };
            value = value << 8 | i128::from(byte);
            if i64::try_from(value).is_err() {
                return Err(bad("archive/tar: number out of range"));
            }
        }
        return Ok(value as i64);
    }
    let digits = text(field);
    let digits = std::str::from_utf8(digits).map_err(|_| bad("archive/tar: invalid tar header"))?;
    let digits = digits.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Ok(0);
    }
    i64::from_str_radix(digits, 8).map_err(|_| bad("archive/tar: invalid tar header"))
}

/// A header block; false where a field does not fit and a PAX record must say it.
pub(super) struct Encoded {
    pub block: [u8; BLOCK],
    pub name_fits: bool,
    pub link_fits: bool,
    pub size_fits: bool,
    pub time_fits: bool,
    pub uid_fits: bool,
    pub gid_fits: bool,
}

pub(super) fn encode(entry: &Entry, flag: u8) -> Encoded {
    let mut block = [0; BLOCK];
    let (prefix, name) = split_name(&entry.path).unwrap_or((b"", &entry.path[..entry.path.len().min(100)]));
    block[..name.len()].copy_from_slice(name);
    block[345..345 + prefix.len()].copy_from_slice(prefix);
    octal(&mut block[100..108], u64::from(entry.mode));
    let uid_fits = octal(&mut block[108..116], u64::from(entry.uid));
    let gid_fits = octal(&mut block[116..124], u64::from(entry.gid));
    let size_fits = octal(&mut block[124..136], entry.size);
    let time_fits = octal(&mut block[136..148], u64::try_from(entry.mtime).unwrap_or(0));
    block[156] = flag;
    let link = &entry.link[..entry.link.len().min(100)];
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], u64::from(entry.device.0));
    octal(&mut block[337..345], u64::from(entry.device.1));
    let (sum, _) = checksums(&block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Encoded {
        block,
        name_fits: entry.path.is_ascii() && split_name(&entry.path).is_some(),
        link_fits: entry.link.is_ascii() && entry.link.len() <= 100,
        size_fits,
        time_fits: time_fits && entry.mtime >= 0,
        uid_fits,
        gid_fits,
    }
}

/// As ustar stores a long path: up to 155 bytes before a slash, up to 100 after.
fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    let limit = path.len().min(156);
    let end = if path.ends_with(b"/") { path.len() - 1 } else { path.len() };
    let at = path[..limit.min(end)].iter().rposition(|&byte| byte == b'/')?;
    let (prefix, name) = (&path[..at], &path[at + 1..]);
    (!prefix.is_empty() && !name.is_empty() && name.len() <= 100).then_some((prefix, name))
}

/// Writes zero-padded octal with a closing NUL; false (and zeros) when it does not fit.
fn octal(field: &mut [u8], value: u64) -> bool {
    let width = field.len() - 1;
    let digits = format!("{value:0width$o}");
    let fits = digits.len() <= width;
    let digits = if fits { digits } else { "0".repeat(width) };
    field[..width].copy_from_slice(digits.as_bytes());
    fits
}
