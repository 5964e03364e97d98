//! Services at run time: what is remembered of one, and how it starts and stops. What follows from
//! exits, timeouts and notifications is in `service_events`.
//!
//! ```text
//! dead → start-pre → start → start-post → running → stop → stop-sigterm → stop-post → final-sigterm → dead
//!                └──── any failure ─────────────────────────→ stop-sigterm                  or failed
//!                                                         auto-restart ←───────────────────────┘
//! ```

use crate::clock::Moment;
use crate::config::kill::KillMode;
use crate::config::service::{Restart, ServiceConfig, ServiceType, Step};
use crate::exit::Exit;
use crate::jobs::StartError;
use crate::poll::Timeout;
use crate::states::{JobKind, JobResult, ServiceResult, ServiceState};
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

/// So often a unit that forks while it is signalled is looked at again.
const ROUNDS: usize = 64;

/// One run of a command, for `systemctl show`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    pub(crate) pid: i32,
    pub(crate) exit: Option<Exit>,
    pub(crate) started: u64,
    pub(crate) ended: u64,
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) config: ServiceConfig,
    pub(crate) state: ServiceState,
    pub(crate) result: ServiceResult,
    pub(crate) reload_result: ServiceResult,
    pub(crate) main_pid: Option<i32>,
    /// The main process is no child of ours.
    pub(crate) main_is_alien: bool,
    /// A main process is (or was) known; without one the cgroup decides.
    pub(crate) main_known: bool,
    pub(crate) main_exit: Option<Exit>,
    pub(crate) main_ran: Option<Ran>,
    /// Which of the `ExecStart=` commands runs.
    pub(crate) main_command: Option<usize>,
    pub(crate) control_pid: Option<i32>,
    pub(crate) control_command: Option<(Step, usize)>,
    pub(crate) restarts: u32,
    pub(crate) forbid_restart: bool,
    pub(crate) will_restart: bool,
    pub(crate) status_text: String,
    pub(crate) notified_stopping: bool,
    pub(crate) exec_report: Option<std::os::fd::OwnedFd>,
    pub(crate) oom_kills: u64,
    /// Files for `RuntimeDirectory=` and its like were made.
    pub(crate) has_private_tmp: bool,
    pub(crate) stored_fds: Vec<(String, std::os::fd::OwnedFd)>,
}

impl Service {
    pub(crate) fn new(config: ServiceConfig) -> Self {
        Self {
            config,
            state: ServiceState::Dead,
            result: ServiceResult::Success,
            reload_result: ServiceResult::Success,
            main_pid: None,
            main_is_alien: false,
            main_known: false,
            main_exit: None,
            main_ran: None,
            main_command: None,
            control_pid: None,
            control_command: None,
            restarts: 0,
            forbid_restart: false,
            will_restart: false,
            status_text: String::new(),
            notified_stopping: false,
            exec_report: None,
            oom_kills: 0,
            has_private_tmp: false,
            stored_fds: Vec::new(),
        }
    }

    pub(crate) fn can_reload(&self) -> bool {
        !self.config.commands(Step::Reload).is_empty()
    }

    pub(crate) fn is_idle_type(&self) -> bool {
        self.config.kind == ServiceType::Idle
    }

    fn note(&mut self, result: ServiceResult) {
        if self.result == ServiceResult::Success {
            self.result = result;
        }
    }

    /// Would its end now lead to another start?
    fn shall_restart(&self) -> bool {
        if self.forbid_restart {
            return false;
        }
        if self.main_exit.is_some_and(|exit| exit.is_in(&self.config.restart_prevent)) {
            return false;
        }
        if self.main_exit.is_some_and(|exit| exit.is_in(&self.config.restart_force)) {
            return true;
        }
        use ServiceResult::{CoreDump, ExitCode, Signal, SkipCondition, Success, Watchdog};
        match self.config.restart {
            Restart::No => false,
            Restart::Always => self.result != SkipCondition,
            Restart::OnSuccess => self.result == Success,
            Restart::OnFailure => !matches!(self.result, Success | SkipCondition),
            Restart::OnAbnormal => !matches!(self.result, Success | ExitCode | SkipCondition),
            Restart::OnWatchdog => self.result == Watchdog,
            Restart::OnAbort => matches!(self.result, Signal | CoreDump),
        }
    }
}

