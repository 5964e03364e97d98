//! Reading a tar stream entry by entry, with bounds on everything an archive says about itself.
//!
//! Every byte consumed can be watched ([`Watch`]), which is how a layer's framing is recorded without its contents.

use std::ffi::OsStr;
use std::io::{self, BufRead, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::header::{self, BLOCK, Entry, Kind, bad};

/// Longest PAX header or GNU long name taken.
const LONGEST_EXTENSION: u64 = 1 << 20;
const MOST_SEGMENTS: usize = 100_000;

/// Sees what passes: framing bytes as they are; contents of regular files only by length.
pub trait Watch {
    fn framing(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// `size` bytes of content of the file just announced follow in the stream.
    fn content(&mut self, entry: &Entry, size: u64) -> io::Result<()>;
    /// The extractor is about to remove `name` in `parent` (`path` from the root) to make room.
    fn replaced(&mut self, path: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let _ = (path, parent, name);
        Ok(())
    }
}

/// Watches nothing.
pub struct NoWatch;

impl Watch for NoWatch {
    fn framing(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn content(&mut self, _: &Entry, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A tar stream.
pub struct Reader<R, W = NoWatch> {
    inner: R,
    pub watch: W,
    /// Content of the current entry still in the stream, and padding after it.
    left: u64,
    padding: u64,
    /// Content that is watched as framing (of a sparse file).
    embed: bool,
    ended: bool,
}

/// PAX records in force for the next entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: BufRead, W: Watch> Reader<R, W> {
    pub fn new(inner: R, watch: W) -> Self {
        Self { inner, watch, left: 0, padding: 0, embed: false, ended: false }
    }

    /// The next entry; what was not read of the one before is skipped.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        self.skip_rest()?;
        if self.ended {
            return Ok(None);
        }
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.header_block()? else { return Ok(None) };
            let entry = header::parse(&block)?;
            match entry.kind {
                Kind::Other(b'x') => extensions.records = pax_records(&self.extension(entry.size)?)?,
                // Global records: read past; images have none that matter.
                Kind::Other(b'g') => drop(self.extension(entry.size)?),
                Kind::Other(b'L') => extensions.path = Some(long_name(self.extension(entry.size)?)),
                Kind::Other(b'K') => extensions.link = Some(long_name(self.extension(entry.size)?)),
                _ => return self.finish_entry(entry, &block, extensions).map(Some),
            }
        }
    }

    fn finish_entry(
        &mut self,
        mut entry: Entry,
        block: &[u8; BLOCK],
        extensions: Extensions,
    ) -> io::Result<Entry> {
        entry.path = extensions.path.unwrap_or(entry.path);
        entry.link = extensions.link.unwrap_or(entry.link);
        let mut sparse = SparsePax::default();
        for (key, value) in &extensions.records {
            apply(&mut entry, key, value, &mut sparse)?;
        }
        let has_content = matches!(entry.kind, Kind::File | Kind::Other(_));
        let stored = if has_content { entry.size } else { 0 };
        self.left = stored;
        self.padding = stored.wrapping_neg() % BLOCK as u64;
        self.embed = false;
        if block[156] == b'S' {
            self.embed = true;
            self.old_sparse(&mut entry, block)?;
        } else if sparse.is_sparse() {
            self.embed = true;
            self.pax_sparse(&mut entry, sparse)?;
        } else if entry.kind == Kind::File {
            self.watch.content(&entry, stored)?;
        } else {
            self.embed = true;
        }
        if !has_content {
            entry.size = 0;
        }
        if let Some(segments) = &entry.sparse {
            check_segments(segments, entry.size, self.left)?;
        }
        if entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(bad("archive/tar: a name contains a NUL byte"));
        }
        Ok(entry)
    }

    /// Hands the current entry's stored content on in pieces, as they lie in the buffer.
    pub fn content(&mut self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while self.left > 0 {
            let buffer = self.inner.fill_buf()?;
            if buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            take(&buffer[..length])?;
            if self.embed {
                self.watch.framing(&buffer[..length])?;
            }
            self.inner.consume(length);
            self.left -= length as u64;
        }
        Ok(())
    }

    /// The whole content of a small entry.
    pub fn content_bytes(&mut self, most: u64) -> io::Result<Vec<u8>> {
        if self.left > most {
            return Err(bad(format!("an archive member of {} bytes is too large", self.left)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.left).unwrap_or(0));
        self.content(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads what follows the end marker, so that a digest covers the whole stream. Gives the reader back.
    pub fn finish(mut self) -> io::Result<(R, W)> {
        loop {
            let buffer = self.inner.fill_buf()?;
            if buffer.is_empty() {
                return Ok((self.inner, self.watch));
            }
            let length = buffer.len();
            self.watch.framing(buffer)?;
            self.inner.consume(length);
        }
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        self.content(|_| Ok(()))?;
        let mut padding = [0; BLOCK];
        let length = usize::try_from(self.padding).unwrap_or(0);
        self.padding = 0;
        if length > 0 {
            let read = read_full(&mut self.inner, &mut padding[..length])?;
            self.watch.framing(&padding[..read])?;
            // Some writers leave the last padding out.
            self.ended |= read < length;
        }
        Ok(())
    }

    /// The next header block; none at the end marker or the end of the stream.
    fn header_block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut zeros = 0;
        loop {
            let mut block = [0; BLOCK];
            let read = read_full(&mut self.inner, &mut block)?;
            self.watch.framing(&block[..read])?;
            match read {
                0 => {
                    self.ended = true;
                    return Ok(None);
                }
                BLOCK => {}
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            if block.iter().any(|&byte| byte != 0) {
                return if zeros == 0 {
                    Ok(Some(block))
                } else {
                    Err(bad("archive/tar: invalid tar header"))
                };
            }
            zeros += 1;
            if zeros == 2 {
                self.ended = true;
                return Ok(None);
            }
        }
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > LONGEST_EXTENSION {
            return Err(bad("archive/tar: header field too long"));
        }
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut bytes = vec![0; usize::try_from(padded).unwrap_or(0)];
        self.inner.read_exact(&mut bytes)?;
        self.watch.framing(&bytes)?;
        bytes.truncate(usize::try_from(size).unwrap_or(0));
        Ok(bytes)
    }

    /// GNU's old sparse form: segments in the header, and in blocks after it.
    fn old_sparse(&mut self, entry: &mut Entry, block: &[u8; BLOCK]) -> io::Result<()> {
        let mut segments = Vec::new();
        push_segments(&block[386..482], &mut segments)?;
        entry.size = u64::try_from(header::number(&block[483..495])?)
            .map_err(|_| bad("archive/tar: negative size"))?;
        let mut more = block[482] != 0;
        while more {
            let mut extra = [0; BLOCK];
            self.inner.read_exact(&mut extra)?;
            self.watch.framing(&extra)?;
            push_segments(&extra[..504], &mut segments)?;
            more = extra[504] != 0;
        }
        entry.sparse = Some(segments);
        Ok(())
    }

    /// PAX sparse forms: 0.x has the map in records, 1.0 at the beginning of the content.
    fn pax_sparse(&mut self, entry: &mut Entry, sparse: SparsePax) -> io::Result<()> {
        entry.size = sparse.real_size.ok_or_else(|| bad("archive/tar: sparse file without a size"))?;
        if let Some(name) = sparse.name {
            entry.path = name;
        }
        entry.sparse = Some(match sparse.map {
            Some(map) => map,
            None if sparse.major == Some(1) => self.sparse_map_in_content()?,
            None => Vec::new(),
        });
        Ok(())
    }

    fn sparse_map_in_content(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut text = Vec::new();
        let mut wanted = None;
        loop {
            let lines = text.iter().filter(|&&byte| byte == b'\n').count();
            if wanted.is_none() && lines > 0 {
                let count = number_line(&text, 0)?;
                let count = usize::try_from(count).ok().filter(|count| *count <= MOST_SEGMENTS);
                wanted = Some(1 + 2 * count.ok_or_else(|| bad("archive/tar: too many sparse segments"))?);
            }
            if wanted.is_some_and(|wanted| lines >= wanted) {
                break;
            }
            if self.left < BLOCK as u64 || text.len() as u64 > 40 * MOST_SEGMENTS as u64 {
                return Err(bad("archive/tar: invalid sparse map"));
            }
            let mut block = [0; BLOCK];
            self.inner.read_exact(&mut block)?;
            self.watch.framing(&block)?;
            self.left -= BLOCK as u64;
            text.extend_from_slice(&block);
        }
        let count = (wanted.unwrap_or(1) - 1) / 2;
        (0..count).map(|at| Ok((number_line(&text, 1 + 2 * at)?, number_line(&text, 2 + 2 * at)?))).collect()
    }
}

/// The content of a reader's current entry, as a stream of its own.
pub struct Content<'a, R, W> {
    reader: &'a mut Reader<R, W>,
}

impl<R: BufRead, W: Watch> Reader<R, W> {
    pub fn content_stream(&mut self) -> Content<'_, R, W> {
        Content { reader: self }
    }

    /// Bytes of content of the current entry not yet read.
    pub fn content_left(&self) -> u64 {
        self.left
    }
}

impl<R: BufRead, W: Watch> Read for Content<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead, W: Watch> BufRead for Content<'_, R, W> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = usize::try_from(self.reader.left).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(&[]);
        }
        let buffer = self.reader.inner.fill_buf()?;
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&buffer[..buffer.len().min(left)])
    }

    fn consume(&mut self, length: usize) {
        self.reader.inner.consume(length);
        self.reader.left -= length as u64;
    }
}

