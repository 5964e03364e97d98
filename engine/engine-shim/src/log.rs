//! Docker's json-file log, written fast.
//!
//! One line of output becomes `{"log":"…\n","stream":"stdout","time":"…"}`.
//! Lines longer than 16 KiB are cut into parts without a newline at their end,
//! as Docker does. Files rotate by size: `x.log`, `x.log.1`, … A file that
//! cannot be written does not stop the container; its lines are lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::spec::Log;
use crate::sys;
use crate::timestamp::Clock;

/// Longest part of a line written as one entry.
const LONGEST: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Takes the program's output and writes the log file.
pub(crate) struct LogWriter {
    file: Option<JsonFile>,
    /// The unfinished lines of both streams.
    partial: [Vec<u8>; 2],
    out: Vec<u8>,
    clock: Clock,
}

impl LogWriter {
    pub(crate) fn open(log: &Log) -> io::Result<Self> {
        let file = match log {
            Log::None => None,
            Log::JsonFile { path, max_size, max_file, attrs } => {
                Some(JsonFile::open(path, *max_size, *max_file, attrs)?)
            }
        };
        Ok(Self { file, partial: [Vec::new(), Vec::new()], out: Vec::new(), clock: Clock::default() })
    }

    /// Takes a piece of output as it was read.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let partial = &mut self.partial[stream as usize];
        while !bytes.is_empty() {
            let room = LONGEST - partial.len();
            let window = &bytes[..bytes.len().min(room)];
            let end = sys::find_byte(window, b'\n');
            let (piece, complete) = match end {
                Some(at) => (&window[..=at], true),
                None => (window, partial.len() + window.len() == LONGEST),
            };
            bytes = &bytes[piece.len()..];
            if !complete {
                partial.extend_from_slice(piece);
                break;
            }
            if partial.is_empty() {
                file.entry(&mut self.out, &mut self.clock, stream, &[piece]);
            } else {
                file.entry(&mut self.out, &mut self.clock, stream, &[partial, piece]);
                partial.clear();
            }
        }
        file.append(&mut self.out);
    }

    /// Writes an unfinished last line, at the end of a stream.
    pub(crate) fn finish(&mut self, stream: Stream) {
        let Some(file) = &mut self.file else { return };
        let partial = &mut self.partial[stream as usize];
        if !partial.is_empty() {
            file.entry(&mut self.out, &mut self.clock, stream, &[partial]);
            partial.clear();
            partial.shrink_to_fit();
            file.append(&mut self.out);
        }
    }

    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), JsonFile::reopen)
    }
}

struct JsonFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_file: u32,
    /// `,"attrs":{…}` or nothing.
    attrs: Vec<u8>,
}