impl Supervisor {
    pub(crate) fn service(&self, id: UnitId) -> &Service {
        match &self.unit(id).detail {
            Detail::Service(service) => service,
            _ => unreachable!("only asked of services"),
        }
    }

    pub(crate) fn service_mut(&mut self, id: UnitId) -> &mut Service {
        match &mut self.unit_mut(id).detail {
            Detail::Service(service) => service,
            _ => unreachable!("only asked of services"),
        }
    }

    pub(crate) fn set_service_state(&mut self, id: UnitId, state: ServiceState) {
        use ServiceState::{AutoRestart, Dead, Exited, Failed, Running, Start, StartPost};
        let service = self.service_mut(id);
        service.state = state;
        let idle = service.is_idle_type();
        let timed = !matches!(state, Dead | Failed | Exited);
        let keeps_main = !matches!(state, Dead | Failed | AutoRestart);
        if !keeps_main {
            service.main_command = None;
            service.main_pid = None;
        }
        if !timed {
            self.deadlines.clear(Timeout::Service(id));
        }
        if !matches!(state, Running | Start | StartPost | ServiceState::Reload) {
            self.deadlines.clear(Timeout::Watchdog(id));
        }
        self.set_state(id, state.active(idle), state.name());
    }

    /// Arms the deadline of the present step, or clears it.
    fn arm(&mut self, id: UnitId, limit: Option<std::time::Duration>) {
        match limit {
            Some(limit) => self.deadlines.set(Timeout::Service(id), Moment::now().after(limit)),
            None => self.deadlines.clear(Timeout::Service(id)),
        }
    }

    pub(crate) fn service_start(&mut self, id: UnitId) -> Result<(), StartError> {
        let service = self.service(id);
        if service.state.is_stopping() {
            return Err(StartError::Wait);
        }
        if !matches!(service.state, ServiceState::Dead | ServiceState::Failed | ServiceState::AutoRestart) {
            return Ok(());
        }
        if !self.count_start(id) {
            self.log_unit(id, 4, "Start request repeated too quickly.");
            self.start_limit_was_hit(id);
            self.enter_dead(id, ServiceResult::StartLimitHit, false);
            return Err(StartError::Ends(JobResult::Failed));
        }
        self.new_invocation(id);
        self.make_cgroup(id);
        let service = self.service_mut(id);
        service.result = ServiceResult::Success;
        service.reload_result = ServiceResult::Success;
        service.main_command = None;
        service.main_known = false;
        service.main_is_alien = false;
        service.main_pid = None;
        service.main_exit = None;
        service.forbid_restart = false;
        service.notified_stopping = false;
        service.status_text.clear();
        self.enter_condition(id);
        Ok(())
    }

    pub(crate) fn service_stop(&mut self, id: UnitId) {
        use ServiceState::{AutoRestart, Condition, Exited, Reload, Running, Start, StartPost, StartPre};
        self.service_mut(id).forbid_restart = true;
        match self.service(id).state {
            AutoRestart => self.set_service_state(id, ServiceState::Dead),
            Condition | StartPre | Start | StartPost | Reload => {
                self.enter_signal(id, ServiceState::StopSigterm, ServiceResult::Success);
            }
            Running | Exited => self.enter_stop(id, ServiceResult::Success),
            _ => {}
        }
    }

    pub(crate) fn service_reload(&mut self, id: UnitId) {
        self.service_mut(id).reload_result = ServiceResult::Success;
        let limit = self.service(id).config.timeout_start;
        self.arm(id, limit);
        if self.run_control(id, Step::Reload, 0) {
            self.set_service_state(id, ServiceState::Reload);
        } else {
            self.service_mut(id).reload_result = ServiceResult::Resources;
            self.enter_running(id, ServiceResult::Success);
        }
    }

