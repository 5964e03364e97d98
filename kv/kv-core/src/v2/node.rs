//! A node of the tree: how it is stored, and how it is told.
//!
//! ```text
//! flags u8 | expiry i64 (milliseconds since 1970, 0: none) | modified i64, if flagged | value
//! flags: 1 directory, 2 by the way (not what was asked for), 4 has `modified`; the upper half is the action
//! ```
//! A deletion is recorded with its flags only.

use std::io;

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use super::Error;
use crate::{Space, View, layout::Generation, v2::Refusal};

const DIR: u8 = 1;
const BY_THE_WAY: u8 = 2;
const KEEPS_MODIFIED: u8 = 4;

/// What a change is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub(crate) enum Did {
    #[default]
    Set = 0,
    Create = 1,
    Update = 2,
    CompareAndSwap = 3,
    Delete = 4,
    CompareAndDelete = 5,
    Expire = 6,
    /// An update of nothing but the time to live: watchers are not told.
    Refresh = 7,
}

impl Did {
    fn of(flags: u8) -> Self {
        match flags >> 4 {
            1 => Self::Create,
            2 => Self::Update,
            3 => Self::CompareAndSwap,
            4 => Self::Delete,
            5 => Self::CompareAndDelete,
            6 => Self::Expire,
            7 => Self::Refresh,
            _ => Self::Set,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Create => "create",
            Self::Update | Self::Refresh => "update",
            Self::CompareAndSwap => "compareAndSwap",
            Self::Delete => "delete",
            Self::CompareAndDelete => "compareAndDelete",
            Self::Expire => "expire",
        }
    }
}

/// Why a record was written: its action, and whether it was only by the way (a directory above what was set, a node
/// below what was deleted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Why {
    pub(crate) did: Did,
    pub(crate) by_the_way: bool,
}

impl Why {
    fn flags(self) -> u8 {
        (self.did as u8) << 4 | if self.by_the_way { BY_THE_WAY } else { 0 }
    }

    /// Of a record's value.
    pub(crate) fn of(value: &[u8]) -> Self {
        let flags = value.first().copied().unwrap_or(0);
        Self { did: Did::of(flags), by_the_way: flags & BY_THE_WAY != 0 }
    }

    /// What a deletion is recorded with.
    pub(crate) fn deletion(self) -> Bytes {
        Bytes::copy_from_slice(&[self.flags()])
    }
}

/// A node of the tree.
#[derive(Debug, Clone)]
pub struct Node {
    pub path: String,
    pub dir: bool,
    pub value: Bytes,
    /// Milliseconds since 1970; 0: lives forever.
    pub expires_ms: i64,
    pub created: i64,
    pub modified: i64,
}

impl Node {
    /// The node, unless one on the way to it is missing or no directory.
    pub(crate) fn find(view: &View, path: &str) -> Result<(Self, Generation), Error> {
        for (slash, _) in path.match_indices('/').skip(1) {
            match Self::read(view, &path[..slash])? {
                Some((node, _)) if node.dir => {}
                Some(_) => return Err(Refusal::new(104, &path[..slash]).into()),
                None => return Err(Refusal::new(100, &path[..slash]).into()),
            }
        }
        Self::read(view, path)?.ok_or_else(|| Refusal::new(100, path).into())
    }

    pub(crate) fn read(view: &View, path: &str) -> io::Result<Option<(Self, Generation)>> {
        let Some(generation) = view.current(Space::V2, path.as_bytes())? else { return Ok(None) };
        let record = view.record(generation.at)?;
        Ok(Some((Self::decode(path, &record.value, generation.created, generation.at.main), generation)))
    }

    pub(crate) fn decode(path: &str, stored: &Bytes, created: i64, mut modified: i64) -> Self {
        let mut rest = stored.clone();
        let flags = rest.try_get_u8().unwrap_or(0);
        let expires_ms = rest.try_get_i64().unwrap_or(0);
        if flags & KEEPS_MODIFIED != 0 {
            modified = rest.try_get_i64().unwrap_or(modified);
        }
        Self { path: path.to_owned(), dir: flags & DIR != 0, value: rest, expires_ms, created, modified }
    }

    /// As it is stored by a write at revision `now`.
    pub(crate) fn encode(&self, why: Why, now: i64) -> Bytes {
        let mut flags = why.flags();
        if self.dir {
            flags |= DIR;
        }
        if self.modified != now {
            flags |= KEEPS_MODIFIED;
        }
        let mut out = BytesMut::with_capacity(17 + self.value.len());
        out.put_u8(flags);
        out.put_i64(self.expires_ms);
        if self.modified != now {
            out.put_i64(self.modified);
        }
        out.put_slice(&self.value);
        out.freeze()
    }

    pub(crate) fn root() -> Self {
        let path = "/".to_owned();
        Self { path, dir: true, value: Bytes::new(), expires_ms: 0, created: 0, modified: 0 }
    }

    /// The node as v2's JSON, without children.
    #[must_use]
    pub fn to_json(&self, now_ms: i64) -> Map<String, Value> {
        let mut out = Map::new();
        if self.path != "/" {
            out.insert("key".into(), json!(self.path));
        }
        if self.dir {
            out.insert("dir".into(), json!(true));
        } else {
            out.insert("value".into(), json!(String::from_utf8_lossy(&self.value)));
        }
        if self.expires_ms != 0 {
            out.insert("expiration".into(), json!(rfc3339(self.expires_ms)));
            // Seconds begun count whole; none left is not told.
            let left = (self.expires_ms - now_ms + 999).div_euclid(1000);
            if left > 0 {
                out.insert("ttl".into(), json!(left));
            }
        }
        if self.path != "/" {
            out.insert("modifiedIndex".into(), json!(self.modified));
            out.insert("createdIndex".into(), json!(self.created));
        }
        out
    }
}

fn rfc3339(ms: i64) -> String {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_back_as_they_were_stored() {
        let node =
            Node { path: "/a".into(), dir: true, value: "v".into(), expires_ms: 9, created: 3, modified: 4 };
        let why = Why { did: Did::CompareAndSwap, by_the_way: true };
        let stored = node.encode(why, 7);
        assert_eq!(Why::of(&stored), why);
        let back = Node::decode("/a", &stored, 3, 7);
        assert_eq!((back.dir, back.modified, back.expires_ms, back.value), (true, 4, 9, node.value));
    }

    #[test]
    fn a_second_begun_is_told_whole() {
        let node = |expires_ms| Node { expires_ms, path: "/a".into(), ..Node::root() }.to_json(1000);
        assert_eq!(node(101_000)["ttl"], 100);
        assert_eq!(node(100_001)["ttl"], 100);
        assert!(!node(1000).contains_key("ttl"));
    }
}
