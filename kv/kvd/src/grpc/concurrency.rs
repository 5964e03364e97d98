//! The Lock and Election services, on plain keys as etcd does it: `NAME/LEASE-IN-HEX`, the oldest owns. The lease is
//! looked at again after waiting, so that nobody is told of a lock that is already lost.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use kv_api::{
    ErrorKind,
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader,
        TxnRequest, TxnResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
        request_op::Request as OpRequest,
        response_op::Response as OpResponse,
    },
    internal::{op, reply},
    mvccpb::KeyValue,
    prefix_end,
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
        ProclaimResponse, ResignRequest, ResignResponse, election_server,
    },
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server},
};
use kv_core::View;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::refused;
use crate::server::Core;

/// A lease for who brings none, in seconds.
const OWN_LEASE: i64 = 60;

/// A key that owns, with the headers of when it was asked for and of when it was got.
struct Acquired {
    leader: LeaderKey,
    asked: ResponseHeader,
    got: ResponseHeader,
}

#[derive(Clone)]
pub(crate) struct Concurrency(pub(crate) Arc<Core>);

impl Concurrency {
    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        match self.0.propose(op::Op::Txn(request)).await {
            Ok(reply::Reply::Txn(reply)) => Ok(reply),
            Ok(_) => Err(ErrorKind::Corrupt.into()),
            Err(kind) => Err(client_error(kind)),
        }
    }

    async fn lease(&self, lease: i64) -> Result<i64, Status> {
        if lease != 0 {
            return Ok(lease);
        }
        let id = i64::from(rand::random::<u32>() >> 1) << 32 | i64::from(rand::random::<u32>()) | 1;
        self.0.propose(op::Op::LeaseGrant(LeaseGrantRequest { id, ttl: OWN_LEASE })).await?;
        Ok(id)
    }

    /// Puts our key unless it is there, and waits until no older one is.
    async fn acquire(&self, name: &Bytes, lease: i64, value: Bytes) -> Result<Acquired, Status> {
        let lease = self.lease(lease).await?;
        let key = Bytes::from([name, format!("/{lease:x}").as_bytes()].concat());
        let put = PutRequest { key: key.clone(), value: value.clone(), lease, ..Default::default() };
        let get = RangeRequest { key: key.clone(), ..Default::default() };
        let reply = self
            .txn(TxnRequest {
                compare: vec![created(&key, 0)],
                success: vec![RequestOp { request: Some(OpRequest::RequestPut(put)) }],
                failure: vec![RequestOp { request: Some(OpRequest::RequestRange(get)) }],
            })
            .await?;
        let standing = reply.responses.into_iter().find_map(|op| match op.response {
            Some(OpResponse::ResponseRange(mut range)) => range.kvs.pop(),
            _ => None,
        });
        if let Some(pair) = &standing
            && pair.value != value
        {
            self.proclaim_value(&key, pair.create_revision, lease, value).await?;
        }
        let asked = reply.header.unwrap_or_default().revision;
        let rev = standing.map_or(asked, |pair| pair.create_revision);
        let mut applied = self.0.node.applied();
        loop {
            let view = self.0.node.view();
            if view.revision() >= rev {
                let ours =
                    view.range(&RangeRequest { key: key.clone(), ..Default::default() }).map_err(refused)?;
                if ours.kvs.first().is_none_or(|pair| pair.create_revision != rev) {
                    return Err(ErrorKind::LeaseNotFound.into());
                }
                if oldest(&view, name)?.is_some_and(|pair| pair.key == key) {
                    // Nothing of this may be stale: another member may know that the lease has ended.
                    let view = self.0.view(false).await?;
                    let still = view
                        .range(&RangeRequest { key: key.clone(), ..Default::default() })
                        .map_err(refused)?;
                    if still.kvs.first().is_some_and(|pair| pair.create_revision == rev) {
                        let leader = LeaderKey { name: name.clone(), key, rev, lease };
                        let (asked, got) = (self.0.header(asked), self.0.header(view.revision()));
                        return Ok(Acquired { leader, asked, got });
                    }
                    return Err(ErrorKind::LeaseNotFound.into());
                }
            }
            applied.changed().await.map_err(|_| ErrorKind::Stopped)?;
        }
    }
}

