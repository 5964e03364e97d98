//! Output of processes on its way to the journal: one pipe for each command, so that every line
//! has the right process id, also when the command is long gone.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use crate::clock::{Moment, wall_clock};
use crate::journal::{Entry, Transport};
use crate::poll::Source;
use crate::spawn::pipe;
use crate::supervisor::Supervisor;
use crate::unit::UnitId;

#[derive(Debug)]
pub(crate) struct Capture {
    fd: OwnedFd,
    pub(crate) unit: UnitId,
    pid: u32,
    identifier: String,
    level: u8,
    console: bool,
    line: Vec<u8>,
}

/// Longer lines are cut into pieces.
const LONGEST_LINE: usize = 48 * 1024;
/// So much is read from one process before others get their turn.
const TURN: usize = 64 * 1024;

impl Supervisor {
    /// A pipe for output; returns the end for the process. It counts from the next
    /// [`Supervisor::adopt_captures`] on.
    pub(crate) fn capture(
        &mut self,
        unit: UnitId,
        identifier: &str,
        level: u8,
        console: bool,
    ) -> Option<OwnedFd> {
        let (read, write) = pipe().ok()?;
        let identifier = identifier.to_owned();
        self.pending_captures.push(Capture {
            fd: read,
            unit,
            pid: 0,
            identifier,
            level,
            console,
            line: Vec::new(),
        });
        Some(write)
    }

    pub(crate) fn adopt_captures(&mut self, pid: i32) {
        for mut capture in std::mem::take(&mut self.pending_captures) {
            capture.pid = u32::try_from(pid).unwrap_or(0);
            if self.poller.add(&capture.fd, Source::Capture).is_ok() {
                self.captures.insert(capture.fd.as_raw_fd(), capture);
            }
        }
    }

    pub(crate) fn kernel_messages_came(&mut self) {
        let Some(mut log) = self.kernel_log.take() else { return };
        // So many at a time; the rest makes the descriptor ready again.
        for _ in 0..256 {
            let Some(entry) = crate::journal::next_kernel_message(&mut log) else { break };
            self.journal.append(&entry);
        }
        self.kernel_log = Some(log);
    }

    pub(crate) fn drain_captures_of(&mut self, pid: i32) {
        let pid = u32::try_from(pid).unwrap_or(0);
        let fds: Vec<_> =
            self.captures.iter().filter(|(_, capture)| capture.pid == pid).map(|(fd, _)| *fd).collect();
        for fd in fds {
            self.output_came(fd);
        }
    }

    pub(crate) fn output_came(&mut self, fd: RawFd) {
        let Some(mut capture) = self.captures.remove(&fd) else { return };
        let mut buffer = [0; 8192];
        let mut total = 0;
        let open = loop {
            match nix::unistd::read(&capture.fd, &mut buffer) {
                Ok(0) => break false,
                Ok(count) => {
                    self.take_output(&mut capture, &buffer[..count]);
                    total += count;
                    if total >= TURN {
                        break true;
                    }
                }
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => break true,
                Err(_) => break false,
            }
        };
        if open {
            self.captures.insert(fd, capture);
        } else {
            let rest = std::mem::take(&mut capture.line);
            if !rest.is_empty() {
                self.write_line(&capture, &rest);
            }
            self.poller.remove(capture.fd.as_fd());
        }
    }

    fn take_output(&mut self, capture: &mut Capture, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            capture.line.extend_from_slice(piece);
            let whole = capture.line.ends_with(b"\n");
            if whole {
                capture.line.pop();
            }
            if whole || capture.line.len() >= LONGEST_LINE {
                let line = std::mem::take(&mut capture.line);
                self.write_line(capture, &line);
            }
        }
    }

    fn write_line(&mut self, capture: &Capture, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\r', '\0']);
        if text.is_empty() {
            return;
        }
        let (priority, text) = level_prefix(text).unwrap_or((capture.level, text));
        if capture.console {
            self.to_console(&capture.identifier, text);
        }
        let unit = self.unit(capture.unit).name.to_string();
        self.journal.append(&Entry {
            realtime: wall_clock(),
            monotonic: Moment::now().0,
            priority,
            transport: Transport::Stdout,
            pid: capture.pid,
            unit,
            identifier: capture.identifier.clone(),
            message: text.to_owned(),
        });
    }
}

/// `<3>text` says its own level.
fn level_prefix(text: &str) -> Option<(u8, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let number: u8 = number.parse().ok()?;
    Some((number & 7, rest))
}
