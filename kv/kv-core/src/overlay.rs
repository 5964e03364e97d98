//! The ordered map under the state: a stored base and, above it, the changes not yet stored. Knows nothing of
//! revisions. A deleted key is kept in the overlay as `None`, so that it hides the base's.

use std::{collections::BTreeMap, io, iter::Peekable, ops::Bound, sync::Arc};

use bytes::Bytes;

/// Changes above a base: the new value, or `None` for a deletion. Cloning is cheap and shares.
pub type Overlay = imbl::OrdMap<Bytes, Option<Bytes>>;

/// Pairs in key order.
pub type Pairs<'a> = Box<dyn Iterator<Item = io::Result<(Bytes, Bytes)>> + 'a>;

/// A stored ordered map at one moment. It does not change; a flush makes a new one.
pub trait Backend: Send + Sync {
    /// The value of one key.
    ///
    /// # Errors
    /// When the storage fails.
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>>;

    /// The pairs with `start <= key < end`, in order.
    ///
    /// # Errors
    /// When the storage fails; an iterator may also fail on the way.
    fn scan(&self, start: &[u8], end: &[u8]) -> io::Result<Pairs<'_>>;

    /// How many keys there are with `start <= key < end`, without reading values.
    ///
    /// # Errors
    /// When the storage fails.
    fn keys(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        for pair in self.scan(start, end)? {
            visit(&pair?.0);
        }
        Ok(())
    }
}

/// A base in memory, for tests and simulations.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<BTreeMap<Bytes, Bytes>>);

impl Memory {
    /// A new base with these changes stored.
    #[must_use]
    pub fn with(&self, changes: &Overlay) -> Self {
        let mut map = (*self.0).clone();
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        Self(Arc::new(map))
    }
}

impl FromIterator<(Bytes, Bytes)> for Memory {
    fn from_iter<T: IntoIterator<Item = (Bytes, Bytes)>>(pairs: T) -> Self {
        Self(Arc::new(pairs.into_iter().collect()))
    }
}

impl Backend for Memory {
    fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, start: &[u8], end: &[u8]) -> io::Result<Pairs<'_>> {
        if start >= end {
            return Ok(Box::new(std::iter::empty()));
        }
        let range = self.0.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)));
        Ok(Box::new(range.map(|(k, v)| Ok((k.clone(), v.clone())))))
    }
}

/// Changes in the order of their keys, laid over pairs in the order of theirs.
pub(crate) struct Merged<'a, Top: Iterator<Item = (Bytes, Option<Bytes>)>> {
    top: Peekable<Top>,
    base: Peekable<Pairs<'a>>,
}

impl<'a, Top: Iterator<Item = (Bytes, Option<Bytes>)>> Merged<'a, Top> {
    pub(crate) fn new(top: Top, base: Pairs<'a>) -> Self {
        Self { top: top.peekable(), base: base.peekable() }
    }
}

impl<Top: Iterator<Item = (Bytes, Option<Bytes>)>> Iterator for Merged<'_, Top> {
    type Item = io::Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.top.peek(), self.base.peek()) {
                (None, _) | (_, Some(Err(_))) => return self.base.next(),
                (Some(_), None) => std::cmp::Ordering::Less,
                (Some((top, _)), Some(Ok((base, _)))) => top.cmp(base),
            };
            if order.is_gt() {
                return self.base.next();
            }
            if order.is_eq() {
                self.base.next();
            }
            if let Some((key, Some(value))) = self.top.next() {
                return Some(Ok((key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn an_overlay_hides_replaces_and_adds() {
        let base: Memory =
            [("a", "1"), ("b", "2"), ("d", "4")].map(|(k, v)| (bytes(k), bytes(v))).into_iter().collect();
        let changes: Overlay = [("a", None), ("b", Some("two")), ("c", Some("3")), ("x", None)]
            .map(|(k, v)| (bytes(k), v.map(bytes)))
            .into_iter()
            .collect();
        let merged = Merged::new(changes.clone().into_iter(), base.scan(b"", b"~").expect("memory"));
        let pairs: Vec<_> = merged.map(|pair| pair.expect("memory")).collect();
        assert_eq!(pairs, [("b", "two"), ("c", "3"), ("d", "4")].map(|(k, v)| (bytes(k), bytes(v))));
        assert_eq!(base.with(&changes).0.len(), 3);
    }
}
