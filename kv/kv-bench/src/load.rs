//! The loads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use kv_client::{Client, Config, ConfigError, Error, Txn, WatchOptions, op, pb::RangeRequest};
use tokio::task::JoinSet;

use crate::Figures;

const KEYS: u64 = 100_000;
const VALUE: usize = 256;

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Put,
    Get { serializable: bool },
    KeepAlive,
    Watch,
    Fill { keys: usize },
}

/// Why a load could not run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the server does not serve: {0}")]
    Server(#[from] Error),
}

/// Runs a load with `clients` at once over `conns` connections, for `secs`.
///
/// # Errors
/// When the server does not answer at all.
pub async fn drive(
    endpoints: &[String],
    conns: usize,
    load: Load,
    clients: usize,
    secs: Duration,
) -> Result<Figures, LoadError> {
    let connections = (0..conns.max(1))
        .map(|at| {
            let mut config = Config::new([endpoints[at % endpoints.len()].clone()]);
            config.request_timeout = Duration::from_secs(30);
            Client::new(config)
        })
        .collect::<Result<Vec<_>, _>>()?;
    connections[0].get("warm").await?;
    match load {
        Load::Watch => watch(&connections, clients, secs).await,
        Load::Fill { keys } => fill(&connections, clients, keys).await,
        load => repeat(&connections, load, clients, secs).await,
    }
}

async fn repeat(
    connections: &[Client],
    load: Load,
    clients: usize,
    secs: Duration,
) -> Result<Figures, LoadError> {
    let begin = Instant::now() + Duration::from_millis(500);
    let end = begin + secs;
    let mut running = JoinSet::new();
    for number in 0..clients {
        let client = connections[number % connections.len()].clone();
        running.spawn(async move {
            let (mut times, mut errors) = (Vec::new(), 0);
            let lease = match load {
                Load::KeepAlive => {
                    client.lease_grant(Duration::from_secs(600), 0).await.map_or(0, |lease| lease.id)
                }
                _ => 0,
            };
            let mut dice = number as u64 * 0x9e37_79b9 + 1;
            while Instant::now() < end {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let key = format!("bench/{:010}", (dice >> 33) % KEYS);
                let started = Instant::now();
                let good = one(&client, load, key, lease).await;
                if started >= begin {
                    if good { times.push(started.elapsed()) } else { errors += 1 }
                }
            }
            (times, errors)
        });
    }
    let (mut times, mut errors) = (Vec::new(), 0);
    while let Some(done) = running.join_next().await {
        let (some, failed) = done.unwrap_or_default();
        times.extend(some);
        errors += failed;
    }
    Ok(Figures::new(times, errors, secs))
}

async fn one(client: &Client, load: Load, key: String, lease: i64) -> bool {
    match load {
        Load::Put => client.put(key, vec![b'v'; VALUE]).await.is_ok(),
        Load::Get { serializable } => {
            client.range(RangeRequest { key: key.into(), serializable, ..Default::default() }).await.is_ok()
        }
        Load::KeepAlive => client.lease_keep_alive_once(lease).await.is_ok_and(|ttl| ttl > 0),
        Load::Watch | Load::Fill { .. } => false,
    }
}

async fn fill(connections: &[Client], clients: usize, keys: usize) -> Result<Figures, LoadError> {
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..clients {
        let (client, next) = (connections[number % connections.len()].clone(), next.clone());
        running.spawn(async move {
            let mut times = Vec::new();
            loop {
                let first = next.fetch_add(100, Ordering::Relaxed);
                if first >= keys {
                    return Ok(times);
                }
                let ops = (first..(first + 100).min(keys))
                    .map(|n| op::put(format!("fill/{n:010}"), vec![b'v'; 64]));
                let started = Instant::now();
                client.txn(Txn::new().then(ops)).await?;
                times.push(started.elapsed());
            }
        });
    }
    let mut times = Vec::new();
    while let Some(done) = running.join_next().await {
        match done {
            Ok(Ok(some)) => times.extend(some),
            Ok(Err(error)) => return Err(LoadError::Server(error)),
            Err(_) => {}
        }
    }
    Ok(Figures::new(times, 0, begin.elapsed()))
}

/// Puts one after another; a time is from a put's start to when the last watcher has it.
async fn watch(connections: &[Client], clients: usize, secs: Duration) -> Result<Figures, LoadError> {
    let (sender, mut deliveries) = tokio::sync::mpsc::channel::<i64>(clients * 4);
    let mut watchers = JoinSet::new();
    for number in 0..clients {
        let mut watch =
            connections[number % connections.len()].watch(WatchOptions::key("bench-watch")).await?;
        let sender = sender.clone();
        watchers.spawn(async move {
            while let Ok(watched) = watch.next().await {
                for event in watched.events {
                    let revision = event.kv.unwrap_or_default().mod_revision;
                    if sender.send(revision).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < secs {
        let started = Instant::now();
        let revision = connections[0].put("bench-watch", vec![b'v'; VALUE]).await?;
        let mut missing = clients;
        while missing > 0 {
            match deliveries.recv().await {
                Some(delivered) if delivered == revision => missing -= 1,
                Some(_) => {}
                None => break,
            }
        }
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watchers.abort_all();
    Ok(Figures::new(times, 0, begin.elapsed()))
}
