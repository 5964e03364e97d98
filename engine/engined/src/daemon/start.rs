//! Starting a container, and what happens when its program ends.
//!
//! The exit is told to waiters before anything is cleaned up; cleaning goes on under the container's
//! lifecycle lock, so that the next start or removal waits for it.

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::{Exit, RuntimeError};
use http::StatusCode;

use super::container::{Container, Phase};
use super::durable::Survive;
use super::error::{Refusal, Result, chain};
use super::{Daemon, spec};
use crate::clock;

/// First pause between the tries of a restart policy; it doubles.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After this long a life counts as a success, and the pause starts over.
const LONG_LIFE: i64 = 10_000_000_000;

impl Daemon {
    /// Starts a container for a user. `Ok(false)`: it runs already.
    pub(crate) async fn start(self: &Arc<Self>, container: &Arc<Container>) -> Result<bool> {
        let (daemon, container) = (self.clone(), container.clone());
        // On a task of its own: a client that hangs up must not leave half a start.
        let started = tokio::spawn(async move {
            let _alive = container.lifecycle.lock().await;
            {
                let mut record = container.record();
                if record.state.removing || record.state.dead {
                    return Err(Refusal::conflict("container is marked for removal and cannot be started"));
                }
                if record.state.paused {
                    return Err(Refusal::conflict("cannot start a paused container, try unpause instead"));
                }
                if record.state.is_alive() {
                    return Ok(false);
                }
                record.stopped_by_user = false;
                record.restart_count = 0;
            }
            container.no_restart.notify_waiters();
            daemon.start_locked(&container).await.map(|()| true)
        });
        started.await.map_err(|e| Refusal::internal(format!("starting the container failed: {e}")))?
    }

    /// Starts it; the caller holds its lifecycle lock.
    pub(crate) async fn start_locked(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        match self.try_start(container).await {
            Ok(()) => Ok(()),
            Err(refusal) => {
                self.after_failed_start(container, &refusal).await;
                Err(refusal)
            }
        }
    }

    async fn try_start(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let record = container.record().clone();
        self.check_linked_run(&record)?;
        let host = record.host;
        if let Some(request) = host.device_requests.iter().flatten().next() {
            return Err(no_device_driver(request));
        }
        let (net, files) = self.build_sandbox(container).await?;
        let cgroup = self.runtime.make_cgroup(&container.id, &spec::resources(&host)?)?;
        let mut shim_spec = self.spec(container, net, files)?;
        self.add_link_environment(container, &mut shim_spec);
        shim_spec.cgroup = cgroup.spec();
        self.tell_volumes(container, "mount");
        let program = self.runtime.prepare(&shim_spec).await.map_err(start_failure)?;
        for warning in program.warnings() {
            tracing::warn!(container = %container.id, "{warning}");
        }
        self.network_ready(container, &program).await?;
        container.serve_attachers(&program).await;
        self.note_start(container, program.pid());
        if let Err(error) = program.start().await {
            program.wait().await;
            return Err(start_failure(error));
        }
        *container.program.lock().expect("no code panics holding it") = Some(program.clone());
        container.phase.send_modify(|p| *p = Phase { running: true, error: String::new(), ..p.clone() });
        container.save_or_warn(Survive::Crash);
        self.tell_container(container, "start");
        self.start_health(container);
        self.watch(container.clone(), program);
        Ok(())
    }

    fn note_start(&self, container: &Container, pid: i32) {
        let mut record = container.record();
        let state = &mut record.state;
        state.running = true;
        state.restarting = false;
        state.paused = false;
        state.oom_killed = false;
        state.pid = pid;
        state.exit_code = 0;
        state.error.clear();
        state.started_at = clock::now();
        state.health = None;
    }

