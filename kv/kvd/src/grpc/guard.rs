//! What every call must pass before it reaches a service: a member that only learns serves few calls, and a client may
//! ask for no answer at all from a member without a leader. Streams of such a client end when the leader is gone for
//! long.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use kv_api::ErrorKind;
use tokio::sync::watch;
use tonic::Status;

use crate::server::Core;

/// With this metadata a client says that it wants a member that has a leader.
const REQUIRES: &str = "hasleader";
/// What a learner serves; of ranges only those that may be stale.
const FOR_LEARNERS: [&str; 3] =
    ["/etcdserverpb.Maintenance/Status", "/etcdserverpb.Maintenance/Snapshot", "/etcdserverpb.KV/Range"];
/// Elections without a leader after which streams end: they are dear to begin anew.
const PATIENCE: u32 = 3;

/// Tells when there was no leader for long.
pub(crate) struct Leaderless(watch::Sender<u64>);

impl Default for Leaderless {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Leaderless {
    /// A body that ends when there is no leader for long.
    pub(super) fn leash<B>(&self, body: B) -> Leashed<B> {
        let mut lost = self.0.subscribe();
        let lost = async move { drop(lost.changed().await) };
        Leashed { body, lost: Box::pin(lost), ended: false }
    }
}

/// Refuses what this member must not serve now; answers whether the client wants a leader.
pub(super) fn check(core: &Core, path: &str, headers: &HeaderMap) -> Result<bool, ErrorKind> {
    if !FOR_LEARNERS.contains(&path) && core.is_learner() {
        return Err(ErrorKind::NotSupportedForLearner);
    }
    let wants = headers.get(REQUIRES).is_some_and(|value| value == "true");
    if wants && !core.node.has_leader() { Err(ErrorKind::NoLeader) } else { Ok(wants) }
}

/// Looks for the leader as long as the member runs.
pub(crate) async fn look(core: Arc<Core>) {
    let mut without = 0;
    loop {
        tokio::time::sleep(core.config.election.max(Duration::from_millis(10))).await;
        without = if core.node.has_leader() { 0 } else { without + 1 };
        if without >= PATIENCE {
            core.leaderless.0.send_modify(|times| *times += 1);
        }
    }
}

/// A response that ends with `no leader` when there is none for long.
pub(super) struct Leashed<B> {
    body: B,
    lost: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Leashed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_pending() && self.lost.as_mut().poll(cx).is_ready() {
            self.ended = true;
            let mut trailers = HeaderMap::new();
            let status: Status = ErrorKind::NoLeader.into();
            if status.add_header(&mut trailers).is_ok() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            return Poll::Ready(None);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    #[tokio::test]
    async fn a_leashed_stream_ends_when_the_leader_is_gone_for_long() {
        let silent = futures_util::stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>();
        let leaderless = Leaderless::default();
        let mut body = leaderless.leash(StreamBody::new(silent));
        assert!(futures_util::FutureExt::now_or_never(body.frame()).is_none(), "it goes on");
        leaderless.0.send_modify(|times| *times += 1);
        let frame = body.frame().await.expect("an end").expect("no error");
        let trailers = frame.into_trailers().expect("a status");
        assert_eq!(trailers["grpc-status"], "14");
        assert!(body.frame().await.is_none());
    }
}
