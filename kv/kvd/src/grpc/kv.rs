//! The KV service: reads from a view, writes through the log.

use std::sync::Arc;

use kv_api::{
    ErrorKind,
    etcdserverpb::{
        AlarmRequest, AlarmType, CompactionRequest, CompactionResponse, DeleteRangeRequest,
        DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader,
        TxnRequest, TxnResponse, alarm_request::AlarmAction, kv_server, request_op::Request as OpRequest,
    },
    internal::{op, reply},
};
use kv_core::{View, check_delete, check_put, check_range, check_txn};
use prost::Message;
use tonic::{Request, Response, Status};

use super::refused;
use crate::server::Core;

pub(crate) struct Kv(pub(crate) Arc<Core>);

impl Kv {
    fn header(&self, revision: Option<ResponseHeader>) -> Option<ResponseHeader> {
        Some(self.0.header(revision.unwrap_or_default().revision))
    }

    /// Refuses what is too large; raises the alarm when the quota is used up.
    async fn room(&self, request: &impl Message) -> Result<(), Status> {
        let size = request.encoded_len();
        if size > self.0.config.max_request_bytes {
            return Err(ErrorKind::RequestTooLarge.into());
        }
        if self.0.node.live_bytes() + size as i64 > self.0.config.quota_bytes {
            raise_alarm(&self.0).await;
            return Err(ErrorKind::NoSpace.into());
        }
        Ok(())
    }
}

/// Tells the cluster that the quota is used up.
async fn raise_alarm(core: &Core) {
    let raised = core.node.view().alarms().is_ok_and(|alarms| !alarms.is_empty());
    if !raised {
        let alarm = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: core.node.id(),
            alarm: AlarmType::Nospace.into(),
        };
        let _ = core.propose(op::Op::Alarm(alarm)).await;
    }
}

/// Reads that may take long must not keep a worker from its other tasks.
fn range(view: &View, request: &RangeRequest) -> Result<RangeResponse, Status> {
    let quick =
        request.range_end.is_empty() || (1..=100).contains(&request.limit) && view.live_bytes() < 1 << 20;
    let read = || view.range(request).map_err(refused);
    if quick { read() } else { tokio::task::block_in_place(read) }
}

#[tonic::async_trait]
impl kv_server::Kv for Kv {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        if !request.serializable && self.0.is_learner() {
            return Err(ErrorKind::NotSupportedForLearner.into());
        }
        check_range(&request)?;
        let view = self.0.view(request.serializable).await?;
        let mut reply = range(&view, &request)?;
        reply.header = Some(self.0.header(view.revision()));
        Ok(Response::new(reply))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        check_put(&request)?;
        self.room(&request).await?;
        match self.0.propose(op::Op::Put(request)).await? {
            reply::Reply::Put(mut reply) => {
                reply.header = self.header(reply.header);
                Ok(Response::new(reply))
            }
            _ => Err(ErrorKind::Corrupt.into()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        check_delete(&request)?;
        match self.0.propose(op::Op::DeleteRange(request)).await? {
            reply::Reply::DeleteRange(mut reply) => {
                reply.header = self.header(reply.header);
                Ok(Response::new(reply))
            }
            _ => Err(ErrorKind::Corrupt.into()),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner();
        check_txn(&request, self.0.config.max_txn_ops)?;
        if View::only_reads(&request) {
            let view = self.0.view(all_serializable(&request)).await?;
            let mut reply = tokio::task::block_in_place(|| view.read_txn(&request)).map_err(refused)?;
            reply.header = self.header(reply.header);
            return Ok(Response::new(reply));
        }
        self.room(&request).await?;
        match self.0.propose(op::Op::Txn(request)).await? {
            reply::Reply::Txn(mut reply) => {
                reply.header = self.header(reply.header);
                Ok(Response::new(reply))
            }
            _ => Err(ErrorKind::Corrupt.into()),
        }
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let request = request.into_inner();
        match self.0.propose(op::Op::Compact(request)).await? {
            reply::Reply::Compact(mut reply) => {
                reply.header = self.header(reply.header);
                Ok(Response::new(reply))
            }
            _ => Err(ErrorKind::Corrupt.into()),
        }
    }
}

fn all_serializable(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(OpRequest::RequestRange(range)) => range.serializable,
        _ => false,
    })
}
