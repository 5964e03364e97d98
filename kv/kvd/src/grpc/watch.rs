//! The Watch service: passes what streams ask to the hub. The feeding is done there.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::Stream;
use kv_api::etcdserverpb::{WatchRequest, WatchResponse, watch_request::RequestUnion, watch_server};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{hub::Ask, server::Core};

/// Responses a slow client may be behind before it is fed from history.
const QUEUE: usize = 256;

pub(crate) struct Watches {
    core: Arc<Core>,
    streams: AtomicU64,
}

impl Watches {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, streams: AtomicU64::new(1) }
    }
}

#[tonic::async_trait]
impl watch_server::Watch for Watches {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut requests = request.into_inner();
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let (out, responses) = mpsc::channel(QUEUE);
        let (hub, metrics) = (self.core.hub.0.clone(), self.core.metrics.clone());
        metrics.watching.streams.fetch_add(1, Ordering::Relaxed);
        // Ends when the stream breaks, or when nobody takes responses any more.
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = requests.message() => next,
                    () = out.closed() => break,
                };
                let request = match next {
                    Ok(Some(WatchRequest { request_union: Some(request) })) => request,
                    Ok(Some(_)) => continue,
                    // The client has said all it has to say, and still listens.
                    Ok(None) => {
                        out.closed().await;
                        break;
                    }
                    Err(_) => break,
                };
                // Who does not take answers is not listened to meanwhile.
                let Ok(room) = out.clone().reserve_owned().await else { break };
                let ask = match request {
                    RequestUnion::CreateRequest(request) => Ask::Create { stream, request, room },
                    RequestUnion::CancelRequest(request) => {
                        Ask::Cancel { stream, watch_id: request.watch_id, room }
                    }
                    RequestUnion::ProgressRequest(_) => Ask::Progress { stream, room },
                };
                if hub.send(ask).await.is_err() {
                    break;
                }
            }
            metrics.watching.streams.fetch_sub(1, Ordering::Relaxed);
            let _ = hub.send(Ask::Close { stream }).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}
