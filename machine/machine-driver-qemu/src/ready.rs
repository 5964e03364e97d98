//! Waiting for a machine to say that it is ready.
//!
//! Nothing is polled but the user's wish to give up: the kernel tells when the report or the console
//! grows, and QEMU's socket closes when it ends.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use hostos_config::KernelArguments;
use machine_core::boot::{BootWatch, Phase, last_lines, panic_sentence};
use machine_core::driver::{DriverError, ErrorKind, Session};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::files;
use crate::qmp::{Qmp, QmpError};

/// How long a panicking kernel may still print before it is told of.
const LAST_WORDS: Duration = Duration::from_millis(700);
const TICK: Duration = Duration::from_millis(50);
const SHOWN_LINES: usize = 12;

/// What came of waiting.
pub(crate) enum Outcome {
    /// It said that it is ready.
    Ready,
    /// Nothing at all was heard within the limit for that.
    Mute,
    /// It went down to be started with other kernel arguments.
    Restart(KernelArguments),
}

/// Waits. With `mute_limit` it gives up early on a machine that prints and reports nothing at all.
pub(crate) fn wait(
    session: &Session<'_>,
    qmp: &mut Qmp,
    mute_limit: Option<Duration>,
) -> Result<Outcome, DriverError> {
    let dir = &session.place.dir;
    let start = Instant::now();
    let growth = Growth::watch(dir)
        .map_err(|error| DriverError::failed("could not watch the machine's folder").source(error))?;
    let mut report = Tail::new(&dir.join(files::REPORT));
    let mut serial = Tail::new(&dir.join(files::SERIAL));
    let mut watch = BootWatch::default();
    let mut console = Console::default();
    let mut ended = false;
    loop {
        // The reports come first: a machine that reported and then ended has said why.
        for event in watch.feed(&report.more()) {
            session.observer.notice(event);
        }
        match watch.phase() {
            Phase::Ready { .. } => return Ok(Outcome::Ready),
            Phase::Failed(failure) => return Err(guest_failed(session, failure)),
            Phase::Stopping(reason) if ended => {
                return Err(DriverError::new(
                    ErrorKind::Guest,
                    format!("machine `{}` went down before it was ready: {reason}", session.place.name),
                ));
            }
            // It only asks; QEMU ends when it goes down.
            Phase::Restarting { should_exist, should_not_exist } if ended => {
                return Ok(Outcome::Restart(KernelArguments {
                    should_exist: should_exist.clone(),
                    should_not_exist: should_not_exist.clone(),
                }));
            }
            Phase::Silent | Phase::Booting(_) | Phase::Stopping(_) | Phase::Restarting { .. } => {}
        }
        console.feed(&serial.more());
        if ended || console.has_spoken_its_last() {
            return Err(fell_over(session, &console));
        }
        session.cancel.check()?;
        if start.elapsed() >= session.ready_limit {
            return Err(never_ready(session, watch.phase()));
        }
        if mute_limit.is_some_and(|limit| start.elapsed() >= limit)
            && *watch.phase() == Phase::Silent
            && console.is_empty()
        {
            return Ok(Outcome::Mute);
        }
        ended = match growth.wait(qmp, TICK)? {
            Heard::Nothing => false,
            Heard::End => true,
            Heard::NoSpace => return Err(no_space(session)),
        };
    }
}

/// The console so far, as much as is needed to see a panic.
#[derive(Default)]
struct Console {
    text: Vec<u8>,
    panicked: Option<Instant>,
}

impl Console {
    fn feed(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        if self.text.len() > 1 << 20 {
            self.text.drain(..1 << 19);
        }
        if self.panicked.is_none() && !bytes.is_empty() && panic_sentence(&self.text).is_some() {
            self.panicked = Some(Instant::now());
        }
    }

