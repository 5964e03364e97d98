//! A watch that survives: broken streams, restarted servers and changed leaders are picked up at the next
//! revision, without a gap and without an event twice. It ends only when history was compacted away or the
//! caller drops it.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use kv_api::{
    etcdserverpb::{
        WatchCreateRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    mvccpb::Event,
    prefix_end,
};
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::{Client, Error};

/// What to watch.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    pub key: Bytes,
    /// As in a range request: empty for one key.
    pub range_end: Bytes,
    /// First revision wanted; 0 for "from now".
    pub start_revision: i64,
    /// Events carry the pair as it was before.
    pub prev_kv: bool,
    /// Also answer, with no events, when nothing happened for a while; the revision still moves.
    pub progress_notify: bool,
}

impl WatchOptions {
    /// One key, from now.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Everything under a prefix, from now.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key = prefix.into();
        Self { range_end: prefix_end(&key), key, ..Self::default() }
    }

    /// From this revision (usually a read's header revision + 1).
    #[must_use]
    pub fn from_revision(mut self, revision: i64) -> Self {
        self.start_revision = revision;
        self
    }

    /// With the pairs as they were before.
    #[must_use]
    pub fn with_prev_kv(mut self) -> Self {
        self.prev_kv = true;
        self
    }
}

/// One delivery: all events of one or more whole revisions.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The store's revision when it was sent.
    pub revision: i64,
    pub events: Vec<Event>,
}

/// Why a watch ended for good.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("history before revision {0} was compacted; read again, then watch from there")]
    Compacted(i64),
    #[error("the server ended the watch: {0}")]
    Canceled(String),
}

/// A running watch. Dropping it cancels.
pub struct Watcher {
    client: Client,
    options: WatchOptions,
    stream: Option<(mpsc::Sender<WatchRequest>, Streaming<WatchResponse>)>,
    failures: u32,
    ready: VecDeque<Watched>,
    /// Events of a revision whose remaining fragments are still to come.
    partial: Vec<Event>,
}

impl Client {
    /// Starts a watch and waits until the server has it, so that later writes are certain to be seen.
    ///
    /// # Errors
    /// When no endpoint answers within the request timeout, or the start revision is compacted.
    pub async fn watch(&self, options: WatchOptions) -> Result<Watcher, Error> {
        let mut watcher = Watcher {
            client: self.clone(),
            options,
            stream: None,
            failures: 0,
            ready: VecDeque::new(),
            partial: Vec::new(),
        };
        let limit = self.request_timeout();
        tokio::time::timeout(limit, watcher.establish()).await.map_err(|_| Error::Timeout(limit))??;
        Ok(watcher)
    }
}

impl Watcher {
    /// The next delivery; waits as long as it takes, over any number of reconnects. Cancel safe.
    ///
    /// # Errors
    /// Only when the watch cannot go on: see [`WatchError`].
    pub async fn next(&mut self) -> Result<Watched, WatchError> {
        loop {
            if let Some(watched) = self.ready.pop_front() {
                return Ok(watched);
            }
            self.establish().await?;
            let Some((_, stream)) = &mut self.stream else { continue };
            match stream.message().await {
                Ok(Some(response)) => self.take(response)?,
                Ok(None) => self.broken("stream closed"),
                Err(status) => self.broken(status.message()),
            }
        }
    }

    async fn establish(&mut self) -> Result<(), WatchError> {
        while self.stream.is_none() {
            if self.failures > 0 {
                let pause = Duration::from_millis(20 << self.failures.min(6));
                tokio::time::sleep(pause).await;
            }
            if let Err(reason) = self.open().await {
                self.broken(&reason);
                continue;
            }
            // The created response decides where "from now" is.
            while let Some((_, stream)) = &mut self.stream {
                match stream.message().await {
                    Ok(Some(response)) if response.created && !response.canceled => {
                        let now = response.header.unwrap_or_default().revision;
                        if self.options.start_revision == 0 {
                            self.options.start_revision = now + 1;
                        }
                        self.failures = 0;
                        return Ok(());
                    }
                    Ok(Some(response)) => self.take(response)?,
                    Ok(None) => self.broken("stream closed"),
                    Err(status) => self.broken(status.message()),
                }
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), String> {
        let (sender, receiver) = mpsc::channel(4);
        let create = WatchCreateRequest {
            key: self.options.key.clone(),
            range_end: self.options.range_end.clone(),
            start_revision: self.options.start_revision,
            prev_kv: self.options.prev_kv,
            progress_notify: self.options.progress_notify,
            fragment: true,
            ..Default::default()
        };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        sender.send(create).await.expect("the receiver is below");
        let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut client = WatchClient::new(self.client.channel()).max_decoding_message_size(512 << 20);
        let limit = self.client.request_timeout();
        let opened = tokio::time::timeout(limit, client.watch(requests)).await;
        let stream = opened.map_err(|_| "timed out".to_owned())?.map_err(|s| s.message().to_owned())?;
        self.stream = Some((sender, stream.into_inner()));
        Ok(())
    }

    fn take(&mut self, response: WatchResponse) -> Result<(), WatchError> {
        let revision = response.header.unwrap_or_default().revision;
        if response.canceled {
            if response.compact_revision > 0 {
                return Err(WatchError::Compacted(response.compact_revision));
            }
            if response.cancel_reason.contains("no leader") {
                self.broken(&response.cancel_reason);
                return Ok(());
            }
            return Err(WatchError::Canceled(response.cancel_reason));
        }
        self.partial.extend(response.events);
        if response.fragment {
            return Ok(());
        }
        let events = std::mem::take(&mut self.partial);
        let last = events.iter().filter_map(|e| e.kv.as_ref()).map(|kv| kv.mod_revision).max();
        match last {
            Some(last) => self.options.start_revision = last + 1,
            None if !self.options.progress_notify => return Ok(()),
            None => self.options.start_revision = self.options.start_revision.max(revision + 1),
        }
        self.ready.push_back(Watched { revision, events });
        Ok(())
    }

    fn broken(&mut self, reason: &str) {
        tracing::debug!(reason, from = self.options.start_revision, "watch broke off, resuming");
        self.stream = None;
        self.partial.clear();
        self.failures += 1;
        self.client.move_on();
    }
}
