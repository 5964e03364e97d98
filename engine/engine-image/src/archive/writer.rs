//! Writing a tar stream: ustar where it fits, PAX records where it does not. Deterministic.

use std::io::{self, Write};

use super::header::{self, BLOCK, Entry, Kind, bad};

/// A tar stream being written.
pub struct Writer<W> {
    inner: W,
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    /// Starts an entry; exactly `entry.size` bytes of content must follow for a file.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        if self.left > 0 {
            return Err(bad("the content of an archive entry is incomplete"));
        }
        let flag = match entry.kind {
            Kind::File => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::CharDevice => b'3',
            Kind::BlockDevice => b'4',
            Kind::Folder => b'5',
            Kind::Fifo => b'6',
            Kind::Other(flag) => flag,
        };
        let encoded = header::encode(entry, flag);
        let records = pax_records(entry, &encoded);
        if !records.is_empty() {
            self.pax(entry, &records)?;
        }
        self.inner.write_all(&encoded.block)?;
        if entry.kind == Kind::File {
            self.left = entry.size;
            self.padding = usize::try_from(entry.size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        }
        self.pad_if_done()
    }

    /// A whole small file.
    pub fn file(&mut self, entry: &Entry, content: &[u8]) -> io::Result<()> {
        self.entry(&Entry { size: content.len() as u64, ..entry.clone() })?;
        self.write_all(content)
    }

    /// Copies the content of the current entry; a source that ends early or changes is filled with zeros, as the
    /// header cannot be taken back.
    pub fn content(&mut self, source: &mut impl io::Read) -> io::Result<()> {
        let mut buffer = vec![0; 256 * 1024];
        while self.left > 0 {
            let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let read = match source.read(&mut buffer[..most]) {
                Ok(0) => {
                    buffer[..most].fill(0);
                    most
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.write_all(&buffer[..read])?;
        }
        Ok(())
    }

    /// Writes the end marker.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }

    fn pax(&mut self, entry: &Entry, records: &[u8]) -> io::Result<()> {
        let base = entry.path.rsplit(|&byte| byte == b'/').find(|part| !part.is_empty()).unwrap_or_default();
        let mut path = b"PaxHeaders.0/".to_vec();
        path.extend(base.iter().filter(|byte| byte.is_ascii()).take(80));
        let mut extension = Entry::new(path, Kind::Other(b'x'), 0);
        extension.size = records.len() as u64;
        self.inner.write_all(&header::encode(&extension, b'x').block)?;
        self.inner.write_all(records)?;
        self.inner.write_all(&[0; BLOCK][..records.len().wrapping_neg() % BLOCK])
    }

    fn pad_if_done(&mut self) -> io::Result<()> {
        if self.left == 0 && self.padding > 0 {
            self.inner.write_all(&[0; BLOCK][..self.padding])?;
            self.padding = 0;
        }
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if length == 0 && !bytes.is_empty() {
            return Err(bad("more content than an archive entry announced"));
        }
        let written = self.inner.write(&bytes[..length])?;
        self.left -= written as u64;
        self.pad_if_done()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn pax_records(entry: &Entry, encoded: &header::Encoded) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| records.extend(record(key, value));
    for (name, value) in &entry.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    if !encoded.gid_fits {
        add(b"gid", entry.gid.to_string().as_bytes());
    }
    if !encoded.link_fits {
        add(b"linkpath", &entry.link);
    }
    if entry.mtime_nanos > 0 || !encoded.time_fits {
        add(b"mtime", format_time(entry.mtime, entry.mtime_nanos).as_bytes());
    }
    if !encoded.name_fits {
        add(b"path", &entry.path);
    }
    if !encoded.size_fits {
        add(b"size", entry.size.to_string().as_bytes());
    }
    if !encoded.uid_fits {
        add(b"uid", entry.uid.to_string().as_bytes());
    }
    records
}

fn format_time(seconds: i64, nanos: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (sign, total) = if total < 0 { ("-", -total) } else { ("", total) };
    let text = format!("{sign}{}.{:09}", total / 1_000_000_000, total % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + body.to_string().len();
    length = body + length.to_string().len();
    let mut bytes = format!("{length} ").into_bytes();
    bytes.extend_from_slice(key);
    bytes.push(b'=');
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::reader::{NoWatch, Reader};

    #[test]
    fn what_is_written_is_read_back() {
        let long = format!("{}/{}", "d".repeat(150), "f".repeat(120));
        let mut plain = Entry::new("a/b", Kind::File, 0o4755);
        plain.size = 5;
        let mut odd = Entry::new(long.as_bytes(), Kind::Symlink, 0o777);
        odd.link = "ü".repeat(80).into_bytes();
        odd.uid = 3_000_000_000;
        (odd.mtime, odd.mtime_nanos) = (-5, 250_000_000);
        odd.xattrs.push((b"user.x".to_vec(), b"=\n\0".to_vec()));
        let mut writer = Writer::new(Vec::new());
        writer.file(&plain, b"hello").expect("written");
        writer.entry(&odd).expect("written");
        let bytes = writer.finish().expect("written");
        assert_eq!(bytes.len() % 512, 0);
        let mut reader = Reader::new(&bytes[..], NoWatch);
        assert_eq!(reader.next_entry().expect("read"), Some(plain));
        assert_eq!(reader.content_bytes(10).expect("content"), b"hello");
        assert_eq!(reader.next_entry().expect("read"), Some(odd));
        assert_eq!(reader.next_entry().expect("read"), None);
    }
}