    async fn after_failed_start(self: &Arc<Self>, container: &Arc<Container>, refusal: &Refusal) {
        {
            let mut record = container.record();
            let state = &mut record.state;
            state.running = false;
            state.restarting = false;
            state.pid = 0;
            state.error.clone_from(&refusal.message);
            state.exit_code = exit_code_of(&refusal.message);
            state.started_at = 0;
        }
        let code = container.record().state.exit_code;
        container.drop_attachers();
        self.release_sandbox(container).await;
        self.tell_volumes(container, "unmount");
        self.clean_runtime(container).await;
        container.save_or_warn(Survive::Crash);
        container.phase.send_modify(|p| {
            *p = Phase {
                running: false,
                exits: p.exits + 1,
                exit_code: code,
                error: refusal.message.clone(),
                ..p.clone()
            };
        });
        if container.record().host.auto_remove {
            self.remove_later(container.clone());
        }
    }

    pub(crate) async fn clean_runtime(&self, container: &Container) {
        if let Err(error) = self.runtime.remove(&container.id).await {
            tracing::warn!(container = %container.id, error = %chain(&error), "could not clean up after the container");
        }
    }

    /// Waits for the program's end on a task of its own, which ends with it.
    pub(crate) fn watch(self: &Arc<Self>, container: Arc<Container>, program: engine_runtime::Container) {
        let daemon = self.clone();
        tokio::spawn(async move {
            let exit = program.wait().await;
            daemon.program_ended(container, exit).await;
        });
    }

    pub(crate) async fn program_ended(self: &Arc<Self>, container: Arc<Container>, exit: Exit) {
        // In line for the lock before anybody knows: who starts it again at once comes after the cleaning
        // up, which would take the new program for a rest of the old one.
        let mut locking = std::pin::pin!(container.lifecycle.lock());
        let at_once = tokio::select! {
            biased;
            alive = &mut locking => Some(alive),
            () = std::future::ready(()) => None,
        };
        let restart = self.plan_restart(&container, &exit);
        self.note_exit(&container, &exit, restart.is_some());
        // Waiters know; from here on it is cleaning up. They are on this thread's queue, and cleaning blocks it.
        tokio::task::yield_now().await;
        let alive = match at_once {
            Some(alive) => alive,
            None => locking.await,
        };
        *container.program.lock().expect("no code panics holding it") = None;
        self.end_execs(&container);
        self.stop_health(&container);
        self.release_sandbox(&container).await;
        self.tell_volumes(&container, "unmount");
        self.clean_runtime(&container).await;
        container.save_or_warn(Survive::Crash);
        let auto_remove = container.record().host.auto_remove;
        match restart {
            Some(pause) => self.restart_later(container.clone(), pause),
            None if auto_remove => {
                drop(alive);
                self.remove_later(container.clone());
            }
            None => {}
        }
    }

    fn note_exit(&self, container: &Container, exit: &Exit, restarting: bool) {
        {
            let mut record = container.record();
            let state = &mut record.state;
            state.running = restarting;
            state.restarting = restarting;
            state.paused = false;
            state.pid = 0;
            state.exit_code = exit.code;
            state.oom_killed = exit.oom_killed;
            state.finished_at = exit.finished_at;
            if restarting {
                record.restart_count += 1;
            }
        }
        if exit.oom_killed {
            self.tell_container(container, "oom");
        }
        self.tell_container_with(container, "die", &[("exitCode", &exit.code.to_string())]);
        container.phase.send_modify(|p| {
            *p = Phase { running: restarting, exits: p.exits + 1, exit_code: exit.code, ..p.clone() };
        });
    }

    /// How long to wait before the policy wants it back; `None`: it stays down.
    fn plan_restart(&self, container: &Container, exit: &Exit) -> Option<Duration> {
        let record = container.record();
        if record.stopped_by_user || record.state.removing || self.stopping() {
            return None;
        }
        let policy = &record.host.restart_policy;
        let again = match policy.name.as_str() {
            "always" | "unless-stopped" => true,
            "on-failure" => {
                let tries = policy.maximum_retry_count;
                exit.code != 0 && (tries == 0 || i64::from(record.restart_count) < tries)
            }
            _ => false,
        };
        let life = exit.finished_at - record.state.started_at;
        again.then(|| pause_after(record.restart_count, life))
    }

