//! What /metrics tells, under etcd's names where etcd has one.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use kv_raft::timing::Timing;

use crate::server::Core;

/// Upper bounds of the histogram's buckets, seconds.
const BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024];

/// Counters of one member.
#[derive(Default)]
pub(crate) struct Metrics {
    failed: AtomicU64,
    done: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; 12],
}

impl Metrics {
    pub(crate) fn proposed(&self, took: Duration) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        if let Some(bucket) = BUCKETS.iter().position(|bound| took.as_secs_f64() <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// The text of /metrics.
pub(crate) fn text(core: &Core) -> String {
    let status = core.node.status();
    let view = core.node.view();
    let mut out = String::new();
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    let flag = |yes: bool| f64::from(u8::from(yes));
    one("etcd_server_has_leader", "gauge", "Whether or not a leader exists.", flag(status.leader.is_some()));
    one(
        "etcd_server_is_leader",
        "gauge",
        "Whether or not this member is a leader.",
        flag(status.leader == Some(status.id)),
    );
    one(
        "etcd_server_is_learner",
        "gauge",
        "Whether or not this member is a learner.",
        flag(!status.is_voter),
    );
    one(
        "etcd_server_proposals_committed_total",
        "gauge",
        "The total number of consensus proposals committed.",
        status.applied_index as f64,
    );
    one(
        "etcd_server_proposals_applied_total",
        "gauge",
        "The total number of consensus proposals applied.",
        status.applied_index as f64,
    );
    one(
        "etcd_server_proposals_failed_total",
        "counter",
        "The total number of failed proposals seen.",
        core.metrics.failed.load(Ordering::Relaxed) as f64,
    );
    one(
        "etcd_server_quota_backend_bytes",
        "gauge",
        "Current backend storage quota size in bytes.",
        core.config.quota_bytes as f64,
    );
    one(
        "etcd_mvcc_db_total_size_in_bytes",
        "gauge",
        "Total size of the underlying database physically allocated in bytes.",
        core.node.stored_bytes() as f64,
    );
    one(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "gauge",
        "Total size of the underlying database logically in use in bytes.",
        view.live_bytes() as f64,
    );
    one(
        "etcd_debugging_mvcc_current_revision",
        "gauge",
        "The current revision of store.",
        view.revision() as f64,
    );
    one(
        "etcd_debugging_mvcc_compact_revision",
        "gauge",
        "The revision of the last compaction in store.",
        view.compacted() as f64,
    );
    let (log, state) = core.node.disk();
    histogram(
        &mut out,
        "etcd_disk_wal_fsync_duration_seconds",
        "The latency distributions of fsync called by WAL.",
        log,
    );
    histogram(
        &mut out,
        "etcd_disk_backend_commit_duration_seconds",
        "The latency distributions of commit called by backend.",
        state,
    );
    let peers: Vec<u64> = status.matched.keys().copied().filter(|id| *id != status.id).collect();
    if !peers.is_empty() {
        let _ = out.write_str(
            "# HELP etcd_network_active_peers The current number of active peer connections.\n\
             # TYPE etcd_network_active_peers gauge\n",
        );
        for to in peers {
            let _ =
                writeln!(out, "etcd_network_active_peers{{Local=\"{:x}\",Remote=\"{to:x}\"}} 1", status.id);
        }
    }
    let name = "kv_proposal_duration_seconds";
    let _ = write!(out, "# HELP {name} From proposing to the reply.\n# TYPE {name} histogram\n");
    let mut total = 0;
    for (bound, bucket) in BUCKETS.iter().zip(&core.metrics.buckets) {
        total += bucket.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {total}");
    }
    let done = core.metrics.done.load(Ordering::Relaxed);
    let seconds = core.metrics.micros.load(Ordering::Relaxed) as f64 / 1e6;
    let _ = write!(out, "{name}_bucket{{le=\"+Inf\"}} {done}\n{name}_sum {seconds}\n{name}_count {done}\n");
    let (server, go) = (kv_api::ETCD_VERSION, env!("CARGO_PKG_VERSION"));
    let _ = writeln!(
        out,
        "# HELP etcd_server_id Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.\n\
         # TYPE etcd_server_id gauge\netcd_server_id{{server_id=\"{:x}\"}} 1",
        status.id
    );
    let _ = writeln!(
        out,
        "# HELP etcd_cluster_version Which version is running. 1 for 'cluster_version' label with current cluster \
         version\n# TYPE etcd_cluster_version gauge\netcd_cluster_version{{cluster_version=\"3.5\"}} 1"
    );
    let _ = writeln!(
        out,
        "# TYPE etcd_server_version gauge\netcd_server_version{{server_version=\"{server}\",kvd=\"{go}\"}} 1"
    );
    out
}

fn histogram(out: &mut String, name: &str, help: &str, timing: &Timing) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} histogram\n");
    for (bound, count) in timing.cumulative() {
        let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
    }
    let (count, seconds) = (timing.count(), timing.seconds());
    let _ = write!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {seconds}\n{name}_count {count}\n");
}
