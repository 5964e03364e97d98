//! What passes between members, under etcd's names: bytes, failures, round trips, and who was heard of lately.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kv_raft::timing::Timing;
use serde_json::{Value, json};

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
    appends: Appends,
    /// Milliseconds since `epoch`, plus one; 0 for never.
    heard: AtomicU64,
    epoch: Instant,
}

/// Entries given to a member, and what it was given by it.
#[derive(Default)]
struct Appends {
    received: AtomicU64,
    failed: AtomicU64,
    /// The last one was not answered.
    lost: AtomicBool,
    latency: Mutex<Latency>,
}

/// How long appends took, milliseconds: enough for v2's statistics.
#[derive(Default, Clone, Copy)]
struct Latency {
    count: u64,
    current: f64,
    sum: f64,
    squares: f64,
    least: f64,
    most: f64,
}

impl Latency {
    fn add(&mut self, millis: f64) {
        self.least = if self.count == 0 { millis } else { self.least.min(millis) };
        self.most = self.most.max(millis);
        self.count += 1;
        self.current = millis;
        self.sum += millis;
        self.squares += millis * millis;
    }

    fn told(&self) -> Value {
        let count = self.count.max(1) as f64;
        let average = self.sum / count;
        let deviation = (self.squares / count - average * average).max(0.0).sqrt();
        json!({"current": self.current, "average": average, "standardDeviation": deviation,
               "minimum": self.least, "maximum": self.most})
    }
}

impl Traffic {
    fn new() -> Self {
        Self {
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            send_failures: AtomicU64::new(0),
            trips: Timing::new(&BOUNDS),
            appends: Appends::default(),
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

    /// An append was answered after so long, or not at all.
    pub(crate) fn appended(&self, took: Option<Duration>) {
        self.appends.lost.store(took.is_none(), Ordering::Relaxed);
        match took {
            Some(took) => {
                let mut latency = self.appends.latency.lock().unwrap_or_else(PoisonError::into_inner);
                latency.add(took.as_secs_f64() * 1000.0);
            }
            None => drop(self.appends.failed.fetch_add(1, Ordering::Relaxed)),
        }
    }

    pub(crate) fn was_appended(&self) {
        self.appends.received.fetch_add(1, Ordering::Relaxed);
    }

    fn latency(&self) -> Latency {
        *self.appends.latency.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(traffic) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return traffic.clone();
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(id).or_insert_with(|| Arc::new(Traffic::new())).clone()
    }

    fn all(&self) -> BTreeMap<u64, Arc<Traffic>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many appends came in, and how many went out.
    pub(crate) fn appends(&self) -> (u64, u64) {
        self.all().values().fold((0, 0), |(received, sent), traffic| {
            (received + traffic.appends.received.load(Ordering::Relaxed), sent + traffic.latency().count)
        })
    }

    /// Those to whom the last append got no answer.
    pub(crate) fn lost(&self) -> Vec<u64> {
        let all = self.all().into_iter();
        all.filter(|(_, traffic)| traffic.appends.lost.load(Ordering::Relaxed)).map(|(id, _)| id).collect()
    }

    /// Those that were given entries, as v2's statistics of a leader tell them.
    pub(crate) fn followers(&self) -> Value {
        let told = self.all().into_iter().map(|(id, traffic)| {
            let latency = traffic.latency();
            let failed = traffic.appends.failed.load(Ordering::Relaxed);
            let counts = json!({"fail": failed, "success": latency.count});
            (format!("{id:x}"), json!({"latency": latency.told(), "counts": counts}))
        });
        Value::Object(told.collect())
    }

    pub(super) fn tell(&self, own: u64, page: &mut Page) {
        let all = self.all();
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

    #[test]
    fn followers_are_told_with_their_latency() {
        let peers = Peers::default();
        for millis in [1, 3] {
            peers.with(0xab).appended(Some(Duration::from_millis(millis)));
        }
        peers.with(0xab).appended(None);
        assert_eq!(peers.lost(), [0xab]);
        peers.with(0xcd).was_appended();
        assert_eq!(peers.appends(), (1, 2));
        let told = &peers.followers()["ab"];
        assert_eq!(told["counts"], json!({"fail": 1, "success": 2}));
        let latency = |name: &str| told["latency"][name].as_f64().expect("a number");
        assert_eq!((latency("minimum"), latency("average"), latency("standardDeviation")), (1.0, 2.0, 1.0));
    }
}