    fn restart_later(self: &Arc<Self>, container: Arc<Container>, pause: Duration) {
        let daemon = self.clone();
        tokio::spawn(async move {
            let cancelled = tokio::time::timeout(pause, container.no_restart.notified()).await.is_ok();
            let _alive = container.lifecycle.lock().await;
            if container.record().stopped_by_user {
                // Stopped in the very moment in which this try was planned.
                daemon.call_off_restart(&container);
                return;
            }
            if cancelled || !container.record().state.restarting {
                return;
            }
            if let Err(error) = daemon.start_locked(&container).await {
                tracing::error!(container = %container.id, %error, "could not restart the container");
            }
        });
    }

    fn tell_volumes(&self, container: &Container, action: &str) {
        let mounts = container.record().mounts.clone();
        for mount in mounts.iter().filter(|m| m.kind == "volume") {
            let mut attributes =
                super::events::attributes([("container", container.id.as_str()), ("driver", "local")]);
            if action == "mount" {
                attributes.extend(super::events::attributes([
                    ("destination", mount.target.as_str()),
                    ("propagation", mount.propagation.as_str()),
                    ("read/write", if mount.rw { "true" } else { "false" }),
                ]));
            }
            self.events.tell("volume", action, &mount.name, attributes);
        }
    }
}

/// No driver of devices is there: of those asked for, none can be had.
fn no_device_driver(request: &serde_json::Value) -> Refusal {
    let words = |list: &serde_json::Value| -> String {
        let words = list.as_array().into_iter().flatten().filter_map(|w| w.as_str());
        format!("[{}]", words.collect::<Vec<_>>().join(" "))
    };
    let lists = request["Capabilities"].as_array().into_iter().flatten();
    let capabilities = lists.map(words).collect::<Vec<_>>().join(" ");
    let driver = request["Driver"].as_str().unwrap_or_default();
    Refusal::internal(format!(
        "could not select device driver {driver:?} with capabilities: [{capabilities}]"
    ))
}

fn pause_after(restarts: u32, life: i64) -> Duration {
    if life > LONG_LIFE {
        return RESTART_PAUSE;
    }
    RESTART_PAUSE.saturating_mul(2u32.saturating_pow(restarts.min(16))).min(LONGEST_PAUSE)
}

/// The failure of a start in Docker's words, which clients turn into exit codes.
pub(crate) fn start_failure(error: RuntimeError) -> Refusal {
    match error {
        RuntimeError::Start { code, message } => {
            let status = if code == 126 || code == 127 {
                StatusCode::BAD_REQUEST
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            if let Some(path) = message
                .strip_prefix("chdir to cwd (\"")
                .and_then(|rest| rest.strip_suffix("\") set in config.json failed: not a directory"))
            {
                return Refusal::internal(format!("Cannot mkdir: {path} is not a directory"));
            }
            if names_no_user(&message) {
                return Refusal::internal(message);
            }
            let message = format!(
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: {message}: unknown"
            );
            Refusal { status, message, event: None }
        }
        other => Refusal::from(other),
    }
}

fn exit_code_of(message: &str) -> i32 {
    let has = |text: &str| message.contains(text);
    match () {
        () if has("executable file not found") || has("no such file or directory") => 127,
        () if has("permission denied") || has("is a directory") || has("not a directory") => 126,
        () => 128,
    }
}

/// What the engine itself says, and not the runtime, when a container's user is wrong.
pub(super) fn names_no_user(message: &str) -> bool {
    ["unable to find user", "unable to find group", "uids and gids must be"]
        .iter()
        .any(|m| message.starts_with(m))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        assert_eq!(pause_after(0, 0), Duration::from_millis(100));
        assert_eq!(pause_after(3, 0), Duration::from_millis(800));
        assert_eq!(pause_after(40, 0), Duration::from_secs(60));
        assert_eq!(pause_after(40, LONG_LIFE + 1), Duration::from_millis(100));
    }
}
