//! One process with its streams: the container's program or an exec session.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::launch::Ends;
use crate::log::{LogWriter, Stream};
use crate::sys;
use crate::wire::Exit;

/// Most stdin bytes kept for a program that does not read.
pub(crate) const STDIN_ROOM: usize = 256 * 1024;
/// What a pipe holds at first.
const PIPE: usize = 64 * 1024;
/// What the pipe of a program that fills it is made to hold, so that it and the shim take turns less often. Not for
/// all from the start: the kernel gives users whose pipes hold too much only tiny ones, containers' programs included.
const LARGE_PIPE: i32 = 512 * 1024;
/// How long a terminal may hold back its last output after the program's end.
const TERMINAL_GRACE: Duration = Duration::from_millis(250);

pub(crate) struct Session {
    /// Empty for the container's own program.
    pub id: String,
    pub pid: i32,
    ends: Ends,
    stdin_queue: VecDeque<u8>,
    stdin_ending: bool,
    /// Close stdin when the client that attached it leaves.
    pub stdin_once: bool,
    log: Option<LogWriter>,
    /// The pipes that were enlarged.
    enlarged: [bool; 2],
    ended: Option<(i32, Instant)>,
    pub exit: Option<Exit>,
}

/// What reading a stream came to.
pub(crate) enum Output {
    Bytes(usize),
    /// Nothing now.
    Empty,
    /// Nothing ever again.
    Closed,
}

impl Session {
    pub(crate) fn new(id: String, pid: i32, ends: Ends, log: Option<LogWriter>, stdin_once: bool) -> Self {
        Self {
            id,
            pid,
            ends,
            stdin_queue: VecDeque::new(),
            stdin_ending: false,
            stdin_once,
            log,
            enlarged: [false; 2],
            ended: None,
            exit: None,
        }
    }

    /// The descriptors to read from now.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = (Stream, &OwnedFd)> {
        let first = self.ends.master.as_ref().or(self.ends.stdout.as_ref()).map(|fd| (Stream::Stdout, fd));
        let second = self.ends.stderr.as_ref().map(|fd| (Stream::Stderr, fd));
        first.into_iter().chain(second)
    }

    /// Where stdin bytes wait to go, if any do.
    pub(crate) fn stdin_wanted(&self) -> Option<&OwnedFd> {
        if self.stdin_queue.is_empty() {
            None
        } else {
            self.ends.master.as_ref().or(self.ends.stdin.as_ref())
        }
    }

    pub(crate) fn stdin_full(&self) -> bool {
        self.stdin_queue.len() >= STDIN_ROOM
    }

    pub(crate) fn push_stdin(&mut self, bytes: &[u8]) {
        if self.ends.master.is_some() || self.ends.stdin.is_some() {
            self.stdin_queue.extend(bytes);
            self.flush_stdin();
        }
    }

    /// Closes stdin once what is queued has been written. A terminal has no end.
    pub(crate) fn end_stdin(&mut self) {
        self.stdin_ending = true;
        self.flush_stdin();
    }

    pub(crate) fn flush_stdin(&mut self) {
        while let Some(fd) = self.stdin_wanted() {
            let (front, _) = self.stdin_queue.as_slices();
            match sys::write(fd.as_fd(), front) {
                Ok(written) => drop(self.stdin_queue.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The program closed its stdin: what is left has no reader.
                Err(_) => {
                    self.stdin_queue.clear();
                    self.ends.stdin = None;
                }
            }
        }
        if self.stdin_ending {
            self.ends.stdin = None;
        }
    }

    /// Reads once from a stream, into the log too.
    pub(crate) fn read(&mut self, stream: Stream, buffer: &mut [u8]) -> Output {
        let Some(fd) = (match stream {
            Stream::Stdout => self.ends.master.as_ref().or(self.ends.stdout.as_ref()),
            Stream::Stderr => self.ends.stderr.as_ref(),
        }) else {
            return Output::Closed;
        };
        match sys::read(fd.as_fd(), buffer) {
            Ok(0) => self.close(stream),
            Ok(length) => {
                if length >= PIPE && !std::mem::replace(&mut self.enlarged[stream as usize], true) {
                    sys::enlarge_pipe(fd.as_fd(), LARGE_PIPE);
                }
                if let Some(log) = &mut self.log {
                    log.write(stream, &buffer[..length]);
                }
                Output::Bytes(length)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Output::Empty
            }
            // A terminal whose other side is gone says EIO.
            Err(_) => self.close(stream),
        }
    }

    fn close(&mut self, stream: Stream) -> Output {
        match stream {
            Stream::Stdout => (self.ends.stdout, self.ends.master) = (None, None),
            Stream::Stderr => self.ends.stderr = None,
        }
        if let Some(log) = &mut self.log {
            log.finish(stream);
        }
        Output::Closed
    }

    /// The process was reaped with this wait status.
    pub(crate) fn reaped(&mut self, status: i32) {
        self.ended.get_or_insert((status, Instant::now()));
    }

    pub(crate) fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    pub(crate) fn wait_status(&self) -> Option<i32> {
        self.ended.map(|(status, _)| status)
    }

    /// Ended, and may a stream that is empty now be taken as finished?
    pub(crate) fn drained_when_empty(&self) -> bool {
        self.ended.is_some_and(|(_, at)| self.ends.master.is_none() || at.elapsed() > TERMINAL_GRACE)
    }

    /// Closes everything; the exit is final.
    pub(crate) fn conclude(&mut self, exit: Exit) {
        self.close(Stream::Stdout);
        self.close(Stream::Stderr);
        self.ends = Ends::default();
        self.stdin_queue = VecDeque::new();
        self.exit = Some(exit);
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        match &self.ends.master {
            Some(master) => sys::set_window_size(master.as_fd(), rows, columns),
            None => Ok(()),
        }
    }

    /// Signals the process; it cannot have been replaced, as only we reap it.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        if self.is_running() {
            sys::kill(self.pid, signal)
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    }

    pub(crate) fn reopen_log(&mut self) -> io::Result<()> {
        self.log.as_mut().map_or(Ok(()), LogWriter::reopen)
    }
}
