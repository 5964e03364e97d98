//! Figures for Prometheus, under fleet's names.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_registry::Operations;

/// Counters of one daemon.
#[derive(Debug, Default)]
pub struct Metrics {
    leader_since: AtomicU64,
    passes: AtomicU64,
    failed_passes: AtomicU64,
    pass_micros: AtomicU64,
    tasks: AtomicU64,
    failed_tasks: AtomicU64,
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

    pub(crate) fn tasks_failed(&self, moves: usize) {
        self.failed_tasks.fetch_add(moves as u64, Ordering::Relaxed);
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
    pub(crate) fn render(&self, operations: &[Operations]) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed).to_string();
        let seconds = Duration::from_micros(self.pass_micros.load(Ordering::Relaxed)).as_secs_f64();
        let mut text = Text::default();
        text.figure("engine_leader_start_time", "gauge", "", &get(&self.leader_since));
        text.figure("engine_task_count_total", "counter", "", &get(&self.tasks));
        text.figure("engine_task_failure_count_total", "counter", "", &get(&self.failed_tasks));
        text.figure("engine_reconcile_count_total", "counter", "", &get(&self.passes));
        text.figure("engine_reconcile_failure_count_total", "counter", "", &get(&self.failed_passes));
        text.summary("engine_reconcile_duration_second", "", &get(&self.passes), seconds);
        text.figure("agent_task_count_total", "counter", "", &get(&self.agent_tasks));
        text.figure("agent_task_failure_count_total", "counter", "", &get(&self.agent_failures));
        text.figure("api_request_count_total", "counter", "", &get(&self.requests));
        let label = |it: &Operations| format!("{{type=\"{}\"}}", it.kind);
        for it in operations {
            text.figure("registry_operation_count_total", "counter", &label(it), &it.count.to_string());
        }
        for it in operations {
            text.figure(
                "registry_operation_failed_count_total",
                "counter",
                &label(it),
                &it.failed.to_string(),
            );
        }
        for it in operations {
            text.summary("registry_operation_duration_second", &label(it), &it.count.to_string(), it.seconds);
        }
        text.lines
    }
}

/// Lines in Prometheus' text format; each figure is described before its first line.
#[derive(Default)]
struct Text {
    lines: String,
    described: String,
}

impl Text {
    fn figure(&mut self, name: &str, kind: &str, labels: &str, value: &str) {
        self.describe(name, kind);
        self.line(name, labels, value);
    }

    fn summary(&mut self, name: &str, labels: &str, count: &str, seconds: f64) {
        self.describe(name, "summary");
        self.line(&format!("{name}_sum"), labels, &format!("{seconds:.6}"));
        self.line(&format!("{name}_count"), labels, count);
    }

    fn describe(&mut self, name: &str, kind: &str) {
        if self.described != name {
            name.clone_into(&mut self.described);
            writeln!(self.lines, "# TYPE fleet_{name} {kind}").expect("a string grows");
        }
    }

    fn line(&mut self, name: &str, labels: &str, value: &str) {
        writeln!(self.lines, "fleet_{name}{labels} {value}").expect("a string grows");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_described_once_and_has_a_value() {
        let metrics = Metrics::default();
        metrics.pass(3, Duration::from_millis(20));
        let kinds = ["get", "set"].map(|kind| Operations { kind, count: 2, failed: 1, seconds: 0.5 });
        let text = metrics.render(&kinds);
        for line in [
            "# TYPE fleet_engine_reconcile_duration_second summary",
            "fleet_engine_reconcile_duration_second_sum 0.020000",
            "fleet_engine_task_count_total 3",
            "fleet_registry_operation_failed_count_total{type=\"set\"} 1",
            "fleet_registry_operation_duration_second_count{type=\"get\"} 2",
        ] {
            assert!(text.lines().any(|has| has == line), "{line} is not in\n{text}");
        }
        let mut described: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let all = described.len();
        described.dedup();
        assert_eq!((described.len(), all), (12, 12));
    }
}
