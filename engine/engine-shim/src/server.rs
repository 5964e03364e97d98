//! The shim's one loop: streams, clients, children, until the container is over.
//!
//! Single-threaded and level-triggered: each round polls what can make
//! progress, so a client that does not read stops only its own session (once
//! [`BACKLOG`] bytes wait for it), as with Docker.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::connection::{BACKLOG, Connection, StreamOf};
use crate::launch::Prepared;
use crate::log::{LogWriter, Stream};
use crate::session::{Output, Session};
use crate::spec::{ExecSpec, Spec, Stdin};
use crate::status;
use crate::sys::{self, PollFd};
use crate::wire::{Kind, Reply, Request};

/// Clients that do not take the last bytes are dropped after this.
const FAREWELL: Duration = Duration::from_secs(30);
/// Ended exec sessions remembered for their exit code.
const REMEMBERED: usize = 256;
/// Moving to another cgroup can take the kernel ten milliseconds, in which a
/// short program would have ended: so not at once.
const LEAVE_SERVICE_AFTER: Duration = Duration::from_millis(100);
/// How long a program that was never started waits for an engine, when the one that made it is gone.
const UNCLAIMED: Duration = Duration::from_secs(10);
const BUFFER: usize = 256 * 1024;

pub(crate) struct Server {
    spec: Spec,
    container: Prepared,
    /// The container's program first, exec sessions after it.
    sessions: Vec<Session>,
    connections: Vec<Connection>,
    listener: UnixListener,
    signals: OwnedFd,
    started: bool,
    leave_service_at: Option<Instant>,
    /// Since when nobody is there to start the program.
    unclaimed_since: Option<Instant>,
    /// Set once the container is over: when to stop waiting for clients.
    farewell: Option<Instant>,
    buffer: Vec<u8>,
}

enum Token {
    Listener,
    Signals,
    Connection(usize),
    Output(usize, Stream),
    Stdin(usize),
}

impl Server {
    pub(crate) fn new(
        spec: Spec,
        mut container: Prepared,
        log: LogWriter,
        listener: UnixListener,
        signals: OwnedFd,
        control: UnixStream,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let ends = std::mem::take(&mut container.ends);
        let once = spec.stdin == Stdin::Once;
        let main = Session::new(String::new(), container.pid, ends, Some(log), once);
        Ok(Self {
            container,
            sessions: vec![main],
            connections: vec![Connection::new(control)?],
            listener,
            signals,
            started: false,
            leave_service_at: None,
            unclaimed_since: None,
            farewell: None,
            buffer: vec![0; BUFFER],
            spec,
        })
    }