    fn enter_condition(&mut self, id: UnitId) {
        if self.service(id).config.commands(Step::Condition).is_empty() {
            return self.enter_start_pre(id);
        }
        let limit = self.service(id).config.timeout_start;
        self.arm(id, limit);
        if self.run_control(id, Step::Condition, 0) {
            self.set_service_state(id, ServiceState::Condition);
        } else {
            self.enter_dead(id, ServiceResult::Resources, true);
        }
    }

    pub(crate) fn enter_start_pre(&mut self, id: UnitId) {
        self.service_mut(id).control_command = None;
        if self.service(id).config.commands(Step::StartPre).is_empty() {
            return self.enter_start(id);
        }
        self.kill_leftovers_of_control(id);
        let limit = self.service(id).config.timeout_start;
        self.arm(id, limit);
        if self.run_control(id, Step::StartPre, 0) {
            self.set_service_state(id, ServiceState::StartPre);
        } else {
            self.enter_dead(id, ServiceResult::Resources, true);
        }
    }

    pub(crate) fn enter_start(&mut self, id: UnitId) {
        self.service_mut(id).control_command = None;
        self.kill_leftovers_of_control(id);
        let service = self.service(id);
        let (kind, limit) = (service.config.kind, service.config.timeout_start);
        if service.config.commands(Step::Start).is_empty() {
            return self.enter_start_post(id);
        }
        if kind == ServiceType::Forking {
            self.arm(id, limit);
            if self.run_control(id, Step::Start, 0) {
                self.set_service_state(id, ServiceState::Start);
            } else {
                self.enter_signal(id, ServiceState::StopSigterm, ServiceResult::Resources);
            }
            return;
        }
        let at_once = matches!(kind, ServiceType::Simple | ServiceType::Idle);
        if kind == ServiceType::Idle && self.jobs.len() > 1 && !self.idle_waiting.contains(&id) {
            // Held back until the other jobs are done (or for five seconds).
            self.idle_waiting.push(id);
            self.set_service_state(id, ServiceState::Start);
            self.deadlines.set(Timeout::Service(id), Moment::now().after(std::time::Duration::from_secs(5)));
            return;
        }
        self.idle_waiting.retain(|waiting| *waiting != id);
        self.arm(id, if at_once { None } else { limit });
        if !self.run_main(id, 0) {
            return self.enter_signal(id, ServiceState::StopSigterm, ServiceResult::Resources);
        }
        if at_once {
            self.enter_start_post(id);
        } else {
            self.set_service_state(id, ServiceState::Start);
        }
    }

    pub(crate) fn start_idle_services(&mut self) {
        for id in std::mem::take(&mut self.idle_waiting) {
            if self.service(id).state == ServiceState::Start && self.service(id).main_pid.is_none() {
                self.idle_waiting.push(id);
                self.enter_start(id);
            }
        }
    }

    pub(crate) fn enter_start_post(&mut self, id: UnitId) {
        self.service_mut(id).control_command = None;
        self.reset_watchdog(id);
        if self.service(id).config.commands(Step::StartPost).is_empty() {
            return self.enter_running(id, ServiceResult::Success);
        }
        let limit = self.service(id).config.timeout_start;
        self.arm(id, limit);
        if self.run_control(id, Step::StartPost, 0) {
            self.set_service_state(id, ServiceState::StartPost);
        } else {
            self.enter_stop(id, ServiceResult::Resources);
        }
    }

    pub(crate) fn enter_running(&mut self, id: UnitId, result: ServiceResult) {
        self.service_mut(id).control_command = None;
        self.service_mut(id).note(result);
        if self.is_good(id) {
            if self.service(id).notified_stopping {
                return self.enter_stop_by_notify(id);
            }
            let limit = self.service(id).config.runtime_max;
            self.set_service_state(id, ServiceState::Running);
            self.arm(id, limit);
        } else if result != ServiceResult::Success {
            self.enter_signal(id, ServiceState::StopSigterm, result);
        } else if self.service(id).config.remain_after_exit {
            self.set_service_state(id, ServiceState::Exited);
        } else {
            self.enter_stop(id, ServiceResult::Success);
        }
    }

