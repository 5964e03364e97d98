//! Figures for Prometheus, under the names dockerd gives them.
//!
//! `GET /metrics` of the API and of `--metrics-addr` both answer with [`Daemon::metrics`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Daemon, host};
use crate::version;

/// Upper ends of the buckets, in seconds: Prometheus' defaults, as dockerd has them.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// What dockerd times, so that every series is there from the start.
const ACTIONS: [&str; 5] = ["changes", "commit", "create", "delete", "start"];

/// What is counted while the engine runs.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    actions: Mutex<BTreeMap<&'static str, Histogram>>,
    pub(crate) health_checks: AtomicU64,
    pub(crate) health_failures: AtomicU64,
    pub(crate) builds: AtomicU64,
    pub(crate) builds_failed: AtomicU64,
}

#[derive(Debug, Clone, Default)]
struct Histogram {
    /// Of each bucket alone; they are added up when shown.
    counts: [u64; BUCKETS.len()],
    all: u64,
    sum: f64,
}

impl Histogram {
    fn note(&mut self, seconds: f64) {
        if let Some(at) = BUCKETS.iter().position(|end| seconds <= *end) {
            self.counts[at] += 1;
        }
        self.all += 1;
        self.sum += seconds;
    }

    fn write(&self, out: &mut String, name: &str, action: &str) {
        let mut below = 0;
        for (end, count) in BUCKETS.iter().zip(self.counts) {
            below += count;
            line(out, &format!("{name}_bucket{{action=\"{action}\",le=\"{end}\"}}"), below);
        }
        line(out, &format!("{name}_bucket{{action=\"{action}\",le=\"+Inf\"}}"), self.all);
        line(out, &format!("{name}_sum{{action=\"{action}\"}}"), self.sum);
        line(out, &format!("{name}_count{{action=\"{action}\"}}"), self.all);
    }
}

impl Metrics {
    /// Something was done to a container.
    pub(crate) fn note_action(&self, action: &'static str, took: Duration) {
        let mut actions = self.actions.lock().expect("no code panics holding it");
        actions.entry(action).or_default().note(took.as_secs_f64());
    }
}

fn line(out: &mut String, series: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "{series} {value}");
}

/// One series with its head.
fn single(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(out, name, kind, help);
    line(out, name, value);
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value, quoted.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

impl Daemon {
    /// The whole page, in Prometheus' text format.
    pub(crate) fn metrics(&self) -> String {
        let mut out = String::with_capacity(8 << 10);
        let counted = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let m = &self.metrics;
        self.write_builds(&mut out);
        self.write_actions(&mut out);
        self.write_states(&mut out);
        let name = "engine_daemon_engine_cpus_cpus";
        single(
            &mut out,
            name,
            "gauge",
            "The number of cpus that the host system of the engine has",
            host::cpus(),
        );
        self.write_info(&mut out);
        let name = "engine_daemon_engine_memory_bytes";
        let help = "The number of bytes of memory that the host system of the engine has";
        single(&mut out, name, "gauge", help, host::memory_total());
        let name = "engine_daemon_events_subscribers_total";
        single(
            &mut out,
            name,
            "gauge",
            "The number of current subscribers to events",
            self.events.listeners(),
        );
        single(
            &mut out,
            "engine_daemon_events_total",
            "counter",
            "The number of events logged",
            self.events.told(),
        );
        let name = "engine_daemon_health_checks_failed_total";
        single(
            &mut out,
            name,
            "counter",
            "The total number of failed health checks",
            counted(&m.health_failures),
        );
        let name = "engine_daemon_health_checks_total";
        single(&mut out, name, "counter", "The total number of health checks", counted(&m.health_checks));
        write_process(&mut out);
        out
    }

    fn write_builds(&self, out: &mut String) {
        let failed = self.metrics.builds_failed.load(Ordering::Relaxed);
        let name = "builder_builds_failed_total";
        single(out, name, "counter", "Number of failed image builds", failed);
        let all = self.metrics.builds.load(Ordering::Relaxed);
        single(out, "builder_builds_triggered_total", "counter", "Number of triggered image builds", all);
    }

    fn write_actions(&self, out: &mut String) {
        let name = "engine_daemon_container_actions_seconds";
        head(out, name, "histogram", "The number of seconds it takes to process each container action");
        let actions = self.metrics.actions.lock().expect("no code panics holding it").clone();
        for action in ACTIONS {
            actions.get(action).cloned().unwrap_or_default().write(out, name, action);
        }
    }

    fn write_states(&self, out: &mut String) {
        let [all, running, paused, _] = self.count_containers();
        let name = "engine_daemon_container_states_containers";
        head(out, name, "gauge", "The count of containers in various states");
        let states = [("paused", paused), ("running", running), ("stopped", all - running - paused)];
        for (state, count) in states {
            line(out, &format!("{name}{{state=\"{state}\"}}"), count);
        }
    }

    fn write_info(&self, out: &mut String) {
        let os = host::os_release();
        let name = "engine_daemon_engine_info";
        head(out, name, "gauge", "The information related to the engine and the OS it is running on");
        let labels = [
            ("architecture", std::env::consts::ARCH.to_owned()),
            ("commit", version::commit().to_owned()),
            ("daemon_id", self.id.clone()),
            ("graphdriver", "overlay2".to_owned()),
            ("kernel", host::kernel_version()),
            ("os", os.pretty),
            ("os_type", "linux".to_owned()),
            ("os_version", os.version),
            ("version", version::ENGINE.to_owned()),
        ];
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={}", quoted(v))).collect();
        line(out, &format!("{name}{{{}}}", labels.join(",")), 1);
    }
}

/// What Prometheus' own collectors tell of a process.
fn write_process(out: &mut String) {
    let open = host::open_files();
    single(out, "process_open_fds", "gauge", "Number of open file descriptors.", open);
    if let Some(bytes) = host::resident_bytes() {
        let name = "process_resident_memory_bytes";
        single(out, name, "gauge", "Resident memory size in bytes.", bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let mut histogram = Histogram::default();
        for seconds in [0.001, 0.02, 0.02, 99.0] {
            histogram.note(seconds);
        }
        let mut out = String::new();
        histogram.write(&mut out, "x", "start");
        assert!(out.contains("x_bucket{action=\"start\",le=\"0.005\"} 1\n"), "{out}");
        assert!(out.contains("x_bucket{action=\"start\",le=\"0.025\"} 3\n"), "{out}");
        assert!(out.contains("x_bucket{action=\"start\",le=\"10\"} 3\n"), "{out}");
        assert!(
            out.contains("x_bucket{action=\"start\",le=\"+Inf\"} 4\nx_sum{action=\"start\"} 99.041\n"),
            "{out}"
        );
    }

    #[test]
    fn labels_are_quoted() {
        assert_eq!(quoted("a\"b\\c\nd"), "\"a\\\"b\\\\c\\nd\"");
    }
}
