//! The supervisor: what it holds, how it is made, and its loop. What the loop does is in [`crate::arrivals`]
//! and [`crate::state_changes`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::signalfd::{SfdFlags, SignalFd};
use unit_file::{Specifiers, UnitName};
use units_api::{JobMode, ShutdownAction, UnitState, WireError};

use crate::capture::Capture;
use crate::cgroup::Cgroups;
use crate::clock::Moment;
use crate::control::Control;
use crate::event::{Event, SupervisorError};
use crate::jobs::{Job, JobId};
use crate::journal::Writer;
use crate::notify::NotifySocket;
use crate::options::Options;
use crate::poll::{Deadlines, Poller, Source, Timeout};
use crate::remote::Remote;
use crate::shutdown::Shutdown;
use crate::states::{JobKind, LoadState};
use crate::unit::{Unit, UnitId};

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
    pub(crate) signals: SignalFd,
    pub(crate) children: OwnedFd,
    pub(crate) notify: NotifySocket,
    pub(crate) syslog: Option<NotifySocket>,
    pub(crate) remote: Remote,
    pub(crate) clock_change: Option<OwnedFd>,
    pub(crate) kernel_log: Option<std::fs::File>,
    pub(crate) extra: HashMap<RawFd, Extra>,
    listener: Option<Box<dyn FnMut(&Event)>>,
}

/// A descriptor that the supervisor's owner watches.
pub(crate) struct Extra {
    pub(crate) fd: OwnedFd,
    pub(crate) ready: Box<dyn FnMut(&mut Supervisor, &OwnedFd)>,
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

    pub(crate) fn unit(&self, id: UnitId) -> &Unit {
        &self.units[id.0 as usize]
    }

    pub(crate) fn unit_mut(&mut self, id: UnitId) -> &mut Unit {
        &mut self.units[id.0 as usize]
    }

    pub(crate) fn new_invocation(&mut self, id: UnitId) {
        self.unit_mut(id).invocation = crate::host::random_id();
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
