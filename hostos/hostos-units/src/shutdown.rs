//! Going down: stop every unit in reverse order, within a deadline; what is left is killed.

use units_api::{JobMode, ShutdownAction};

use crate::clock::Moment;
use crate::event::Event;
use crate::poll::Timeout;
use crate::states::JobKind;
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

/// Kept of the deadline for the exits of what had to be killed.
const LAST_MOMENT: std::time::Duration = std::time::Duration::from_millis(700);

#[derive(Debug)]
pub(crate) struct Shutdown {
    action: ShutdownAction,
    /// The deadline has passed once; what was left got SIGKILL.
    forced: bool,
}

impl Supervisor {
    /// Begins to stop everything; a second call changes nothing but the action.
    pub fn begin_shutdown(&mut self, action: ShutdownAction, reason: &str) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.action = action;
            return;
        }
        self.log(5, &format!("shutting down ({action:?}): {reason}"));
        self.emit(&Event::ShuttingDown { action, reason: reason.to_owned() });
        let target = self.load(&"shutdown.target".parse().expect("a valid name"));
        // Everything conflicts with this target by default; the rest is stopped one by one.
        let _ = self.enqueue(target, JobKind::Start, JobMode::Replace);
        for id in self.running_units() {
            if self
                .unit(id)
                .job
                .is_none_or(|job| self.jobs.get(&job).is_some_and(|job| job.kind != JobKind::Stop))
            {
                let _ = self.enqueue(id, JobKind::Stop, JobMode::Replace);
            }
        }
        self.shutdown = Some(Shutdown { action, forced: false });
        self.deadlines.set(
            Timeout::Shutdown,
            Moment::now().after(self.options.shutdown_deadline.saturating_sub(LAST_MOMENT)),
        );
    }

    fn running_units(&self) -> Vec<UnitId> {
        let all = (0..self.units.len()).filter_map(|index| u32::try_from(index).ok()).map(UnitId);
        all.filter(|id| {
            let unit = self.unit(*id);
            !unit.active.is_down()
                && !crate::builtin::is_perpetual(unit.name.as_str())
                && unit.name.as_str() != "shutdown.target"
        })
        .collect()
    }

    /// Done when no process of a unit is left.
    pub(crate) fn check_shutdown(&mut self) {
        let Some(shutdown) = &self.shutdown else { return };
        if self.finished.is_some() {
            return;
        }
        let left =
            self.running_units().into_iter().any(|id| matches!(self.unit(id).detail, Detail::Service(_)));
        if !left {
            let action = shutdown.action;
            self.finish(action);
        }
    }

    pub(crate) fn shutdown_deadline_passed(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        let (action, again) = (shutdown.action, shutdown.forced);
        shutdown.forced = true;
        if again {
            return self.finish(action);
        }
        let names: Vec<_> = self
            .running_units()
            .into_iter()
            .filter(|id| matches!(self.unit(*id).detail, Detail::Service(_)))
            .map(|id| self.unit(id).name.to_string())
            .collect();
        self.log(4, &format!("shutdown takes too long, killing what is left: {}", names.join(" ")));
        for id in self.running_units() {
            if let Some(path) = self.unit(id).cgroup.clone() {
                crate::cgroup::kill_all(&path);
            }
            if let Detail::Service(service) = &self.unit(id).detail {
                for pid in service.main_pid.into_iter().chain(service.control_pid) {
                    crate::spawn::kill(-pid, libc::SIGKILL);
                    crate::spawn::kill(pid, libc::SIGKILL);
                }
            }
        }
        // A moment for the exits to arrive.
        self.deadlines.set(Timeout::Shutdown, Moment::now().after(LAST_MOMENT));
    }

    fn finish(&mut self, action: ShutdownAction) {
        self.log(5, "all units have stopped");
        if self.options.pid1 {
            crate::spawn::kill_everyone(libc::SIGKILL);
        }
        let _ = std::fs::remove_file(&self.options.control_socket);
        self.flush_clients();
        self.finished = Some(action);
    }
}