    /// Serves until the container has ended and everybody knows.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let warnings = std::mem::take(&mut self.container.warnings);
        self.connections[0].send_json(Kind::Reply, &Reply::Prepared { pid: self.container.pid, warnings });
        loop {
            self.connections.retain(|connection| !connection.is_over());
            self.give_up_unclaimed();
            if self.is_over() {
                return Ok(());
            }
            self.round()?;
        }
    }

    fn give_up_unclaimed(&mut self) {
        if self.started || !self.connections.is_empty() {
            self.unclaimed_since = None;
            return;
        }
        let since = *self.unclaimed_since.get_or_insert_with(Instant::now);
        if since.elapsed() > UNCLAIMED {
            // It may be dead already.
            let _ = sys::kill(self.container.pid, libc::SIGKILL);
        }
    }

    fn is_over(&self) -> bool {
        let Some(deadline) = self.farewell else { return false };
        let execs_over = self.sessions.iter().all(|session| session.exit.is_some());
        let sent = self.connections.iter().all(|connection| connection.pending() == 0);
        (execs_over && sent) || Instant::now() > deadline
    }

    fn round(&mut self) -> io::Result<()> {
        let (mut entries, tokens) = self.interests();
        sys::poll(&mut entries, self.patience())?;
        if self.leave_service_at.is_some_and(|at| at <= Instant::now()) {
            self.leave_service_at = None;
            status::leave_service(&self.spec.cgroup);
        }
        for (entry, token) in entries.iter().zip(tokens) {
            if entry.revents == 0 {
                continue;
            }
            match token {
                Token::Listener => self.accept(),
                Token::Signals => self.reap(),
                Token::Connection(index) => self.serve_connection(index, entry.revents),
                Token::Output(index, stream) => {
                    self.pump(index, stream);
                }
                Token::Stdin(index) => self.sessions[index].flush_stdin(),
            }
        }
        self.conclude_sessions();
        Ok(())
    }

    /// Milliseconds until something has to be looked at unasked; -1: never.
    fn patience(&self) -> i32 {
        let settling =
            self.farewell.is_some() || self.sessions.iter().any(|s| !s.is_running() && s.exit.is_none());
        match (settling, self.leave_service_at) {
            (true, _) => 20,
            (false, Some(_)) => LEAVE_SERVICE_AFTER.as_millis() as i32,
            (false, None) if self.unclaimed_since.is_some() => 1000,
            (false, None) => -1,
        }
    }

    fn interests(&self) -> (Vec<PollFd>, Vec<Token>) {
        let (mut entries, mut tokens) = (Vec::new(), Vec::new());
        let mut add = |fd: RawFd, events: i16, token: Token| {
            entries.push(PollFd { fd, events, revents: 0 });
            tokens.push(token);
        };
        add(self.listener.as_raw_fd(), libc::POLLIN, Token::Listener);
        add(self.signals.as_raw_fd(), libc::POLLIN, Token::Signals);
        for (index, session) in self.sessions.iter().enumerate() {
            if let Some(fd) = session.stdin_wanted() {
                add(fd.as_raw_fd(), libc::POLLOUT, Token::Stdin(index));
            }
            if !self.is_held_up(session) {
                for (stream, fd) in session.outputs() {
                    add(fd.as_raw_fd(), libc::POLLIN, Token::Output(index, stream));
                }
            }
        }
        for (index, connection) in self.connections.iter().enumerate() {
            let mut events = if connection.pending() > 0 { libc::POLLOUT } else { 0 };
            if !connection.closing && !self.stdin_is_full(connection) {
                events |= libc::POLLIN;
            }
            add(connection.socket().as_raw_fd(), events, Token::Connection(index));
        }
        (entries, tokens)
    }

    fn is_held_up(&self, session: &Session) -> bool {
        self.connections.iter().any(|c| {
            c.pending() > BACKLOG && c.stream.as_ref().is_some_and(|stream| stream.session == session.id)
        })
    }

    fn stdin_is_full(&self, connection: &Connection) -> bool {
        let Some(stream) = &connection.stream else { return false };
        self.sessions.iter().any(|session| session.id == stream.session && session.stdin_full())
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            if let Ok(connection) = Connection::new(socket) {
                self.connections.push(connection);
            }
        }
    }

    fn reap(&mut self) {
        let _ = sys::read(self.signals.as_fd(), &mut self.buffer);
        while let Some((pid, status)) = sys::reap() {
            // Others are orphans of the container that fell to us.
            if let Some(session) =
                self.sessions.iter_mut().find(|session| session.pid == pid && session.is_running())
            {
                session.reaped(status);
            }
        }
    }

    /// Reads one stream once and hands it to its clients. False when there was nothing.
    fn pump(&mut self, index: usize, stream: Stream) -> bool {
        let session = &mut self.sessions[index];
        let Output::Bytes(length) = session.read(stream, &mut self.buffer) else { return false };
        let kind = match stream {
            Stream::Stdout => Kind::Stdout,
            Stream::Stderr => Kind::Stderr,
        };
        for connection in &mut self.connections {
            let wanted = connection.stream.as_ref().is_some_and(|of| {
                of.session == session.id
                    && match stream {
                        Stream::Stdout => of.stdout,
                        Stream::Stderr => of.stderr,
                    }
            });
            if wanted && !connection.broken {
                connection.send(kind, &self.buffer[..length]);
            }
        }
        true
    }

    /// Ends the sessions whose process is gone and whose output has all been read.
    fn conclude_sessions(&mut self) {
        for index in 0..self.sessions.len() {
            if self.sessions[index].is_running() || self.sessions[index].exit.is_some() {
                continue;
            }
            if self.drain(index) {
                self.conclude(index);
            }
        }
        self.forget_old_execs();
    }

    /// Reads on until the streams are empty; false when a client holds it up.
    fn drain(&mut self, index: usize) -> bool {
        for stream in [Stream::Stdout, Stream::Stderr] {
            loop {
                if self.is_held_up(&self.sessions[index]) {
                    return false;
                }
                if !self.pump(index, stream) {
                    break;
                }
            }
        }
        self.sessions[index].outputs().next().is_none() || self.sessions[index].drained_when_empty()
    }

    fn conclude(&mut self, index: usize) {
        let mut exit = status::exit_of(self.sessions[index].wait_status().unwrap_or(0));
        if index == 0 {
            exit.oom_killed = status::was_out_of_memory(&self.spec.cgroup);
        }
        self.sessions[index].conclude(exit.clone());
        if index == 0 {
            status::write_exit(&exit);
            self.farewell = Some(Instant::now() + FAREWELL);
        }
        let id = self.sessions[index].id.clone();
        for connection in &mut self.connections {
            if connection.stream.as_ref().is_some_and(|stream| stream.session == id) {
                connection.send_json(Kind::Exit, &exit);
                connection.closing = true;
            } else if index == 0 && connection.waiting {
                connection.waiting = false;
                connection.send_json(Kind::Reply, &Reply::Exited { exit: exit.clone() });
            }
        }
    }

    fn forget_old_execs(&mut self) {
        let over = self.sessions.iter().skip(1).filter(|session| session.exit.is_some()).count();
        if over > REMEMBERED
            && let Some(oldest) = self.sessions.iter().skip(1).position(|session| session.exit.is_some())
        {
            self.sessions.remove(oldest + 1);
        }
    }

    fn serve_connection(&mut self, index: usize, events: i16) {
        let connection = &mut self.connections[index];
        if events & libc::POLLOUT != 0 {
            connection.flush();
        }
        if events & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) == 0 || connection.closing {
            if connection.closing && events & (libc::POLLHUP | libc::POLLERR) != 0 {
                connection.broken = true;
            }
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let alive = connection.fill(&mut buffer);
        self.buffer = buffer;
        while let Some((kind, payload)) = self.connections[index].next_message() {
            self.take_message(index, kind, &payload);
        }
        if !alive {
            self.connections[index].broken = true;
        }
        if self.connections[index].broken {
            self.client_left(index);
        }
    }

    fn client_left(&mut self, index: usize) {
        let Some(stream) = self.connections[index].stream.clone() else { return };
        if let Some(session) = self.sessions.iter_mut().find(|session| session.id == stream.session)
            && stream.stdin
            && session.stdin_once
        {
            session.end_stdin();
        }
    }

    fn take_message(&mut self, index: usize, kind: Kind, payload: &[u8]) {
        match kind {
            Kind::Request => match serde_json::from_slice(payload) {
                Ok(request) => self.answer(index, request),
                Err(error) => self.reply(index, &refused(format!("unreadable request: {error}"))),
            },
            Kind::Stdin | Kind::StdinEof => {
                let Some(stream) = self.connections[index].stream.clone() else { return };
                let Some(session) = self.sessions.iter_mut().find(|s| s.id == stream.session) else { return };
                if stream.stdin && kind == Kind::Stdin {
                    session.push_stdin(payload);
                } else if stream.stdin && session.stdin_once {
                    session.end_stdin();
                }
            }
            Kind::Reply | Kind::Stdout | Kind::Stderr | Kind::Exit => self.connections[index].broken = true,
        }
    }

    fn reply(&mut self, index: usize, reply: &Reply) {
        self.connections[index].send_json(Kind::Reply, reply);
    }

    fn answer(&mut self, index: usize, request: Request) {
        let reply = match request {
            Request::Start => self.start(),
            Request::State => {
                let main = &self.sessions[0];
                Reply::State {
                    pid: main.pid,
                    running: self.started && main.is_running(),
                    exit: main.exit.clone(),
                }
            }
            Request::Wait => match &self.sessions[0].exit {
                Some(exit) => Reply::Exited { exit: exit.clone() },
                None => {
                    self.connections[index].waiting = true;
                    return;
                }
            },
            Request::Attach { exec, stdin, stdout, stderr } => {
                return self.attach(index, exec.unwrap_or_default(), stdin, stdout, stderr);
            }
            Request::Exec { spec, stdin, stdout, stderr } => {
                return self.exec(index, &spec, stdin, stdout, stderr);
            }
            Request::ExecState { id } => match self.session(&Some(id)) {
                Some(session) => Reply::State {
                    pid: session.pid,
                    running: session.exit.is_none(),
                    exit: session.exit.clone(),
                },
                None => refused("no such exec session"),
            },
            Request::Resize { exec, rows, columns } => {
                done(self.session(&exec).map(|session| session.resize(rows, columns)))
            }
            Request::Signal { exec, signal } => {
                done(self.session(&exec).map(|session| session.signal(signal)))
            }
            Request::ReopenLog => done(Some(self.sessions[0].reopen_log())),
            Request::Abandon => {
                if !self.started {
                    let _ = sys::kill(self.container.pid, libc::SIGKILL);
                }
                Reply::Done
            }
        };
        self.reply(index, &reply);
    }

    fn session(&self, id: &Option<String>) -> Option<&Session> {
        let id = id.as_deref().unwrap_or_default();
        self.sessions.iter().find(|session| session.id == id)
    }

    fn start(&mut self) -> Reply {
        if self.started {
            return refused("already started");
        }
        match self.container.go() {
            Ok(()) => {
                self.started = true;
                status::write_started(self.container.pid);
                self.leave_service_at = Some(Instant::now() + LEAVE_SERVICE_AFTER);
                Reply::Started { pid: self.container.pid }
            }
            Err(failure) => Reply::Failed { code: failure.code, message: failure.message },
        }
    }

    fn attach(&mut self, index: usize, session: String, stdin: bool, stdout: bool, stderr: bool) {
        let Some(found) = self.sessions.iter().find(|known| known.id == session) else {
            return self.reply(index, &refused("no such exec session"));
        };
        let (pid, exit) = (found.pid, found.exit.clone());
        self.reply(index, &Reply::Started { pid });
        let connection = &mut self.connections[index];
        if let Some(exit) = exit {
            connection.send_json(Kind::Exit, &exit);
            connection.closing = true;
        }
        connection.stream = Some(StreamOf { session, stdin, stdout, stderr });
    }

    fn exec(&mut self, index: usize, exec: &ExecSpec, stdin: bool, stdout: bool, stderr: bool) {
        if !self.started || !self.sessions[0].is_running() {
            return self.reply(index, &refused("container is not running"));
        }
        if exec.id.is_empty() || self.sessions.iter().any(|session| session.id == exec.id) {
            return self.reply(index, &refused("exec session id is empty or taken"));
        }
        match crate::exec::start(&self.spec, self.container.pid, exec) {
            Ok((pid, ends)) => {
                self.sessions.push(Session::new(exec.id.clone(), pid, ends, None, true));
                self.reply(index, &Reply::Started { pid });
                if stdin || stdout || stderr {
                    let session = exec.id.clone();
                    self.connections[index].stream = Some(StreamOf { session, stdin, stdout, stderr });
                }
            }
            Err(failure) => {
                self.reply(index, &Reply::Failed { code: failure.code, message: failure.message });
            }
        }
    }
}

fn refused(message: impl Into<String>) -> Reply {
    Reply::Failed { code: crate::failure::SETUP, message: message.into() }
}

fn done(result: Option<io::Result<()>>) -> Reply {
    match result {
        Some(Ok(())) => Reply::Done,
        Some(Err(error)) => refused(sys::errno_text(&error)),
        None => refused("no such exec session"),
    }
}
