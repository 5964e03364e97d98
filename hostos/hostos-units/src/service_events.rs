//! What follows when a process of a service ends, a step takes too long, the cgroup empties, or
//! the service says something.

use crate::clock::wall_clock;
use crate::config::service::{NotifyAccess, ServiceType, Step};
use crate::exit::Exit;
use crate::poll::Timeout;
use crate::states::{ServiceResult, ServiceState};
use crate::supervisor::Supervisor;
use crate::unit::UnitId;

impl Supervisor {
    pub(crate) fn service_process_ended(&mut self, id: UnitId, pid: i32, exit: Exit) {
        let service = self.service(id);
        if service.main_pid == Some(pid) {
            self.main_ended(id, exit);
        } else if service.control_pid == Some(pid) {
            self.control_ended(id, exit);
        }
    }

    fn judge(&self, id: UnitId, exit: Exit, daemon: bool) -> ServiceResult {
        if exit.is_clean(daemon, &self.service(id).config.success_status) {
            return ServiceResult::Success;
        }
        match exit {
            Exit::Code(_) => ServiceResult::ExitCode,
            Exit::Signal(_) => ServiceResult::Signal,
            Exit::Dumped(_) => ServiceResult::CoreDump,
        }
    }

    fn main_ended(&mut self, id: UnitId, exit: Exit) {
        let daemon = self.service(id).config.kind != ServiceType::Oneshot;
        let mut result = self.judge(id, exit, daemon);
        let oom = self.unit(id).cgroup.as_deref().map_or(0, crate::cgroup::oom_kills);
        let service = self.service_mut(id);
        let command = service.main_command.take();
        let commands = service.config.commands(Step::Start);
        let ignored =
            command.and_then(|index| commands.get(index)).is_some_and(|command| command.ignore_failure);
        let next = command.map(|index| index + 1).filter(|next| *next < commands.len());
        if ignored {
            result = ServiceResult::Success;
        } else if result != ServiceResult::Success && oom > service.oom_kills {
            result = ServiceResult::OomKill;
        }
        service.oom_kills = oom;
        service.main_pid = None;
        service.main_exit = Some(exit);
        if let Some(ran) = &mut service.main_ran {
            (ran.exit, ran.ended) = (Some(exit), wall_clock());
        }
        if service.result == ServiceResult::Success {
            service.result = result;
        }
        if exit != Exit::Code(0) {
            self.log_unit(id, 5, &format!("Main process exited, {}", exit.describe()));
        }
        match next {
            Some(next)
                if result == ServiceResult::Success && self.service(id).state == ServiceState::Start =>
            {
                if !self.run_main(id, next) {
                    self.enter_signal(id, ServiceState::StopSigterm, ServiceResult::Resources);
                }
            }
            _ => self.after_main(id, result),
        }
    }

    fn after_main(&mut self, id: UnitId, result: ServiceResult) {
        use ServiceState::{
            FinalSigkill, FinalSigterm, Reload, Running, Start, StartPost, StopSigkill, StopSigterm,
            StopWatchdog,
        };
        let service = self.service(id);
        let control_runs = service.control_pid.is_some();
        match service.state {
            Start if service.config.kind == ServiceType::Oneshot => {
                if result == ServiceResult::Success {
                    self.enter_start_post(id);
                } else {
                    self.enter_signal(id, StopSigterm, result);
                }
            }
            Start if service.config.kind == ServiceType::Notify => {
                if result != ServiceResult::Success {
                    self.enter_signal(id, StopSigterm, result);
                } else if !service.config.remain_after_exit
                    || service.config.notify_access == NotifyAccess::Main
                {
                    self.enter_signal(id, StopSigterm, ServiceResult::Protocol);
                }
            }
            Start | Running => self.enter_running(id, result),
            StartPost | Reload if !control_runs => self.enter_stop(id, result),
            StopWatchdog | StopSigterm | StopSigkill if !control_runs => self.enter_stop_post(id, result),
            FinalSigterm | FinalSigkill if !control_runs => self.enter_dead(id, result, true),
            _ => {}
        }
    }

