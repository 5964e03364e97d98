//! openraft's calls over a [`Transport`]. Encodes and decodes; opens no connection itself.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use kv_core::View;
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Image, Kind, Peer, TypeConfig,
    entry::{decode, encode},
    types::{Snapshot, Vote},
};

/// A boxed future, as [`Transport`] returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The wire between members. It may lose, delay and reorder; it must not forge.
pub trait Transport: Send + Sync + 'static {
    /// Makes one call and waits for its answer, at most for `limit`. An error of the kind `NotConnected` promises
    /// that nothing was sent.
    fn call<'a>(
        &'a self,
        to: u64,
        peer: &'a Peer,
        kind: Kind,
        payload: Bytes,
        limit: Duration,
    ) -> BoxFuture<'a, io::Result<Bytes>>;

    /// Sends a whole state, announced by `head`, and waits until it is in place.
    fn send_image<'a>(
        &'a self,
        to: u64,
        peer: &'a Peer,
        head: Bytes,
        image: View,
    ) -> BoxFuture<'a, io::Result<Bytes>>;
}

#[derive(Clone)]
pub(crate) struct Network(pub(crate) Arc<dyn Transport>);

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Link {
        Link { target, peer: node.clone(), transport: self.0.clone() }
    }
}

pub(crate) struct Link {
    target: u64,
    peer: Peer,
    transport: Arc<dyn Transport>,
}

impl Link {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: Kind,
        request: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<TypeConfig>> {
        let unreachable = |error: io::Error| RPCError::Unreachable(Unreachable::new(&error));
        let payload = encode(request).map_err(unreachable)?;
        let limit = option.hard_ttl();
        let answer =
            self.transport.call(self.target, &self.peer, kind, payload, limit).await.map_err(unreachable)?;
        decode(&answer).map_err(unreachable)
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Kind::Append, &rpc, &option).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Kind::Vote, &rpc, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Kind::PreVote, &rpc, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let unreachable = |error: io::Error| StreamingError::Unreachable(Unreachable::new(&error));
        let Image::View(view) = snapshot.snapshot else {
            return Err(unreachable(io::ErrorKind::InvalidInput.into()));
        };
        let head = encode(&(vote, snapshot.meta)).map_err(unreachable)?;
        tokio::select! {
            answer = self.transport.send_image(self.target, &self.peer, head, view) => {
                decode(&answer.map_err(unreachable)?).map_err(unreachable)
            }
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Kind::Transfer, &request, &option).await
    }
}
