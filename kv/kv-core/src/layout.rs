//! Which keys of the ordered map hold what. Encodings only: no reading, no writing.
//!
//! The first byte is the table. Numbers are big endian, so that order is numeric order.
//!
//! ```text
//! 0 name                      one value of the state itself (revision, compacted, applied …)
//! 1 space key                 a live key: its newest generation                      -> Generation
//! 2 revision sub              what was written then                                  -> Record
//! 3 space esc(key) rev sub    a superseded generation or a deletion, for old reads   -> Generation
//! 4 revision sub              what this write made obsolete, for compaction          -> Obsolete
//! 5 lease                     granted and remaining time to live
//! 6 lease key                 an attached key
//! 7 alarm member              a raised alarm
//! 8 member                    a member of the cluster
//! 9 member                    an id that was removed and never comes back
//! ```

use std::io;

use bytes::{BufMut, Bytes, BytesMut};

pub(crate) const META: u8 = 0;
pub(crate) const CURRENT: u8 = 1;
pub(crate) const RECORD: u8 = 2;
pub(crate) const OLD: u8 = 3;
pub(crate) const OBSOLETE: u8 = 4;
pub(crate) const LEASE: u8 = 5;
pub(crate) const LEASE_KEY: u8 = 6;
pub(crate) const ALARM: u8 = 7;
pub(crate) const MEMBER: u8 = 8;
pub(crate) const REMOVED: u8 = 9;

/// Two APIs share the revisions, but not the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Space {
    /// etcd v3's flat keys.
    V3 = 0,
    /// etcd v2's tree; a key is a path.
    V2 = 1,
}

impl Space {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::V3),
            1 => Some(Self::V2),
            _ => None,
        }
    }
}

/// When a write happened: its transaction's revision, and its place in the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct At {
    pub(crate) main: i64,
    pub(crate) sub: u32,
}

impl At {
    pub(crate) const SIZE: usize = 12;

    fn put(self, out: &mut BytesMut) {
        out.put_i64(self.main);
        out.put_u32(self.sub);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let main = i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        let sub = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
        Some(Self { main, sub })
    }
}

/// What is known of one version of a key without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) at: At,
    pub(crate) created: i64,
    /// 0: this is a deletion.
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

impl Generation {
    pub(crate) fn is_deletion(&self) -> bool {
        self.version == 0
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(At::SIZE + 24);
        self.at.put(&mut out);
        out.put_i64(self.created);
        out.put_i64(self.version);
        out.put_i64(self.lease);
        out.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let number = |at: usize| Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let read = || {
            Some(Self {
                at: At::read(bytes)?,
                created: number(12)?,
                version: number(20)?,
                lease: number(28)?,
            })
        };
        read().ok_or_else(|| damaged("generation"))
    }
}

/// One write, with its value: what old reads and watches are answered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) space: Space,
    pub(crate) generation: Generation,
    /// The version before, unless the key was new.
    pub(crate) previous: At,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

impl Record {
    const HEAD: usize = 1 + At::SIZE + 24 + 4;

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(Self::HEAD + self.key.len() + self.value.len());
        out.put_u8(self.space as u8);
        self.previous.put(&mut out);
        out.put_i64(self.generation.created);
        out.put_i64(self.generation.version);
        out.put_i64(self.generation.lease);
        out.put_u32(self.key.len() as u32);
        out.put_slice(&self.key);
        out.put_slice(&self.value);
        out.freeze()
    }

    pub(crate) fn decode(at: At, bytes: &Bytes) -> io::Result<Self> {
        let number = |from: usize| Some(i64::from_be_bytes(bytes.get(from..from + 8)?.try_into().ok()?));
        let read = || {
            let space = Space::from_byte(*bytes.first()?)?;
            let previous = At::read(bytes.get(1..)?)?;
            let generation =
                Generation { at, created: number(13)?, version: number(21)?, lease: number(29)? };
            let length = u32::from_be_bytes(bytes.get(37..41)?.try_into().ok()?) as usize;
            let end = Self::HEAD.checked_add(length)?;
            bytes.get(Self::HEAD..end)?;
            let (key, value) = (bytes.slice(Self::HEAD..end), bytes.slice(end..));
            Some(Self { space, generation, previous, key, value })
        };
        read().ok_or_else(|| damaged("record"))
    }

    /// What the record counts against the quota.
    pub(crate) fn weight(&self) -> i64 {
        (Self::HEAD + At::SIZE + 1 + self.key.len() + self.value.len()) as i64
    }
}

/// What became obsolete with a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obsolete {
    pub(crate) space: Space,
    pub(crate) key: Bytes,
    /// The version that the write replaced or deleted.
    pub(crate) previous: At,
    /// The write itself is a deletion, and goes too once history starts after it.
    pub(crate) deletion: bool,
}