    /// Does what makes the service still run?
    fn is_good(&self, id: UnitId) -> bool {
        let service = self.service(id);
        if service.main_pid.is_some() {
            return true;
        }
        // Without a known main process, any process of the unit will do.
        !service.main_known && self.unit(id).cgroup.as_deref().is_some_and(crate::cgroup::is_populated)
    }

    pub(crate) fn enter_stop_by_notify(&mut self, id: UnitId) {
        let limit = self.service(id).config.timeout_stop;
        self.arm(id, limit);
        self.set_service_state(id, ServiceState::StopSigterm);
    }

    pub(crate) fn enter_stop(&mut self, id: UnitId, result: ServiceResult) {
        self.service_mut(id).note(result);
        self.service_mut(id).control_command = None;
        if self.service(id).config.commands(Step::Stop).is_empty() {
            return self.enter_signal(id, ServiceState::StopSigterm, ServiceResult::Success);
        }
        let limit = self.service(id).config.timeout_stop;
        self.arm(id, limit);
        if self.run_control(id, Step::Stop, 0) {
            self.set_service_state(id, ServiceState::Stop);
        } else {
            self.enter_signal(id, ServiceState::StopSigterm, ServiceResult::Resources);
        }
    }

    pub(crate) fn enter_stop_post(&mut self, id: UnitId, result: ServiceResult) {
        self.service_mut(id).note(result);
        self.service_mut(id).control_command = None;
        if self.service(id).config.commands(Step::StopPost).is_empty() {
            return self.enter_signal(id, ServiceState::FinalSigterm, ServiceResult::Success);
        }
        let limit = self.service(id).config.timeout_stop;
        self.arm(id, limit);
        if self.run_control(id, Step::StopPost, 0) {
            self.set_service_state(id, ServiceState::StopPost);
        } else {
            self.enter_signal(id, ServiceState::FinalSigterm, ServiceResult::Resources);
        }
    }

    /// Signals what still runs and waits for it; goes on at once if nothing does.
    pub(crate) fn enter_signal(&mut self, id: UnitId, state: ServiceState, result: ServiceResult) {
        use ServiceState::{FinalSigkill, FinalSigterm, StopSigkill, StopSigterm, StopWatchdog};
        self.service_mut(id).note(result);
        self.idle_waiting.retain(|waiting| *waiting != id);
        let kill = self.service(id).config.kill;
        let restarts = self
            .unit(id)
            .job
            .and_then(|job| self.jobs.get(&job))
            .is_some_and(|job| job.kind == JobKind::Restart);
        let hard = matches!(state, StopSigkill | FinalSigkill);
        let signal = match state {
            StopSigkill | FinalSigkill => kill.final_signal,
            StopWatchdog => libc::SIGABRT,
            _ if restarts => kill.restart_signal,
            _ => kill.signal,
        };
        if self.kill_service(id, signal, hard) {
            let limit = self.service(id).config.timeout_stop;
            self.arm(id, limit);
            self.set_service_state(id, state);
            return;
        }
        match state {
            StopWatchdog | StopSigterm if kill.send_sigkill => {
                self.enter_signal(id, StopSigkill, ServiceResult::Success);
            }
            StopWatchdog | StopSigterm | StopSigkill => self.enter_stop_post(id, ServiceResult::Success),
            FinalSigterm if kill.send_sigkill => self.enter_signal(id, FinalSigkill, ServiceResult::Success),
            _ => self.enter_dead(id, ServiceResult::Success, true),
        }
    }

