//! Writing: append, rotate, forget the oldest, sync now and then. Trouble with the disk never stops
//! the supervisor: what cannot be written is lost, and tried again with the next record.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::Entry;
use super::{HEADER, MAGIC};

#[derive(Debug)]
pub(crate) struct Writer {
    dir: Option<PathBuf>,
    max: u64,
    file: Option<File>,
    size: u64,
    number: u64,
    dirty: bool,
    urgent: bool,
    buffer: Vec<u8>,
}

impl Writer {
    /// Goes on in the newest file of this boot, or begins one with the first record.
    pub(crate) fn open(dir: Option<&Path>, max: u64) -> Self {
        let mut writer = Self {
            dir: dir.map(Path::to_owned),
            max: max.max(64 * 1024),
            file: None,
            size: 0,
            number: 0,
            dirty: false,
            urgent: false,
            buffer: Vec::new(),
        };
        if let Some(dir) = dir {
            let _ = fs::create_dir_all(dir);
            if let Some((number, path)) = files(dir).pop() {
                writer.number = number;
                writer.continue_file(&path);
            }
        }
        writer
    }

    /// The newest file, if it is of this boot; what is torn at its end is cut off.
    fn continue_file(&mut self, path: &Path) {
        let Ok(bytes) = fs::read(path) else { return };
        let header = bytes.get(..HEADER);
        if header != Some(&header_bytes()[..]) {
            return;
        }
        let mut end = HEADER;
        while let Some((_, length)) = Entry::decode(&bytes[end..]) {
            end += length;
        }
        let Ok(file) = OpenOptions::new().append(true).open(path) else { return };
        if end < bytes.len() && file.set_len(end as u64).is_err() {
            return;
        }
        self.file = Some(file);
        self.size = end as u64;
    }

    pub(crate) fn append(&mut self, entry: &Entry) {
        if self.dir.is_none() {
            return;
        }
        self.buffer.clear();
        entry.encode(&mut self.buffer);
        let length = self.buffer.len() as u64;
        if self.file.is_none() || self.size + length > self.max / 8 {
            self.rotate();
        }
        let Some(file) = &mut self.file else { return };
        if file.write_all(&self.buffer).is_ok() {
            self.size += length;
            self.dirty = true;
            self.urgent |= entry.priority <= 3;
        } else {
            // A part may have been written; the next record begins a new file.
            self.file = None;
        }
    }

    fn rotate(&mut self) {
        self.sync();
        self.file = None;
        let Some(dir) = &self.dir else { return };
        self.number += 1;
        let path = dir.join(format!("{:016x}.journal", self.number));
        let mut options = OpenOptions::new();
        let Ok(mut file) = options.append(true).create_new(true).mode(0o640).open(&path) else { return };
        if file.write_all(&header_bytes()).is_ok() {
            self.size = HEADER as u64;
            self.file = Some(file);
        } else {
            // On a full disk each record would leave an empty file otherwise.
            let _ = fs::remove_file(&path);
            self.number -= 1;
        }
        self.forget_oldest();
    }

    fn forget_oldest(&self) {
        let Some(dir) = &self.dir else { return };
        let mut all = files(dir);
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        // Room for the file that was just begun.
        let mut total: u64 = all.iter().map(|(_, path)| size(path)).sum::<u64>() + self.max / 8;
        all.pop();
        for (_, path) in all {
            if total <= self.max {
                return;
            }
            total -= size(&path);
            let _ = fs::remove_file(path);
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// How long what was written may wait: errors not for long.
    pub(crate) fn sync_after(&self) -> Duration {
        Duration::from_secs(if self.urgent { 1 } else { 10 })
    }

    pub(crate) fn sync(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| self.dirty) {
            let _ = file.sync_data();
        }
        self.dirty = false;
        self.urgent = false;
    }
}

fn header_bytes() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(format!("{:0>32}", crate::host::boot_id()).into_bytes());
    bytes
}

/// All files with their numbers, oldest first.
pub(crate) fn files(dir: &Path) -> Vec<(u64, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_suffix(".journal")?;
            Some((u64::from_str_radix(number, 16).ok()?, entry.path()))
        })
        .collect();
    found.sort();
    found
}
