//! What a pair (key, range_end) means in etcd's requests. Does not touch any store.

use std::ops::Bound;

use bytes::Bytes;

/// The keys a request speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyRange {
    /// Exactly one key.
    One(Bytes),
    /// From the first on, up to but without the second.
    Half(Bytes, Bytes),
    /// From this key on, to the end of the key space.
    From(Bytes),
}

impl KeyRange {
    /// Reads etcd's convention: an empty end is one key, an end of `\0` is everything from the key on.
    #[must_use]
    pub fn new(key: &Bytes, range_end: &Bytes) -> Self {
        if range_end.is_empty() {
            Self::One(key.clone())
        } else if range_end.as_ref() == [0] {
            Self::From(key.clone())
        } else {
            Self::Half(key.clone(), range_end.clone())
        }
    }

    /// Whether `key` is one of the keys meant.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one.as_ref() == key,
            Self::Half(start, end) => start.as_ref() <= key && key < end.as_ref(),
            Self::From(start) => start.as_ref() <= key,
        }
    }

    /// The same range as bounds of an ordered map.
    #[must_use]
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        match self {
            Self::One(one) => (Bound::Included(one), Bound::Included(one)),
            Self::Half(start, end) => (Bound::Included(start), Bound::Excluded(end)),
            Self::From(start) => (Bound::Included(start), Bound::Unbounded),
        }
    }
}

/// The `range_end` that makes `key` a prefix. For keys of 0xff only, `\0`: everything from the key on.
#[must_use]
pub fn prefix_end(key: &[u8]) -> Bytes {
    let mut end = key.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(prefix_end(b"foo").as_ref(), b"fop");
        assert_eq!(prefix_end(b"a\xff").as_ref(), b"b");
        assert_eq!(prefix_end(b"\xff").as_ref(), [0]);
        assert_eq!(prefix_end(b"").as_ref(), [0]);
    }

    #[test]
    fn ranges_contain_what_etcd_says() {
        let key = Bytes::from_static(b"b");
        assert!(KeyRange::new(&key, &Bytes::new()).contains(b"b"));
        assert!(!KeyRange::new(&key, &Bytes::new()).contains(b"ba"));
        assert!(KeyRange::new(&key, &Bytes::from_static(b"c")).contains(b"bz"));
        assert!(!KeyRange::new(&key, &Bytes::from_static(b"c")).contains(b"c"));
        assert!(KeyRange::new(&key, &Bytes::from_static(b"\0")).contains(b"zz"));
        assert!(!KeyRange::new(&key, &Bytes::from_static(b"\0")).contains(b"a"));
    }
}
