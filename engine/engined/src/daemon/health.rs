//! Health checks: a probe now and then, and what became of the last few.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine_api::container::{ExecConfig, Health, HealthResult};
use engine_image::Healthcheck;

use super::Daemon;
use super::container::Container;
use crate::clock;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: i64 = 3;
const KEPT_RESULTS: usize = 5;
const KEPT_OUTPUT: usize = 4096;

impl Daemon {
    /// Begins probing, if there is a probe.
    pub(crate) fn start_health(self: &Arc<Self>, container: &Arc<Container>) {
        let Some(check) = probe(container) else { return };
        container.record().state.health = Some(Health { status: "starting".into(), ..Health::default() });
        self.probe_on(container, check);
    }

    /// Probes a container that ran on without the engine: what was found before is old, so it starts over.
    pub(crate) fn resume_health(self: &Arc<Self>, container: &Arc<Container>) {
        self.start_health(container);
    }

    fn probe_on(self: &Arc<Self>, container: &Arc<Container>, check: Healthcheck) {
        let (daemon, probed) = (self.clone(), container.clone());
        let task = tokio::spawn(async move { daemon.probe_forever(&probed, &check).await });
        let old =
            container.health_task.lock().expect("no code panics holding it").replace(task.abort_handle());
        if let Some(old) = old {
            old.abort();
        }
    }

    pub(crate) fn stop_health(&self, container: &Container) {
        if let Some(task) = container.health_task.lock().expect("no code panics holding it").take() {
            task.abort();
        }
        if let Some(health) = &mut container.record().state.health {
            health.status = "unhealthy".into();
        }
    }

    async fn probe_forever(self: &Arc<Self>, container: &Arc<Container>, check: &Healthcheck) {
        let or = |nanos: i64, default| {
            if nanos > 0 { Duration::from_nanos(nanos.unsigned_abs()) } else { default }
        };
        let interval = or(check.interval, INTERVAL);
        let start_interval = or(check.start_interval, START_INTERVAL.min(interval));
        let started = container.record().state.started_at;
        loop {
            let in_start_period = clock::now() - started < check.start_period && check.start_period > 0;
            let starting = container.record().state.health.as_ref().is_some_and(|h| h.status == "starting");
            tokio::time::sleep(if in_start_period && starting { start_interval } else { interval }).await;
            if container.record().state.paused {
                continue;
            }
            let begun = clock::now();
            let (code, output) = self.probe_once(container, check, or(check.timeout, TIMEOUT)).await;
            let result = HealthResult {
                start: clock::rfc3339(begun),
                end: clock::rfc3339(clock::now()),
                exit_code: code,
                output,
            };
            let forgiving = clock::now() - started < check.start_period;
            self.note_health(container, check, result, forgiving);
        }
    }

    async fn probe_once(
        self: &Arc<Self>,
        container: &Arc<Container>,
        check: &Healthcheck,
        limit: Duration,
    ) -> (i32, String) {
        let shell = container.record().config.shell.clone();
        let config = ExecConfig {
            cmd: command(check, shell.as_deref()),
            attach_stdout: true,
            attach_stderr: true,
            ..ExecConfig::default()
        };
        let session = match self.create_exec(container, &container.id, config) {
            Ok(session) => session,
            Err(refusal) => return (-1, refusal.message),
        };
        let program = container.program();
        let run = self.run_exec(container, &session, KEPT_OUTPUT);
        match tokio::time::timeout(limit, run).await {
            Ok(Ok((code, output))) => (code, String::from_utf8_lossy(&output).into_owned()),
            Ok(Err(refusal)) => (-1, refusal.message),
            Err(_) => {
                if let Some(program) = program {
                    // It may have ended in this very moment.
                    let _ = program.signal(Some(&session.id), libc::SIGKILL).await;
                }
                self.note_exec_end(container, &session, 137);
                (-1, format!("Health check exceeded timeout ({})", short_duration(limit)))
            }
        }
    }

    fn note_health(&self, container: &Container, check: &Healthcheck, result: HealthResult, forgiving: bool) {
        self.metrics.health_checks.fetch_add(1, Ordering::Relaxed);
        if result.exit_code != 0 {
            self.metrics.health_failures.fetch_add(1, Ordering::Relaxed);
        }
        let retries = if check.retries > 0 { check.retries } else { RETRIES };
        let changed = {
            let mut record = container.record();
            let Some(health) = &mut record.state.health else { return };
            let old = health.status.clone();
            if result.exit_code == 0 {
                health.failing_streak = 0;
                health.status = "healthy".into();
            } else if !(forgiving && health.status == "starting") {
                health.failing_streak += 1;
                if health.failing_streak >= retries {
                    health.status = "unhealthy".into();
                }
            }
            health.log.push(result);
            if health.log.len() > KEPT_RESULTS {
                health.log.remove(0);
            }
            (health.status != old).then(|| health.status.clone())
        };
        if let Some(status) = changed {
            self.tell_container(container, &format!("health_status: {status}"));
        }
    }
}

/// The check, if the container has one that is not switched off.
fn probe(container: &Container) -> Option<Healthcheck> {
    let check = container.record().config.healthcheck.clone()?;
    let kind = check.test.first()?.as_str();
    (kind != "NONE" && check.test.len() > 1).then_some(check)
}

fn command(check: &Healthcheck, shell: Option<&[String]>) -> Vec<String> {
    match check.test.first().map(String::as_str) {
        Some("CMD-SHELL") => {
            let mut command: Vec<String> =
                shell.map_or_else(|| vec!["/bin/sh".into(), "-c".into()], <[String]>::to_vec);
            command.extend(check.test.get(1).cloned());
            command
        }
        _ => check.test[1..].to_vec(),
    }
}

/// `30s`, `1.5s`, `500ms`, as Go prints it.
fn short_duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{}ms", duration.as_millis());
    }
    let seconds = duration.as_secs();
    match (seconds / 60, duration.as_secs_f64() - (seconds / 60 * 60) as f64) {
        (0, rest) => format!("{rest}s"),
        (minutes, rest) => format!("{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_checks() {
        let check = |test: &[&str]| Healthcheck {
            test: test.iter().map(|s| (*s).to_owned()).collect(),
            ..Healthcheck::default()
        };
        assert_eq!(command(&check(&["CMD", "a", "b"]), None), ["a", "b"]);
        assert_eq!(command(&check(&["CMD-SHELL", "a b"]), None), ["/bin/sh", "-c", "a b"]);
        let bash = ["/bin/bash".to_owned(), "-ec".to_owned()];
        assert_eq!(command(&check(&["CMD-SHELL", "x"]), Some(&bash)), ["/bin/bash", "-ec", "x"]);
    }

    #[test]
    fn durations() {
        assert_eq!(short_duration(Duration::from_millis(500)), "500ms");
        assert_eq!(short_duration(Duration::from_secs(30)), "30s");
        assert_eq!(short_duration(Duration::from_secs(90)), "1m30s");
    }
}