    fn has_spoken_its_last(&self) -> bool {
        self.panicked.is_some_and(|at| at.elapsed() >= LAST_WORDS)
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// What QEMU told while we waited.
enum Heard {
    Nothing,
    /// It ended.
    End,
    /// It stopped the machine, because its disk could not grow.
    NoSpace,
}

/// The kernel's word that files in the machine's folder grow.
struct Growth(Inotify);

impl Growth {
    fn watch(dir: &Path) -> nix::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(dir, AddWatchFlags::IN_MODIFY)?;
        Ok(Self(inotify))
    }

    /// Waits for growth, an event of QEMU's or `limit`; says what QEMU told.
    fn wait(&self, qmp: &mut Qmp, limit: Duration) -> Result<Heard, DriverError> {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut fds =
            [PollFd::new(self.0.as_fd(), PollFlags::POLLIN), PollFd::new(qmp.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(DriverError::failed("could not wait for the machine").source(errno)),
        }
        let spoke = fds[1].revents().is_some_and(|events| !events.is_empty());
        // Only that something grew matters, the tails find out what.
        while self.0.read_events().is_ok_and(|events| !events.is_empty()) {}
        if !spoke {
            return Ok(Heard::Nothing);
        }
        match qmp.event(Duration::from_millis(1)) {
            Ok(Some(event)) if event["event"] == "BLOCK_IO_ERROR" && event["data"]["nospace"] == true => {
                Ok(Heard::NoSpace)
            }
            Ok(_) => Ok(Heard::Nothing),
            Err(QmpError::Closed) => Ok(Heard::End),
            Err(error) => Err(DriverError::failed("could not listen to QEMU").source(error)),
        }
    }
}

/// A file that another process writes, read as it grows.
struct Tail {
    file: Option<File>,
    position: u64,
}

impl Tail {
    fn new(path: &Path) -> Self {
        Self { file: File::open(path).ok(), position: 0 }
    }

    fn more(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.file
            && file.seek(SeekFrom::Start(self.position)).is_ok()
            && read_some(file, &mut bytes).is_ok()
        {
            self.position += bytes.len() as u64;
        }
        bytes
    }
}

fn read_some(file: &mut File, bytes: &mut Vec<u8>) -> io::Result<()> {
    file.take(4 << 20).read_to_end(bytes).map(|_| ())
}

fn guest_failed(session: &Session<'_>, failure: &hostos_api::Failure) -> DriverError {
    let message = format!("machine `{}` failed: {}", session.place.name, failure.message);
    DriverError::new(ErrorKind::Guest, message).hint(failure.hint.clone())
}

fn fell_over(session: &Session<'_>, console: &Console) -> DriverError {
    let name = &session.place.name;
    let message = match panic_sentence(&console.text) {
        Some(sentence) => format!("machine `{name}` fell over while it started: {sentence}"),
        None => format!("machine `{name}` turned itself off before it was ready"),
    };
    let mut evidence = last_lines(&console.text, SHOWN_LINES);
    if evidence.is_empty() {
        let log = std::fs::read(session.place.dir.join(files::QEMU_LOG)).unwrap_or_default();
        evidence = last_lines(&log, SHOWN_LINES);
    }
    let hint = if String::from_utf8_lossy(&console.text).contains("ut of memory") {
        "give it more memory with `--qemu-memory`"
    } else {
        "try another image with `--qemu-image`, or see what it says without `--qemu-cmdline`"
    };
    DriverError::new(ErrorKind::Guest, message).evidence(evidence).hint(hint)
}

fn no_space(session: &Session<'_>) -> DriverError {
    let store = session.place.store.display();
    DriverError::failed(format!(
        "machine `{}` stands still: the disk under {store} is full",
        session.place.name
    ))
    .hint("make room, or keep machines elsewhere with `--storage-path`")
}

fn never_ready(session: &Session<'_>, phase: &Phase) -> DriverError {
    let so_far = match phase {
        Phase::Booting(stage) => format!("the last it said was that `{stage:?}` is done").to_lowercase(),
        _ => "it said nothing".to_owned(),
    };
    let serial = std::fs::read(session.place.dir.join(files::SERIAL)).unwrap_or_default();
    let message = format!(
        "machine `{}` was not ready within {} s; {so_far}",
        session.place.name,
        session.ready_limit.as_secs()
    );
    DriverError::new(ErrorKind::TimedOut, message)
        .evidence(last_lines(&serial, SHOWN_LINES))
        .hint("on a slow or busy workstation allow more with `--timeout SECONDS`")
}
