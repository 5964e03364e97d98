//! The Maintenance service.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use kv_api::{
    ETCD_VERSION, ErrorKind,
    etcdserverpb::{
        AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse, DowngradeRequest,
        DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest,
        MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
        alarm_request::AlarmAction, maintenance_server,
    },
    internal::{op, reply},
};
use kv_raft::image;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{refused, storage};
use crate::server::Core;

/// How a saved snapshot begins; its end is the SHA-256 of all before.
pub(crate) const SNAPSHOT_MAGIC: &[u8; 8] = b"RKVSNAP1";

pub(crate) struct Maintenance(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl maintenance_server::Maintenance for Maintenance {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        if request.action() == AlarmAction::Get {
            let view = self.0.view(false).await?;
            let mut alarms = view.alarms().map_err(storage)?;
            alarms.retain(|raised| request.alarm() == AlarmType::None || raised.alarm == request.alarm);
            return Ok(Response::new(AlarmResponse { header: Some(self.0.header(view.revision())), alarms }));
        }
        match self.0.propose(op::Op::Alarm(request)).await? {
            reply::Reply::Alarm(mut reply) => {
                reply.header = self.0.header_now();
                Ok(Response::new(reply))
            }
            _ => Err(ErrorKind::Corrupt.into()),
        }
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = self.0.node.status();
        let view = self.0.node.view();
        let mut errors: Vec<String> = Vec::new();
        let leader = status.leader.filter(|_| self.0.node.has_leader());
        if leader.is_none() {
            errors.push(ErrorKind::NoLeader.text().to_owned());
        }
        for alarm in view.alarms().map_err(storage)? {
            let kind = if alarm.alarm() == AlarmType::Nospace { "NOSPACE" } else { "CORRUPT" };
            errors.push(format!("memberID:{} alarm:{kind} ", alarm.member_id));
        }
        let learner = view.member(status.id).map_err(storage)?.is_some_and(|member| member.is_learner);
        Ok(Response::new(StatusResponse {
            header: Some(self.0.header(view.revision())),
            version: ETCD_VERSION.to_owned(),
            db_size: self.0.node.stored_bytes() as i64,
            db_size_in_use: view.live_bytes(),
            leader: leader.unwrap_or(0),
            raft_index: status.last_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors,
            is_learner: learner,
        }))
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        // Freed pages are used again by themselves: there is nothing to do.
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let view = self.0.node.view();
        let (hash, _) = tokio::task::block_in_place(|| view.hash(0)).map_err(refused)?;
        Ok(Response::new(HashResponse { header: Some(self.0.header(view.revision())), hash }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        let view = self.0.node.view();
        let asked = request.into_inner().revision;
        let (hash, hash_revision) = tokio::task::block_in_place(|| view.hash(asked)).map_err(refused)?;
        let header = Some(self.0.header(view.revision()));
        Ok(Response::new(HashKvResponse { header, hash, compact_revision: view.compacted(), hash_revision }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        let mut view = self.0.node.view();
        view.annotate([]);
        let header = Some(self.0.header(view.revision()));
        let guess = view.live_bytes().max(0) as u64;
        let (sender, receiver) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || {
            let mut hash = Sha256::new();
            let mut length = SNAPSHOT_MAGIC.len();
            let send = |blob: bytes::Bytes, more: bool| {
                let remaining_bytes = if more { guess.max(1) } else { 0 };
                let version = ETCD_VERSION.to_owned();
                sender.blocking_send(Ok(SnapshotResponse { header, remaining_bytes, blob, version })).is_ok()
            };
            hash.update(SNAPSHOT_MAGIC);
            if !send(bytes::Bytes::from_static(SNAPSHOT_MAGIC), true) {
                return;
            }
            let Ok(pieces) = image::pieces(&view) else { return };
            for piece in pieces {
                let Ok(piece) = piece else { return };
                let framed = [&(piece.len() as u32).to_le_bytes()[..], &piece].concat();
                hash.update(&framed);
                length += framed.len();
                if !send(framed.into(), true) {
                    return;
                }
            }
            // etcdctl looks for a checksum after a multiple of 512 bytes. An empty piece ends the data before.
            let padding = vec![0; (length + 4).next_multiple_of(512) - length];
            hash.update(&padding);
            if !send(padding.into(), true) {
                return;
            }
            send(bytes::Bytes::copy_from_slice(&hash.finalize()), false);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        self.0.node.move_leader(request.into_inner().target_id).await?;
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }

    async fn downgrade(&self, _: Request<DowngradeRequest>) -> Result<Response<DowngradeResponse>, Status> {
        Err(Status::unimplemented("there is no older data format to go back to"))
    }
}
