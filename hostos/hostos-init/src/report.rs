//! Tells the one who made the machine how far it is, on the virtio-serial port, without ever waiting
//! for a reader.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hostos_api::{PORT_NAME, Report, Stage};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::system::uptime_ms;

/// More lines than a boot has; when nobody reads, further ones are dropped.
const QUEUE: usize = 256;

/// Hands reports to the thread that writes them.
#[derive(Clone)]
pub(crate) struct Reporter {
    queue: SyncSender<Report>,
    waiting: Arc<Waiting>,
}

/// How many reports are not written yet.
#[derive(Default)]
struct Waiting {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Waiting {
    fn add(&self, change: isize) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = count.saturating_add_signed(change);
        self.changed.notify_all();
    }
}

impl Reporter {
    pub(crate) fn start() -> Self {
        let (queue, receiver) = sync_channel(QUEUE);
        let waiting = Arc::new(Waiting::default());
        let shared = Arc::clone(&waiting);
        // Without the thread the machine boots in silence; that is no reason not to boot.
        let _ = thread::Builder::new()
            .name("report".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || write_reports(&receiver, &shared));
        Self { queue, waiting }
    }

    pub(crate) fn send(&self, report: Report) {
        self.waiting.add(1);
        if self.queue.try_send(report).is_err() {
            self.waiting.add(-1);
        }
    }

    pub(crate) fn stage(&self, stage: Stage, detail: impl Into<String>) {
        self.send(Report::Stage { stage, uptime_ms: uptime_ms(), detail: detail.into() });
    }

    /// Warns on the console and on the port.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        println!("rmachine: warning: {message}");
        self.send(Report::Warning { message });
    }

    /// Gives the thread at most `limit` to write what is queued.
    pub(crate) fn flush(&self, limit: Duration) {
        let count = self.waiting.count.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.waiting.changed.wait_timeout_while(count, limit, |count| *count > 0);
    }
}

fn write_reports(queue: &Receiver<Report>, waiting: &Waiting) {
    let mut port = None;
    loop {
        match queue.recv_timeout(Duration::from_secs(3600)) {
            Ok(report) => {
                write_line(&mut port, report.to_line().as_bytes());
                waiting.add(-1);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Writes all of `line`, waiting for the port to appear and for a reader to come.
fn write_line(port: &mut Option<File>, mut line: &[u8]) {
    while !line.is_empty() {
        let Some(file) = port else {
            thread::sleep(Duration::from_millis(10));
            *port = find_port(Path::new("/sys/class/virtio-ports")).and_then(|path| open(&path));
            continue;
        };
        match file.write(line) {
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait_for_reader(file),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The port went away, or the host closed it between two writes.
            Err(_) => *port = None,
        }
    }
}

fn wait_for_reader(file: &File) {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    let writable = poll(&mut fds, PollTimeout::from(100u8)).is_ok()
        && fds[0].revents().is_some_and(|events| events == PollFlags::POLLOUT);
    if !writable {
        // Without a reader the port polls as hung up at once.
        thread::sleep(Duration::from_millis(10));
    }
}

fn open(path: &Path) -> Option<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path).ok()
}

/// The device of the port called [`PORT_NAME`].
fn find_port(class: &Path) -> Option<PathBuf> {
    fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim() == PORT_NAME).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name() {
        let dir = std::env::temp_dir().join(format!("hostos-init-ports-{}", std::process::id()));
        for (port, name) in [("vport1p1", "other\n"), ("vport1p2", "org.rmachine.agent.0\n")] {
            fs::create_dir_all(dir.join(port)).unwrap();
            fs::write(dir.join(port).join("name"), name).unwrap();
        }
        assert_eq!(find_port(&dir), Some(PathBuf::from("/dev/vport1p2")));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn nobody_waits_for_a_reader() {
        let reporter = Reporter::start();
        for _ in 0..2 * QUEUE {
            reporter.stage(Stage::Init, "");
        }
        reporter.flush(Duration::from_millis(20));
    }
}