impl Concurrency {
    /// Writes a new value to a key that is still the one created then.
    async fn proclaim_value(&self, key: &Bytes, rev: i64, lease: i64, value: Bytes) -> Result<(), Status> {
        let put = PutRequest { key: key.clone(), value, lease, ..Default::default() };
        let request = TxnRequest {
            compare: vec![created(key, rev)],
            success: vec![RequestOp { request: Some(OpRequest::RequestPut(put)) }],
            failure: Vec::new(),
        };
        if self.txn(request).await?.succeeded { Ok(()) } else { Err(ErrorKind::ElectionNotLeader.into()) }
    }
}

/// etcd's service calls as a client does, and passes on what it is told without a code.
fn client_error(kind: ErrorKind) -> Status {
    match kind {
        ErrorKind::LeaseNotFound => Status::unknown(kind.text()),
        kind => kind.into(),
    }
}

fn created(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
    }
}

fn oldest(view: &View, name: &Bytes) -> Result<Option<KeyValue>, Status> {
    let key = Bytes::from([name, &b"/"[..]].concat());
    let request = RangeRequest {
        range_end: prefix_end(&key),
        key,
        limit: 1,
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        ..Default::default()
    };
    Ok(view.range(&request).map_err(refused)?.kvs.pop())
}

#[tonic::async_trait]
impl lock_server::Lock for Concurrency {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let LockRequest { name, lease } = request.into_inner();
        let Acquired { leader, got, .. } = self.acquire(&name, lease, Bytes::new()).await?;
        Ok(Response::new(LockResponse { header: Some(got), key: leader.key }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let key = request.into_inner().key;
        self.0.propose(op::Op::DeleteRange(DeleteRangeRequest { key, ..Default::default() })).await?;
        Ok(Response::new(UnlockResponse { header: self.0.header_now() }))
    }
}

#[tonic::async_trait]
impl election_server::Election for Concurrency {
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let CampaignRequest { name, lease, value } = request.into_inner();
        let Acquired { leader, asked, .. } = self.acquire(&name, lease, value).await?;
        Ok(Response::new(CampaignResponse { header: Some(asked), leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let ProclaimRequest { leader, value } = request.into_inner();
        let leader = leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))?;
        self.proclaim_value(&leader.key, leader.rev, leader.lease, value).await?;
        Ok(Response::new(ProclaimResponse { header: self.0.header_now() }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let view = self.0.view(false).await?;
        let pair = oldest(&view, &request.into_inner().name)?.ok_or(ErrorKind::ElectionNoLeader)?;
        Ok(Response::new(LeaderResponse { header: Some(self.0.header(view.revision())), kv: Some(pair) }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let name = request.into_inner().name;
        let (sender, receiver) = mpsc::channel(16);
        let this = self.clone();
        tokio::spawn(async move {
            let mut applied = this.0.node.applied();
            let mut told = 0;
            while !sender.is_closed() {
                let view = this.0.node.view();
                if let Ok(Some(pair)) = oldest(&view, &name)
                    && pair.mod_revision != told
                {
                    told = pair.mod_revision;
                    let response =
                        LeaderResponse { header: Some(this.0.header(view.revision())), kv: Some(pair) };
                    if sender.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
                let _ = tokio::time::timeout(Duration::from_secs(1), applied.changed()).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let leader = request
            .into_inner()
            .leader
            .ok_or_else(|| Status::unknown("\"leader\" field must be provided"))?;
        let delete = DeleteRangeRequest { key: leader.key.clone(), ..Default::default() };
        let request = TxnRequest {
            compare: vec![created(&leader.key, leader.rev)],
            success: vec![RequestOp { request: Some(OpRequest::RequestDeleteRange(delete)) }],
            failure: Vec::new(),
        };
        self.txn(request).await?;
        Ok(Response::new(ResignResponse { header: self.0.header_now() }))
    }
}
