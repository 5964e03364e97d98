//! Figures for Prometheus, under fleet's names.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Counters of one daemon.
#[derive(Debug, Default)]
pub struct Metrics {
    leader_since: AtomicU64,
    passes: AtomicU64,
    failed_passes: AtomicU64,
    pass_micros: AtomicU64,
    tasks: AtomicU64,
    agent_tasks: AtomicU64,
    agent_failures: AtomicU64,
    requests: AtomicU64,
}

impl Metrics {
    pub(crate) fn leads(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.leader_since.store(now, Ordering::Relaxed);
    }

    pub(crate) fn leads_no_more(&self) {
        self.leader_since.store(0, Ordering::Relaxed);
    }

    pub(crate) fn pass(&self, moves: usize, took: Duration) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.tasks.fetch_add(moves as u64, Ordering::Relaxed);
        self.pass_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn pass_failed(&self) {
        self.failed_passes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn agent_task(&self, went_well: bool) {
        let counter = if went_well { &self.agent_tasks } else { &self.agent_failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let passes = get(&self.passes);
        let mut text = String::new();
        let figures: [(&str, &str, String); 9] = [
            ("fleet_engine_leader_start_time", "gauge", get(&self.leader_since).to_string()),
            ("fleet_engine_task_count_total", "counter", get(&self.tasks).to_string()),
            ("fleet_engine_reconcile_count_total", "counter", passes.to_string()),
            ("fleet_engine_reconcile_failure_count_total", "counter", get(&self.failed_passes).to_string()),
            ("fleet_engine_reconcile_duration_second_count", "counter", passes.to_string()),
            (
                "fleet_engine_reconcile_duration_second_sum",
                "counter",
                format!("{:.6}", Duration::from_micros(get(&self.pass_micros)).as_secs_f64()),
            ),
            ("fleet_agent_task_count_total", "counter", get(&self.agent_tasks).to_string()),
            ("fleet_agent_task_failure_count_total", "counter", get(&self.agent_failures).to_string()),
            ("fleet_api_request_count_total", "counter", get(&self.requests).to_string()),
        ];
        for (name, kind, value) in figures {
            writeln!(text, "# TYPE {name} {kind}\n{name} {value}").expect("a string grows");
        }
        text
    }
}
