//! A siege: three members, writes of 1 KiB at a steady rate for a long time, and nobody may fall. This is the load
//! under which openraft#2116 was reported to panic within minutes, on machines of two cores.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kv_client::{Client, Config, pb};
use tokio::task::JoinSet;

use crate::servers::{Servers, ServersError};

const KEYS: u64 = 100_000;
const VALUE: usize = 1024;

/// What to besiege, and how hard.
#[derive(Debug, Clone)]
pub struct Siege {
    pub program: String,
    pub secs: u64,
    /// Writes a second at most.
    pub rate: u64,
    pub clients: u64,
    pub dir: PathBuf,
}

/// How a siege went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    pub done: u64,
    pub errors: u64,
    pub per_second: f64,
    /// The longest time in which no write was acknowledged.
    pub longest_gap_ms: u64,
    /// What the members' data takes on the disk at the end, all three.
    pub stored_mib: u64,
}

/// Why a siege was lost.
#[derive(Debug, thiserror::Error)]
pub enum SiegeError {
    #[error(transparent)]
    Servers(#[from] ServersError),
    #[error(transparent)]
    Config(#[from] kv_client::ConfigError),
    #[error("member {at} ended after {after:?}; its log is {}", .log.display())]
    Fell { at: usize, after: Duration, log: PathBuf },
    #[error("no write was acknowledged in the last {0:?}")]
    Silent(Duration),
    #[error("member {at} does not answer at the end: {source}")]
    Mute {
        at: usize,
        #[source]
        source: kv_client::Error,
    },
    #[error("the members differ at revision {revision}: {hashes:?}")]
    Differ { revision: i64, hashes: Vec<u32> },
}

/// What the clients did so far.
#[derive(Default)]
struct Tally {
    done: AtomicU64,
    errors: AtomicU64,
    /// Milliseconds since the beginning.
    last: AtomicU64,
    longest_gap: AtomicU64,
}

/// Lays siege.
///
/// # Errors
/// When a member falls, writes stop for half a minute, or the members differ afterwards.
pub async fn siege(plan: &Siege) -> Result<Outcome, SiegeError> {
    let mut servers = Servers::start(&plan.program, 3, &plan.dir)?;
    let tally = Arc::<Tally>::default();
    let begin = Instant::now();
    let end = begin + Duration::from_secs(plan.secs);
    let mut running = JoinSet::new();
    for number in 0..plan.clients {
        let endpoints = servers.endpoints();
        let at = number as usize % endpoints.len();
        let client = Client::new(Config::new([endpoints[at].clone()]))?;
        running.spawn(attack(client, plan.clone(), number, begin, end, tally.clone()));
    }
    let silent = Duration::from_secs(30);
    let mut told = Instant::now();
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if let Some((at, log)) = servers.ended() {
            return Err(SiegeError::Fell { at, after: begin.elapsed(), log });
        }
        let last = begin + Duration::from_millis(tally.last.load(Ordering::Relaxed));
        if last.elapsed() > silent {
            return Err(SiegeError::Silent(silent));
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            let (done, errors) = (tally.done.load(Ordering::Relaxed), tally.errors.load(Ordering::Relaxed));
            eprintln!("{:>4} s: {done} writes, {errors} errors", begin.elapsed().as_secs());
        }
    }
    while running.join_next().await.is_some() {}
    let took = begin.elapsed();
    agree(&servers).await?;
    let done = tally.done.load(Ordering::Relaxed);
    Ok(Outcome {
        done,
        errors: tally.errors.load(Ordering::Relaxed),
        per_second: done as f64 / took.as_secs_f64(),
        longest_gap_ms: tally.longest_gap.load(Ordering::Relaxed),
        stored_mib: servers.stored() >> 20,
    })
}

async fn attack(client: Client, plan: Siege, number: u64, begin: Instant, end: Instant, tally: Arc<Tally>) {
    let between = Duration::from_secs_f64(plan.clients as f64 / plan.rate.max(1) as f64);
    let mut due = begin + between.mul_f64(number as f64 / plan.clients as f64);
    for step in 0_u64.. {
        tokio::time::sleep_until(due.into()).await;
        if Instant::now() >= end {
            return;
        }
        // What could not be done in time is not made up for.
        due = (due + between).max(Instant::now());
        let key = format!("siege/{:08}", (step * plan.clients + number) % KEYS);
        if client.put(key, vec![b'v'; VALUE]).await.is_err() {
            tally.errors.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        tally.done.fetch_add(1, Ordering::Relaxed);
        let now = begin.elapsed().as_millis() as u64;
        let last = tally.last.fetch_max(now, Ordering::Relaxed);
        tally.longest_gap.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
    }
}

/// Every member answers a read of its own, and they have the same data.
async fn agree(servers: &Servers) -> Result<(), SiegeError> {
    let mut revision = 0;
    let mut members = Vec::new();
    for (at, endpoint) in servers.endpoints().into_iter().enumerate() {
        let mut config = Config::new([endpoint]);
        config.request_timeout = Duration::from_secs(30);
        let member = Client::new(config)?;
        let request = pb::RangeRequest { key: "siege/".into(), ..Default::default() };
        let reply = member.range(request).await.map_err(|source| SiegeError::Mute { at, source })?;
        revision = reply.header.unwrap_or_default().revision;
        members.push(member);
    }
    let mut hashes = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let mut maintenance = pb::maintenance_client::MaintenanceClient::new(member.channel());
        let reply = maintenance.hash_kv(pb::HashKvRequest { revision }).await;
        let reply = reply.map_err(|status| SiegeError::Mute { at, source: status.into() })?;
        hashes.push(reply.into_inner().hash);
    }
    if hashes.windows(2).all(|pair| pair[0] == pair[1]) {
        Ok(())
    } else {
        Err(SiegeError::Differ { revision, hashes })
    }
}
