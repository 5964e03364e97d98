//! QEMU's control protocol: one JSON object a line, replies matched to commands, events kept for
//! whoever asks. Every call has a limit.
//!
//! A socket's path may be longer than the kernel takes, so it is reached through its folder.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde_json::{Value, json};

/// Why QEMU did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket cannot be used.
    #[error("could not talk to QEMU")]
    Io(#[source] io::Error),
    /// QEMU is gone.
    #[error("QEMU ended")]
    Closed,
    /// No answer in time.
    #[error("QEMU did not answer `{command}` within {} ms", limit.as_millis())]
    TimedOut {
        /// To what.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// QEMU refused.
    #[error("QEMU refused `{command}`: {reason}")]
    Refused {
        /// What.
        command: String,
        /// In its words.
        reason: String,
    },
    /// That is not QMP.
    #[error("what listens there does not speak QMP")]
    Protocol,
}

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    buffer: Vec<u8>,
    events: VecDeque<Value>,
    next_id: u64,
}

impl Qmp {
    /// Connects to a socket in a folder; nothing when nobody listens there.
    pub fn connect(dir: &Path, socket_name: &str, limit: Duration) -> Result<Option<Self>, QmpError> {
        let deadline = Instant::now() + limit;
        let Some(stream) = open(dir, socket_name, deadline, limit)? else { return Ok(None) };
        let mut qmp = Self { stream, buffer: Vec::new(), events: VecDeque::new(), next_id: 0 };
        let greeting = match qmp.line(deadline) {
            Ok(Some(greeting)) => greeting,
            Ok(None) => return Err(QmpError::TimedOut { command: "greeting".into(), limit }),
            // It was going down while we came.
            Err(QmpError::Closed) => return Ok(None),
            Err(error) => return Err(error),
        };
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Protocol);
        }
        qmp.execute("qmp_capabilities", json!({}), deadline.saturating_duration_since(Instant::now()))?;
        Ok(Some(qmp))
    }

    /// Tells QEMU to do something and waits for its reply.
    pub fn execute(&mut self, command: &str, arguments: Value, limit: Duration) -> Result<Value, QmpError> {
        self.next_id += 1;
        let id = self.next_id;
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        self.stream.set_write_timeout(Some(limit.max(Duration::from_millis(1)))).map_err(QmpError::Io)?;
        self.stream.write_all(line.as_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => QmpError::Closed,
            _ => QmpError::Io(error),
        })?;
        let deadline = Instant::now() + limit;
        loop {
            let Some(message) = self.line(deadline)? else {
                return Err(QmpError::TimedOut { command: command.to_owned(), limit });
            };
            if message.get("event").is_some() {
                self.events.push_back(message);
            } else if message.get("id").and_then(Value::as_u64) == Some(id) {
                return reply(command, &message);
            }
        }
    }

    /// The text that a command of the human monitor prints; empty means it had nothing to say.
    pub fn human(&mut self, command_line: &str, limit: Duration) -> Result<String, QmpError> {
        let said = self.execute("human-monitor-command", json!({ "command-line": command_line }), limit)?;
        Ok(said.as_str().unwrap_or_default().trim().to_owned())
    }

    /// The next event, or nothing within `limit`.
    pub fn event(&mut self, limit: Duration) -> Result<Option<Value>, QmpError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        let deadline = Instant::now() + limit;
        while let Some(message) = self.line(deadline)? {
            if message.get("event").is_some() {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn line(&mut self, deadline: Instant) -> Result<Option<Value>, QmpError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|_| QmpError::Protocol);
            }
            if self.buffer.len() > 16 << 20 {
                return Err(QmpError::Protocol);
            }
            // Zero would mean to wait for ever; a millisecond still takes what is already there.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).map_err(QmpError::Io)?;
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(QmpError::Closed),
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        if Instant::now() >= deadline {
                            return Ok(None);
                        }
                    }
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Err(QmpError::Closed),
                    _ => return Err(QmpError::Io(error)),
                },
            }
        }
    }
}

impl AsFd for Qmp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn reply(command: &str, message: &Value) -> Result<Value, QmpError> {
    if let Some(value) = message.get("return") {
        return Ok(value.clone());
    }
    let reason = message.pointer("/error/desc").and_then(Value::as_str).unwrap_or("no reason given");
    Err(QmpError::Refused { command: command.to_owned(), reason: reason.to_owned() })
}