impl JsonFile {
    fn open(
        path: &Path,
        max_size: u64,
        max_file: u32,
        attrs: &std::collections::BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let attrs = if attrs.is_empty() {
            Vec::new()
        } else {
            format!("\"attrs\":{},", serde_json::to_string(attrs).unwrap_or_default()).into_bytes()
        };
        let file = open_append(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, max_size, max_file: max_file.max(1), attrs })
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open_append(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    fn entry(&mut self, out: &mut Vec<u8>, clock: &mut Clock, stream: Stream, pieces: &[&[u8]]) {
        let before = out.len();
        out.extend_from_slice(b"{\"log\":\"");
        if pieces.len() == 1 {
            escape(out, pieces[0]);
        } else {
            escape(out, &pieces.concat());
        }
        out.extend_from_slice(match stream {
            Stream::Stdout => b"\",\"stream\":\"stdout\",".as_slice(),
            Stream::Stderr => b"\",\"stream\":\"stderr\",".as_slice(),
        });
        out.extend_from_slice(&self.attrs);
        out.extend_from_slice(b"\"time\":\"");
        clock.write_now(out);
        out.extend_from_slice(b"\"}\n");
        self.size += (out.len() - before) as u64;
        if self.max_size > 0 && self.size > self.max_size {
            self.append(out);
            self.rotate();
        }
    }

    fn append(&mut self, out: &mut Vec<u8>) {
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        out.clear();
    }

    /// Best effort: a failed rename keeps the current file growing.
    fn rotate(&mut self) {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        if self.max_file < 2 {
            if self.file.set_len(0).is_ok() {
                self.size = 0;
            }
            return;
        }
        for n in (1..self.max_file - 1).rev() {
            let _ = std::fs::rename(numbered(n), numbered(n + 1));
        }
        if std::fs::rename(&self.path, numbered(1)).is_ok() {
            let _ = self.reopen();
        }
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Appends `bytes` as the inside of a JSON string. Bytes that are not UTF-8
/// become U+FFFD; `<`, `>`, `&` and the line separators are escaped as Go does.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 16);
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if PLAIN[byte as usize] {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        if byte < 0x80 {
            escape_ascii(out, byte);
            at += 1;
        } else {
            at += escape_multibyte(out, &bytes[at..]);
        }
        start = at;
    }
    out.extend_from_slice(&bytes[start..]);
}

/// Bytes copied as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = !matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&' | 0x7f);
        byte += 1;
    }
    plain[0x7f] = true;
    plain
};

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Copies one character and returns its length in bytes.
fn escape_multibyte(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let longest = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(longest) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&longest[..error.valid_up_to()]).unwrap_or(""),
    };
    match valid.chars().next() {
        Some('\u{2028}') => out.extend_from_slice(b"\\u2028"),
        Some('\u{2029}') => out.extend_from_slice(b"\\u2029"),
        Some(char) => {
            let len = char.len_utf8();
            out.extend_from_slice(&bytes[..len]);
            return len;
        }
        None => {
            out.extend_from_slice(b"\\ufffd");
            return 1;
        }
    }
    3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn writer(dir: &Path, max_size: u64, max_file: u32) -> (LogWriter, PathBuf) {
        let path = dir.join("c-json.log");
        let log = Log::JsonFile { path: path.clone(), max_size, max_file, attrs: Default::default() };
        (LogWriter::open(&log).unwrap(), path)
    }

    #[test]
    fn lines_are_joined_across_reads_and_streams_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, path) = writer(dir.path(), 0, 1);
        log.write(Stream::Stdout, b"hel");
        log.write(Stream::Stderr, b"err\n");
        log.write(Stream::Stdout, b"lo\nworld");
        log.finish(Stream::Stdout);
        let lines = lines(&path);
        let logs: Vec<_> =
            lines.iter().map(|l| (l["stream"].as_str().unwrap(), l["log"].as_str().unwrap())).collect();
        assert_eq!(logs, [("stderr", "err\n"), ("stdout", "hello\n"), ("stdout", "world")]);
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn long_lines_are_cut_at_16_kib() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, path) = writer(dir.path(), 0, 1);
        let mut long = vec![b'x'; LONGEST + 10];
        long.push(b'\n');
        for chunk in long.chunks(1000) {
            log.write(Stream::Stdout, chunk);
        }
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["log"].as_str().unwrap().len(), LONGEST);
        assert_eq!(lines[1]["log"].as_str().unwrap(), "xxxxxxxxxx\n");
    }

    #[test]
    fn every_byte_comes_out_as_go_writes_it() {
        let mut out = Vec::new();
        escape(&mut out, b"a\"\\\n\r\t\x01\x1b<>&\x7f\xc3\xa9\xff\xe2\x80\xa8z\xe2\x80");
        let expected = "a\\\"\\\\\\n\\r\\u0009\\u0001\\u001b\\u003c\\u003e\\u0026\x7f\u{e9}\\ufffd\\u2028z\\ufffd\\ufffd";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn rotation_keeps_the_newest_files_and_loses_no_line_between_them() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, path) = writer(dir.path(), 1000, 3);
        for n in 0..100 {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes());
        }
        let mut all = Vec::new();
        for name in ["c-json.log.2", "c-json.log.1", "c-json.log"] {
            all.extend(lines(&dir.path().join(name)).iter().map(|l| l["log"].as_str().unwrap().to_owned()));
        }
        assert!(!dir.path().join("c-json.log.3").exists());
        let expected: Vec<String> = (100 - all.len()..100).map(|n| format!("line {n}\n")).collect();
        assert_eq!(all, expected);
        assert!(path.metadata().unwrap().len() <= 1100);
    }
}
