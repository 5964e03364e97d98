//! Answering range requests: at the newest revision or an old one, filtered, sorted, limited, as etcd does.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use kv_api::{
    KeyRange,
    etcdserverpb::{
        RangeRequest, RangeResponse,
        range_request::{SortOrder, SortTarget},
    },
    mvccpb::KeyValue,
};

use crate::{
    Failure, View,
    layout::{self, Generation, Space},
    view::pair,
};

impl View {
    /// Answers a request. The reply's header is left to the caller.
    ///
    /// # Errors
    /// When the revision is compacted or not there yet, or the storage fails.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Failure> {
        let revision = self.readable(request.revision)?;
        let keys = KeyRange::new(&request.key, &request.range_end);
        if request.count_only && !filters(request) {
            let count = self.count(&keys, revision)?;
            return Ok(RangeResponse { count, ..Default::default() });
        }
        let (mut found, count) = self.find(&keys, revision, request)?;
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let more = limit > 0 && found.len() > limit;
        if more {
            found.truncate(limit);
        }
        if request.count_only {
            found.clear();
        }
        if request.keys_only {
            found.iter_mut().for_each(|pair| pair.value = Bytes::new());
        }
        Ok(RangeResponse { header: None, kvs: found, more, count })
    }

    /// The pairs a request wants, sorted but not yet limited, and how many keys its range holds.
    fn find(
        &self,
        keys: &KeyRange,
        revision: i64,
        request: &RangeRequest,
    ) -> io::Result<(Vec<KeyValue>, i64)> {
        let needs_all = filters(request) || sorts(request);
        let enough = if needs_all || request.limit <= 0 { usize::MAX } else { request.limit as usize + 1 };
        let needs_value = !request.keys_only || request.sort_target() == SortTarget::Value;
        let mut found = Vec::new();
        let mut count = 0;
        self.each_generation(Space::V3, keys, revision, &mut |key, generation| {
            count += 1;
            if found.len() < enough && wanted(request, &generation) {
                found.push(if needs_value {
                    pair(self.record(generation.at)?)
                } else {
                    bare(key, generation)
                });
            }
            Ok(())
        })?;
        sort(request, &mut found);
        Ok((found, count))
    }

    fn count(&self, keys: &KeyRange, revision: i64) -> io::Result<i64> {
        let mut count = 0;
        let (start, end) = bounds(Space::V3, keys);
        if revision == self.revision
            && self.active.range(start.clone()..end.clone()).next().is_none()
            && self.sealed.range(start.clone()..end.clone()).next().is_none()
        {
            self.base.keys(&start, &end, &mut |_| count += 1)?;
            return Ok(count);
        }
        self.each_generation(Space::V3, keys, revision, &mut |_, _| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// Visits the generation of every key of the range that was alive at `revision`, in key order.
    pub(crate) fn each_generation(
        &self,
        space: Space,
        keys: &KeyRange,
        revision: i64,
        visit: &mut dyn FnMut(Bytes, Generation) -> io::Result<()>,
    ) -> io::Result<()> {
        if let (KeyRange::One(key), true) = (keys, revision >= self.revision) {
            return match self.current(space, key)? {
                Some(generation) => visit(key.clone(), generation),
                None => Ok(()),
            };
        }
        let (start, end) = bounds(space, keys);
        if revision >= self.revision {
            for entry in self.scan(&start, &end)? {
                let (key, generation) = entry?;
                visit(key.slice(2..), Generation::decode(&generation)?)?;
            }
            return Ok(());
        }
        for (key, generation) in self.alive_at(space, keys, revision)? {
            visit(key, generation)?;
        }
        Ok(())
    }

    /// The keys alive at an old revision: those unchanged since, and superseded ones, newest not after it.
    fn alive_at(
        &self,
        space: Space,
        keys: &KeyRange,
        revision: i64,
    ) -> io::Result<BTreeMap<Bytes, Generation>> {
        let mut alive = BTreeMap::new();
        let (old_start, old_end) = old_bounds(space, keys);
        for entry in self.scan(&old_start, &old_end)? {
            let (entry, generation) = entry?;
            let (key, at) = layout::parse_old(&entry)?;
            if at.main <= revision {
                alive.insert(key, Generation::decode(&generation)?);
            }
        }
        let (start, end) = bounds(space, keys);
        for entry in self.scan(&start, &end)? {
            let (key, generation) = entry?;
            let generation = Generation::decode(&generation)?;
            if generation.at.main <= revision {
                alive.insert(key.slice(2..), generation);
            }
        }
        alive.retain(|_, generation| !generation.is_deletion());
        Ok(alive)
    }
}

/// The range of the current table.
pub(crate) fn bounds(space: Space, keys: &KeyRange) -> (Bytes, Bytes) {
    let after_space = layout::table(layout::CURRENT, &[&[space as u8 + 1]]);
    match keys {
        KeyRange::One(key) => (layout::current(space, key), successor(layout::current(space, key))),
        KeyRange::Half(start, end) => (layout::current(space, start), layout::current(space, end)),
        KeyRange::From(start) => (layout::current(space, start), after_space),
    }
}

fn old_bounds(space: Space, keys: &KeyRange) -> (Bytes, Bytes) {
    let start = |key: &[u8]| layout::old_start(space, key).freeze();
    match keys {
        KeyRange::One(key) => {
            let prefix = layout::old_prefix(space, key).freeze();
            let end = kv_api::prefix_end(&prefix);
            (prefix, end)
        }
        KeyRange::Half(first, end) => (start(first), start(end)),
        KeyRange::From(first) => (start(first), layout::table(layout::OLD, &[&[space as u8 + 1]])),
    }
}

fn successor(key: Bytes) -> Bytes {
    let mut next = Vec::from(key);
    next.push(0);
    next.into()
}

fn bare(key: Bytes, generation: Generation) -> KeyValue {
    let Generation { at, created, version, lease } = generation;
    KeyValue { key, create_revision: created, mod_revision: at.main, version, value: Bytes::new(), lease }
}

fn filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn wanted(request: &RangeRequest, generation: &Generation) -> bool {
    let within =
        |value: i64, least: i64, most: i64| (least == 0 || value >= least) && (most == 0 || value <= most);
    within(generation.at.main, request.min_mod_revision, request.max_mod_revision)
        && within(generation.created, request.min_create_revision, request.max_create_revision)
}

fn sorts(request: &RangeRequest) -> bool {
    request.sort_target() != SortTarget::Key || request.sort_order() == SortOrder::Descend
}

fn sort(request: &RangeRequest, found: &mut [KeyValue]) {
    if !sorts(request) {
        return;
    }
    let descend = request.sort_order() == SortOrder::Descend;
    // Equal ones stay in the order of their keys, whichever way it goes.
    found.sort_by(|a, b| {
        let order = match request.sort_target() {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if descend { order.reverse() } else { order }
    });
}