    fn control_ended(&mut self, id: UnitId, exit: Exit) {
        let mut result = self.judge(id, exit, false);
        let service = self.service_mut(id);
        service.control_pid = None;
        let Some((step, index)) = service.control_command.take() else { return };
        let commands = service.config.commands(step);
        let is_condition = step == Step::Condition;
        if commands.get(index).is_some_and(|command| command.ignore_failure) && !is_condition {
            result = ServiceResult::Success;
        }
        let next = (index + 1 < commands.len()).then_some(index + 1);
        if exit != Exit::Code(0) {
            self.log_unit(id, 5, &format!("Control process exited, {}", exit.describe()));
        }
        match next {
            Some(next) if result == ServiceResult::Success => {
                if !self.run_control(id, step, next) {
                    self.control_could_not_run(id);
                }
            }
            _ => self.after_control(id, result, exit),
        }
    }

    fn control_could_not_run(&mut self, id: UnitId) {
        use ServiceState::{Reload, StopPost};
        match self.service(id).state {
            StopPost => self.enter_signal(id, ServiceState::FinalSigterm, ServiceResult::Resources),
            Reload => {
                self.service_mut(id).reload_result = ServiceResult::Resources;
                self.enter_running(id, ServiceResult::Success);
            }
            _ => self.enter_signal(id, ServiceState::StopSigterm, ServiceResult::Resources),
        }
    }

    fn after_control(&mut self, id: UnitId, result: ServiceResult, exit: Exit) {
        use ServiceState::{
            Condition, FinalSigkill, FinalSigterm, Reload, Start, StartPost, StartPre, Stop, StopPost,
            StopSigkill, StopSigterm, StopWatchdog,
        };
        let main_runs = self.service(id).main_pid.is_some();
        let well = result == ServiceResult::Success;
        match self.service(id).state {
            Condition if well => self.enter_start_pre(id),
            // 1 to 254: not now. 255 and signals: broken.
            Condition if matches!(exit, Exit::Code(code) if code < 255) => {
                self.enter_signal(id, StopSigterm, ServiceResult::SkipCondition);
            }
            StartPre if well => self.enter_start(id),
            Start if well => self.forked(id),
            StartPost if well => self.enter_running(id, ServiceResult::Success),
            Condition | StartPre | Start | StartPost => self.enter_signal(id, StopSigterm, result),
            Reload => {
                self.service_mut(id).reload_result = result;
                self.enter_running(id, ServiceResult::Success);
            }
            Stop => self.enter_signal(id, StopSigterm, result),
            StopWatchdog | StopSigterm | StopSigkill if !main_runs => self.enter_stop_post(id, result),
            StopPost => self.enter_signal(id, FinalSigterm, result),
            FinalSigterm | FinalSigkill if !main_runs => self.enter_dead(id, result, true),
            _ => {}
        }
    }

    /// The first process of a forking service has ended well: who is the daemon?
    fn forked(&mut self, id: UnitId) {
        if self.service(id).config.pid_file.is_some() {
            if self.read_pid_file(id) {
                return self.enter_start_post(id);
            }
            // It may be written a moment later.
            return self.look_for_pid_file_again(id);
        }
        if self.service(id).config.guess_main_pid {
            self.guess_main_pid(id);
        }
        self.enter_start_post(id);
    }

    fn look_for_pid_file_again(&mut self, id: UnitId) {
        let at = crate::clock::Moment::now().after(std::time::Duration::from_millis(50));
        self.deadlines.set(Timeout::PidFile(id), at);
    }