fn open(
    dir: &Path,
    socket_name: &str,
    deadline: Instant,
    limit: Duration,
) -> Result<Option<UnixStream>, QmpError> {
    let dir = match File::open(dir) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(QmpError::Io(error)),
    };
    let path = format!("/proc/self/fd/{}/{socket_name}", dir.as_raw_fd());
    let io = |errno: Errno| QmpError::Io(errno.into());
    let address = UnixAddr::new(path.as_str()).map_err(io)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(io)?;
    loop {
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => break,
            Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::ENOTSOCK) => return Ok(None),
            // Its queue is full: others ask as well.
            Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {
                return Err(QmpError::TimedOut { command: "connect".into(), limit });
            }
            Err(errno) => return Err(io(errno)),
        }
    }
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false).map_err(QmpError::Io)?;
    Ok(Some(stream))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn serve(
        script: impl FnOnce(UnixStream) + Send + 'static,
    ) -> (tempfile::TempDir, thread::JoinHandle<()>) {
        // Longer than the 108 bytes of a socket address.
        let dir = tempfile::Builder::new().prefix(&"long".repeat(30)).tempdir().expect("a folder");
        let fd = File::open(dir.path()).expect("the folder");
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/q.sock", fd.as_raw_fd())).expect("bound");
        let server = thread::spawn(move || script(listener.accept().expect("a client").0));
        (dir, server)
    }

    fn say(stream: &mut UnixStream, text: &str) {
        stream.write_all(format!("{text}\n").as_bytes()).expect("written");
    }

    fn hear(stream: &mut UnixStream) -> Value {
        let mut line = Vec::new();
        let mut byte = [0];
        while byte[0] != b'\n' {
            stream.read_exact(&mut byte).expect("a byte");
            line.push(byte[0]);
        }
        serde_json::from_slice(&line).expect("JSON")
    }

    #[test]
    fn replies_are_matched_and_events_between_them_are_kept() {
        let (dir, server) = serve(|mut stream| {
            say(&mut stream, r#"{"QMP": {}}"#);
            assert_eq!(hear(&mut stream)["execute"], "qmp_capabilities");
            say(&mut stream, r#"{"return": {}, "id": 1}"#);
            hear(&mut stream);
            say(&mut stream, r#"{"event": "POWERDOWN"}"#);
            say(&mut stream, r#"{"return": "stale", "id": 1}"#);
            say(&mut stream, r#"{"return": {"status": "running"}, "id": 2}"#);
            hear(&mut stream);
            say(&mut stream, r#"{"error": {"desc": "no"}, "id": 3}"#);
        });
        let mut qmp = Qmp::connect(dir.path(), "q.sock", LIMIT).expect("connected").expect("someone");
        let status = qmp.execute("query-status", json!({}), LIMIT).expect("a reply");
        assert_eq!(status["status"], "running");
        let event = qmp.event(LIMIT).expect("open").expect("an event");
        assert_eq!(event["event"], "POWERDOWN");
        let error = qmp.execute("x", json!({}), LIMIT).expect_err("refused");
        assert_eq!(error.to_string(), "QEMU refused `x`: no");
        server.join().expect("the server is done");
        assert!(matches!(qmp.event(LIMIT), Err(QmpError::Closed)));
    }

    #[test]
    fn silence_ends_at_the_limit_and_an_abandoned_socket_is_nobody() {
        let (dir, server) = serve(|stream| {
            thread::sleep(Duration::from_millis(150));
            drop(stream);
        });
        let start = Instant::now();
        let result = Qmp::connect(dir.path(), "q.sock", Duration::from_millis(50));
        assert!(matches!(result, Err(QmpError::TimedOut { .. })));
        assert!(start.elapsed() < Duration::from_secs(2));
        server.join().expect("the server is done");
        assert!(Qmp::connect(dir.path(), "q.sock", LIMIT).expect("refused").is_none());
        assert!(Qmp::connect(dir.path(), "none.sock", LIMIT).expect("missing").is_none());
        assert!(Qmp::connect(&dir.path().join("gone"), "q.sock", LIMIT).expect("missing").is_none());
    }
}
