//! The wire between members, on the peer URLs: `line` for what is asked all the time, gRPC for the rest. Calls carry
//! the cluster's id and the members' own, so that a stray member of another cluster, or one under a reused address, is
//! refused.

pub(crate) mod line;

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kv_api::internal::{
    PeerCall, PeerReply, SnapshotChunk, peer_call::Kind, peer_client::PeerClient, peer_server,
};
use kv_core::View;
use kv_raft::{BoxFuture, Node, Peer, Transport, image};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use crate::{
    config::TlsFiles,
    lessor::Lessor,
    metrics::{Peers, Traffic},
};
use line::{Lines, Parties};

const LARGEST_MESSAGE: usize = 256 << 20;
/// A connection on which nothing was answered for so long, though it was asked, is given up: after a cut, TCP itself
/// may wait much longer before it tries again.
const SILENT: Duration = Duration::from_secs(2);
/// Larger appends carry entries, which are synced before they are answered: they measure a disk, not a network.
const HEARTBEAT: usize = 256;

/// Calls other members.
pub(crate) struct Wire {
    cluster_id: u64,
    member_id: u64,
    config: kv_client::Config,
    /// By URL: the connection, and when something was last answered on it.
    channels: Mutex<HashMap<String, (Channel, Instant)>>,
    lines: Lines,
    peers: Arc<Peers>,
}

impl Wire {
    pub(crate) fn new(
        cluster_id: u64,
        member_id: u64,
        tls: &TlsFiles,
        peers: Arc<Peers>,
    ) -> Result<Self, kv_client::ConfigError> {
        let mut config = kv_client::Config::new(Vec::<String>::new());
        config.connect_timeout = Duration::from_secs(1);
        config.tls = client_tls(tls)?;
        let lines = Lines::new(config.clone());
        Ok(Self { cluster_id, member_id, config, channels: Mutex::default(), lines, peers })
    }

    fn channel(&self, url: &str) -> io::Result<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((channel, _)) = channels.get(url) {
            return Ok(channel.clone());
        }
        let channel = kv_client::connect::channel(url, &self.config).map_err(io::Error::other)?;
        channels.insert(url.to_owned(), (channel.clone(), Instant::now()));
        Ok(channel)
    }

    fn client(&self, peer: &Peer) -> io::Result<(String, PeerClient<Channel>)> {
        let url = peer.urls.first().ok_or_else(|| io::Error::other("the member has no peer URL"))?;
        let client = PeerClient::new(self.channel(url)?);
        Ok((
            url.clone(),
            client.max_decoding_message_size(LARGEST_MESSAGE).max_encoding_message_size(LARGEST_MESSAGE),
        ))
    }

    /// A connection that failed is not used again: the peer may have restarted elsewhere.
    fn forget(&self, url: &str) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
    }

    fn answered(&self, url: &str) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answered)) = channels.get_mut(url) {
            *answered = Instant::now();
        }
    }

    /// Nothing was answered in time: by a slow member, or on a connection that leads nowhere any more.
    fn timed_out(&self, url: &str) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if channels.get(url).is_some_and(|(_, answered)| answered.elapsed() > SILENT) {
            channels.remove(url);
        }
    }
}

impl Wire {
    async fn call_by_grpc(
        &self,
        to: u64,
        peer: &Peer,
        kind: Kind,
        payload: Bytes,
        limit: Duration,
    ) -> io::Result<Result<Bytes, String>> {
        let (url, mut client) = self.client(peer)?;
        let call =
            PeerCall { kind: kind.into(), cluster_id: self.cluster_id, to, from: self.member_id, payload };
        match tokio::time::timeout(limit, client.call(call)).await {
            Ok(Ok(reply)) => {
                self.answered(&url);
                let PeerReply { payload, error } = reply.into_inner();
                Ok(if error.is_empty() { Ok(payload) } else { Err(error) })
            }
            Ok(Err(status)) => {
                self.forget(&url);
                let never = kv_client::never_sent(&status);
                let kind = if never { io::ErrorKind::NotConnected } else { io::ErrorKind::Other };
                Err(io::Error::new(kind, status.message().to_owned()))
            }
            Err(_) => {
                self.timed_out(&url);
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

pub(crate) fn client_tls(tls: &TlsFiles) -> Result<Option<kv_client::Tls>, kv_client::ConfigError> {
    let path = |path: &Option<std::path::PathBuf>| path.clone();
    match path(&tls.ca) {
        Some(ca) => {
            let (cert, key) = (path(&tls.cert), path(&tls.key));
            kv_client::Tls::from_files(&ca, cert.as_deref().map(Path::new), key.as_deref().map(Path::new))
                .map(Some)
        }
        None => Ok(None),
    }
}

impl Transport for Wire {
    fn call<'a>(
        &'a self,
        to: u64,
        peer: &'a Peer,
        kind: Kind,
        payload: Bytes,
        limit: Duration,
    ) -> BoxFuture<'a, io::Result<Bytes>> {
        Box::pin(async move {
            let traffic = self.peers.with(to);
            let (size, asked) = (payload.len(), Instant::now());
            let answer = if line::takes(kind) {
                let url = peer.urls.first().ok_or_else(|| io::Error::other("the member has no peer URL"))?;
                let parties = Parties { cluster: self.cluster_id, to, from: self.member_id };
                let asked = self.lines.ask(url, parties, kind, &payload);
                let answer = tokio::time::timeout(limit, asked).await;
                answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            } else {
                self.call_by_grpc(to, peer, kind, payload, limit).await
            };
            let answer = answer.inspect_err(|_| {
                traffic.not_sent();
                if kind == Kind::Append {
                    traffic.appended(None);
                }
            })?;
            traffic.sent(size);
            traffic.received(answer.as_ref().map_or(0, Bytes::len));
            if kind == Kind::Append {
                traffic.appended(Some(asked.elapsed()));
                if size <= HEARTBEAT {
                    traffic.round_trip(asked.elapsed());
                }
            }
            answer.map_err(io::Error::other)
        })
    }

    fn send_image<'a>(
        &'a self,
        to: u64,
        peer: &'a Peer,
        head: Bytes,
        view: View,
    ) -> BoxFuture<'a, io::Result<Bytes>> {
        Box::pin(async move {
            let (url, mut client) = self.client(peer)?;
            let (sender, receiver) = tokio::sync::mpsc::channel(4);
            let first = SnapshotChunk { meta: head, cluster_id: self.cluster_id, to, ..Default::default() };
            let traffic = self.peers.with(to);
            let reading = tokio::task::spawn_blocking(move || send_pieces(&sender, first, &view, &traffic));
            let chunks = tokio_stream::wrappers::ReceiverStream::new(receiver);
            let reply = client.install(chunks).await.map_err(|status| {
                self.forget(&url);
                io::Error::other(status.message().to_owned())
            })?;
            reading.await.map_err(io::Error::other)??;
            let reply = reply.into_inner();
            if reply.error.is_empty() { Ok(reply.payload) } else { Err(io::Error::other(reply.error)) }
        })
    }
}