impl Obsolete {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(2 + At::SIZE + self.key.len());
        out.put_u8(self.space as u8);
        out.put_u8(u8::from(self.deletion));
        self.previous.put(&mut out);
        out.put_slice(&self.key);
        out.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> io::Result<Self> {
        let read = || {
            let space = Space::from_byte(*bytes.first()?)?;
            let deletion = *bytes.get(1)? == 1;
            let previous = At::read(bytes.get(2..)?)?;
            Some(Self { space, key: bytes.slice(2 + At::SIZE..), previous, deletion })
        };
        read().ok_or_else(|| damaged("obsolete"))
    }
}

/// Whether a stored pair is data, to be taken into another cluster, and not about this cluster: its members, its
/// alarms, its place in its log.
#[must_use]
pub fn is_data(key: &[u8]) -> bool {
    match key.split_first() {
        Some((&META, name)) => {
            [&b"revision"[..], b"compacted", b"live"].contains(&name) || name.starts_with(b"v2-expiry/")
        }
        Some((table, _)) => *table < ALARM,
        None => false,
    }
}

pub(crate) fn meta(name: &str) -> Bytes {
    table(META, &[name.as_bytes()])
}

pub(crate) fn current(space: Space, key: &[u8]) -> Bytes {
    table(CURRENT, &[&[space as u8], key])
}

pub(crate) fn record(at: At) -> Bytes {
    stamped(RECORD, at)
}

pub(crate) fn obsolete(at: At) -> Bytes {
    stamped(OBSOLETE, at)
}

pub(crate) fn old(space: Space, key: &[u8], at: At) -> Bytes {
    let mut out = old_prefix(space, key);
    at.put(&mut out);
    out.freeze()
}

/// Everything superseded of one key starts with this.
pub(crate) fn old_prefix(space: Space, key: &[u8]) -> BytesMut {
    let mut out = old_start(space, key);
    out.put_slice(&[0, 1]);
    out
}

/// Everything superseded of this key and those after it sorts at or after this.
pub(crate) fn old_start(space: Space, key: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(key.len() + 4 + At::SIZE);
    out.put_slice(&[OLD, space as u8]);
    for byte in key {
        out.put_u8(*byte);
        if *byte == 0 {
            out.put_u8(0xff);
        }
    }
    out
}

/// The key and the moment of an entry of the old table.
pub(crate) fn parse_old(entry: &[u8]) -> io::Result<(Bytes, At)> {
    let split =
        entry.len().checked_sub(At::SIZE + 2).filter(|at| *at >= 2).ok_or_else(|| damaged("old key"))?;
    let at = At::read(&entry[split + 2..]).ok_or_else(|| damaged("old key"))?;
    let mut key = BytesMut::with_capacity(split - 2);
    let mut escaped = entry[2..split].iter();
    while let Some(byte) = escaped.next() {
        key.put_u8(*byte);
        if *byte == 0 {
            escaped.next();
        }
    }
    Ok((key.freeze(), at))
}

pub(crate) fn parse_stamp(entry: &[u8]) -> io::Result<At> {
    At::read(entry.get(1..).unwrap_or_default()).ok_or_else(|| damaged("revision key"))
}

pub(crate) fn numbered(kind: u8, number: i64) -> Bytes {
    table(kind, &[&number.to_be_bytes()])
}

pub(crate) fn lease_key(lease: i64, key: &[u8]) -> Bytes {
    table(LEASE_KEY, &[&lease.to_be_bytes(), key])
}

pub(crate) fn alarm(kind: i32, member: u64) -> Bytes {
    table(ALARM, &[&kind.to_be_bytes(), &member.to_be_bytes()])
}

pub(crate) fn table(kind: u8, parts: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>());
    out.put_u8(kind);
    for part in parts {
        out.put_slice(part);
    }
    out.freeze()
}

fn stamped(kind: u8, at: At) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + At::SIZE);
    out.put_u8(kind);
    at.put(&mut out);
    out.freeze()
}

pub(crate) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the state holds a damaged {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_entries_sort_by_key_then_time_whatever_the_key_holds() {
        let keys: [&[u8]; 6] = [b"", b"\0", b"\0\xff", b"a", b"a\0", b"ab"];
        let mut entries = Vec::new();
        for key in keys {
            for main in [1, 2, 300] {
                entries.push(old(Space::V3, key, At { main, sub: 1 }));
            }
        }
        assert!(entries.is_sorted());
        for entry in &entries {
            let (key, at) = parse_old(entry).expect("own encoding");
            assert_eq!(&old(Space::V3, &key, at), entry);
        }
    }

    #[test]
    fn records_come_back() {
        let at = At { main: 7, sub: 2 };
        let generation = Generation { at, created: 3, version: 4, lease: 5 };
        let record = Record {
            space: Space::V2,
            generation,
            previous: At { main: 6, sub: 0 },
            key: "key".into(),
            value: "value".into(),
        };
        let encoded = record.encode();
        assert_eq!(Record::decode(at, &encoded).expect("own encoding"), record);
        for cut in 0..Record::HEAD + 3 {
            assert!(Record::decode(at, &encoded.slice(..cut)).is_err(), "{cut}");
        }
        assert_eq!(Generation::decode(&generation.encode()).expect("own encoding"), generation);
    }
}
