//! The state against a model that keeps a whole copy of the world per revision: random operations, old reads,
//! compaction with partial sweeps, and flushes to a base in between.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use kv_api::{
    ErrorKind,
    etcdserverpb::{
        CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
        RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
    internal::{Op, op::Op as Kind, reply::Reply as Answer},
    mvccpb::KeyValue,
};
use kv_core::{Failure, Memory, State, View};
use proptest::prelude::*;

type World = BTreeMap<Bytes, KeyValue>;

/// Every revision's world, kept whole.
struct Model {
    worlds: Vec<World>,
    leases: BTreeMap<i64, ()>,
    compacted: i64,
}

impl Model {
    fn new() -> Self {
        Self { worlds: vec![World::new(), World::new()], leases: BTreeMap::new(), compacted: 0 }
    }

    fn revision(&self) -> i64 {
        self.worlds.len() as i64 - 1
    }

    fn put(&self, world: &mut World, key: &Bytes, value: &Bytes, lease: i64) {
        let revision = self.revision() + 1;
        let before = world.get(key);
        let pair = KeyValue {
            key: key.clone(),
            value: value.clone(),
            lease,
            mod_revision: revision,
            create_revision: before.map_or(revision, |pair| pair.create_revision),
            version: before.map_or(1, |pair| pair.version + 1),
        };
        world.insert(key.clone(), pair);
    }

    fn commit(&mut self, world: World) {
        if self.worlds.last() != Some(&world) {
            self.worlds.push(world);
        }
    }

    fn now(&self) -> World {
        self.worlds.last().expect("never empty").clone()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8, i64),
    Delete(u8, u8),
    Swap(u8, u8, u8),
    Grant(i64),
    Revoke(i64),
    Compact(u8),
    Sweep(usize),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..12_u8, any::<u8>(), 0..3_i64).prop_map(|(k, v, l)| Step::Put(k, v, l)),
        3 => (0..12_u8, 0..12_u8).prop_map(|(a, b)| Step::Delete(a, b)),
        3 => (0..12_u8, 0..12_u8, any::<u8>()).prop_map(|(a, b, v)| Step::Swap(a, b, v)),
        1 => (1..3_i64).prop_map(Step::Grant),
        1 => (1..3_i64).prop_map(Step::Revoke),
        1 => any::<u8>().prop_map(Step::Compact),
        2 => (0..5_usize).prop_map(Step::Sweep),
        1 => Just(Step::Flush),
    ]
}

/// Keys that are prefixes of each other and hold zero bytes.
fn key(n: u8) -> Bytes {
    let keys: [&[u8]; 12] =
        [b"a", b"a\0", b"a\0\0", b"a\0b", b"a\xff", b"aa", b"ab", b"b", b"b\0", b"c", b"\xff", b"\xff\xff"];
    Bytes::from_static(keys[usize::from(n) % keys.len()])
}

struct Pair {
    state: State,
    base: Memory,
    model: Model,
}

impl Pair {
    fn apply(&mut self, op: Kind) -> Answer {
        let reply = self.state.apply(Op { op: Some(op) }, 0).expect("memory does not fail");
        reply.reply.expect("always answered")
    }

    fn step(&mut self, step: &Step) {
        let mut world = self.model.now();
        match step {
            Step::Put(k, v, lease) => {
                let (key, value) = (key(*k), Bytes::from(vec![*v]));
                let answer = self.apply(Kind::Put(PutRequest {
                    key: key.clone(),
                    value: value.clone(),
                    lease: *lease,
                    ..Default::default()
                }));
                if *lease != 0 && !self.model.leases.contains_key(lease) {
                    assert_eq!(answer, Answer::Error(ErrorKind::LeaseNotFound.name().into()));
                    return;
                }
                self.model.put(&mut world, &key, &value, *lease);
            }
            Step::Delete(a, b) => {
                let (start, end) = (key(*a), key(*b));
                let request =
                    DeleteRangeRequest { key: start.clone(), range_end: end.clone(), prev_kv: true };
                let doomed: Vec<KeyValue> =
                    world.values().filter(|p| p.key >= start && p.key < end).cloned().collect();
                let Answer::DeleteRange(reply) = self.apply(Kind::DeleteRange(request)) else {
                    panic!("deletes")
                };
                assert_eq!(reply.prev_kvs, doomed);
                world.retain(|k, _| !(*k >= start && *k < end));
            }
            Step::Swap(a, b, v) => self.swap(&mut world, &key(*a), &key(*b), Bytes::from(vec![*v])),
            Step::Grant(id) => {
                let answer = self.apply(Kind::LeaseGrant(LeaseGrantRequest { id: *id, ttl: 5 }));
                let known = self.model.leases.insert(*id, ()).is_some();
                assert_eq!(matches!(answer, Answer::Error(_)), known);
            }
            Step::Revoke(id) => {
                let answer = self.apply(Kind::LeaseRevoke(LeaseRevokeRequest { id: *id }));
                let known = self.model.leases.remove(id).is_some();
                assert_eq!(matches!(answer, Answer::Error(_)), !known);
                if known {
                    world.retain(|_, pair| pair.lease != *id);
                }
            }
            Step::Compact(back) => {
                let revision = self.model.revision() - i64::from(*back % 8);
                let answer = self.apply(Kind::Compact(CompactionRequest { revision, physical: false }));
                if revision > self.model.compacted || revision == 0 && self.model.compacted == 0 {
                    assert!(matches!(answer, Answer::Compact(_)));
                    self.model.compacted = revision;
                } else {
                    assert_eq!(answer, Answer::Error(ErrorKind::Compacted.name().into()));
                }
            }
            Step::Sweep(most) => {
                self.state.sweep(*most).expect("memory does not fail");
            }
            Step::Flush => {
                let sealed = self.state.seal();
                self.base = self.base.with(&sealed);
                self.state.stored(Arc::new(self.base.clone()));
                let again = State::open(Arc::new(self.base.clone())).expect("own state");
                assert_eq!(again.view().revision(), self.state.view().revision());
                assert_eq!(again.view().hash(0).unwrap(), self.state.view().hash(0).unwrap());
            }
        }
        self.model.commit(world);
    }

