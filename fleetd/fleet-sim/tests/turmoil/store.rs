//! A store of one member in memory: etcd's revisions, leases and transactions, as far as a fleet uses
//! them. Pure: the time comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kv_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kv_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use kv_api::etcdserverpb::request_op::Request;
use kv_api::etcdserverpb::response_op::Response;
use kv_api::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use kv_api::mvccpb::event::EventType;
use kv_api::mvccpb::{Event, KeyValue};

/// What survives the store's crashes.
#[derive(Debug, Default)]
pub(crate) struct Core {
    revision: i64,
    keys: BTreeMap<Bytes, KeyValue>,
    history: Vec<Event>,
    leases: BTreeMap<i64, Lease>,
    last_lease: i64,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    until: Duration,
    keys: BTreeSet<Bytes>,
}

impl Core {
    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision, ..Default::default() })
    }

    /// The value of a key, as text.
    pub(crate) fn text(&self, key: &str) -> String {
        let pair = self.keys.get(key.as_bytes());
        pair.map(|pair| String::from_utf8_lossy(&pair.value).into_owned()).unwrap_or_default()
    }

    /// Whether a key was deleted after that revision.
    pub(crate) fn was_deleted_since(&self, key: &str, revision: i64) -> bool {
        let events = self.events(revision + 1, key.as_bytes(), &[]);
        events.iter().any(|event| event.r#type == EventType::Delete as i32)
    }

    /// Events from a revision on that concern a range.
    pub(crate) fn events(&self, from: i64, key: &[u8], end: &[u8]) -> Vec<Event> {
        let of_pair = |event: &Event| event.kv.as_ref().map_or(0, |pair| pair.mod_revision);
        let at = self.history.partition_point(|event| of_pair(event) < from);
        let concerns = |event: &&Event| event.kv.as_ref().is_some_and(|pair| is_in(&pair.key, key, end));
        self.history[at..].iter().filter(concerns).cloned().collect()
    }

    pub(crate) fn range(&self, wish: &RangeRequest) -> RangeResponse {
        let mut found: Vec<KeyValue> = self
            .keys
            .values()
            .filter(|pair| is_in(&pair.key, &wish.key, &wish.range_end))
            .filter(|pair| wish.max_create_revision == 0 || pair.create_revision <= wish.max_create_revision)
            .cloned()
            .collect();
        if wish.sort_target == SortTarget::Create as i32 {
            found.sort_by_key(|pair| pair.create_revision);
        }
        if wish.sort_order == SortOrder::Descend as i32 {
            found.reverse();
        }
        let count = found.len() as i64;
        if wish.limit > 0 {
            found.truncate(wish.limit as usize);
        }
        RangeResponse { header: self.header(), more: (found.len() as i64) < count, count, kvs: found }
    }

    /// Nothing when a lease that is named is gone.
    pub(crate) fn txn(&mut self, wish: &TxnRequest) -> Option<TxnResponse> {
        let succeeded = wish.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &wish.success } else { &wish.failure };
        let leases = ops.iter().filter_map(|op| match &op.request {
            Some(Request::RequestPut(put)) if put.lease != 0 => Some(put.lease),
            _ => None,
        });
        if leases.into_iter().any(|lease| !self.leases.contains_key(&lease)) {
            return None;
        }
        let next = self.revision + 1;
        let responses = ops
            .iter()
            .map(|op| {
                let response = match &op.request {
                    Some(Request::RequestRange(range)) => Response::ResponseRange(self.range(range)),
                    Some(Request::RequestPut(put)) => Response::ResponsePut(self.put_at(put, next)),
                    Some(Request::RequestDeleteRange(delete)) => {
                        Response::ResponseDeleteRange(self.delete_at(delete, next))
                    }
                    Some(Request::RequestTxn(_)) | None => panic!("the fleet nests no transactions"),
                };
                ResponseOp { response: Some(response) }
            })
            .collect();
        Some(TxnResponse { header: self.header(), succeeded, responses })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let pair = self.keys.get(&compare.key);
        let number = |of: fn(&KeyValue) -> i64| pair.map_or(0, of);
        let order = match (CompareTarget::try_from(compare.target), &compare.target_union) {
            (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(wanted))) => {
                number(|pair| pair.create_revision).cmp(wanted)
            }
            (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(wanted))) => {
                number(|pair| pair.mod_revision).cmp(wanted)
            }
            other => panic!("the fleet does not compare by {other:?}"),
        };
        match CompareResult::try_from(compare.result) {
            Ok(CompareResult::Equal) => order.is_eq(),
            Ok(CompareResult::Greater) => order.is_gt(),
            Ok(CompareResult::Less) => order.is_lt(),
            Ok(CompareResult::NotEqual) => order.is_ne(),
            Err(_) => false,
        }
    }

    fn put_at(&mut self, put: &PutRequest, revision: i64) -> PutResponse {
        self.revision = revision;
        let old = self.keys.get(&put.key);
        let (created, version) = old.map_or((revision, 1), |old| (old.create_revision, old.version + 1));
        if let Some(lease) = old.and_then(|old| self.leases.get_mut(&old.lease)) {
            lease.keys.remove(&put.key);
        }
        if let Some(lease) = self.leases.get_mut(&put.lease) {
            lease.keys.insert(put.key.clone());
        }
        let pair = KeyValue {
            key: put.key.clone(),
            create_revision: created,
            mod_revision: revision,
            version,
            value: put.value.clone(),
            lease: put.lease,
        };
        self.keys.insert(put.key.clone(), pair.clone());
        self.history.push(Event { r#type: EventType::Put.into(), kv: Some(pair), prev_kv: None });
        PutResponse { header: self.header(), prev_kv: None }
    }

    fn delete_at(&mut self, delete: &DeleteRangeRequest, revision: i64) -> DeleteRangeResponse {
        let keys: Vec<Bytes> =
            self.keys.keys().filter(|key| is_in(key, &delete.key, &delete.range_end)).cloned().collect();
        for key in &keys {
            self.revision = revision;
            if let Some(old) = self.keys.remove(key)
                && let Some(lease) = self.leases.get_mut(&old.lease)
            {
                lease.keys.remove(key);
            }
            let pair = KeyValue { key: key.clone(), mod_revision: revision, ..Default::default() };
            self.history.push(Event { r#type: EventType::Delete.into(), kv: Some(pair), prev_kv: None });
        }
        DeleteRangeResponse { header: self.header(), deleted: keys.len() as i64, prev_kvs: Vec::new() }
    }

    pub(crate) fn grant(&mut self, seconds: i64, now: Duration) -> i64 {
        let ttl = Duration::from_secs(seconds.unsigned_abs());
        self.last_lease += 1;
        self.leases.insert(self.last_lease, Lease { ttl, until: now + ttl, keys: BTreeSet::new() });
        self.last_lease
    }

    /// The seconds that it lives now; 0 when it is gone.
    pub(crate) fn renew(&mut self, id: i64, now: Duration) -> i64 {
        let Some(lease) = self.leases.get_mut(&id) else { return 0 };
        lease.until = now + lease.ttl;
        lease.ttl.as_secs() as i64
    }

    pub(crate) fn revoke(&mut self, id: i64) {
        let Some(lease) = self.leases.remove(&id) else { return };
        let next = self.revision + 1;
        for key in lease.keys {
            self.delete_at(&DeleteRangeRequest { key, ..Default::default() }, next);
        }
    }

    pub(crate) fn expire(&mut self, now: Duration) {
        let over: Vec<i64> =
            self.leases.iter().filter(|(_, lease)| lease.until <= now).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.revoke(id));
    }

    /// It served nobody for a while: as etcd, it gives every lease its whole life again.
    pub(crate) fn restarted(&mut self, now: Duration) {
        self.leases.values_mut().for_each(|lease| lease.until = now + lease.ttl);
    }
}

/// As in every request of etcd's: one key, a range, or all from a key on.
fn is_in(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && key < end,
    }
}