    pub(crate) fn pid_file_due(&mut self, id: UnitId) {
        if self.service(id).state != ServiceState::Start {
            return;
        }
        if self.read_pid_file(id) {
            self.enter_start_post(id);
        } else if self.unit(id).cgroup.is_some() && !self.has_processes(id) {
            self.enter_signal(id, ServiceState::StopSigterm, ServiceResult::Protocol);
        } else {
            self.look_for_pid_file_again(id);
        }
    }

    fn read_pid_file(&mut self, id: UnitId) -> bool {
        let Some(path) = &self.service(id).config.pid_file else { return false };
        let pid = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| *pid > 1 && crate::spawn::is_alive(*pid)) else { return false };
        self.set_main_pid(id, pid);
        true
    }

    /// With exactly one process left (or one that is the parent of all), that is the daemon.
    fn guess_main_pid(&mut self, id: UnitId) {
        let Some(path) = &self.unit(id).cgroup else { return };
        let pids = crate::cgroup::processes(path);
        let me = i32::try_from(std::process::id()).unwrap_or(1);
        let roots: Vec<_> = pids
            .iter()
            .filter(|pid| {
                crate::spawn::parent_of(**pid).is_some_and(|parent| parent == me || !pids.contains(&parent))
            })
            .copied()
            .collect();
        if let [pid] = roots[..] {
            self.set_main_pid(id, pid);
        }
    }

    pub(crate) fn set_main_pid(&mut self, id: UnitId, pid: i32) {
        let me = i32::try_from(std::process::id()).unwrap_or(1);
        let alien = crate::spawn::parent_of(pid) != Some(me);
        if let Some(old) = self.service(id).main_pid {
            self.pids.remove(&old);
        }
        let service = self.service_mut(id);
        service.main_pid = Some(pid);
        service.main_known = true;
        service.main_is_alien = alien;
        service.main_ran = Some(crate::service::Ran { pid, exit: None, started: wall_clock(), ended: 0 });
        self.pids.insert(pid, id);
    }

    pub(crate) fn service_timed_out(&mut self, id: UnitId) {
        use ServiceState::{
            AutoRestart, Condition, FinalSigkill, FinalSigterm, Reload, Running, Start, StartPost, StartPre,
            Stop, StopPost, StopSigkill, StopSigterm, StopWatchdog,
        };
        let state = self.service(id).state;
        let timeout = ServiceResult::Timeout;
        let send_sigkill = self.service(id).config.kill.send_sigkill;
        if state == Start && self.idle_waiting.contains(&id) {
            return self.enter_start(id);
        }
        if !matches!(state, AutoRestart) {
            self.log_unit(id, 4, &format!("State '{}' timed out.", state.name()));
        }
        match state {
            Condition | StartPre | Start | StartPost => self.enter_signal(id, StopSigterm, timeout),
            Running => self.enter_stop(id, timeout),
            Reload => {
                if let Some(pid) = self.service(id).control_pid {
                    crate::spawn::kill(pid, libc::SIGKILL);
                }
                self.service_mut(id).reload_result = timeout;
                self.service_mut(id).control_pid = None;
                self.enter_running(id, ServiceResult::Success);
            }
            Stop => self.enter_signal(id, StopSigterm, timeout),
            StopWatchdog => self.enter_signal(id, StopSigkill, timeout),
            StopSigterm if send_sigkill => self.enter_signal(id, StopSigkill, timeout),
            StopSigterm | StopSigkill => self.enter_stop_post(id, timeout),
            StopPost => self.enter_signal(id, FinalSigterm, timeout),
            FinalSigterm if send_sigkill => self.enter_signal(id, FinalSigkill, timeout),
            FinalSigterm => self.enter_dead(id, timeout, false),
            FinalSigkill => self.enter_dead(id, timeout, true),
            AutoRestart => self.enter_restart(id),
            ServiceState::Dead | ServiceState::Failed | ServiceState::Exited => {}
        }
    }

    pub(crate) fn watchdog_bit(&mut self, id: UnitId) {
        if self.service(id).state == ServiceState::Running {
            self.log_unit(id, 3, "Watchdog timeout!");
            self.enter_signal(id, ServiceState::StopWatchdog, ServiceResult::Watchdog);
        }
    }

    /// The last process of the unit has ended.
    pub(crate) fn service_is_empty(&mut self, id: UnitId) {
        use ServiceState::{
            FinalSigkill, FinalSigterm, Running, Start, StopPost, StopSigkill, StopSigterm, StopWatchdog,
        };
        let service = self.service(id);
        if service.main_pid.is_some() || service.control_pid.is_some() {
            // Its exit has not been reaped yet, and will be; an alien's never will.
            if !(service.main_is_alien && service.control_pid.is_none()) {
                return;
            }
            let pid = self.service_mut(id).main_pid.take();
            if let Some(pid) = pid {
                self.pids.remove(&pid);
            }
        }
        match self.service(id).state {
            Start if self.service(id).config.kind == ServiceType::Notify => {
                self.enter_stop_post(id, ServiceResult::Protocol);
            }
            Running => self.enter_running(id, ServiceResult::Success),
            StopWatchdog | StopSigterm | StopSigkill => self.enter_stop_post(id, ServiceResult::Success),
            StopPost | FinalSigterm | FinalSigkill => self.enter_dead(id, ServiceResult::Success, true),
            _ => {}
        }
    }

    /// A program of type exec has been executed.
    pub(crate) fn service_executed(&mut self, id: UnitId) {
        let service = self.service(id);
        if service.state == ServiceState::Start
            && service.config.kind == ServiceType::Exec
            && service.main_pid.is_some()
        {
            self.enter_start_post(id);
        }
    }

    /// One message of `sd_notify`, from a process that may send it.
    pub(crate) fn service_notified(&mut self, id: UnitId, pid: i32, message: &str) {
        let service = self.service(id);
        let allowed = match service.config.notify_access {
            NotifyAccess::None => false,
            NotifyAccess::Main => service.main_pid == Some(pid),
            NotifyAccess::Exec => service.main_pid == Some(pid) || service.control_pid == Some(pid),
            NotifyAccess::All => true,
        };
        if !allowed {
            return self.log_unit(
                id,
                4,
                &format!("Got notification message from PID {pid}, but reception is not permitted"),
            );
        }
        for line in message.lines() {
            self.apply_notification(id, line);
        }
        self.emit_state(id);
    }

    fn apply_notification(&mut self, id: UnitId, line: &str) {
        let Some((key, value)) = line.split_once('=') else { return };
        let state = self.service(id).state;
        match (key, value) {
            ("READY", "1")
                if state == ServiceState::Start && self.service(id).config.kind == ServiceType::Notify =>
            {
                self.enter_start_post(id);
            }
            ("STOPPING", "1") => {
                self.service_mut(id).notified_stopping = true;
                if state == ServiceState::Running {
                    self.enter_stop_by_notify(id);
                }
            }
            ("STATUS", text) => self.service_mut(id).status_text = text.to_owned(),
            ("MAINPID", pid) => {
                if let Some(pid) =
                    pid.parse::<i32>().ok().filter(|pid| *pid > 1 && crate::spawn::is_alive(*pid))
                {
                    self.set_main_pid(id, pid);
                }
            }
            ("WATCHDOG", "1") => self.reset_watchdog(id),
            ("WATCHDOG", "trigger") => self.watchdog_bit(id),
            ("EXTEND_TIMEOUT_USEC", micros) => {
                if let Ok(micros) = micros.parse::<u64>() {
                    let until = crate::clock::Moment::now().after(std::time::Duration::from_micros(micros));
                    if self.deadlines.get(Timeout::Service(id)).is_some_and(|at| at < until) {
                        self.deadlines.set(Timeout::Service(id), until);
                    }
                }
            }
            _ => {}
        }
    }
}
