//! The calls, and how they move from one endpoint to the next. Watches, leases and elections have own files.

use std::{
    error::Error as _,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kv_api::{
    ErrorKind,
    etcdserverpb::{
        self as pb, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, TxnResponse, kv_client::KvClient, lease_client::LeaseClient,
    },
    mvccpb::KeyValue,
    prefix_end,
};
use tokio::time::Instant;
use tonic::{Code, Response, Status, transport::Channel};

use crate::{Config, ConfigError, Error, Result, Txn, Unreachable, connect};

const LARGEST_MESSAGE: usize = 512 << 20;

/// How long to wait when every endpoint has failed so many times: long enough that clients of a store
/// in trouble leave it the processor it needs to recover, short enough that a new leader is found at once.
fn pause_after(rounds: u32) -> Duration {
    Duration::from_millis(match rounds {
        0 | 1 => 50,
        2 => 100,
        _ => 200,
    })
}

/// A handle to a cluster. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    names: Vec<String>,
    channels: Vec<Channel>,
    current: AtomicUsize,
    config: Config,
}

/// Whether a call may be sent again when its fate is unknown.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Read,
    Write,
}

impl Client {
    /// Checks the configuration. Connections open when first needed.
    ///
    /// # Errors
    /// When there is no endpoint, one cannot be parsed, or one is https without `tls`.
    pub fn new(config: Config) -> std::result::Result<Self, ConfigError> {
        if config.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoints);
        }
        let channels = config
            .endpoints
            .iter()
            .map(|e| connect::channel(e, &config))
            .collect::<std::result::Result<_, _>>()?;
        let names = config.endpoints.clone();
        Ok(Self { inner: Arc::new(Inner { names, channels, current: AtomicUsize::new(0), config }) })
    }

    /// A client of only the `index`th endpoint, for status calls and the like.
    #[must_use]
    pub fn pinned(&self, index: usize) -> Self {
        let Inner { names, channels, config, .. } = &*self.inner;
        let at = index % channels.len();
        Self {
            inner: Arc::new(Inner {
                names: vec![names[at].clone()],
                channels: vec![channels[at].clone()],
                current: AtomicUsize::new(0),
                config: config.clone(),
            }),
        }
    }

    /// The endpoints, as given.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        &self.inner.names
    }

    /// The connection calls go to at present, for services without a method here.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.inner.channels[self.inner.current.load(Ordering::Relaxed) % self.inner.channels.len()].clone()
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.inner.config.request_timeout
    }

    /// From now on calls go to the next endpoint.
    pub(crate) fn move_on(&self) {
        self.inner.current.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes a call, on another endpoint when one does not serve, until the request timeout.
    pub(crate) async fn call<T, F>(&self, kind: Kind, mut send: impl FnMut(Channel) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let limit = self.request_timeout();
        let end = Instant::now() + limit;
        let mut failed = 0_u32;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let status = match tokio::time::timeout(left, send(self.channel())).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => {
                    self.move_on();
                    return Err(Error::Timeout(limit));
                }
            };
            if !worth_another_try(kind, &status) {
                return Err(status.into());
            }
            self.move_on();
            failed += 1;
            let round = self.inner.channels.len() as u32;
            let pause =
                if failed.is_multiple_of(round) { pause_after(failed / round) } else { Duration::ZERO };
            if Instant::now() + pause >= end {
                return Err(Error::NoEndpoint { tried: self.inner.names.join(", "), last: chain(&status) });
            }
            tokio::time::sleep(pause).await;
        }
    }

    pub(crate) fn kv(channel: Channel) -> KvClient<Channel> {
        KvClient::new(channel)
            .max_decoding_message_size(LARGEST_MESSAGE)
            .max_encoding_message_size(LARGEST_MESSAGE)
    }

    pub(crate) fn leases(channel: Channel) -> LeaseClient<Channel> {
        LeaseClient::new(channel)
    }

    /// Any range request.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        self.call(Kind::Read, |channel| {
            let request = request.clone();
            async move { Self::kv(channel).range(request).await }
        })
        .await
    }

    /// One key, linearizable.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<KeyValue>> {
        let request = RangeRequest { key: key.into(), ..Default::default() };
        Ok(self.range(request).await?.kvs.pop())
    }

    /// Everything under a prefix, by key; the header carries the revision to watch on from.
    pub async fn get_prefix(&self, prefix: impl Into<Bytes>) -> Result<RangeResponse> {
        let key = prefix.into();
        self.range(RangeRequest { range_end: prefix_end(&key), key, ..Default::default() }).await
    }

    /// Any put request.
    pub async fn put_with(&self, request: PutRequest) -> Result<PutResponse> {
        self.call(Kind::Write, |channel| {
            let request = request.clone();
            async move { Self::kv(channel).put(request).await }
        })
        .await
    }

    /// Sets a key; answers the revision.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<i64> {
        self.put_leased(key, value, 0).await
    }

    /// Sets a key that goes when the lease goes; answers the revision.
    pub async fn put_leased(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        lease: i64,
    ) -> Result<i64> {
        let request = PutRequest { key: key.into(), value: value.into(), lease, ..Default::default() };
        Ok(self.put_with(request).await?.header.unwrap_or_default().revision)
    }

    /// Any delete request.
    pub async fn delete_with(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse> {
        self.call(Kind::Write, |channel| {
            let request = request.clone();
            async move { Self::kv(channel).delete_range(request).await }
        })
        .await
    }

    /// Deletes a key; answers how many there were (0 or 1).
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<i64> {
        Ok(self.delete_with(DeleteRangeRequest { key: key.into(), ..Default::default() }).await?.deleted)
    }

    /// Deletes everything under a prefix; answers how many keys there were.
    pub async fn delete_prefix(&self, prefix: impl Into<Bytes>) -> Result<i64> {
        let key = prefix.into();
        let request = DeleteRangeRequest { range_end: prefix_end(&key), key, ..Default::default() };
        Ok(self.delete_with(request).await?.deleted)
    }

    /// Runs a transaction.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        self.call(Kind::Write, |channel| {
            let request = txn.request.clone();
            async move { Self::kv(channel).txn(request).await }
        })
        .await
    }

    /// Forgets history before `revision`.
    pub async fn compact(&self, revision: i64, physical: bool) -> Result<()> {
        let request = pb::CompactionRequest { revision, physical };
        self.call(Kind::Write, |channel| async move { Self::kv(channel).compact(request).await }).await?;
        Ok(())
    }

    /// The cluster's members.
    pub async fn members(&self) -> Result<Vec<pb::Member>> {
        let list = |channel| async move {
            let request = pb::MemberListRequest { linearizable: true };
            pb::cluster_client::ClusterClient::new(channel).member_list(request).await
        };
        Ok(self.call(Kind::Read, list).await?.members)
    }

    /// What the member behind the present endpoint says of itself; see [`Client::pinned`].
    pub async fn status(&self) -> Result<pb::StatusResponse> {
        let status = |channel| async move {
            pb::maintenance_client::MaintenanceClient::new(channel).status(pb::StatusRequest {}).await
        };
        self.call(Kind::Read, status).await
    }
}

fn worth_another_try(kind: Kind, status: &Status) -> bool {
    if never_sent(status) {
        return true;
    }
    match (kind, ErrorKind::of(status)) {
        // The server refused before it proposed anything.
        (_, Some(ErrorKind::NoLeader | ErrorKind::NotLeader | ErrorKind::NotSupportedForLearner)) => true,
        (Kind::Read, Some(kind)) => kind.code() == Code::Unavailable,
        (Kind::Read, None) => {
            matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal)
        }
        (Kind::Write, _) => false,
    }
}

/// Whether a call failed before anything of it was sent, so that it may be made again.
#[must_use]
pub fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<Unreachable>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn chain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
