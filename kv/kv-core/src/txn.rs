//! Transactions: all conditions, of nested transactions too, are judged on the state before it, then the chosen
//! operations run in order, in one revision, each seeing those before it.

use std::collections::VecDeque;

use bytes::Bytes;
use kv_api::{
    ErrorKind, KeyRange,
    etcdserverpb::{
        Compare, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
};

use crate::{
    Failure, State, View,
    layout::{Generation, Space},
};

impl State {
    pub(crate) fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Failure> {
        let mut path = VecDeque::new();
        choose(&self.view, request, &mut path)?;
        if writes(request, &mut path.clone()) {
            self.refuse_when_full()?;
        }
        self.all_or_nothing(|state| state.run(request, &mut path))
    }

    fn run(&mut self, request: &TxnRequest, path: &mut VecDeque<bool>) -> Result<TxnResponse, Failure> {
        let succeeded = path.pop_front().expect("one choice per transaction");
        let mut responses = Vec::new();
        for op in branch(request, succeeded) {
            let response = match &op.request {
                Some(Request::RequestRange(range)) => {
                    let mut view = self.view.clone();
                    view.revision = self.revision_within();
                    let mut reply = view.range(range)?;
                    reply.header = self.header();
                    Response::ResponseRange(reply)
                }
                Some(Request::RequestPut(put)) => Response::ResponsePut(self.put(put)?),
                Some(Request::RequestDeleteRange(delete)) => {
                    Response::ResponseDeleteRange(self.delete_range(delete)?)
                }
                Some(Request::RequestTxn(nested)) => nested_response(self.run(nested, path)?),
                None => return Err(ErrorKind::KeyNotFound.into()),
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: self.header(), succeeded, responses })
    }
}

impl View {
    /// Whether a transaction would write nothing, whichever way it goes: it can then be answered from a view.
    #[must_use]
    pub fn only_reads(request: &TxnRequest) -> bool {
        let reads = |op: &RequestOp| match &op.request {
            Some(Request::RequestRange(_)) => true,
            Some(Request::RequestTxn(nested)) => Self::only_reads(nested),
            _ => false,
        };
        request.success.iter().all(reads) && request.failure.iter().all(reads)
    }

    /// Answers a transaction that only reads.
    ///
    /// # Errors
    /// As for a range; a write in it is refused as not capable.
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, Failure> {
        let mut path = VecDeque::new();
        choose(self, request, &mut path)?;
        self.read(request, &mut path)
    }

    fn read(&self, request: &TxnRequest, path: &mut VecDeque<bool>) -> Result<TxnResponse, Failure> {
        let succeeded = path.pop_front().expect("one choice per transaction");
        let header = Some(ResponseHeader { revision: self.revision, ..Default::default() });
        let mut responses = Vec::new();
        for op in branch(request, succeeded) {
            let response = match &op.request {
                Some(Request::RequestRange(range)) => {
                    let mut reply = self.range(range)?;
                    reply.header = header;
                    Response::ResponseRange(reply)
                }
                Some(Request::RequestTxn(nested)) => nested_response(self.read(nested, path)?),
                _ => return Err(ErrorKind::NotCapable.into()),
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header, succeeded, responses })
    }
}

/// A nested reply's own header is empty, as etcd leaves it.
fn nested_response(reply: TxnResponse) -> Response {
    Response::ResponseTxn(TxnResponse { header: Some(ResponseHeader::default()), ..reply })
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}

/// Decides every transaction on the way, outermost first, in the order they will run.
fn choose(view: &View, request: &TxnRequest, path: &mut VecDeque<bool>) -> Result<(), Failure> {
    let mut succeeded = true;
    for compare in &request.compare {
        succeeded = succeeded && holds(view, compare)?;
    }
    path.push_back(succeeded);
    for op in branch(request, succeeded) {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            choose(view, nested, path)?;
        }
    }
    Ok(())
}

fn writes(request: &TxnRequest, path: &mut VecDeque<bool>) -> bool {
    let Some(succeeded) = path.pop_front() else { return false };
    let mut any = false;
    for op in branch(request, succeeded) {
        any |= match &op.request {
            Some(Request::RequestPut(_)) => true,
            Some(Request::RequestTxn(nested)) => writes(nested, path),
            _ => false,
        };
    }
    any
}

fn holds(view: &View, compare: &Compare) -> Result<bool, Failure> {
    let keys = KeyRange::new(&compare.key, &compare.range_end);
    let mut found = Vec::new();
    view.each_generation(Space::V3, &keys, i64::MAX, &mut |_, generation| {
        found.push(generation);
        Ok(())
    })?;
    if found.is_empty() {
        return Ok(compare.target() != CompareTarget::Value && matches(compare, &ABSENT, &Bytes::new()));
    }
    for generation in found {
        let value = match compare.target() {
            CompareTarget::Value => view.record(generation.at)?.value,
            _ => Bytes::new(),
        };
        if !matches(compare, &generation, &value) {
            return Ok(false);
        }
    }
    Ok(true)
}

const ABSENT: Generation =
    Generation { at: crate::layout::At { main: 0, sub: 0 }, created: 0, version: 0, lease: 0 };

fn matches(compare: &Compare, generation: &Generation, value: &Bytes) -> bool {
    use CompareTarget as Target;
    let number = match &compare.target_union {
        Some(
            TargetUnion::Version(n)
            | TargetUnion::CreateRevision(n)
            | TargetUnion::ModRevision(n)
            | TargetUnion::Lease(n),
        ) => *n,
        _ => 0,
    };
    let order = match compare.target() {
        Target::Version => generation.version.cmp(&number),
        Target::Create => generation.created.cmp(&number),
        Target::Mod => generation.at.main.cmp(&number),
        Target::Lease => generation.lease.cmp(&number),
        Target::Value => match &compare.target_union {
            Some(TargetUnion::Value(wanted)) => value.cmp(wanted),
            _ => value.cmp(&Bytes::new()),
        },
    };
    match compare.result() {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
