//! A layer's tar without the contents of its files: with the unpacked files, the very same bytes again.
//!
//! Kept for layers of which no compressed blob is kept. Encoding (zstd): records `0 len bytes` (framing) and
//! `1 size pathlen path` (a file's content) and `2 len bytes` (content that is no longer in a file), then `9`.
//! Numbers are little-endian u64.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::header::{Entry, bad};
use super::reader::Watch;
use crate::dirfd;

/// Contents replaced later in the same layer are kept in memory up to this.
const MOST_REPLACED: usize = 16 << 20;

enum Record {
    Framing(Vec<u8>),
    File { path: PathBuf, size: u64 },
    Embedded(Vec<u8>),
}

/// Records while a layer is unpacked.
#[derive(Default)]
pub struct Recorder {
    records: Vec<Record>,
    files: HashMap<PathBuf, usize>,
    embedded: usize,
}

impl Watch for Recorder {
    fn framing(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.records.last_mut() {
            Some(Record::Framing(last)) => last.extend_from_slice(bytes),
            _ => self.records.push(Record::Framing(bytes.to_vec())),
        }
        Ok(())
    }

    fn content(&mut self, entry: &Entry, size: u64) -> io::Result<()> {
        if size > 0 {
            let path = dirfd::clean(Path::new(OsStr::from_bytes(&entry.path)));
            self.files.insert(path.clone(), self.records.len());
            self.records.push(Record::File { path, size });
        }
        Ok(())
    }

    fn replaced(&mut self, path: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        // A file's record is made before room is made for it: only the one before it counts.
        let own = self.records.len().wrapping_sub(1);
        let before = self.records.iter().enumerate().rposition(|(at, record)| {
            at != own && matches!(record, Record::File { path: recorded, .. } if recorded == path)
        });
        if let Some(at) = before {
            let mut content = Vec::new();
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?);
            file.take(MOST_REPLACED as u64 + 1).read_to_end(&mut content)?;
            self.embedded += content.len();
            if self.embedded > MOST_REPLACED {
                return Err(bad("the layer replaces its own large files"));
            }
            self.records[at] = Record::Embedded(content);
            return Ok(());
        }
        let below = self.files.keys().any(|recorded| recorded != path && recorded.starts_with(path));
        if below { Err(bad("the layer replaces a folder of its own")) } else { Ok(()) }
    }
}

impl Recorder {
    /// The encoded form.
    pub fn encode(self) -> io::Result<Vec<u8>> {
        let mut out = zstd::Encoder::new(Vec::new(), 1)?;
        for record in self.records {
            match record {
                Record::Framing(bytes) => put(&mut out, 0, &[], &bytes)?,
                Record::File { path, size } => put(&mut out, 1, &[size], path.as_os_str().as_bytes())?,
                Record::Embedded(bytes) => put(&mut out, 2, &[], &bytes)?,
            }
        }
        out.write_all(&[9])?;
        out.finish()
    }
}

fn put(out: &mut impl Write, tag: u8, numbers: &[u64], bytes: &[u8]) -> io::Result<()> {
    out.write_all(&[tag])?;
    for number in numbers {
        out.write_all(&number.to_le_bytes())?;
    }
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(bytes)
}

/// Writes the layer's tar again. The caller checks the digest.
pub fn assemble(split: impl Read, root: BorrowedFd<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut split = BufReader::new(zstd::Decoder::new(split)?);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let mut tag = [0];
        split.read_exact(&mut tag)?;
        match tag[0] {
            0 | 2 => {
                let length = number(&mut split)?;
                copy_exact(&mut split, length, &mut buffer, out)?;
            }
            1 => {
                let size = number(&mut split)?;
                let length = usize::try_from(number(&mut split)?).ok().filter(|length| *length <= 64 * 1024);
                let mut path = vec![0; length.ok_or_else(|| bad("a layer's split is damaged"))?];
                split.read_exact(&mut path)?;
                let path = Path::new(OsStr::from_bytes(&path));
                let file = dirfd::open_in(root, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
                copy_exact(&mut File::from(file), size, &mut buffer, out)?;
            }
            9 => return Ok(()),
            _ => return Err(bad("a layer's split is damaged")),
        }
    }
}

fn number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn copy_exact(
    from: &mut impl Read,
    mut length: u64,
    buffer: &mut [u8],
    out: &mut impl Write,
) -> io::Result<()> {
    while length > 0 {
        let most = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let read = from.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.write_all(&buffer[..read])?;
        length -= read as u64;
    }
    Ok(())
}
