//! Statistics as v2 tells them: of this member, of the followers it leads, of what was asked of its keys.
//!
//! Keys are counted where they are asked for: a change asked of one member is not counted by the others.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime},
};

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{http::reply, serve::Body, server::Core};

/// What may be done with keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Get,
    Set,
    Create,
    Update,
    CompareAndSwap,
    Delete,
    CompareAndDelete,
}

const NAMES: [(Doing, &str); 7] = [
    (Doing::Get, "gets"),
    (Doing::Set, "sets"),
    (Doing::Delete, "delete"),
    (Doing::Update, "update"),
    (Doing::Create, "create"),
    (Doing::CompareAndSwap, "compareAndSwap"),
    (Doing::CompareAndDelete, "compareAndDelete"),
];

/// Counts of one member since it started.
pub(crate) struct Stats {
    began: SystemTime,
    /// Done and refused.
    done: [[AtomicU64; 2]; NAMES.len()],
    expired: AtomicU64,
    watchers: AtomicU64,
    /// Who leads, and since when this member knows.
    leader: std::sync::Mutex<(u64, SystemTime, Instant)>,
}

impl Default for Stats {
    fn default() -> Self {
        let began = SystemTime::now();
        Self {
            began,
            done: Default::default(),
            expired: AtomicU64::new(0),
            watchers: AtomicU64::new(0),
            leader: std::sync::Mutex::new((0, began, Instant::now())),
        }
    }
}

/// A watcher that waits until this is dropped.
pub(super) struct Waits<'s>(&'s AtomicU64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stats {
    pub(super) fn count(&self, doing: Doing, good: bool) {
        if let Some(at) = NAMES.iter().position(|(known, _)| *known == doing) {
            self.done[at][usize::from(!good)].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn expired(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn waits(&self) -> Waits<'_> {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Waits(&self.watchers)
    }

    /// Another leader was seen.
    pub(crate) fn leads(&self, leader: u64) {
        let mut known = self.leader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *known = (leader, SystemTime::now(), Instant::now());
    }

    fn store(&self) -> Value {
        let load = |count: &AtomicU64| json!(count.load(Ordering::Relaxed));
        let mut out = Map::new();
        for ((_, name), [good, bad]) in NAMES.iter().zip(&self.done) {
            out.insert(format!("{name}Success"), load(good));
            out.insert(format!("{name}Fail"), load(bad));
        }
        out.insert("expireCount".into(), load(&self.expired));
        out.insert("watchers".into(), load(&self.watchers));
        Value::Object(out)
    }

    fn own(&self, core: &Core) -> Value {
        let status = core.node.status();
        let leads = status.leader == Some(status.id);
        let (_, since, at) = *self.leader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (received, sent) = core.peers.appends();
        json!({
            "name": core.config.name,
            "id": format!("{:x}", status.id),
            "state": if leads { "StateLeader" } else { "StateFollower" },
            "startTime": told(self.began),
            "leaderInfo": {
                "leader": format!("{:x}", status.leader.unwrap_or(0)),
                "uptime": format!("{:?}", at.elapsed()),
                "startTime": told(since),
            },
            "recvAppendRequestCnt": received,
            "sendAppendRequestCnt": sent,
        })
    }
}

fn told(moment: SystemTime) -> String {
    OffsetDateTime::from(moment).format(&Rfc3339).unwrap_or_default()
}

/// Answers a request to `/v2/stats/...`; none when there are no such statistics.
pub(super) fn answer(core: &Core, which: &str) -> Option<Response<Body>> {
    let value = match which {
        "self" => core.v2.own(core),
        "store" => core.v2.store(),
        "leader" => {
            let status = core.node.status();
            if status.leader != Some(status.id) {
                let text = json!({"message": "not current leader"}).to_string();
                return Some(reply(StatusCode::FORBIDDEN, "application/json", text));
            }
            json!({"leader": format!("{:x}", status.id), "followers": core.peers.followers()})
        }
        _ => return None,
    };
    Some(reply(StatusCode::OK, "application/json", value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told_by_etcds_names() {
        let stats = Stats::default();
        stats.count(Doing::CompareAndSwap, false);
        stats.count(Doing::Get, true);
        stats.count(Doing::Get, true);
        let _waits = stats.waits();
        drop(stats.waits());
        let told = stats.store();
        assert_eq!(told["compareAndSwapFail"], 1);
        assert_eq!(told["getsSuccess"], 2);
        assert_eq!(told["watchers"], 1);
        assert_eq!(told.as_object().map(Map::len), Some(16));
    }
}