#[derive(Default)]
struct SparsePax {
    major: Option<u64>,
    real_size: Option<u64>,
    name: Option<Vec<u8>>,
    map: Option<Vec<(u64, u64)>>,
    offset: Option<u64>,
}

impl SparsePax {
    fn is_sparse(&self) -> bool {
        self.major.is_some() || self.map.is_some() || self.real_size.is_some()
    }
}

fn apply(entry: &mut Entry, key: &[u8], value: &[u8], sparse: &mut SparsePax) -> io::Result<()> {
    let number = || parse_decimal(value);
    match key {
        b"path" => entry.path = value.to_vec(),
        b"linkpath" => entry.link = value.to_vec(),
        b"size" => entry.size = number()?,
        b"uid" => entry.uid = header::id(number()? as i64)?,
        b"gid" => entry.gid = header::id(number()? as i64)?,
        b"mtime" => (entry.mtime, entry.mtime_nanos) = parse_time(value)?,
        b"GNU.sparse.major" => sparse.major = Some(number()?),
        b"GNU.sparse.name" => sparse.name = Some(value.to_vec()),
        b"GNU.sparse.realsize" | b"GNU.sparse.size" => sparse.real_size = Some(number()?),
        b"GNU.sparse.offset" => sparse.offset = Some(number()?),
        b"GNU.sparse.numbytes" => {
            if let Some(offset) = sparse.offset.take() {
                sparse.map.get_or_insert_default().push((offset, number()?));
            }
        }
        b"GNU.sparse.map" => {
            let numbers: Vec<u64> = value
                .split(|&byte| byte == b',')
                .filter(|part| !part.is_empty())
                .map(parse_decimal)
                .collect::<Result<_, _>>()?;
            sparse.map = Some(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                entry.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}

/// `LENGTH KEY=VALUE\n`, many times.
fn pax_records(mut bytes: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let invalid = || bad("archive/tar: invalid PAX record");
    let mut records = Vec::new();
    while !bytes.is_empty() && bytes[0] != 0 {
        let space = bytes.iter().position(|&byte| byte == b' ').ok_or_else(invalid)?;
        let length = usize::try_from(parse_decimal(&bytes[..space])?).map_err(|_| invalid())?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(invalid());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(invalid)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

fn parse_decimal(text: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad("archive/tar: invalid number in a PAX record"))
}

/// Seconds with an optional fraction, possibly negative.
fn parse_time(text: &[u8]) -> io::Result<(i64, u32)> {
    let invalid = || bad("archive/tar: invalid time in a PAX record");
    let text = std::str::from_utf8(text).map_err(|_| invalid())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| invalid())?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().map_err(|_| invalid())?;
    match (text.starts_with('-'), nanos) {
        (true, 1..) => Ok((seconds - 1, 1_000_000_000 - nanos)),
        _ => Ok((seconds, nanos)),
    }
}

fn number_line(text: &[u8], line: usize) -> io::Result<u64> {
    text.split(|&byte| byte == b'\n')
        .nth(line)
        .map_or_else(|| Err(bad("archive/tar: invalid sparse map")), parse_decimal)
}

fn push_segments(field: &[u8], segments: &mut Vec<(u64, u64)>) -> io::Result<()> {
    for pair in field.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        if segments.len() >= MOST_SEGMENTS {
            return Err(bad("archive/tar: too many sparse segments"));
        }
        let part =
            |bytes| u64::try_from(header::number(bytes)?).map_err(|_| bad("archive/tar: invalid sparse map"));
        segments.push((part(&pair[..12])?, part(&pair[12..])?));
    }
    Ok(())
}

fn check_segments(segments: &[(u64, u64)], size: u64, stored: u64) -> io::Result<()> {
    let mut end = 0;
    let mut sum: u64 = 0;
    for &(offset, length) in segments {
        let stop = offset.checked_add(length).filter(|stop| offset >= end && *stop <= size);
        end = stop.ok_or_else(|| bad("archive/tar: invalid sparse map"))?;
        sum += length;
    }
    if sum == stored { Ok(()) } else { Err(bad("archive/tar: sparse map does not fit the data")) }
}

fn long_name(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = header::text(&bytes).len();
    bytes.truncate(length);
    bytes
}

/// Reads until the buffer is full or the stream ends.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
