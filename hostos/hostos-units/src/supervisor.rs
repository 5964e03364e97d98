//! The supervisor: what it holds, its loop, and the changes of state that everything else hangs on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::signalfd::{SfdFlags, SignalFd};
use unit_file::{Specifiers, UnitName};
use units_api::{JobMode, ShutdownAction, UnitState, WireError};

use crate::capture::Capture;
use crate::cgroup::Cgroups;
use crate::clock::{Moment, wall_clock};
use crate::config::general::{Action, Relation};
use crate::control::Control;
use crate::event::{Event, SupervisorError};
use crate::jobs::{Job, JobId};
use crate::journal::{Entry, Transport, Writer};
use crate::notify::NotifySocket;
use crate::options::Options;
use crate::poll::{Deadlines, Poller, Source, Timeout};
use crate::remote::{Order, Remote};
use crate::shutdown::Shutdown;
use crate::states::{ActiveState, JobKind, LoadState};
use crate::unit::{Detail, Unit, UnitId};

/// Supervises units. One thread, one loop: [`Supervisor::run`].
pub struct Supervisor {
    pub(crate) options: Options,
    pub(crate) specifiers: Specifiers,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) units: Vec<Unit>,
    pub(crate) names: BTreeMap<UnitName, UnitId>,
    pub(crate) load_queue: VecDeque<UnitId>,
    /// Units whose file was removed, to be forgotten.
    pub(crate) removed: Vec<UnitId>,
    /// Places of units that were forgotten.
    pub(crate) free: Vec<UnitId>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) last_job: u32,
    pub(crate) run_queue: VecDeque<JobId>,
    /// Jobs were queued since the last [`Event::Idle`].
    pub(crate) busy: bool,
    pub(crate) idle_waiting: Vec<UnitId>,
    pub(crate) bound_queue: VecDeque<UnitId>,
    pub(crate) pids: HashMap<i32, UnitId>,
    pub(crate) poller: Poller,
    pub(crate) deadlines: Deadlines,
    pub(crate) cgroups: Cgroups,
    pub(crate) journal: Writer,
    pub(crate) captures: HashMap<RawFd, Capture>,
    pub(crate) pending_captures: Vec<Capture>,
    pub(crate) control: Control,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) finished: Option<ShutdownAction>,
    pub(crate) started: Moment,
    pub(crate) path_watches: crate::path::Watches,
    signals: SignalFd,
    children: OwnedFd,
    notify: NotifySocket,
    syslog: Option<NotifySocket>,
    remote: Remote,
    clock_change: Option<OwnedFd>,
    pub(crate) kernel_log: Option<std::fs::File>,
    extra: HashMap<RawFd, Extra>,
    listener: Option<Box<dyn FnMut(&Event)>>,
}

struct Extra {
    fd: OwnedFd,
    ready: Box<dyn FnMut(&mut Supervisor, &OwnedFd)>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("units", &self.units.len())
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Opens sockets and journal; starts nothing yet. From now on this process gets its signals
    /// through the loop only, and inherits orphans of its children.
    ///
    /// # Errors
    /// A socket or folder could not be made.
    pub fn new(options: Options) -> Result<Self, SupervisorError> {
        crate::spawn::become_reaper();
        let signals = watch_signals().map_err(setup("signals"))?;
        let children = crate::signals::watch_children().map_err(setup("signals"))?;
        let mut poller = Poller::new().map_err(setup("waiting"))?;
        for dir in [&options.runtime_dir, &options.transient_dir] {
            std::fs::create_dir_all(dir).map_err(setup(&dir.display().to_string()))?;
        }
        let notify = NotifySocket::bind(&options.notify_socket)
            .map_err(setup(&options.notify_socket.display().to_string()))?;
        let control = Control::bind(&options.control_socket)
            .map_err(setup(&options.control_socket.display().to_string()))?;
        let cgroups = Cgroups::new(options.cgroup_root.as_deref()).map_err(setup("cgroup events"))?;
        let path_watches = crate::path::Watches::new().map_err(setup("path events"))?;
        let remote = Remote::new().map_err(setup("remote orders"))?;
        let clock_change = crate::wall::watch_changes();
        let syslog = options.syslog_socket.as_deref().and_then(|path| NotifySocket::bind(path).ok());
        let kernel_log = if options.kernel_log { crate::journal::open_kernel_log() } else { None };
        let mut add =
            |fd: std::os::fd::BorrowedFd<'_>, source| poller.add(fd, source).map_err(setup("waiting"));
        add(signals.as_fd(), Source::Signals)?;
        add(children.as_fd(), Source::Children)?;
        add(notify.as_fd(), Source::Notify)?;
        add(control.as_fd(), Source::Control)?;
        add(cgroups.events.as_fd(), Source::CgroupEvents)?;
        add(path_watches.as_fd(), Source::PathEvents)?;
        add(remote.as_fd(), Source::Remote)?;
        if let Some(fd) = &clock_change {
            add(fd.as_fd(), Source::ClockChange)?;
        }
        if let Some(socket) = &syslog {
            add(socket.as_fd(), Source::Syslog)?;
        }
        if let Some(file) = &kernel_log {
            add(file.as_fd(), Source::KernelLog)?;
        }
        if options.pid1 {
            cgroups.enter_own_scope();
        }
        let journal = Writer::open(options.journal_dir.as_deref(), options.journal_max);
        let mut this = Self {
            specifiers: crate::host::specifiers(&options),
            environment: options.environment.iter().cloned().collect(),
            options,
            units: Vec::new(),
            names: BTreeMap::new(),
            load_queue: VecDeque::new(),
            removed: Vec::new(),
            free: Vec::new(),
            jobs: BTreeMap::new(),
            last_job: 0,
            run_queue: VecDeque::new(),
            busy: false,
            idle_waiting: Vec::new(),
            bound_queue: VecDeque::new(),
            pids: HashMap::new(),
            poller,
            deadlines: Deadlines::default(),
            cgroups,
            journal,
            captures: HashMap::new(),
            pending_captures: Vec::new(),
            control,
            shutdown: None,
            finished: None,
            started: Moment::now(),
            path_watches,
            signals,
            children,
            notify,
            syslog,
            remote,
            clock_change,
            kernel_log,
            extra: HashMap::new(),
            listener: None,
        };
        for name in ["-.slice", "system.slice", "init.scope", "-.mount"] {
            this.load(&name.parse().expect("a valid name"));
        }
        Ok(this)
    }

