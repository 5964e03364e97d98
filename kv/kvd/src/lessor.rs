//! When leases end. Only the leader counts time; it proposes the end of a lease, and the log decides.
//!
//! A new leader gives every lease its whole time again (or what the last checkpoint left): a lease never ends early.
//! So this needs no clock that members agree on.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kv_api::{
    ErrorKind,
    etcdserverpb::LeaseRevokeRequest,
    internal::{LeaseCheckpoint, Op, op},
};
use kv_core::LeaseRecord;
use kv_raft::{Kind, Node};

/// Leases longer than this have their remaining time written down now and then.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);

/// A renewal waits this long for a leader to be found.
const OUTLAST: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(20);

struct Running {
    ends: Instant,
    ttl: i64,
    checkpointed: Instant,
}

#[derive(Default)]
struct Clockwork {
    /// The term this member leads; everything starts anew with another.
    term: Option<u64>,
    running: HashMap<i64, Running>,
}

/// The leader's clockwork, and the way to it for others.
pub(crate) struct Lessor {
    node: Node,
    clockwork: Mutex<Clockwork>,
}

impl Lessor {
    pub(crate) fn new(node: Node) -> Self {
        Self { node, clockwork: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Clockwork> {
        self.clockwork.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews a lease; answers its TTL in seconds, 0 when it is gone.
    pub(crate) async fn keep_alive(&self, id: i64) -> Result<i64, ErrorKind> {
        let deadline = Instant::now() + OUTLAST;
        loop {
            let answer = if self.node.is_leader() {
                self.renew(id).await
            } else {
                self.ask(Kind::KeepAlive, id).await
            };
            match answer {
                // Nothing goes wrong when a lease is renewed twice.
                Err(ErrorKind::NoLeader | ErrorKind::NotLeader | ErrorKind::TimeoutDueToLeaderFail)
                    if Instant::now() < deadline =>
                {
                    tokio::time::sleep(AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    async fn ask(&self, kind: Kind, id: i64) -> Result<i64, ErrorKind> {
        let answer = self.node.ask(None, kind, Bytes::copy_from_slice(&id.to_be_bytes())).await?;
        number(&answer).ok_or(ErrorKind::Timeout)
    }

    /// The seconds a lease has left, -1 when it is gone.
    pub(crate) async fn time_to_live(&self, id: i64) -> Result<i64, ErrorKind> {
        if self.node.is_leader() {
            return self.left(id);
        }
        self.ask(Kind::TimeToLive, id).await
    }

    /// A lease was granted: its time runs.
    pub(crate) fn granted(&self, id: i64, ttl: i64) {
        if self.node.is_leader() {
            let now = Instant::now();
            let running = Running { ends: now + seconds(ttl), ttl, checkpointed: now };
            self.lock().running.entry(id).or_insert(running);
        }
    }

    /// The leases there are, those that end first before others as far as this member knows.
    pub(crate) fn by_end(&self, leases: &[LeaseRecord]) -> Vec<i64> {
        let now = Instant::now();
        let clockwork = self.lock();
        let left = |lease: &LeaseRecord| {
            let running = clockwork.running.get(&lease.id);
            running.map_or(seconds(lease.ttl), |running| running.ends.saturating_duration_since(now))
        };
        let mut all: Vec<_> = leases.iter().map(|lease| (left(lease), lease.id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    async fn renew(&self, id: i64) -> Result<i64, ErrorKind> {
        let storage = |_: io::Error| ErrorKind::Corrupt;
        let Some(lease) = self.node.view().lease(id).map_err(storage)? else { return Ok(0) };
        if lease.remaining > 0 {
            let checkpoint = LeaseCheckpoint { id, remaining_ttl: 0 };
            self.node.propose(Op { op: Some(op::Op::LeaseCheckpoint(checkpoint)) }).await?;
        }
        let now = Instant::now();
        let running = Running { ends: now + seconds(lease.ttl), ttl: lease.ttl, checkpointed: now };
        self.lock().running.insert(id, running);
        Ok(lease.ttl)
    }

    fn left(&self, id: i64) -> Result<i64, ErrorKind> {
        let Some(lease) = self.node.view().lease(id).map_err(|_| ErrorKind::Corrupt)? else { return Ok(-1) };
        // A lease that was granted just now runs from when it is first seen.
        let now = Instant::now();
        let granted = if lease.remaining > 0 { lease.remaining } else { lease.ttl };
        let mut clockwork = self.lock();
        let running = clockwork.running.entry(id).or_insert_with(|| Running {
            ends: now + seconds(granted),
            ttl: lease.ttl,
            checkpointed: now,
        });
        let left = running.ends.saturating_duration_since(Instant::now());
        Ok(left.as_secs() as i64)
    }

    pub(crate) async fn answer_keep_alive(&self, payload: &[u8]) -> Result<Bytes, String> {
        let id = number(payload).ok_or("not a lease")?;
        if !self.node.is_leader() {
            return Err(ErrorKind::NotLeader.name().to_owned());
        }
        let ttl = self.renew(id).await.map_err(|kind| kind.name().to_owned())?;
        Ok(Bytes::copy_from_slice(&ttl.to_be_bytes()))
    }

    pub(crate) fn answer_time_to_live(&self, payload: &[u8]) -> Result<Bytes, String> {
        let id = number(payload).ok_or("not a lease")?;
        if !self.node.is_leader() {
            return Err(ErrorKind::NotLeader.name().to_owned());
        }
        let left = self.left(id).map_err(|kind| kind.name().to_owned())?;
        Ok(Bytes::copy_from_slice(&left.to_be_bytes()))
    }

    /// Ends leases, as long as the member runs.
    pub(crate) async fn run(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let status = self.node.status();
            if status.leader != Some(status.id) {
                *self.lock() = Clockwork::default();
                continue;
            }
            let Ok(leases) = self.node.view().leases() else { continue };
            let (ended, checkpoints) = self.lock().turn(status.term, &leases, Instant::now());
            for id in ended {
                let op = op::Op::LeaseRevoke(LeaseRevokeRequest { id });
                if self.node.propose(Op { op: Some(op) }).await.is_err() {
                    break;
                }
            }
            for checkpoint in checkpoints {
                let _ = self.node.propose(Op { op: Some(op::Op::LeaseCheckpoint(checkpoint)) }).await;
            }
        }
    }
}

impl Clockwork {
    /// Brings the clockwork in step with the leases there are; answers those that ended, and what to write down.
    fn turn(&mut self, term: u64, leases: &[LeaseRecord], now: Instant) -> (Vec<i64>, Vec<LeaseCheckpoint>) {
        if self.term != Some(term) {
            *self = Self { term: Some(term), running: HashMap::new() };
        }
        let (mut ended, mut checkpoints) = (Vec::new(), Vec::new());
        let mut running = HashMap::with_capacity(leases.len());
        for lease in leases {
            let id = lease.id;
            let left = if lease.remaining > 0 { lease.remaining } else { lease.ttl };
            let fresh = || Running { ends: now + seconds(left), ttl: lease.ttl, checkpointed: now };
            let mut this = self.running.remove(&id).unwrap_or_else(fresh);
            if this.ends <= now {
                ended.push(id);
            } else if this.ttl as u64 > CHECKPOINT_EVERY.as_secs()
                && now - this.checkpointed >= CHECKPOINT_EVERY
            {
                this.checkpointed = now;
                checkpoints.push(LeaseCheckpoint { id, remaining_ttl: (this.ends - now).as_secs() as i64 });
            }
            running.insert(id, this);
        }
        self.running = running;
        (ended, checkpoints)
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.max(1) as u64)
}

fn number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_gives_leases_their_time_again() {
        let mut clockwork = Clockwork::default();
        let lease = LeaseRecord { id: 7, ttl: 10, remaining: 0 };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(clockwork.turn(1, &[lease], at(0)).0.is_empty());
        assert!(clockwork.turn(1, &[lease], at(9)).0.is_empty());
        assert!(clockwork.turn(2, &[lease], at(11)).0.is_empty(), "another term");
        assert_eq!(clockwork.turn(2, &[lease], at(21)).0, [7]);
        assert!(clockwork.turn(2, &[], at(22)).0.is_empty());
    }

    #[test]
    fn long_leases_are_written_down_and_go_on_from_there() {
        let mut clockwork = Clockwork::default();
        let lease = LeaseRecord { id: 7, ttl: 1000, remaining: 0 };
        let start = Instant::now();
        clockwork.turn(1, &[lease], start);
        let (_, checkpoints) = clockwork.turn(1, &[lease], start + Duration::from_secs(300));
        assert_eq!(checkpoints, [LeaseCheckpoint { id: 7, remaining_ttl: 700 }]);
        let lease = LeaseRecord { remaining: 700, ..lease };
        let mut next = Clockwork::default();
        next.turn(2, &[lease], start);
        assert_eq!(next.turn(2, &[lease], start + Duration::from_secs(701)).0, [7]);
    }
}
