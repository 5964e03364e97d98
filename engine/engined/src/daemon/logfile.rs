//! Reading json-file logs: one line of JSON each, in a file and its older rotations.
//!
//! Lines are taken apart by hand, because logs are big and their shape is ours.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::clock::{self, Nanos};

/// One entry of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) text: Vec<u8>,
    pub(crate) stderr: bool,
    /// RFC 3339, as written.
    pub(crate) time: String,
    /// `k=v,k=v`
    pub(crate) details: String,
}

impl Entry {
    pub(crate) fn nanos(&self) -> Nanos {
        clock::parse(&self.time).unwrap_or(0)
    }
}

/// Takes a line apart into `entry`, reusing its buffers. False: it is no entry (cut short by a power cut).
pub(crate) fn parse_line(line: &[u8], entry: &mut Entry) -> bool {
    entry.text.clear();
    entry.time.clear();
    entry.details.clear();
    let Some(rest) = line.strip_prefix(br#"{"log":""#) else { return parse_slowly(line, entry) };
    let Some(rest) = unescape(rest, &mut entry.text) else { return false };
    let Some(rest) = rest.strip_prefix(br#","stream":""#) else { return parse_slowly(line, entry) };
    let Some(end) = rest.iter().position(|b| *b == b'"') else { return false };
    entry.stderr = &rest[..end] == b"stderr";
    let Some(rest) = rest[end..].strip_prefix(br#"","time":""#) else { return parse_slowly(line, entry) };
    let Some(end) = rest.iter().position(|b| *b == b'"') else { return false };
    entry.time.push_str(&String::from_utf8_lossy(&rest[..end]));
    rest[end..].starts_with(b"\"}")
}

/// Any other order of the fields, and attributes.
fn parse_slowly(line: &[u8], entry: &mut Entry) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else { return false };
    entry.text = value["log"].as_str().unwrap_or_default().as_bytes().to_vec();
    entry.stderr = value["stream"] == "stderr";
    entry.time = value["time"].as_str().unwrap_or_default().to_owned();
    if let Some(attrs) = value["attrs"].as_object() {
        let pairs: Vec<String> =
            attrs.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
        entry.details = pairs.join(",");
    }
    true
}

/// Decodes a JSON string up to its closing quote; what follows the quote comes back.
fn unescape<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let stop = memchr::memchr2(b'"', b'\\', text)?;
        out.extend_from_slice(&text[..stop]);
        if text[stop] == b'"' {
            return Some(&text[stop + 1..]);
        }
        let escape = *text.get(stop + 1)?;
        text = &text[stop + 2..];
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => text = unescape_unicode(text, out)?,
            other => out.push(other),
        }
    }
}

fn unescape_unicode<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let unit = |t: &[u8]| u32::from_str_radix(std::str::from_utf8(t.get(..4)?).ok()?, 16).ok();
    let high = unit(text)?;
    let mut rest = &text[4..];
    let mut code = high;
    if (0xD800..0xDC00).contains(&high)
        && let Some(low) = rest.strip_prefix(b"\\u").and_then(unit).filter(|l| (0xDC00..0xE000).contains(l))
    {
        code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        rest = &rest[6..];
    }
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

/// The log's files, oldest first.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    for n in 1.. {
        let older = PathBuf::from(format!("{}.{n}", path.display()));
        if !older.exists() {
            break;
        }
        found.push(older);
    }
    found.reverse();
    found
}

/// Where the last `lines` lines of the files begin: index of the file and offset in it.
pub(crate) fn find_tail(files: &[PathBuf], lines: usize) -> io::Result<(usize, u64)> {
    let mut wanted = lines;
    for (index, path) in files.iter().enumerate().rev() {
        let Ok(mut file) = File::open(path) else { continue };
        match last_lines(&mut file, wanted)? {
            Ok(offset) => return Ok((index, offset)),
            Err(found) => wanted -= found,
        }
    }
    Ok((0, 0))
}

