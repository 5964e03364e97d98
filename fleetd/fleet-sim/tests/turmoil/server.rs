//! The store as a server on the simulated network.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use kv_api::etcdserverpb::kv_server::{Kv, KvServer};
use kv_api::etcdserverpb::lease_server::{Lease, LeaseServer};
use kv_api::etcdserverpb::watch_request::RequestUnion;
use kv_api::etcdserverpb::watch_server::{Watch, WatchServer};
use kv_api::etcdserverpb::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use turmoil::net::{TcpListener, TcpStream};

use crate::store::Core;

pub(crate) const PORT: u16 = 2379;
const EXPIRES_EACH: Duration = Duration::from_millis(100);

/// A handle to the store: what it holds outlives a crash of its server.
#[derive(Clone)]
pub(crate) struct Store {
    core: Arc<Mutex<Core>>,
    changed: watch::Sender<()>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { core: Arc::default(), changed: watch::Sender::new(()) }
    }

    pub(crate) fn look(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("no holder of this lock panics")
    }

    /// Does something to it, and tells whoever watches.
    pub(crate) fn change<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let done = work(&mut self.look());
        self.changed.send_replace(());
        done
    }

    /// Serves until the simulated computer crashes.
    pub(crate) async fn serve(self) -> turmoil::Result {
        self.change(|core| core.restarted(now()));
        let own = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(EXPIRES_EACH).await;
                own.change(|core| core.expire(now()));
            }
        });
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        let (send, receive) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if send.send(Ok::<_, io::Error>(Incoming(stream))).await.is_err() {
                    return;
                }
            }
        });
        tonic::transport::Server::builder()
            .add_service(KvServer::new(self.clone()))
            .add_service(LeaseServer::new(self.clone()))
            .add_service(WatchServer::new(self))
            .serve_with_incoming(ReceiverStream::new(receive))
            .await?;
        Ok(())
    }
}

pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

struct Incoming(TcpStream);

impl Connected for Incoming {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[tonic::async_trait]
impl Kv for Store {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        Ok(Response::new(self.look().range(request.get_ref())))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let put = RequestOp { request: Some(request_op::Request::RequestPut(request.into_inner())) };
        let answer = self.one(put)?;
        match answer.responses.into_iter().next().and_then(|it| it.response) {
            Some(response_op::Response::ResponsePut(put)) => Ok(Response::new(put)),
            other => Err(Status::internal(format!("{other:?}"))),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let delete = request_op::Request::RequestDeleteRange(request.into_inner());
        let answer = self.one(RequestOp { request: Some(delete) })?;
        match answer.responses.into_iter().next().and_then(|it| it.response) {
            Some(response_op::Response::ResponseDeleteRange(deleted)) => Ok(Response::new(deleted)),
            other => Err(Status::internal(format!("{other:?}"))),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let done = self.change(|core| core.txn(request.get_ref()));
        done.map(Response::new).ok_or_else(|| Status::not_found("etcdserver: requested lease not found"))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented("nobody compacts here"))
    }
}

impl Store {
    fn one(&self, op: RequestOp) -> Result<TxnResponse, Status> {
        let txn = TxnRequest { success: vec![op], ..Default::default() };
        let done = self.change(|core| core.txn(&txn));
        done.ok_or_else(|| Status::not_found("etcdserver: requested lease not found"))
    }
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl Watch for Store {
    type WatchStream = Answers<WatchResponse>;

    /// The fleet's client has one watch on each stream.
    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut requests = request.into_inner();
        let Some(WatchRequest { request_union: Some(RequestUnion::CreateRequest(wish)) }) =
            requests.message().await?
        else {
            return Err(Status::invalid_argument("a stream begins with a watch"));
        };
        let (send, receive) = mpsc::channel(16);
        let (store, mut changed) = (self.clone(), self.changed.subscribe());
        tokio::spawn(async move {
            let header = store.look().header();
            let mut from = match wish.start_revision {
                0 => header.as_ref().map_or(0, |header| header.revision) + 1,
                revision => revision,
            };
            let created = WatchResponse { header, created: true, ..Default::default() };
            if send.send(Ok(created)).await.is_err() {
                return;
            }
            loop {
                changed.mark_unchanged();
                let (events, header) = {
                    let core = store.look();
                    (core.events(from, &wish.key, &wish.range_end), core.header())
                };
                from = header.as_ref().map_or(from, |header| header.revision + 1);
                let answer = WatchResponse { header, events, ..Default::default() };
                if !answer.events.is_empty() && send.send(Ok(answer)).await.is_err() {
                    return;
                }
                tokio::select! {
                    changed = changed.changed() => if changed.is_err() { return },
                    _ = requests.message() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }
}

#[tonic::async_trait]
impl Lease for Store {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let ttl = request.get_ref().ttl;
        let id = self.change(|core| core.grant(ttl, now()));
        Ok(Response::new(LeaseGrantResponse { header: self.look().header(), id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.change(|core| core.revoke(request.get_ref().id));
        Ok(Response::new(LeaseRevokeResponse { header: self.look().header() }))
    }

    type LeaseKeepAliveStream = Answers<LeaseKeepAliveResponse>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let mut requests = request.into_inner();
        let (send, receive) = mpsc::channel(16);
        let store = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(LeaseKeepAliveRequest { id })) = requests.message().await {
                let ttl = store.change(|core| core.renew(id, now()));
                let answer = LeaseKeepAliveResponse { header: store.look().header(), id, ttl };
                if send.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    async fn lease_time_to_live(
        &self,
        _: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        Err(Status::unimplemented("nobody asks for that here"))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        Err(Status::unimplemented("nobody asks for that here"))
    }
}
