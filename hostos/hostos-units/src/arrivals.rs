//! What the loop does about each thing that comes in: signals, ended processes, empty cgroups, words of
//! services, orders of other threads.

use std::os::fd::{AsFd as _, RawFd};

use units_api::ShutdownAction;

use crate::clock::{Moment, wall_clock};
use crate::jobs::JobId;
use crate::journal::{Entry, Transport};
use crate::notify::NotifySocket;
use crate::poll::{Source, Timeout};
use crate::remote::Order;
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

impl Supervisor {
    pub(crate) fn handle(&mut self, fd: RawFd, source: Source) {
        match source {
            Source::Signals => self.signals_came(),
            Source::Children => {
                crate::signals::quiet(&self.children);
                self.reap_children();
            }
            Source::Notify => self.notifications_came(),
            Source::Syslog => self.syslog_came(),
            Source::Control => self.accept_clients(),
            Source::Connection => self.client_ready(fd),
            Source::Capture => self.output_came(fd),
            Source::CgroupEvents => self.cgroups_changed(),
            Source::PathEvents => self.paths_changed(),
            Source::Remote => self.orders_came(),
            Source::KernelLog => self.kernel_messages_came(),
            Source::ClockChange => self.clock_changed(),
            Source::Socket(id) => self.socket_ready(id),
            Source::ExecReport(id) => self.exec_reported(id),
            Source::Extra => {
                if let Some(mut extra) = self.extra.remove(&fd) {
                    (extra.ready)(self, &extra.fd);
                    self.extra.insert(fd, extra);
                }
            }
        }
    }

    pub(crate) fn timed_out(&mut self, timeout: Timeout) {
        match timeout {
            Timeout::Service(id) => self.service_timed_out(id),
            Timeout::Watchdog(id) => self.watchdog_bit(id),
            Timeout::Timer(id) => self.timer_elapsed(id),
            Timeout::Job(number) => self.job_timed_out(JobId(number)),
            Timeout::PidFile(id) => self.pid_file_due(id),
            Timeout::Shutdown => self.shutdown_deadline_passed(),
            Timeout::JournalSync => self.journal.sync(),
        }
    }

    fn signals_came(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo).unwrap_or(0) {
                libc::SIGHUP => self.daemon_reload(),
                libc::SIGINT if self.options.pid1 => {
                    self.begin_shutdown(ShutdownAction::Reboot, "Ctrl-Alt-Del")
                }
                libc::SIGPWR => self.begin_shutdown(ShutdownAction::Poweroff, "power signal"),
                libc::SIGTERM if self.options.pid1 => self.begin_shutdown(ShutdownAction::Reboot, "SIGTERM"),
                libc::SIGTERM | libc::SIGINT => self.begin_shutdown(ShutdownAction::Exit, "signal"),
                // As systemd's real-time signals: 4 poweroff, 5 reboot, 3 halt.
                number if number == libc::SIGRTMIN() + 3 => {
                    self.begin_shutdown(ShutdownAction::Halt, "signal")
                }
                number if number == libc::SIGRTMIN() + 4 => {
                    self.begin_shutdown(ShutdownAction::Poweroff, "signal")
                }
                number if number == libc::SIGRTMIN() + 5 => {
                    self.begin_shutdown(ShutdownAction::Reboot, "signal")
                }
                _ => {}
            }
        }
    }

    fn reap_children(&mut self) {
        while let Some((pid, exit)) = crate::spawn::reap() {
            if let Some(id) = self.pids.remove(&pid) {
                // What it said before it ended comes first in the journal.
                self.drain_captures_of(pid);
                if matches!(self.unit(id).detail, Detail::Service(_)) {
                    self.service_process_ended(id, pid, exit);
                }
                self.check_empty_without_cgroup(id);
            }
        }
    }

    /// Without cgroups, a unit is empty when its known processes have ended.
    fn check_empty_without_cgroup(&mut self, id: UnitId) {
        let unit = self.unit(id);
        if unit.cgroup.is_none() && matches!(unit.detail, Detail::Service(_)) && !self.has_processes(id) {
            self.service_is_empty(id);
        }
    }

    fn cgroups_changed(&mut self) {
        // Exits are known before emptiness is judged.
        self.reap_children();
        for id in self.cgroups.changed() {
            let empty =
                self.unit(id).cgroup.as_deref().is_some_and(|path| !crate::cgroup::is_populated(path));
            if !empty {
                continue;
            }
            if matches!(self.unit(id).detail, Detail::Service(_)) {
                self.service_is_empty(id);
                if self.unit(id).active.is_down() {
                    self.clean_up_service(id);
                }
            }
        }
    }

    fn notifications_came(&mut self) {
        while let Some((pid, message)) = self.notify.receive() {
            let known = self.pids.get(&pid).copied();
            let owner = known.or_else(|| self.unit_of_process(pid));
            if let Some(id) = owner.filter(|id| matches!(self.unit(*id).detail, Detail::Service(_))) {
                self.service_notified(id, pid, &message);
            }
        }
    }

    fn syslog_came(&mut self) {
        // So many at a time; the rest makes the descriptor ready again.
        for _ in 0..256 {
            let Some((pid, text)) = self.syslog.as_ref().and_then(NotifySocket::receive) else { return };
            let owner = self.pids.get(&pid).copied().or_else(|| self.unit_of_process(pid));
            let unit = owner.map(|id| self.unit(id).name.to_string()).unwrap_or_default();
            let (priority, identifier, message) = crate::syslog::parse(&text);
            self.journal.append(&Entry {
                realtime: wall_clock(),
                monotonic: Moment::now().0,
                priority,
                transport: Transport::Syslog,
                pid: u32::try_from(pid).unwrap_or(0),
                unit,
                identifier,
                message,
            });
        }
    }

    /// The unit whose cgroup a process is in.
    pub(crate) fn unit_of_process(&self, pid: i32) -> Option<UnitId> {
        let root = self.cgroups.root()?;
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        let (index, _) = self.units.iter().enumerate().find(|(_, unit)| {
            let below = unit.cgroup.as_deref().and_then(|path| path.strip_prefix(root).ok());
            below.is_some_and(|below| {
                let below = below.display().to_string();
                own.split_once(&below).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
            })
        })?;
        u32::try_from(index).ok().map(UnitId)
    }

    fn exec_reported(&mut self, id: UnitId) {
        let Some(report) = self.service_mut(id).exec_report.take() else { return };
        self.poller.remove(report.as_fd());
        let mut byte = [0];
        // Nothing to read means that exec closed it.
        if matches!(nix::unistd::read(&report, &mut byte), Ok(0)) {
            self.service_executed(id);
        }
    }

    fn orders_came(&mut self) {
        for order in self.remote.take() {
            let (what, result) = match order {
                Order::Start(unit) => (format!("start {unit}"), self.start(&unit)),
                Order::Stop(unit) => (format!("stop {unit}"), self.stop(&unit)),
                Order::Shutdown(action, reason) => {
                    self.begin_shutdown(action, &reason);
                    continue;
                }
                Order::Environment(name, value) => {
                    self.set_environment(&name, &value);
                    continue;
                }
                Order::Reload => {
                    self.daemon_reload();
                    continue;
                }
            };
            if let Err(error) = result {
                self.log(4, &format!("could not {what}: {error}"));
            }
        }
    }

    fn clock_changed(&mut self) {
        self.clock_change = None;
        self.clock_change = crate::wall::watch_changes();
        if let Some(fd) = &self.clock_change {
            let _ = self.poller.add(fd, Source::ClockChange);
        }
        self.rearm_timers();
    }
}
