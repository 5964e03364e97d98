//! What /metrics tells, under etcd's names where etcd has one.
//!
//! `calls` counts gRPC, `peers` what passes between members, `process` asks the kernel.

mod calls;
mod peers;
mod process;

use std::{
    fmt::{Display, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use kv_raft::timing::Timing;

pub(crate) use calls::Calls;
pub(crate) use peers::{Peers, Traffic};

use crate::server::Core;

/// Upper bounds of the proposals' buckets, seconds.
const BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024];

/// Counters of one member.
pub(crate) struct Metrics {
    failed: AtomicU64,
    pending: AtomicU64,
    done: Timing,
    leaders: AtomicU64,
    /// Probes answered well, and not.
    health: [AtomicU64; 2],
    pub(crate) watching: Watching,
    pub(crate) leases: Leases,
    pub(crate) calls: Calls,
}

/// Who watches now.
#[derive(Default)]
pub(crate) struct Watching {
    pub(crate) streams: AtomicU64,
    pub(crate) watches: AtomicU64,
    pub(crate) behind: AtomicU64,
    pub(crate) events: AtomicU64,
}

/// What was done with leases here.
#[derive(Default)]
pub(crate) struct Leases {
    pub(crate) granted: AtomicU64,
    pub(crate) renewed: AtomicU64,
    pub(crate) revoked: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            failed: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            done: Timing::new(&BOUNDS),
            leaders: AtomicU64::new(0),
            health: Default::default(),
            watching: Watching::default(),
            leases: Leases::default(),
            calls: Calls::default(),
        }
    }
}

/// A proposal on its way: it is pending until this is dropped.
pub(crate) struct Pending<'m>(&'m AtomicU64);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn proposing(&self) -> Pending<'_> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Pending(&self.pending)
    }

    pub(crate) fn proposed(&self, took: Duration) {
        self.done.add(took);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn asked_health(&self, good: bool) {
        self.health[usize::from(!good)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn saw_new_leader(&self) {
        self.leaders.fetch_add(1, Ordering::Relaxed);
    }
}

/// A page of metrics as Prometheus reads it.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    /// A family of one.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.line(name, "", value);
    }

    fn histogram(&mut self, name: &str, labels: &str, timing: &Timing) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{name}_bucket");
        for (bound, count) in timing.cumulative() {
            self.line(&bucket, &format!("{labels}{comma}le=\"{bound}\""), count);
        }
        let count = timing.count();
        self.line(&bucket, &format!("{labels}{comma}le=\"+Inf\""), count);
        self.line(&format!("{name}_sum"), labels, timing.seconds());
        self.line(&format!("{name}_count"), labels, count);
    }

    #[cfg(test)]
    fn text(&self) -> &str {
        &self.0
    }
}

/// The text of /metrics.
pub(crate) fn text(core: &Core) -> String {
    let mut page = Page::default();
    server(core, &mut page);
    store(core, &mut page);
    core.peers.tell(core.node.id(), &mut page);
    core.metrics.calls.tell(&mut page);
    process::tell(&mut page);
    page.0
}

fn server(core: &Core, page: &mut Page) {
    let status = core.node.status();
    let leads = status.leader == Some(status.id);
    let flag = |yes: bool| u64::from(yes);
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let mut gauge = |name: &str, help: &str, value: u64| page.one(name, "gauge", help, value);
    gauge("etcd_server_has_leader", "Whether or not a leader exists.", flag(core.node.has_leader()));
    gauge("etcd_server_is_leader", "Whether or not this member is a leader.", flag(leads));
    gauge("etcd_server_is_learner", "Whether or not this member is a learner.", flag(!status.is_voter));
    gauge(
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        status.applied_index,
    );
    gauge(
        "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.",
        status.applied_index,
    );
    gauge(
        "etcd_server_proposals_pending",
        "The current number of pending proposals to commit.",
        load(&core.metrics.pending),
    );
    gauge(
        "etcd_server_quota_backend_bytes",
        "Current backend storage quota size in bytes.",
        core.config.quota_bytes.max(0) as u64,
    );
    let name = "etcd_server_proposals_failed_total";
    page.one(name, "counter", "The total number of failed proposals seen.", load(&core.metrics.failed));
    let name = "etcd_server_leader_changes_seen_total";
    page.one(name, "counter", "The number of leader changes seen.", load(&core.metrics.leaders));
    let [good, bad] = &core.metrics.health;
    let name = "etcd_server_health_success";
    page.one(name, "counter", "The total number of successful health checks", load(good));
    let name = "etcd_server_health_failures";
    page.one(name, "counter", "The total number of failed health checks", load(bad));
    let name = "kv_proposal_duration_seconds";
    page.family(name, "histogram", "From proposing to the reply.");
    page.histogram(name, "", &core.metrics.done);
    let named = [
        (
            "etcd_server_id",
            "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
            format!("server_id=\"{:x}\"", status.id),
        ),
        (
            "etcd_cluster_version",
            "Which version is running. 1 for 'cluster_version' label with current cluster version",
            format!("cluster_version=\"{}\"", kv_api::ETCD_CLUSTER_VERSION.trim_end_matches(".0")),
        ),
        (
            "etcd_server_version",
            "Which version is running. 1 for 'server_version' label with current version.",
            format!("server_version=\"{}\",kvd=\"{}\"", kv_api::ETCD_VERSION, env!("CARGO_PKG_VERSION")),
        ),
    ];
    for (name, help, label) in named {
        page.family(name, "gauge", help);
        page.line(name, &label, 1);
    }
}

fn store(core: &Core, page: &mut Page) {
    let view = core.node.view();
    let mut gauge = |name: &str, help: &str, value: i64| page.one(name, "gauge", help, value);
    gauge(
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the underlying database physically allocated in bytes.",
        core.node.stored_bytes() as i64,
    );
    gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
        view.live_bytes(),
    );
    gauge("etcd_debugging_mvcc_current_revision", "The current revision of store.", view.revision());
    gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction in store.",
        view.compacted(),
    );
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (watching, leases) = (&core.metrics.watching, &core.metrics.leases);
    for (name, help, count) in [
        ("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.", &watching.streams),
        ("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", &watching.watches),
        (
            "etcd_debugging_mvcc_slow_watcher_total",
            "Total number of unsynced slow watchers.",
            &watching.behind,
        ),
    ] {
        page.one(name, "gauge", help, load(count));
    }
    let applied = core.node.counts();
    for (name, help, count) in [
        ("etcd_mvcc_put_total", "Total number of puts seen by this member.", &applied.puts),
        ("etcd_mvcc_delete_total", "Total number of deletes seen by this member.", &applied.deletes),
        ("etcd_mvcc_txn_total", "Total number of txns seen by this member.", &applied.transactions),
        ("etcd_debugging_mvcc_events_total", "Total number of events sent by this member.", &watching.events),
        ("etcd_debugging_lease_granted_total", "The total number of granted leases.", &leases.granted),
        (
            "etcd_debugging_lease_renewed_total",
            "The number of renewed leases seen by the leader.",
            &leases.renewed,
        ),
        ("etcd_debugging_lease_revoked_total", "The total number of revoked leases.", &leases.revoked),
    ] {
        page.one(name, "counter", help, load(count));
    }
    let (log, state) = core.node.disk();
    let name = "etcd_disk_wal_fsync_duration_seconds";
    page.family(name, "histogram", "The latency distributions of fsync called by WAL.");
    page.histogram(name, "", log);
    let name = "etcd_disk_backend_commit_duration_seconds";
    page.family(name, "histogram", "The latency distributions of commit called by backend.");
    page.histogram(name, "", state);
}