    /// Sends the signal to whom the kill mode says; true if someone got it whose end will be seen.
    fn kill_service(&mut self, id: UnitId, signal: i32, hard: bool) -> bool {
        let service = self.service(id);
        let kill = service.config.kill;
        if kill.mode == KillMode::None {
            return false;
        }
        let named: Vec<i32> = service.main_pid.into_iter().chain(service.control_pid).collect();
        let alien = service.main_is_alien;
        let mut wait = false;
        for pid in &named {
            let reached = send(*pid, signal);
            wait |= reached && (!alien || service.main_pid != Some(*pid) || crate::spawn::is_alive(*pid));
            if reached && !hard {
                if kill.send_sighup {
                    send(*pid, libc::SIGHUP);
                }
                send(*pid, libc::SIGCONT);
            }
        }
        let all = kill.mode == KillMode::ControlGroup || (kill.mode == KillMode::Mixed && hard);
        if !all {
            return wait;
        }
        match &self.unit(id).cgroup {
            None => {
                for pid in &named {
                    send(-pid, signal);
                }
            }
            Some(path) => {
                // Who forks meanwhile is met in a later round.
                let mut reached = named.clone();
                for _ in 0..ROUNDS {
                    let mut fresh = crate::cgroup::processes(path);
                    fresh.retain(|pid| !reached.contains(pid));
                    if fresh.is_empty() {
                        break;
                    }
                    wait = true;
                    if signal == libc::SIGKILL && crate::cgroup::kill_all(path) {
                        break;
                    }
                    for pid in &fresh {
                        send(*pid, signal);
                        if !hard {
                            if kill.send_sighup {
                                send(*pid, libc::SIGHUP);
                            }
                            send(*pid, libc::SIGCONT);
                        }
                    }
                    reached.extend(fresh);
                }
            }
        }
        wait
    }

    /// What control commands left behind is killed before the next step.
    fn kill_leftovers_of_control(&mut self, id: UnitId) {
        let Some(path) = self.unit(id).cgroup.as_ref().map(|path| path.join(".control")) else { return };
        if path.exists() {
            crate::cgroup::kill_all(&path);
        }
    }

    pub(crate) fn enter_dead(&mut self, id: UnitId, result: ServiceResult, allow_restart: bool) {
        let stop_queued = self.stop_is_queued(id);
        let service = self.service_mut(id);
        service.note(result);
        service.control_command = None;
        service.control_pid = None;
        let end = match service.result {
            ServiceResult::Success | ServiceResult::SkipCondition => ServiceState::Dead,
            _ => ServiceState::Failed,
        };
        let restart =
            allow_restart && !stop_queued && self.shutdown.is_none() && self.service(id).shall_restart();
        self.service_mut(id).will_restart = restart;
        self.set_service_state(id, end);
        self.service_mut(id).will_restart = false;
        if end == ServiceState::Failed {
            let why = self.service(id).result.name();
            self.log_unit(id, 4, &format!("Failed with result '{why}'."));
        }
        if restart {
            let after = self.service(id).config.restart_after;
            self.set_service_state(id, ServiceState::AutoRestart);
            self.deadlines.set(Timeout::Service(id), Moment::now().after(after));
        } else {
            self.service_mut(id).forbid_restart = false;
            self.service_mut(id).stored_fds.clear();
        }
        self.clean_up_service(id);
    }

    pub(crate) fn enter_restart(&mut self, id: UnitId) {
        if self.stop_is_queued(id) {
            return;
        }
        let restarts = {
            let service = self.service_mut(id);
            service.restarts += 1;
            service.restarts
        };
        if let Err(error) = self.enqueue(id, JobKind::Restart, units_api::JobMode::Replace) {
            self.log_unit(id, 4, &format!("Failed to schedule restart job: {error}"));
            return self.enter_dead(id, ServiceResult::Resources, false);
        }
        self.log_unit(id, 6, &format!("Scheduled restart job, restart counter is at {restarts}."));
    }

    pub(crate) fn reset_watchdog(&mut self, id: UnitId) {
        if let Some(limit) = self.service(id).config.watchdog {
            self.deadlines.set(Timeout::Watchdog(id), Moment::now().after(limit));
        }
    }

    /// Is any process of a stopping service left whose end it waits for?
    pub(crate) fn has_processes(&self, id: UnitId) -> bool {
        let service = self.service(id);
        service.main_pid.is_some()
            || service.control_pid.is_some()
            || self.unit(id).cgroup.as_deref().is_some_and(crate::cgroup::is_populated)
    }
}

/// True if there was someone to send it to.
fn send(pid: i32, signal: i32) -> bool {
    crate::spawn::kill(pid, signal)
}
