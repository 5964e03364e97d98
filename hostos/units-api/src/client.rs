//! A blocking client: one connection, one request at a time, events in between kept for later.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::{
    Answer, InstallRequest, JobMode, JobRequest, JobState, LONGEST_LINE, Method, Request, UnitState,
    WireError,
};

/// A connection to the supervisor.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
    last_id: u64,
    events: VecDeque<UnitState>,
}

/// Why a request had no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("could not reach the unit supervisor at `{path}`")]
    Connect {
        /// The socket.
        path: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke, or the deadline passed.
    #[error("lost the connection to the unit supervisor")]
    Connection(#[from] std::io::Error),
    /// A line that is no answer.
    #[error("the unit supervisor sent a line that is no answer")]
    Answer(#[source] serde_json::Error),
    /// The supervisor refused.
    #[error(transparent)]
    Refused(#[from] WireError),
}

impl Client {
    /// Connects; every later read waits for at most `deadline`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(path: &Path, deadline: Option<Duration>) -> Result<Self, ClientError> {
        let lost = |source| ClientError::Connect { path: path.display().to_string(), source };
        let stream = UnixStream::connect(path).map_err(lost)?;
        stream.set_read_timeout(deadline).map_err(lost)?;
        stream.set_write_timeout(Some(deadline.unwrap_or(Duration::from_secs(30)))).map_err(lost)?;
        Ok(Self { reader: BufReader::new(stream), last_id: 0, events: VecDeque::new() })
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// The connection broke, or the supervisor refused.
    pub fn call(&mut self, method: Method) -> Result<Answer, ClientError> {
        self.last_id += 1;
        let request = Request { id: self.last_id, method };
        let mut line = serde_json::to_string(&request).map_err(ClientError::Answer)?;
        line.push('\n');
        self.reader.get_mut().write_all(line.as_bytes())?;
        loop {
            let mut answer = self.read()?;
            if let Some(event) = answer.event.take() {
                self.events.push_back(event);
            } else if answer.id == self.last_id {
                return match answer.error.take() {
                    Some(error) => Err(error.into()),
                    None => Ok(answer),
                };
            }
        }
    }

    fn read(&mut self) -> Result<Answer, ClientError> {
        let mut line = Vec::new();
        let limit = LONGEST_LINE as u64 + 1;
        (&mut self.reader).take(limit).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_slice(&line).map_err(ClientError::Answer)
    }

    /// Writes a unit's text below /run and loads it.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn submit(&mut self, unit: &str, text: &str) -> Result<(), ClientError> {
        self.call(Method::Submit { unit: unit.to_owned(), text: text.to_owned() }).map(drop)
    }

    /// Undoes [`Client::submit`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn remove(&mut self, unit: &str) -> Result<(), ClientError> {
        self.call(Method::Remove { unit: unit.to_owned() }).map(drop)
    }

    /// Queues a start; with `wait`, returns when it has ended, with its result.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn start(&mut self, unit: &str, wait: bool) -> Result<Vec<JobState>, ClientError> {
        self.call(Method::Start(job(unit, wait))).map(|answer| answer.jobs.unwrap_or_default())
    }

    /// Queues a stop; see [`Client::start`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn stop(&mut self, unit: &str, wait: bool) -> Result<Vec<JobState>, ClientError> {
        self.call(Method::Stop(job(unit, wait))).map(|answer| answer.jobs.unwrap_or_default())
    }

    /// States of the named units.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn status(&mut self, units: &[&str]) -> Result<Vec<UnitState>, ClientError> {
        let units = units.iter().map(|&unit| unit.to_owned()).collect();
        self.call(Method::Status { units }).map(|answer| answer.units.unwrap_or_default())
    }

    /// States of all loaded units.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn list(&mut self) -> Result<Vec<UnitState>, ClientError> {
        self.call(Method::List).map(|answer| answer.units.unwrap_or_default())
    }

    /// Makes the links of a unit's `[Install]` section, below /run with `runtime`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn enable(&mut self, unit: &str, runtime: bool) -> Result<Vec<String>, ClientError> {
        let request = InstallRequest { units: vec![unit.to_owned()], runtime };
        self.call(Method::Enable(request)).map(|answer| answer.changes.unwrap_or_default())
    }

    /// Asks for events; read them with [`Client::next_event`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn subscribe(&mut self) -> Result<(), ClientError> {
        self.call(Method::Subscribe).map(drop)
    }

    /// The next change of a unit; waits for it up to the deadline of the connection.
    ///
    /// # Errors
    /// The connection broke or the deadline passed.
    pub fn next_event(&mut self) -> Result<UnitState, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let answer = self.read()?;
            self.events.extend(answer.event);
        }
    }
}

fn job(unit: &str, wait: bool) -> JobRequest {
    JobRequest { units: vec![unit.to_owned()], mode: JobMode::Replace, wait }
}