/// The offset of the last `wanted` lines, or how many lines there are if they are fewer.
fn last_lines(file: &mut File, wanted: usize) -> io::Result<Result<u64, usize>> {
    const BLOCK: u64 = 64 * 1024;
    let end = file.seek(SeekFrom::End(0))?;
    if wanted == 0 {
        return Ok(Ok(end));
    }
    let mut block = vec![0; BLOCK as usize];
    let mut at = end;
    let mut found = 0;
    while at > 0 {
        let start = at.saturating_sub(BLOCK);
        let piece = &mut block[..usize::try_from(at - start).expect("at most a block")];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        for (i, byte) in piece.iter().enumerate().rev() {
            let position = start + i as u64;
            // The newline that ends the file ends its last line; every other one begins a line after it.
            if *byte == b'\n' && position + 1 != end {
                found += 1;
                if found == wanted {
                    return Ok(Ok(position + 1));
                }
            }
        }
        at = start;
    }
    let lines = if end == 0 { 0 } else { found + 1 };
    if lines == wanted { Ok(Ok(0)) } else { Ok(Err(lines)) }
}

/// An open log file that remembers an unfinished line.
pub(crate) struct Follower {
    reader: BufReader<File>,
    line: Vec<u8>,
}

impl Follower {
    pub(crate) fn open(path: &Path, offset: u64) -> io::Result<Follower> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Follower { reader: BufReader::with_capacity(256 * 1024, file), line: Vec::new() })
    }

    /// The next whole line; `None` at the end, where more may come.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if self.line.last() == Some(&b'\n') {
            self.line.clear();
        }
        self.reader.read_until(b'\n', &mut self.line)?;
        Ok((self.line.last() == Some(&b'\n')).then_some(&self.line[..]))
    }

    /// The path now leads to another file than this one.
    pub(crate) fn was_rotated(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        match (self.reader.get_ref().metadata(), std::fs::metadata(path)) {
            (Ok(mine), Ok(now)) => mine.ino() != now.ino(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_apart() {
        let mut e = Entry::default();
        assert!(parse_line(
            br#"{"log":"a\"b\\\u00e9\ud83d\ude00\n","stream":"stderr","time":"2026-01-01T00:00:00Z"}"#,
            &mut e
        ));
        assert_eq!(String::from_utf8_lossy(&e.text), "a\"b\\é😀\n");
        assert!(e.stderr && e.time == "2026-01-01T00:00:00Z");
        assert!(parse_line(br#"{"log":"x","stream":"stdout","attrs":{"a":"b","c":"d"},"time":"t"}"#, &mut e));
        assert_eq!(e.details, "a=b,c=d");
        for cut in [&b"{"[..], br#"{"log":"ab"#, br#"{"log":"ab","stream":"std"#, b""] {
            assert!(!parse_line(cut, &mut e));
        }
    }

    #[test]
    fn tails_over_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        std::fs::write(dir.path().join("x.log.1"), "1\n2\n3\n").unwrap();
        std::fs::write(&path, "4\n5\n").unwrap();
        let files = files(&path);
        assert_eq!(files.len(), 2);
        assert_eq!(find_tail(&files, 0).unwrap(), (1, 4));
        assert_eq!(find_tail(&files, 1).unwrap(), (1, 2));
        assert_eq!(find_tail(&files, 2).unwrap(), (1, 0));
        assert_eq!(find_tail(&files, 3).unwrap(), (0, 4));
        assert_eq!(find_tail(&files, 9).unwrap(), (0, 0));
    }

    #[test]
    fn unfinished_lines_wait() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        let mut follower = Follower::open(&path, 0).unwrap();
        assert_eq!(follower.next().unwrap(), Some(&b"one\n"[..]));
        assert_eq!(follower.next().unwrap(), None);
        file.write_all(b"o\n").unwrap();
        assert_eq!(follower.next().unwrap(), Some(&b"two\n"[..]));
        std::fs::rename(&path, dir.path().join("y")).unwrap();
        File::create(&path).unwrap();
        assert!(follower.was_rotated(&path));
    }
}
