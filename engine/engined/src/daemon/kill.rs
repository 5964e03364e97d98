//! Ending and holding programs: kill, stop, restart, pause.

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::RuntimeError;

use super::Daemon;
use super::container::Container;
use super::durable::Survive;
use super::error::{Refusal, Result};

const KILL: i32 = libc::SIGKILL;
/// How long stop waits before it kills, unless told otherwise.
const STOP_TIMEOUT: i64 = 10;
/// How long a killed program may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Signals by their names without `SIG`.
const SIGNALS: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// A signal by number or name.
pub(crate) fn parse_signal(text: &str) -> Result<i32> {
    let wrong = || Refusal::bad(format!("Invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(wrong()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    match name {
        "CLD" => return Ok(17),
        "POLL" => return Ok(29),
        _ => {}
    }
    let offset = |prefix: &str| {
        name.strip_prefix(prefix).and_then(|n| if n.is_empty() { Some(0) } else { n.parse::<i32>().ok() })
    };
    match (offset("RTMIN"), offset("RTMAX")) {
        (Some(n), _) if (0..=15).contains(&n) => Ok(34 + n),
        (_, Some(n)) if (-14..=0).contains(&n) => Ok(64 + n),
        _ => Err(wrong()),
    }
}

impl Daemon {
    /// `shown` is what the user called the container. A kill that must end the program waits for its end.
    pub(crate) async fn kill(
        self: &Arc<Self>,
        container: &Arc<Container>,
        shown: &str,
        signal: &str,
    ) -> Result<()> {
        let number = if signal.is_empty() { KILL } else { parse_signal(signal)? };
        let not_running = || {
            Refusal::conflict(format!(
                "Cannot kill container: {shown}: Container {} is not running",
                container.id
            ))
        };
        let (paused, stop_signal) = {
            let record = container.record();
            if !record.state.running {
                return Err(not_running());
            }
            let own = Some(record.config.stop_signal.as_str()).filter(|s| !s.is_empty());
            (record.state.paused, own.map_or(Ok(libc::SIGTERM), parse_signal).unwrap_or(libc::SIGTERM))
        };
        if number == KILL || number == stop_signal {
            container.record().stopped_by_user = true;
            if self.give_up_restart(container).await {
                return Ok(());
            }
        }
        let program = container.program().ok_or_else(not_running)?;
        self.tell_container_with(container, "kill", &[("signal", &number.to_string())]);
        match program.signal(None, number).await {
            // It has ended, whether we were told already or not.
            Err(RuntimeError::NotRunning(_)) => {}
            Err(error) if program.is_running() => return Err(error.into()),
            _ => {}
        }
        if paused && number == KILL {
            // A frozen program cannot even die.
            program.unpause().await?;
        }
        if number == KILL {
            self.noted(container).await;
        }
        Ok(())
    }

    /// Between the tries of a restart policy there is nothing to signal: the next try is called off.
    async fn give_up_restart(&self, container: &Container) -> bool {
        if !container.record().state.restarting {
            return false;
        }
        // A try that is under way is waited for: it gives a program to signal.
        let _alive = container.lifecycle.lock().await;
        self.call_off_restart(container)
    }

    /// The same; the caller holds the container's lifecycle lock.
    pub(crate) fn call_off_restart(&self, container: &Container) -> bool {
        {
            let mut record = container.record();
            if !record.state.restarting {
                return false;
            }
            record.state.restarting = false;
            record.state.running = false;
        }
        container.no_restart.notify_waiters();
        container.phase.send_modify(|p| {
            p.running = false;
            p.exits += 1;
        });
        container.save_or_warn(Survive::Crash);
        true
    }

    /// `Ok(false)`: it was not running.
    pub(crate) async fn stop(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        signal: &str,
    ) -> Result<bool> {
        let (daemon, container, signal) = (self.clone(), container.clone(), signal.to_owned());
        let stopped = tokio::spawn(async move { daemon.stop_inner(&container, timeout, &signal).await });
        stopped.await.map_err(|e| Refusal::internal(format!("stopping the container failed: {e}")))?
    }

    async fn stop_inner(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        signal: &str,
    ) -> Result<bool> {
        let (number, seconds, paused) = {
            let mut record = container.record();
            if !record.state.running {
                return Ok(false);
            }
            record.stopped_by_user = true;
            let own = if signal.is_empty() { record.config.stop_signal.as_str() } else { signal };
            let number = if own.is_empty() { libc::SIGTERM } else { parse_signal(own)? };
            (number, timeout.or(record.config.stop_timeout).unwrap_or(STOP_TIMEOUT), record.state.paused)
        };
        if !self.give_up_restart(container).await
            && let Some(program) = container.program()
        {
            self.tell_container_with(container, "kill", &[("signal", &number.to_string())]);
            // It may have ended by itself; waiting will tell.
            let _ = program.signal(None, number).await;
            if paused {
                program.unpause().await?;
            }
            let patience =
                if seconds < 0 { Duration::MAX } else { Duration::from_secs(seconds.unsigned_abs()) };
            if tokio::time::timeout(patience, program.wait()).await.is_err() {
                self.tell_container_with(container, "kill", &[("signal", "9")]);
                let _ = program.signal(None, KILL).await;
                if tokio::time::timeout(KILL_PATIENCE, program.wait()).await.is_err() {
                    return Err(Refusal::internal(format!(
                        "container {} PID {} is zombie and can not be killed. Use the --init option when creating containers to run an init inside the container that forwards signals and reaps processes",
                        container.id,
                        program.pid()
                    )));
                }
            }
        }
        self.settled(container).await;
        self.tell_container(container, "stop");
        Ok(true)
    }

    /// Waits until the end of the program is noted.
    async fn noted(&self, container: &Container) {
        let mut phase = container.phase.subscribe();
        let noted = phase.wait_for(|p| !p.running || p.removed);
        // It has ended, or is about to; noting it is a matter of moments.
        let _ = tokio::time::timeout(KILL_PATIENCE, noted).await;
    }

    /// Waits until the end of the program is noted and cleaned up after.
    pub(crate) async fn settled(&self, container: &Container) {
        self.noted(container).await;
        drop(container.lifecycle.lock().await);
    }

    pub(crate) async fn restart(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        signal: &str,
    ) -> Result<()> {
        let auto_remove = std::mem::replace(&mut container.record().host.auto_remove, false);
        let stopped = self.stop(container, timeout, signal).await;
        container.record().host.auto_remove = auto_remove;
        stopped?;
        self.start(container).await?;
        self.tell_container(container, "restart");
        Ok(())
    }

    pub(crate) async fn pause(&self, container: &Container) -> Result<()> {
        let _alive = container.lifecycle.lock().await;
        let program = {
            let record = container.record();
            if !record.state.running {
                return Err(Refusal::conflict(format!("Container {} is not running", record.id)));
            }
            if record.state.paused {
                return Err(Refusal::conflict(format!("Container {} is already paused", record.id)));
            }
            if record.state.restarting {
                return Err(Refusal::conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    record.id
                )));
            }
            container.program()
        };
        let program =
            program.ok_or_else(|| Refusal::conflict(format!("Container {} is not running", container.id)))?;
        program.pause().await?;
        container.record().state.paused = true;
        container.save_or_warn(Survive::Crash);
        self.tell_container(container, "pause");
        Ok(())
    }

    pub(crate) async fn unpause(&self, container: &Container) -> Result<()> {
        let _alive = container.lifecycle.lock().await;
        let program = container.program().filter(|_| container.record().state.paused);
        let program =
            program.ok_or_else(|| Refusal::conflict(format!("Container {} is not paused", container.id)))?;
        program.unpause().await?;
        container.record().state.paused = false;
        container.save_or_warn(Survive::Crash);
        self.tell_container(container, "unpause");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, number) in
            [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SIGCLD", 17)]
        {
            assert_eq!(parse_signal(text).ok(), Some(number), "{text}");
        }
        for text in ["", "0", "65", "NOPE", "RTMIN+99", "-1"] {
            assert_eq!(parse_signal(text).unwrap_err().message, format!("Invalid signal: {text}"));
        }
    }
}