    /// Called for every event, from inside the loop.
    pub fn on_event(&mut self, listener: impl FnMut(&Event) + 'static) {
        self.listener = Some(Box::new(listener));
    }

    /// A handle that other threads may use.
    #[must_use]
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Calls `ready` from inside the loop whenever the descriptor can be read.
    ///
    /// # Errors
    /// The kernel cannot wait for it.
    pub fn watch(&mut self, fd: OwnedFd, ready: impl FnMut(&mut Self, &OwnedFd) + 'static) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        self.poller.add(&fd, Source::Extra)?;
        self.extra.insert(fd.as_raw_fd(), Extra { fd, ready: Box::new(ready) });
        Ok(())
    }

    /// Queues the start of a unit and of all it needs.
    ///
    /// # Errors
    /// The unit, or one it requires, cannot be started.
    pub fn start(&mut self, unit: &str) -> Result<(), WireError> {
        self.queue(unit, JobKind::Start)
    }

    /// Queues the stop of a unit and of all that requires it.
    ///
    /// # Errors
    /// The name is not valid.
    pub fn stop(&mut self, unit: &str) -> Result<(), WireError> {
        self.queue(unit, JobKind::Stop)
    }

    fn queue(&mut self, unit: &str, kind: JobKind) -> Result<(), WireError> {
        let name = crate::control::parse_name(unit)?;
        let id = self.load(&name);
        self.enqueue(id, kind, JobMode::Replace).map(drop)
    }

    /// State of a unit, loading it if need be.
    #[must_use]
    pub fn state(&mut self, unit: &str) -> Option<UnitState> {
        let name = crate::control::parse_name(unit).ok()?;
        let id = self.load(&name);
        Some(self.describe(id))
    }

    /// Sets a variable that every process started from now on gets.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Reads all unit files again.
    pub fn reload(&mut self) {
        self.daemon_reload();
    }

    /// Writes a line to the journal, as the supervisor's own.
    pub fn log(&mut self, priority: u8, message: &str) {
        self.write_entry(priority, "", "units", message, 1);
    }

    /// Runs until a shutdown is complete; returns what is to come after it.
    ///
    /// # Errors
    /// Waiting for events failed.
    pub fn run(&mut self) -> Result<ShutdownAction, SupervisorError> {
        loop {
            if let Some(action) = self.finished {
                self.journal.sync();
                return Ok(action);
            }
            self.turn(Duration::from_secs(3600))?;
        }
    }

