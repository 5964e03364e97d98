//! The store's client with an account of what was asked of it, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kv_client::pb::{RangeResponse, TxnResponse};
use kv_client::{Client, KeyValue, LeaseKeeper, Ownership, Result, Txn, WatchOptions, Watcher};

/// Kinds of operations, as they are called in figures.
const KINDS: [&str; 4] = ["get", "set", "lease", "watch"];
const GET: usize = 0;
const SET: usize = 1;
const LEASE: usize = 2;
const WATCH: usize = 3;

/// How often something was asked of the store, how often in vain, and how long it took altogether.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operations {
    /// `get`, `set`, `lease` or `watch`.
    pub kind: &'static str,
    /// How often.
    pub count: u64,
    /// How often it failed.
    pub failed: u64,
    /// Seconds.
    pub seconds: f64,
}

#[derive(Debug, Default)]
struct Counters {
    count: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
}

/// A client that counts. Clones share connections and account.
#[derive(Clone)]
pub(crate) struct Store {
    client: Client,
    counters: Arc<[Counters; KINDS.len()]>,
}

impl Store {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, counters: Arc::default() }
    }

    pub(crate) fn operations(&self) -> Vec<Operations> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of = |(kind, it): (&'static str, &Counters)| Operations {
            kind,
            count: read(&it.count),
            failed: read(&it.failed),
            seconds: read(&it.micros) as f64 / 1e6,
        };
        KINDS.into_iter().zip(self.counters.iter()).map(of).collect()
    }

    async fn counted<T>(&self, kind: usize, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let outcome = asked.await;
        let counters = &self.counters[kind];
        counters.count.fetch_add(1, Ordering::Relaxed);
        counters.failed.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counters.micros.fetch_add(took, Ordering::Relaxed);
        outcome
    }

    pub(crate) async fn get(&self, key: String) -> Result<Option<KeyValue>> {
        self.counted(GET, self.client.get(key)).await
    }

    pub(crate) async fn get_prefix(&self, prefix: String) -> Result<RangeResponse> {
        self.counted(GET, self.client.get_prefix(prefix)).await
    }

    pub(crate) async fn put(&self, key: String, value: String) -> Result<i64> {
        self.counted(SET, self.client.put(key, value)).await
    }

    pub(crate) async fn delete(&self, key: String) -> Result<i64> {
        self.counted(SET, self.client.delete(key)).await
    }

    /// A transaction that only reads counts as one that writes: who can tell from here.
    pub(crate) async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        self.counted(SET, self.client.txn(txn)).await
    }

    pub(crate) async fn lease(&self, ttl: std::time::Duration) -> Result<LeaseKeeper> {
        self.counted(LEASE, self.client.lease(ttl)).await
    }

    pub(crate) async fn watch(&self, options: WatchOptions) -> Result<Watcher> {
        self.counted(WATCH, self.client.watch(options)).await
    }

    /// Waiting for the lead takes as long as the leader lives: it is not counted.
    pub(crate) async fn campaign(&self, name: &str, lease: &LeaseKeeper, who: String) -> Result<Ownership> {
        self.client.campaign(name, lease, who).await
    }

    pub(crate) async fn leader(&self, name: &str) -> Result<Option<KeyValue>> {
        self.counted(GET, self.client.leader(name)).await
    }
}
