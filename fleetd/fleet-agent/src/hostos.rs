//! The host's own supervisor, over its control socket.
//!
//! Two connections: one for questions, one for events, so that an answer is never behind a queue of
//! events that nobody reads. Each is opened when first needed and anew after an error.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_unit::UnitName;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use units_api::{Answer, ErrorKind, JobRequest, Method, Request};

use crate::{ManagerError, UnitManager, UnitStatus};

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A unit may take its `TimeoutStopSec` to stop; 90 s is its default.
const STOP_LIMIT: Duration = Duration::from_secs(100);

/// A connection to the supervisor.
pub struct HostosManager {
    socket: PathBuf,
    questions: Option<BufReader<UnixStream>>,
    events: Option<BufReader<UnixStream>>,
    last_id: u64,
}

impl HostosManager {
    /// Of the supervisor that listens on this socket, usually [`units_api::SOCKET`].
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), questions: None, events: None, last_id: 0 }
    }

    async fn ask(&mut self, method: Method, limit: Duration) -> Result<Answer, ManagerError> {
        let what = format!("{method:?}");
        let answered = tokio::time::timeout(limit, self.exchange(method)).await;
        let outcome = answered.unwrap_or(Err(ManagerError::Timeout { what }));
        if !matches!(outcome, Ok(_) | Err(ManagerError::Refused(_))) {
            self.questions = None;
        }
        outcome
    }

    async fn exchange(&mut self, method: Method) -> Result<Answer, ManagerError> {
        self.last_id += 1;
        let id = self.last_id;
        let at = self.socket.display().to_string();
        let unreachable = |source| ManagerError::Unreachable { at: at.clone(), source };
        if self.questions.is_none() {
            self.questions =
                Some(BufReader::new(UnixStream::connect(&self.socket).await.map_err(unreachable)?));
        }
        let stream = self.questions.as_mut().expect("it was opened just now");
        write_request(stream, id, method).await.map_err(unreachable)?;
        loop {
            let answer = read_answer(stream).await?.ok_or_else(|| unreachable(closed()))?;
            match answer.error {
                _ if answer.id != id => {}
                Some(error) if error.kind == ErrorKind::BadRequest => {
                    return Err(ManagerError::Protocol(error.message));
                }
                Some(error) => return Err(ManagerError::Refused(error.message)),
                None => return Ok(answer),
            }
        }
    }

    async fn subscribe(&mut self) -> Result<(), ManagerError> {
        let at = self.socket.display().to_string();
        let unreachable = |source| ManagerError::Unreachable { at: at.clone(), source };
        let mut stream = BufReader::new(UnixStream::connect(&self.socket).await.map_err(unreachable)?);
        write_request(&mut stream, 1, Method::Subscribe).await.map_err(unreachable)?;
        self.events = Some(stream);
        Ok(())
    }
}

impl UnitManager for HostosManager {
    async fn load(&mut self, name: &UnitName, text: &str) -> Result<(), ManagerError> {
        let submit = Method::Submit { unit: name.to_string(), text: text.to_owned() };
        self.ask(submit, ANSWER_LIMIT).await?;
        if !text.lines().any(|line| line.trim() == "[Install]") {
            return Ok(());
        }
        let enable = units_api::InstallRequest { units: vec![name.to_string()], runtime: true };
        self.ask(Method::Enable(enable), ANSWER_LIMIT).await.map(drop)
    }

    async fn unload(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        let stop = JobRequest { units: vec![name.to_string()], wait: true, ..JobRequest::default() };
        match self.ask(Method::Stop(stop), STOP_LIMIT).await {
            Ok(_) | Err(ManagerError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        let disable = units_api::InstallRequest { units: vec![name.to_string()], runtime: true };
        for method in [
            Method::Disable(disable),
            Method::Remove { unit: name.to_string() },
            Method::ResetFailed { units: vec![name.to_string()] },
        ] {
            // A unit without links, without a file or without a failure is what is wanted.
            if let Err(error) = self.ask(method, ANSWER_LIMIT).await
                && !matches!(error, ManagerError::Refused(_))
            {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn start(&mut self, name: &UnitName, _fence: i64) -> Result<(), ManagerError> {
        let start = JobRequest { units: vec![name.to_string()], ..JobRequest::default() };
        self.ask(Method::Start(start), ANSWER_LIMIT).await.map(drop)
    }

    async fn stop(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        let stop = JobRequest { units: vec![name.to_string()], ..JobRequest::default() };
        self.ask(Method::Stop(stop), ANSWER_LIMIT).await.map(drop)
    }

    async fn states(&mut self, names: &[UnitName]) -> Result<Vec<UnitStatus>, ManagerError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let units = names.iter().map(UnitName::to_string).collect();
        let answer = self.ask(Method::Status { units }, ANSWER_LIMIT).await?;
        let found = answer.units.unwrap_or_default();
        let status = |name: &UnitName| {
            let state = found.iter().find(|state| state.name == name.as_str());
            state.map_or_else(
                || UnitStatus { load: "not-found".into(), active: "inactive".into(), sub: "dead".into() },
                |it| UnitStatus { load: it.load.clone(), active: it.active.clone(), sub: it.sub.clone() },
            )
        };
        Ok(names.iter().map(status).collect())
    }

    async fn changed(&mut self) -> Result<(), ManagerError> {
        if self.events.is_none() {
            self.subscribe().await?;
        }
        let stream = self.events.as_mut().expect("it was opened just now");
        loop {
            match read_answer(stream).await {
                Ok(Some(answer)) if answer.event.is_some() => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.events = None;
                    let at = self.socket.display().to_string();
                    return Err(ManagerError::Unreachable { at, source: closed() });
                }
                Err(error) => {
                    self.events = None;
                    return Err(error);
                }
            }
        }
    }
}

fn closed() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the connection was closed")
}

async fn write_request(stream: &mut BufReader<UnixStream>, id: u64, method: Method) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(&Request { id, method })?;
    line.push(b'\n');
    stream.write_all(&line).await
}

async fn read_answer(stream: &mut BufReader<UnixStream>) -> Result<Option<Answer>, ManagerError> {
    let mut line = String::new();
    let protocol = |error: &dyn std::fmt::Display| ManagerError::Protocol(error.to_string());
    let read = stream.read_line(&mut line).await.map_err(|error| protocol(&error))?;
    if read == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).map_err(|error| protocol(&error))
}
