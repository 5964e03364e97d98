//! What passes between members, under etcd's names: bytes, failures, round trips, and who was heard of lately.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kv_raft::timing::Timing;

use super::Page;

/// etcd's buckets for round trips, seconds.
const BOUNDS: [f64; 16] = [
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048, 0.4096,
    0.8192, 1.6384, 3.2768,
];
/// A member that was not heard of for longer is not active. Followers hear of the leader with every heartbeat.
const SILENT: Duration = Duration::from_secs(5);

/// One other member.
pub(crate) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
    send_failures: AtomicU64,
    trips: Timing,
    /// Milliseconds since `epoch`, plus one; 0 for never.
    heard: AtomicU64,
    epoch: Instant,
}

impl Traffic {
    fn new() -> Self {
        Self {
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            send_failures: AtomicU64::new(0),
            trips: Timing::new(&BOUNDS),
            heard: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.heard.store(self.epoch.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    pub(crate) fn not_sent(&self) {
        self.send_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn round_trip(&self, took: Duration) {
        self.trips.add(took);
    }

    fn is_active(&self) -> bool {
        let heard = self.heard.load(Ordering::Relaxed);
        let silence = self.epoch.elapsed().saturating_sub(Duration::from_millis(heard.saturating_sub(1)));
        heard > 0 && silence < SILENT
    }
}

/// All other members that this one has spoken with.
#[derive(Default)]
pub(crate) struct Peers(RwLock<BTreeMap<u64, Arc<Traffic>>>);

impl Peers {
    pub(crate) fn with(&self, id: u64) -> Arc<Traffic> {
        if let Some(traffic) = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id) {
            return traffic.clone();
        }
        let mut all = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.entry(id).or_insert_with(|| Arc::new(Traffic::new())).clone()
    }

    pub(super) fn tell(&self, own: u64, page: &mut Page) {
        let all = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if all.is_empty() {
            return;
        }
        let both = |id: &u64| format!("Local=\"{own:x}\",Remote=\"{id:x}\"");
        let name = "etcd_network_active_peers";
        page.family(name, "gauge", "The current number of active peer connections.");
        for (id, traffic) in &all {
            page.line(name, &both(id), u64::from(traffic.is_active()));
        }
        let mut each = |name: &str, label: &str, help: &str, of: fn(&Traffic) -> &AtomicU64| {
            page.family(name, "counter", help);
            for (id, traffic) in &all {
                page.line(name, &format!("{label}=\"{id:x}\""), of(traffic).load(Ordering::Relaxed));
            }
        };
        each(
            "etcd_network_peer_sent_bytes_total",
            "To",
            "The total number of bytes sent to peers.",
            |traffic| &traffic.sent,
        );
        each(
            "etcd_network_peer_received_bytes_total",
            "From",
            "The total number of bytes received from peers.",
            |traffic| &traffic.received,
        );
        each(
            "etcd_network_peer_sent_failures_total",
            "To",
            "The total number of send failures from peers.",
            |traffic| &traffic.send_failures,
        );
        let name = "etcd_network_peer_round_trip_time_seconds";
        page.family(name, "histogram", "Round-Trip-Time histogram between peers");
        for (id, traffic) in &all {
            page.histogram(name, &format!("To=\"{id:x}\""), &traffic.trips);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_heard_of_is_active() {
        let peers = Peers::default();
        peers.with(0xab).not_sent();
        peers.with(0xcd).received(100);
        let mut page = Page::default();
        peers.tell(1, &mut page);
        for line in [
            "etcd_network_active_peers{Local=\"1\",Remote=\"ab\"} 0\n",
            "etcd_network_active_peers{Local=\"1\",Remote=\"cd\"} 1\n",
            "etcd_network_peer_sent_failures_total{To=\"ab\"} 1\n",
            "etcd_network_peer_received_bytes_total{From=\"cd\"} 100\n",
        ] {
            assert!(page.text().contains(line), "{line}");
        }
    }
}