    /// If `a` exists, write both, reading in between; else delete `b`.
    fn swap(&mut self, world: &mut World, a: &Bytes, b: &Bytes, value: Bytes) {
        if a == b {
            return;
        }
        let op = |request| RequestOp { request: Some(request) };
        let put = |key: &Bytes| {
            op(Request::RequestPut(PutRequest {
                key: key.clone(),
                value: value.clone(),
                ..Default::default()
            }))
        };
        let delete = op(Request::RequestDeleteRange(DeleteRangeRequest {
            key: b.clone(),
            range_end: Bytes::new(),
            prev_kv: false,
        }));
        let request = TxnRequest {
            compare: vec![Compare {
                result: CompareResult::Greater.into(),
                target: CompareTarget::Version.into(),
                key: a.clone(),
                range_end: Bytes::new(),
                target_union: Some(TargetUnion::Version(0)),
            }],
            success: vec![put(a), put(b)],
            failure: vec![delete],
        };
        let Answer::Txn(reply) = self.apply(Kind::Txn(request)) else { panic!("runs") };
        assert_eq!(reply.succeeded, world.contains_key(a));
        if reply.succeeded {
            self.model.put(world, a, &value, 0);
            self.model.put(world, b, &value, 0);
        } else {
            world.remove(b);
        }
    }

    fn check(&self) {
        let view = self.state.view();
        assert_eq!(view.revision(), self.model.revision());
        for revision in 1..=self.model.revision() + 1 {
            let request = RangeRequest {
                key: vec![0].into(),
                range_end: vec![0].into(),
                revision,
                ..Default::default()
            };
            match view.range(&request) {
                Ok(reply) => {
                    let wanted: Vec<KeyValue> =
                        self.model.worlds[revision as usize].values().cloned().collect();
                    assert_eq!(reply.kvs, wanted, "at revision {revision}");
                    assert_eq!(reply.count, wanted.len() as i64);
                }
                Err(Failure::Refused(ErrorKind::Compacted)) => assert!(revision < self.model.compacted),
                Err(Failure::Refused(ErrorKind::FutureRev)) => {
                    assert_eq!(revision, self.model.revision() + 1)
                }
                Err(other) => panic!("{other}"),
            }
        }
        self.check_single_keys(view);
        self.check_history(view);
    }

    fn check_single_keys(&self, view: &View) {
        for revision in self.model.compacted.max(1)..=self.model.revision() {
            for n in 0..12 {
                let request = RangeRequest { key: key(n), revision, ..Default::default() };
                let found = view.range(&request).expect("kept").kvs.pop();
                assert_eq!(found.as_ref(), self.model.worlds[revision as usize].get(&key(n)));
            }
        }
    }

    /// Replaying the kept history on the oldest kept world gives the newest.
    fn check_history(&self, view: &View) {
        let first = self.model.compacted.max(1);
        let mut world = self.model.worlds[first as usize].clone();
        let mut from = first + 1;
        while from <= view.revision() {
            let (changes, next) = view.changes(from, 3).expect("memory does not fail");
            for change in changes {
                let pair = change.event.kv.clone().expect("always");
                let before = world.get(change.key()).cloned();
                if pair.mod_revision > first + 1
                    || before.as_ref().is_some_and(|p| p.mod_revision >= self.model.compacted)
                {
                    assert_eq!(view.before(&change).expect("memory"), before);
                }
                if change.is_deletion() {
                    assert!(world.remove(change.key()).is_some(), "only what exists is deleted");
                } else {
                    world.insert(pair.key.clone(), pair);
                }
            }
            from = next;
        }
        assert_eq!(world, self.model.now());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn the_state_behaves_like_a_copy_per_revision(steps in proptest::collection::vec(step(), 1..60)) {
        let base = Memory::default();
        let state = State::open(Arc::new(base.clone())).expect("empty");
        let mut pair = Pair { state, base, model: Model::new() };
        for step in &steps {
            pair.step(step);
        }
        pair.check();
        // Once swept, what counts against the quota is what a store that never held more would count.
        while pair.state.sweep(3).expect("memory") {}
        pair.check();
    }

    #[test]
    fn members_agree_on_the_hash_however_far_they_swept(steps in proptest::collection::vec(step(), 1..60)) {
        let open = || State::open(Arc::new(Memory::default())).expect("empty");
        let mut one = Pair { state: open(), base: Memory::default(), model: Model::new() };
        let mut other = Pair { state: open(), base: Memory::default(), model: Model::new() };
        for step in &steps {
            one.step(step);
            if !matches!(step, Step::Sweep(_) | Step::Flush) {
                other.step(step);
            }
        }
        prop_assert_eq!(one.state.view().hash(0).unwrap(), other.state.view().hash(0).unwrap());
    }
}
