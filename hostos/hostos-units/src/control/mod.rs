//! The control socket: clients, their requests, and what they wait for. The wire is in `units-api`.

mod methods;
mod rights;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use unit_file::UnitName;
use units_api::{Answer, ErrorKind, JobState, LONGEST_LINE, Request, UnitState, WireError};

use crate::jobs::JobId;
use crate::poll::Source;
use crate::states::LoadState;
use crate::supervisor::Supervisor;

use self::rights::Rights;

/// Most clients at a time.
const MOST_CLIENTS: usize = 256;

/// Most of them that may only ask: they must not keep others out.
const MOST_READERS: usize = 64;

#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    clients: HashMap<RawFd, Client>,
    waiters: Vec<Waiter>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    rights: Rights,
    input: Vec<u8>,
    output: Vec<u8>,
    subscribed: bool,
}

/// A request that is answered when its jobs have ended.
#[derive(Debug)]
struct Waiter {
    client: RawFd,
    request: u64,
    jobs: BTreeMap<JobId, Option<JobState>>,
}

impl Control {
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        // Everybody may connect; what a client may do is decided for each.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: HashMap::new(), waiters: Vec::new() })
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        self.clients.values().any(|client| client.subscribed)
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Supervisor {
    pub(crate) fn accept_clients(&mut self) {
        while let Ok((stream, _)) = self.control.listener.accept() {
            let rights = Rights::of(&stream, &self.options.admin_groups);
            let clients = self.control.clients.values();
            let readers = clients.filter(|client| client.rights == Rights::Read).count();
            let full = self.control.clients.len() >= MOST_CLIENTS
                || rights == Rights::Read && readers >= MOST_READERS;
            if full
                || stream.set_nonblocking(true).is_err()
                || self.poller.add(&stream, Source::Connection).is_err()
            {
                continue;
            }
            let client = Client { stream, rights, input: Vec::new(), output: Vec::new(), subscribed: false };
            self.control.clients.insert(client.stream.as_raw_fd(), client);
        }
    }

    pub(crate) fn client_ready(&mut self, fd: RawFd) {
        let Some(client) = self.control.clients.get_mut(&fd) else { return };
        let mut open = client.flush().is_ok();
        let mut buffer = [0; 16 * 1024];
        loop {
            match client.stream.read(&mut buffer) {
                Ok(0) => {
                    open = false;
                    break;
                }
                Ok(count) => client.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    open &= error.kind() == io::ErrorKind::WouldBlock;
                    break;
                }
            }
            if client.input.len() > LONGEST_LINE {
                break;
            }
        }
        for line in client.take_lines() {
            self.handle_line(fd, &line);
        }
        let too_long = self.control.clients.get(&fd).is_some_and(|client| client.input.len() > LONGEST_LINE);
        if !open || too_long {
            self.drop_client(fd);
        }
    }

    fn drop_client(&mut self, fd: RawFd) {
        if let Some(client) = self.control.clients.remove(&fd) {
            self.poller.remove(client.stream.as_fd());
        }
        self.control.waiters.retain(|waiter| waiter.client != fd);
    }

    fn handle_line(&mut self, fd: RawFd, line: &[u8]) {
        let request: Request = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(error) => {
                let id = serde_json::from_slice::<serde_json::Value>(line)
                    .ok()
                    .and_then(|value| value["id"].as_u64());
                let error =
                    WireError { kind: ErrorKind::BadRequest, message: format!("not a request: {error}") };
                return self
                    .answer(fd, &Answer { id: id.unwrap_or(0), error: Some(error), ..Answer::default() });
            }
        };
        let id = request.id;
        let rights = self.control.clients.get(&fd).map_or(Rights::Read, |client| client.rights);
        let outcome = if rights.allow(&request.method) {
            self.call(fd, id, request.method)
        } else {
            let message = "Access denied: only root and the machine's administrators may change units".into();
            Err(WireError { kind: ErrorKind::AccessDenied, message })
        };
        if rights == Rights::Read {
            self.forget_what_was_only_asked_for();
        }
        match outcome {
            Ok(Some(answer)) => self.answer(fd, &Answer { id, ..answer }),
            Ok(None) => {}
            Err(error) => self.answer(fd, &Answer { id, error: Some(error), ..Answer::default() }),
        }
        self.settle();
    }

    /// Asking for units that do not exist must not fill the memory of the first process.
    fn forget_what_was_only_asked_for(&mut self) {
        let unknown = self.names.values().copied().filter(|id| {
            let unit = self.unit(*id);
            unit.load == LoadState::NotFound && unit.relations.is_empty() && !self.removed.contains(id)
        });
        let unknown: Vec<_> = unknown.collect();
        self.removed.extend(unknown);
    }

    fn answer(&mut self, fd: RawFd, answer: &Answer) {
        let Some(client) = self.control.clients.get_mut(&fd) else { return };
        let Ok(mut line) = serde_json::to_vec(answer) else { return };
        line.push(b'\n');
        client.output.extend_from_slice(&line);
        let broken = client.flush().is_err();
        // Who does not read what it asked for is let go.
        if broken || client.output.len() > 2 * LONGEST_LINE {
            return self.drop_client(fd);
        }
        let waiting = !client.output.is_empty();
        self.poller.want_write(client.stream.as_fd(), waiting);
    }

    /// Answers the request when all of these jobs have ended.
    fn wait_for(&mut self, client: RawFd, request: u64, jobs: Vec<JobId>) {
        let jobs = jobs.into_iter().map(|job| (job, None)).collect();
        self.control.waiters.push(Waiter { client, request, jobs });
    }

    pub(crate) fn answer_waiters(&mut self, job: JobId, state: &JobState) {
        for waiter in &mut self.control.waiters {
            if let Some(result) = waiter.jobs.get_mut(&job) {
                *result = Some(state.clone());
            }
        }
        let (done, waiting) = std::mem::take(&mut self.control.waiters)
            .into_iter()
            .partition(|waiter| waiter.jobs.values().all(Option::is_some));
        self.control.waiters = waiting;
        for waiter in done {
            let jobs = waiter.jobs.into_values().flatten().collect();
            self.answer(waiter.client, &Answer { id: waiter.request, jobs: Some(jobs), ..Answer::default() });
        }
    }

    pub(crate) fn tell_subscribers(&mut self, state: &UnitState) {
        let subscribed: Vec<_> =
            self.control.clients.iter().filter(|(_, client)| client.subscribed).map(|(fd, _)| *fd).collect();
        for fd in subscribed {
            self.answer(fd, &Answer { event: Some(state.clone()), ..Answer::default() });
        }
    }

    /// Last answers, before the supervisor ends.
    pub(crate) fn flush_clients(&mut self) {
        for waiter in std::mem::take(&mut self.control.waiters) {
            let jobs = waiter.jobs.into_values().flatten().collect();
            self.answer(waiter.client, &Answer { id: waiter.request, jobs: Some(jobs), ..Answer::default() });
        }
    }
}

impl Client {
    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take_lines(&mut self) -> Vec<Vec<u8>> {
        let Some(end) = self.input.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.input.split_off(end + 1);
        let whole = std::mem::replace(&mut self.input, rest);
        whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
    }
}

/// A name as clients give it; a missing suffix means a service.
pub(crate) fn parse_name(text: &str) -> Result<UnitName, WireError> {
    UnitName::from_operator(text)
        .map_err(|error| WireError { kind: ErrorKind::BadName, message: error.to_string() })
}
