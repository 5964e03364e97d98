//! Reading, also while someone writes: whole records only, oldest first.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::record::{Entry, Transport};
use super::writer::files;
use super::{HEADER, MAGIC};

/// A record and the boot it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) boot: String,
    pub(crate) entry: Entry,
}

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Any of these units (patterns); none: all.
    pub(crate) units: Vec<String>,
    /// Any of these programs; none: all.
    pub(crate) identifiers: Vec<String>,
    /// Only the kernel's.
    pub(crate) kernel: bool,
    /// This boot only.
    pub(crate) boot: Option<String>,
    /// Not before, in microseconds since 1970.
    pub(crate) since: Option<u64>,
    /// Not after.
    pub(crate) until: Option<u64>,
    /// Not less important than this.
    pub(crate) priority: Option<(u8, u8)>,
    /// The message has this in it.
    pub(crate) contains: Option<String>,
    pub(crate) pid: Option<u32>,
}

impl Filter {
    pub(crate) fn accepts(&self, boot: &str, entry: &Entry) -> bool {
        let any = |patterns: &[String], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| crate::glob::matches(pattern, text))
        };
        self.boot.as_deref().is_none_or(|wanted| wanted == boot)
            && any(&self.units, &entry.unit)
            && any(&self.identifiers, &entry.identifier)
            && (!self.kernel || entry.transport == Transport::Kernel)
            && self.since.is_none_or(|since| entry.realtime >= since)
            && self.until.is_none_or(|until| entry.realtime <= until)
            && self.priority.is_none_or(|(from, to)| (from..=to).contains(&entry.priority))
            && self.contains.as_deref().is_none_or(|text| entry.message.contains(text))
            && self.pid.is_none_or(|pid| entry.pid == pid)
    }
}

/// Where reading has come to in each file.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: PathBuf,
    positions: BTreeMap<u64, u64>,
}

impl Reader {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), positions: BTreeMap::new() }
    }

    /// Calls `visit` for every record that came since the last call.
    pub(crate) fn read(&mut self, filter: &Filter, mut visit: impl FnMut(Stored)) {
        for (number, path) in files(&self.dir) {
            let from = self.positions.get(&number).copied().unwrap_or(0);
            if let Some(to) = read_file(&path, from, filter, &mut visit) {
                self.positions.insert(number, to);
            }
        }
    }

    /// The last records, oldest first.
    pub(crate) fn tail(&mut self, filter: &Filter, count: usize) -> Vec<Stored> {
        let mut last = VecDeque::new();
        self.read(filter, |stored| {
            if last.len() == count {
                last.pop_front();
            }
            if count > 0 {
                last.push_back(stored);
            }
        });
        last.into()
    }

    /// Ids of all boots, oldest first, each with its first and last moment.
    pub(crate) fn boots(&mut self) -> Vec<(String, u64, u64)> {
        let mut boots: Vec<(String, u64, u64)> = Vec::new();
        self.read(&Filter::default(), |stored| match boots.last_mut() {
            Some((boot, _, last)) if *boot == stored.boot => *last = stored.entry.realtime,
            _ => boots.push((stored.boot, stored.entry.realtime, stored.entry.realtime)),
        });
        boots
    }
}

fn read_file(path: &Path, from: u64, filter: &Filter, visit: &mut impl FnMut(Stored)) -> Option<u64> {
    let file = File::open(path).ok()?;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let boot = header.strip_prefix(MAGIC)?;
    let boot = String::from_utf8_lossy(boot).into_owned();
    if filter.boot.as_deref().is_some_and(|wanted| wanted != boot) {
        return Some(file.metadata().ok()?.len());
    }
    let mut at = from.max(HEADER as u64);
    let size = file.metadata().ok()?.len();
    let mut bytes = vec![0; usize::try_from(size.saturating_sub(at)).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    let mut rest = bytes.as_slice();
    while let Some((entry, length)) = Entry::decode(rest) {
        if filter.accepts(&boot, &entry) {
            visit(Stored { boot: boot.clone(), entry });
        }
        rest = &rest[length..];
        at += length as u64;
    }
    Some(at)
}