    /// One turn of the loop: waits for at most `longest`, handles what came.
    ///
    /// # Errors
    /// Waiting for events failed.
    pub fn turn(&mut self, longest: Duration) -> Result<(), SupervisorError> {
        self.settle();
        let now = Moment::now();
        let until_deadline = self.deadlines.first().map_or(longest, |at| at.since(now)).min(longest);
        // Rounded up, so that the deadline has passed when the wait is over.
        let millis = i32::try_from(until_deadline.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        for (fd, source) in self.poller.wait(millis).map_err(SupervisorError::Wait)? {
            self.handle(fd, source);
        }
        while let Some(timeout) = self.deadlines.take_due(Moment::now()) {
            self.timed_out(timeout);
        }
        self.settle();
        Ok(())
    }

    /// Works off what follows from what happened.
    pub(crate) fn settle(&mut self) {
        loop {
            self.run_jobs();
            let Some(id) = self.bound_queue.pop_front() else { break };
            self.stop_if_unbound(id);
        }
        if !self.removed.is_empty() {
            self.collect_garbage();
        }
        self.check_shutdown();
        if self.journal.is_dirty() && self.deadlines.get(Timeout::JournalSync).is_none() {
            self.deadlines.set(Timeout::JournalSync, Moment::now().after(self.journal.sync_after()));
        }
    }

    fn handle(&mut self, fd: RawFd, source: Source) {
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

    fn timed_out(&mut self, timeout: Timeout) {
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

    pub(crate) fn unit(&self, id: UnitId) -> &Unit {
        &self.units[id.0 as usize]
    }

    pub(crate) fn unit_mut(&mut self, id: UnitId) -> &mut Unit {
        &mut self.units[id.0 as usize]
    }

    pub(crate) fn new_invocation(&mut self, id: UnitId) {
        self.unit_mut(id).invocation = crate::host::random_id();
    }

    /// The one place where states of units change, and what follows from it.
    pub(crate) fn set_state(&mut self, id: UnitId, active: ActiveState, sub: &'static str) {
        let now = Moment::now();
        let unit = self.unit_mut(id);
        let (old, old_sub) = (unit.active, unit.sub);
        (unit.active, unit.sub) = (active, sub);
        if old != active {
            let times = &mut unit.times;
            times.changed = wall_clock();
            if old.is_down() && !active.is_down() {
                times.inactive_exit = now;
            } else if !old.is_down() && active.is_down() {
                (times.inactive_enter, times.inactive_enter_wall) = (now, wall_clock());
            }
            if !old.is_active() && active.is_active() {
                (times.active_enter, times.active_enter_wall) = (now, wall_clock());
            } else if old.is_active() && !active.is_active() {
                times.active_exit = now;
            }
        }
        if old != active || old_sub != sub {
            self.emit_state(id);
        }
        self.follow_up(id, old, active);
    }

    fn follow_up(&mut self, id: UnitId, old: ActiveState, new: ActiveState) {
        let (reload_failed, will_restart) = match &self.unit(id).detail {
            Detail::Service(service) => {
                (service.reload_result != crate::states::ServiceResult::Success, service.will_restart)
            }
            _ => (false, false),
        };
        let unexpected = self.advance_job(id, new, reload_failed);
        if unexpected && self.shutdown.is_none() {
            if old.is_down() && new.is_active_or_activating() {
                self.start_needed(id);
            } else if old.is_active_or_activating() && !new.is_active_or_activating() {
                self.stop_bound(id);
            }
        }
        if new != old && new == ActiveState::Failed && !will_restart {
            self.trigger(id, Relation::OnFailure);
            let action = self.unit(id).config.failure_action;
            self.take_action(id, action, "failure");
        }
        if new == ActiveState::Inactive && !old.is_down() && !will_restart {
            self.trigger(id, Relation::OnSuccess);
            let action = self.unit(id).config.success_action;
            self.take_action(id, action, "success");
        }
        if old != new {
            self.tell_triggers(id);
            self.check_neighbours(id, new);
            self.wake_neighbours(id);
        }
    }

    /// A unit that came up by itself gets what it requires.
    fn start_needed(&mut self, id: UnitId) {
        let unit = self.unit(id);
        let mut needed: Vec<_> =
            unit.related(Relation::Requires).chain(unit.related(Relation::BindsTo)).collect();
        needed
            .retain(|other| !unit.is_related(Relation::After, *other) && self.unit(*other).active.is_down());
        for other in needed {
            let _ = self.enqueue(other, JobKind::Start, JobMode::Replace);
        }
    }

    /// What is bound to a unit that went down by itself goes down too.
    fn stop_bound(&mut self, id: UnitId) {
        let bound: Vec<_> = self
            .unit(id)
            .related(Relation::BoundBy)
            .filter(|other| !self.unit(*other).active.is_down())
            .collect();
        for other in bound {
            let _ = self.enqueue(other, JobKind::Stop, JobMode::Replace);
        }
    }

    fn check_neighbours(&mut self, id: UnitId, new: ActiveState) {
        let unit = self.unit(id);
        if new.is_down() {
            let bound: Vec<_> = unit.related(Relation::BoundBy).collect();
            let no_longer_needed =
                [Relation::Requires, Relation::Wants, Relation::BindsTo, Relation::Requisite];
            let mut needed: Vec<_> =
                no_longer_needed.iter().flat_map(|relation| unit.related(*relation)).collect();
            needed.retain(|other| self.unit(*other).config.stop_when_unneeded);
            self.bound_queue.extend(bound);
            self.bound_queue.extend(needed);
        } else if new.is_active() {
            self.bound_queue.push_back(id);
        }
    }

    fn stop_if_unbound(&mut self, id: UnitId) {
        let unit = self.unit(id);
        if !unit.active.is_active() || unit.job.is_some() || self.shutdown.is_some() {
            return;
        }
        let down = |other: UnitId| self.unit(other).active.is_down() && self.unit(other).job.is_none();
        let unbound = unit.related(Relation::BindsTo).any(down);
        let needers = [
            Relation::RequiredBy,
            Relation::WantedBy,
            Relation::BoundBy,
            Relation::RequisiteOf,
            Relation::UpheldBy,
        ];
        let unneeded = unit.config.stop_when_unneeded
            && needers
                .iter()
                .flat_map(|relation| unit.related(*relation))
                .all(|other| self.unit(other).active.is_down() && self.unit(other).job.is_none());
        if unbound || unneeded {
            let _ = self.enqueue(id, JobKind::Stop, JobMode::Fail);
        }
    }

    /// Starts what is to be started when this fails or ends well.
    pub(crate) fn trigger(&mut self, id: UnitId, relation: Relation) {
        if self.shutdown.is_some() {
            return;
        }
        let others: Vec<_> = self.unit(id).related(relation).collect();
        for other in others {
            let name = self.unit(other).name.to_string();
            self.log_unit(id, 6, &format!("Triggering {relation:?}= dependency {name}."));
            if let Err(error) = self.enqueue(other, JobKind::Start, JobMode::Replace) {
                self.log_unit(id, 4, &format!("could not start {name}: {error}"));
            }
        }
    }

    pub(crate) fn start_limit_was_hit(&mut self, id: UnitId) {
        let action = self.unit(id).config.start_limit_action;
        self.take_action(id, action, "start limit");
    }

    fn take_action(&mut self, id: UnitId, action: Action, why: &str) {
        let shutdown = match action {
            Action::None => return,
            Action::Reboot => ShutdownAction::Reboot,
            Action::Poweroff => ShutdownAction::Poweroff,
            Action::Exit => ShutdownAction::Exit,
        };
        let reason = format!("{why} of {}", self.unit(id).name);
        self.begin_shutdown(shutdown, &reason);
    }

    pub(crate) fn emit(&mut self, event: &Event) {
        if let Some(mut listener) = self.listener.take() {
            listener(event);
            self.listener = Some(listener);
        }
    }

    pub(crate) fn emit_state(&mut self, id: UnitId) {
        if self.listener.is_some() || self.control.has_subscribers() {
            let state = self.describe(id);
            self.tell_subscribers(&state);
            self.emit(&Event::UnitChanged(Box::new(state)));
        }
    }

    pub(crate) fn log_unit(&mut self, id: UnitId, priority: u8, message: &str) {
        let name = self.unit(id).name.to_string();
        let text = if message.starts_with(&name) { message.to_owned() } else { format!("{name}: {message}") };
        self.write_entry(priority, &name, "units", &text, 1);
    }

    pub(crate) fn warn_unit(&mut self, id: UnitId, message: &str) {
        self.log_unit(id, 4, message);
    }

    fn write_entry(&mut self, priority: u8, unit: &str, identifier: &str, message: &str, pid: u32) {
        tracing::debug!(unit, priority, message, "journal");
        let pid = if pid == 1 { std::process::id() } else { pid };
        if priority <= 4 {
            self.to_console(identifier, message);
        }
        self.journal.append(&Entry {
            realtime: wall_clock(),
            monotonic: Moment::now().0,
            priority,
            transport: Transport::Supervisor,
            pid,
            unit: unit.to_owned(),
            identifier: identifier.to_owned(),
            message: message.to_owned(),
        });
    }

    pub(crate) fn to_console(&self, identifier: &str, message: &str) {
        use std::io::Write as _;
        let Some(path) = &self.options.console else { return };
        if let Ok(mut console) = std::fs::OpenOptions::new().write(true).open(path) {
            let _ = console.write_all(format!("{identifier}: {message}\r\n").as_bytes());
        }
    }

    /// Ids of all loaded units whose name matches.
    pub(crate) fn matching(&self, pattern: &str) -> Vec<UnitId> {
        let mut ids: Vec<_> = self
            .names
            .iter()
            .filter(|(name, id)| {
                let unit = self.unit(**id);
                unit.load != LoadState::Stub
                    && unit.name == **name
                    && crate::glob::matches(pattern, name.as_str())
            })
            .map(|(_, id)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }
}

fn setup(what: &str) -> impl FnOnce(io::Error) -> SupervisorError {
    let what = what.to_owned();
    move |source| SupervisorError::Setup { what, source }
}

fn watch_signals() -> io::Result<SignalFd> {
    let mask = crate::signals::block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}
