//! What the loop waits for: file descriptors through epoll, and a set of deadlines.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::clock::Moment;
use crate::jobs::JobId;
use crate::unit::UnitId;

/// Whose descriptor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Signals,
    Children,
    Notify,
    Syslog,
    Control,
    /// A client, by its descriptor.
    Connection,
    /// Output of a process, by its descriptor.
    Capture,
    CgroupEvents,
    PathEvents,
    Remote,
    KernelLog,
    ClockChange,
    Socket(UnitId),
    ExecReport(UnitId),
    Extra,
}

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: Epoll,
    sources: HashMap<RawFd, Source>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, sources: HashMap::new() })
    }

    /// Wait also for this one. The caller keeps it open until it is removed.
    pub(crate) fn add(&mut self, fd: impl AsFd, source: Source) -> io::Result<()> {
        let raw = fd.as_fd().as_raw_fd();
        let data = u64::try_from(raw).unwrap_or(u64::MAX);
        self.epoll.add(&fd, EpollEvent::new(EpollFlags::EPOLLIN, data))?;
        self.sources.insert(raw, source);
        Ok(())
    }

    /// Wait for room to write as well, or no longer.
    pub(crate) fn want_write(&self, fd: BorrowedFd<'_>, wanted: bool) {
        let flags = if wanted { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
        let data = u64::try_from(fd.as_raw_fd()).unwrap_or(u64::MAX);
        let _ = self.epoll.modify(fd, &mut EpollEvent::new(flags, data));
    }

    pub(crate) fn remove(&mut self, fd: BorrowedFd<'_>) {
        self.sources.remove(&fd.as_raw_fd());
        let _ = self.epoll.delete(fd);
    }

    /// The descriptors that are ready, after at most so many milliseconds.
    pub(crate) fn wait(&self, timeout_ms: i32) -> io::Result<Vec<(RawFd, Source)>> {
        let mut events = [EpollEvent::empty(); 64];
        let timeout = EpollTimeout::try_from(timeout_ms.max(0)).unwrap_or(EpollTimeout::ZERO);
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(nix::Error::EINTR) => 0,
            other => other?,
        };
        let ready = events[..count].iter().filter_map(|event| {
            let raw = RawFd::try_from(event.data()).ok()?;
            self.sources.get(&raw).map(|source| (raw, *source))
        });
        Ok(ready.collect())
    }
}

/// Whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timeout {
    /// The step a service is in takes too long, or its restart is due.
    Service(UnitId),
    Watchdog(UnitId),
    Timer(UnitId),
    Job(JobIdKey),
    /// Look at a forking service's PID file again.
    PidFile(UnitId),
    Shutdown,
    JournalSync,
}

/// The number of a job, as a key.
pub(crate) type JobIdKey = u32;

impl From<JobId> for Timeout {
    fn from(job: JobId) -> Self {
        Self::Job(job.0)
    }
}

/// At most one deadline each.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: BTreeSet<(Moment, Timeout)>,
}

impl Deadlines {
    pub(crate) fn set(&mut self, timeout: Timeout, at: Moment) {
        self.clear(timeout);
        self.queue.insert((at, timeout));
    }

    pub(crate) fn clear(&mut self, timeout: Timeout) {
        if let Some(entry) = self.queue.iter().find(|(_, known)| *known == timeout).copied() {
            self.queue.remove(&entry);
        }
    }

    pub(crate) fn get(&self, timeout: Timeout) -> Option<Moment> {
        self.queue.iter().find(|(_, known)| *known == timeout).map(|(at, _)| *at)
    }

    pub(crate) fn first(&self) -> Option<Moment> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The first one that is due, taken out.
    pub(crate) fn take_due(&mut self, now: Moment) -> Option<Timeout> {
        let (at, timeout) = self.queue.first().copied()?;
        (at <= now).then(|| {
            self.queue.pop_first();
            timeout
        })
    }
}
