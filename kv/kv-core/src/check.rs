//! What is refused before it is proposed: malformed requests, by etcd's rules. Looks at no state.

use std::collections::BTreeSet;

use bytes::Bytes;
use kv_api::{
    ErrorKind, KeyRange,
    etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
};

/// etcd's default limit of comparisons, and of operations per branch.
pub const MAX_TXN_OPS: usize = 128;

/// # Errors
/// What etcd answers to such a request.
pub fn check_range(request: &RangeRequest) -> Result<(), ErrorKind> {
    if request.key.is_empty() {
        return Err(ErrorKind::EmptyKey);
    }
    let known =
        SortOrder::try_from(request.sort_order).is_ok() && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(ErrorKind::InvalidSortOption) }
}

/// # Errors
/// What etcd answers to such a request.
pub fn check_put(request: &PutRequest) -> Result<(), ErrorKind> {
    if request.key.is_empty() {
        Err(ErrorKind::EmptyKey)
    } else if request.ignore_value && !request.value.is_empty() {
        Err(ErrorKind::ValueProvided)
    } else if request.ignore_lease && request.lease != 0 {
        Err(ErrorKind::LeaseProvided)
    } else {
        Ok(())
    }
}

/// # Errors
/// What etcd answers to such a request.
pub fn check_delete(request: &DeleteRangeRequest) -> Result<(), ErrorKind> {
    if request.key.is_empty() { Err(ErrorKind::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction with everything nested in it, up to `max_ops` operations per branch.
///
/// # Errors
/// What etcd answers to such a request.
pub fn check_txn(txn: &TxnRequest, max_ops: usize) -> Result<(), ErrorKind> {
    check_shape(txn, max_ops)?;
    writes(&txn.success)?;
    writes(&txn.failure)?;
    Ok(())
}

fn check_shape(txn: &TxnRequest, max_ops: usize) -> Result<(), ErrorKind> {
    let largest = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if largest > max_ops {
        return Err(ErrorKind::TooManyOps);
    }
    if txn.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(ErrorKind::EmptyKey);
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete(delete)?,
            Some(Request::RequestTxn(nested)) => check_shape(nested, max_ops)?,
            None => return Err(ErrorKind::KeyNotFound),
        }
    }
    Ok(())
}

#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Vec<KeyRange>,
}

impl Writes {
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes.iter().any(|range| range.contains(key))
    }

    fn put(&mut self, key: &Bytes) -> Result<(), ErrorKind> {
        if self.deletes(key) || !self.puts.insert(key.clone()) {
            Err(ErrorKind::DuplicateKey)
        } else {
            Ok(())
        }
    }
}

/// The keys a branch may write. Within one outcome no key may be put twice, or put and deleted.
fn writes(ops: &[RequestOp]) -> Result<Writes, ErrorKind> {
    let mut all = Writes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            all.deletes.push(KeyRange::new(&delete.key, &delete.range_end));
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(nested)) = &op.request else { continue };
        let (then, otherwise) = (writes(&nested.success)?, writes(&nested.failure)?);
        for key in &then.puts {
            all.put(key)?;
        }
        for key in otherwise.puts.difference(&then.puts) {
            all.put(key)?;
        }
        all.deletes.extend(then.deletes);
        all.deletes.extend(otherwise.deletes);
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request {
            all.put(&put.key)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> RequestOp {
        RequestOp { request: Some(Request::RequestPut(PutRequest { key: key.into(), ..Default::default() })) }
    }

    fn delete(key: &'static str, end: &'static str) -> RequestOp {
        let delete = DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: false };
        RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        RequestOp { request: Some(Request::RequestTxn(TxnRequest { compare: vec![], success, failure })) }
    }

    fn check(success: Vec<RequestOp>) -> Result<(), ErrorKind> {
        check_txn(&TxnRequest { compare: vec![], success, failure: vec![] }, MAX_TXN_OPS)
    }

    #[test]
    fn one_outcome_writes_a_key_once() {
        assert_eq!(check(vec![put("a"), put("b")]), Ok(()));
        assert_eq!(check(vec![put("a"), put("a")]), Err(ErrorKind::DuplicateKey));
        assert_eq!(check(vec![put("b"), delete("a", "c")]), Err(ErrorKind::DuplicateKey));
        assert_eq!(check(vec![put("c"), delete("a", "c")]), Ok(()));
        assert_eq!(check(vec![nested(vec![put("a")], vec![put("a")])]), Ok(()));
        assert_eq!(check(vec![nested(vec![put("a")], vec![]), put("a")]), Err(ErrorKind::DuplicateKey));
        assert_eq!(
            check(vec![nested(vec![delete("a", "")], vec![]), put("a")]),
            Err(ErrorKind::DuplicateKey)
        );
    }

    #[test]
    fn shapes_are_checked_at_every_depth() {
        assert_eq!(check(vec![nested(vec![put("")], vec![])]), Err(ErrorKind::EmptyKey));
        let many = (0..129).map(|_| delete("a", "")).collect();
        assert_eq!(check(vec![nested(many, vec![])]), Err(ErrorKind::TooManyOps));
    }
}