fn send_pieces(
    sender: &tokio::sync::mpsc::Sender<SnapshotChunk>,
    first: SnapshotChunk,
    view: &View,
    traffic: &Traffic,
) -> io::Result<()> {
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    sender.blocking_send(first).map_err(gone)?;
    for piece in image::pieces(view)? {
        let records = piece?;
        let crc = crc32fast::hash(&records);
        traffic.sent(records.len());
        sender.blocking_send(SnapshotChunk { records, crc, ..Default::default() }).map_err(gone)?;
    }
    sender.blocking_send(SnapshotChunk { last: true, ..Default::default() }).map_err(gone)
}

/// Answers other members.
#[derive(Clone)]
pub(crate) struct Answering {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    /// Set when the member runs.
    pub(crate) member: Arc<OnceLock<(Node, Arc<Lessor>)>>,
    pub(crate) peers: Arc<Peers>,
}

impl Answering {
    fn check(&self, cluster_id: u64, to: u64) -> Result<&(Node, Arc<Lessor>), Status> {
        if cluster_id != self.cluster_id {
            return Err(kv_api::ErrorKind::ClusterIdMismatch.into());
        }
        if to != self.member_id {
            return Err(Status::failed_precondition("this address belongs to another member now"));
        }
        self.member.get().ok_or_else(|| Status::unavailable("this member is starting"))
    }

    /// Answers a call; the inner error is what the member says, the outer that it is not for this one.
    async fn answer(
        &self,
        parties: Parties,
        kind: Kind,
        payload: Bytes,
    ) -> Result<Result<Bytes, String>, Status> {
        let (node, lessor) = self.check(parties.cluster, parties.to)?;
        let traffic = self.peers.with(parties.from);
        traffic.received(payload.len());
        if kind == Kind::Append {
            traffic.was_appended();
        }
        let answer = match kind {
            Kind::KeepAlive => lessor.answer_keep_alive(&payload).await,
            Kind::TimeToLive => lessor.answer_time_to_live(&payload),
            Kind::Membership => crate::grpc::cluster::answer_about(node, &self.peers, &payload),
            kind => node.answer(kind, payload).await,
        };
        traffic.sent(answer.as_ref().map_or(0, Bytes::len));
        Ok(answer)
    }
}

#[tonic::async_trait]
impl peer_server::Peer for Answering {
    async fn call(&self, request: Request<PeerCall>) -> Result<Response<PeerReply>, Status> {
        let call = request.into_inner();
        let parties = Parties { cluster: call.cluster_id, to: call.to, from: call.from };
        Ok(Response::new(match self.answer(parties, call.kind(), call.payload).await? {
            Ok(payload) => PeerReply { payload, error: String::new() },
            Err(error) => PeerReply { payload: Bytes::new(), error },
        }))
    }

    async fn install(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<PeerReply>, Status> {
        let mut chunks = request.into_inner();
        let first = chunks.message().await?.ok_or_else(|| Status::invalid_argument("an empty stream"))?;
        let (node, _) = self.check(first.cluster_id, first.to)?;
        let failed = |error: io::Error| Status::internal(error.to_string());
        let mut incoming = node.begin_image().map_err(failed)?;
        loop {
            let chunk =
                chunks.message().await?.ok_or_else(|| Status::invalid_argument("the stream broke off"))?;
            if chunk.last {
                break;
            }
            if crc32fast::hash(&chunk.records) != chunk.crc {
                return Err(Status::data_loss("a piece of the state was damaged on the way"));
            }
            incoming = tokio::task::spawn_blocking(move || {
                incoming.add(image::pairs(chunk.records)?)?;
                Ok(incoming)
            })
            .await
            .map_err(|_| Status::internal("storing panicked"))?
            .map_err(failed)?;
        }
        let collected = tokio::task::spawn_blocking(move || incoming.finish())
            .await
            .map_err(|_| Status::internal("storing panicked"))?
            .map_err(failed)?;
        Ok(Response::new(match node.install_image(first.meta, collected).await {
            Ok(payload) => PeerReply { payload, error: String::new() },
            Err(error) => PeerReply { payload: Bytes::new(), error },
        }))
    }
}
