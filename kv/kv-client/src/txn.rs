//! Building transactions: `Txn::new().when([...]).then([...]).or_else([...])`. Sends nothing.

use kv_api::etcdserverpb::{Compare, RequestOp, TxnRequest};

/// A transaction being built.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    pub(crate) request: TxnRequest,
}

impl Txn {
    /// Without conditions it always succeeds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All of these must hold.
    #[must_use]
    pub fn when(mut self, conditions: impl IntoIterator<Item = Compare>) -> Self {
        self.request.compare.extend(conditions);
        self
    }

    /// Done when the conditions hold.
    #[must_use]
    pub fn then(mut self, ops: impl IntoIterator<Item = RequestOp>) -> Self {
        self.request.success.extend(ops);
        self
    }

    /// Done when they do not.
    #[must_use]
    pub fn or_else(mut self, ops: impl IntoIterator<Item = RequestOp>) -> Self {
        self.request.failure.extend(ops);
        self
    }
}

/// Conditions of a transaction.
pub mod compare {
    use bytes::Bytes;
    use kv_api::etcdserverpb::{
        Compare,
        compare::{CompareResult, CompareTarget, TargetUnion},
    };

    fn compare(
        key: impl Into<Bytes>,
        result: CompareResult,
        target: CompareTarget,
        to: TargetUnion,
    ) -> Compare {
        Compare {
            result: result.into(),
            target: target.into(),
            key: key.into(),
            range_end: Bytes::new(),
            target_union: Some(to),
        }
    }

    /// The key does not exist.
    pub fn absent(key: impl Into<Bytes>) -> Compare {
        created_at(key, 0)
    }

    /// The key exists.
    pub fn exists(key: impl Into<Bytes>) -> Compare {
        let zero = TargetUnion::CreateRevision(0);
        compare(key, CompareResult::Greater, CompareTarget::Create, zero)
    }

    /// The key was created at this revision (0: does not exist).
    pub fn created_at(key: impl Into<Bytes>, revision: i64) -> Compare {
        compare(key, CompareResult::Equal, CompareTarget::Create, TargetUnion::CreateRevision(revision))
    }

    /// The key was last changed at this revision (0: does not exist).
    pub fn modified_at(key: impl Into<Bytes>, revision: i64) -> Compare {
        compare(key, CompareResult::Equal, CompareTarget::Mod, TargetUnion::ModRevision(revision))
    }

    /// The key holds this value.
    pub fn value_is(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Compare {
        compare(key, CompareResult::Equal, CompareTarget::Value, TargetUnion::Value(value.into()))
    }

    /// The key has been changed this often since it was created (0: does not exist).
    pub fn version_is(key: impl Into<Bytes>, version: i64) -> Compare {
        compare(key, CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(version))
    }
}

/// Operations of a transaction.
pub mod op {
    use bytes::Bytes;
    use kv_api::{
        etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, request_op::Request},
        prefix_end,
    };

    /// Sets a key, without a lease.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> RequestOp {
        put_leased(key, value, 0)
    }

    /// Sets a key that goes when the lease goes.
    pub fn put_leased(key: impl Into<Bytes>, value: impl Into<Bytes>, lease: i64) -> RequestOp {
        let put = PutRequest { key: key.into(), value: value.into(), lease, ..Default::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    /// Deletes a key.
    pub fn delete(key: impl Into<Bytes>) -> RequestOp {
        let delete = DeleteRangeRequest { key: key.into(), ..Default::default() };
        RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    /// Deletes everything under a prefix.
    pub fn delete_prefix(prefix: impl Into<Bytes>) -> RequestOp {
        let key = prefix.into();
        let delete = DeleteRangeRequest { range_end: prefix_end(&key), key, ..Default::default() };
        RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    /// Reads a key.
    pub fn get(key: impl Into<Bytes>) -> RequestOp {
        let range = RangeRequest { key: key.into(), ..Default::default() };
        RequestOp { request: Some(Request::RequestRange(range)) }
    }

    /// Reads everything under a prefix.
    pub fn get_prefix(prefix: impl Into<Bytes>) -> RequestOp {
        let key = prefix.into();
        let range = RangeRequest { range_end: prefix_end(&key), key, ..Default::default() };
        RequestOp { request: Some(Request::RequestRange(range)) }
    }
}
