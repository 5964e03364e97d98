//! systemd, for machines that are not ours, spoken to over D-Bus as its manual page
//! org.freedesktop.systemd1(5) says: `bus` is the way there, `wire` the bytes, `signals` what it tells.
//!
//! Unit files lie in fleet's units directory and are linked into systemd for as long as the machine is
//! up, as fleet does. Nothing outside that directory is written by this program itself.

mod bus;
mod signals;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_unit::UnitName;

use crate::{ManagerError, UnitManager, UnitStatus};

use bus::{CallError, Connection, Ways};
use signals::{Told, job_ended, told};
use wire::Argument::{Flag, Text, Texts};

/// A unit may take its `TimeoutStopSec` to stop; 90 s is its default.
const STOP_LIMIT: Duration = Duration::from_secs(100);
/// Links and enablings end with the machine's uptime.
const RUNTIME: wire::Argument<'_> = Flag(true);
/// Files of others are not overwritten.
const FORCE: wire::Argument<'_> = Flag(false);
/// A job in the way is replaced.
const MODE: wire::Argument<'_> = Text("replace");

/// systemd of the machine or of a user.
pub struct SystemdManager {
    directory: PathBuf,
    ways: Ways,
    heard: Option<Connection>,
}

impl SystemdManager {
    /// With unit files in this directory; `user`: the instance of the user that this program runs as.
    #[must_use]
    pub fn new(directory: &Path, user: bool) -> Self {
        Self::reached(directory, if user { Ways::of_user() } else { Ways::of_system() })
    }

    /// The systemd that is on the message bus of this socket, and no other.
    #[must_use]
    pub fn on_bus(directory: &Path, socket: &Path) -> Self {
        Self::reached(directory, Ways::bus(socket))
    }

    fn reached(directory: &Path, ways: Ways) -> Self {
        Self { directory: directory.to_owned(), ways, heard: None }
    }

    fn path(&self, name: &UnitName) -> PathBuf {
        self.directory.join(name.as_str())
    }

    async fn listen(&self) -> Result<Connection, CallError> {
        let mut connection = self.ways.open().await?;
        connection.listen().await?;
        Ok(connection)
    }
}

impl UnitManager for SystemdManager {
    async fn load(&mut self, name: &UnitName, text: &str) -> Result<(), ManagerError> {
        let path = self.path(name);
        let written = std::fs::create_dir_all(&self.directory).and_then(|()| std::fs::write(&path, text));
        written
            .map_err(|error| ManagerError::Refused(format!("could not write {}: {error}", path.display())))?;
        let mut systemd = self.ways.open().await?;
        systemd.call("LinkUnitFiles", &[Texts(&[&path.to_string_lossy()]), RUNTIME, FORCE]).await?;
        systemd.call("Reload", &[]).await?;
        if text.lines().any(|line| line.trim() == "[Install]") {
            systemd.call("EnableUnitFiles", &[Texts(&[name.as_str()]), RUNTIME, FORCE]).await?;
            systemd.call("Reload", &[]).await?;
        }
        Ok(())
    }

    async fn unload(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        let mut systemd = self.listen().await?;
        match tokio::time::timeout(STOP_LIMIT, stopped(&mut systemd, name)).await {
            Err(_) => return Err(ManagerError::Timeout { what: format!("StopUnit {name}") }),
            Ok(Ok(()) | Err(CallError::NoSuchUnit(_))) => {}
            Ok(Err(error)) => return Err(error.into()),
        }
        // It was not linked.
        let disabled = systemd.call("DisableUnitFiles", &[Texts(&[name.as_str()]), RUNTIME]).await;
        disabled.map(drop).or_else(CallError::unless_refused)?;
        // It has not failed, or is not known any more.
        let reset = systemd.call("ResetFailedUnit", &[Text(name.as_str())]).await;
        reset.map(drop).or_else(CallError::unless_refused)?;
        let _ = std::fs::remove_file(self.path(name));
        systemd.call("Reload", &[]).await?;
        Ok(())
    }

    async fn start(&mut self, name: &UnitName, _fence: i64) -> Result<(), ManagerError> {
        self.ways.open().await?.call("StartUnit", &[Text(name.as_str()), MODE]).await?;
        Ok(())
    }

    async fn stop(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        self.ways.open().await?.call("StopUnit", &[Text(name.as_str()), MODE]).await?;
        Ok(())
    }

    async fn states(&mut self, names: &[UnitName]) -> Result<Vec<UnitStatus>, ManagerError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<&str> = names.iter().map(UnitName::as_str).collect();
        let answer = self.ways.open().await?.call("ListUnitsByNames", &[Texts(&asked)]).await?;
        let listed = listed(&answer).map_err(CallError::from)?;
        // It leaves out names that it finds invalid; the others come in the order they were named.
        if listed.len() == names.len() {
            return Ok(listed);
        }
        let what = format!("ListUnitsByNames: {} states of {} units", listed.len(), names.len());
        Err(ManagerError::Protocol(what))
    }

    async fn changed(&mut self) -> Result<(), ManagerError> {
        let Some(heard) = &mut self.heard else {
            // Whatever changed before was not heard.
            self.heard = Some(self.listen().await?);
            return Ok(());
        };
        loop {
            match heard.signal().await.map(|signal| told(&signal)) {
                Ok(Told::All) => return Ok(()),
                Ok(Told::Unit(unit)) if self.directory.join(&unit).exists() => return Ok(()),
                // systemd tells of its other units too.
                Ok(Told::Unit(_) | Told::Nothing) => {}
                Err(error) => {
                    self.heard = None;
                    return Err(error.into());
                }
            }
        }
    }
}

/// Asks for a stop on a connection that listens; returns when the unit has stopped.
async fn stopped(systemd: &mut Connection, name: &UnitName) -> Result<(), CallError> {
    let answer = systemd.call("StopUnit", &[Text(name.as_str()), MODE]).await?;
    let job = answer.said("o")?.text()?;
    loop {
        match job_ended(&systemd.signal().await?).filter(|ended| ended.job == job) {
            None => {}
            Some(ended) if ended.result == "done" => return Ok(()),
            Some(ended) => {
                let how = format!("StopUnit {name}: its job ended as `{}`", ended.result);
                let next = format!("`systemctl status {name}` on this machine tells more");
                return Err(CallError::Refused(format!("{how}; {next}")));
            }
        }
    }
}

/// The states in an answer that lists units: after its name and description come three states, and
/// then what it follows, its object, and its job's number, type and object.
fn listed(answer: &wire::Message) -> Result<Vec<UnitStatus>, wire::Malformed> {
    answer.said("a(ssssssouso)")?.structures(|unit| {
        let (_name, _description) = (unit.text()?, unit.text()?);
        let status = UnitStatus { load: unit.text()?, active: unit.text()?, sub: unit.text()? };
        let (_followed, _object) = (unit.text()?, unit.text()?);
        let (_job, _kind, _job_object) = (unit.number()?, unit.text()?, unit.text()?);
        Ok(status)
    })
}
