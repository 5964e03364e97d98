//! Speaking to one machine's QEMU: being sure that it is this machine's, and ending it.

use std::path::Path;
use std::time::{Duration, Instant};

use machine_core::driver::{DriverError, Place, Session};
use serde_json::json;

use crate::files;
use crate::process::Process;
use crate::qmp::{Qmp, QmpError};

/// For one question to a QEMU that may be busy.
pub(crate) const ASK: Duration = Duration::from_secs(5);
/// For a guest to go down by itself after the power button.
pub(crate) const POWER_DOWN: Duration = Duration::from_secs(30);
/// For an answer of a QEMU that is to end in any case.
const DEAF: Duration = Duration::from_secs(2);
/// For a killed process to vanish.
const VANISH: Duration = Duration::from_secs(10);

/// Ends every QEMU that outlived its machine's folder; says how many there were.
pub fn sweep_orphans(dir: &Path) -> usize {
    let orphans = Process::orphans(dir);
    for orphan in &orphans {
        tracing::info!(pid = orphan.pid(), dir = %dir.display(), "ending a QEMU without a folder");
        orphan.kill();
        orphan.wait(VANISH, &|| false);
    }
    orphans.len()
}

/// Ends whatever QEMU listens in a machine's folder, although nothing else is known of the machine.
pub fn sweep(dir: &Path) -> Result<(), DriverError> {
    match Qmp::connect(dir, files::CONTROL, ASK) {
        Ok(Some(mut qmp)) => quit(&mut qmp),
        Ok(None) => Ok(()),
        Err(error) => Err(DriverError::failed("could not end QEMU").source(error)),
    }
}

/// Why a QEMU did not say who it is.
pub(crate) enum AskError {
    Foreign(String),
    Qmp(QmpError),
}

impl From<QmpError> for AskError {
    fn from(error: QmpError) -> Self {
        Self::Qmp(error)
    }
}

/// Whether it is the QEMU of this machine.
pub(crate) fn ask_identity(qmp: &mut Qmp, place: &Place, limit: Duration) -> Result<(), AskError> {
    let answer = qmp.execute("query-uuid", json!({}), limit)?;
    let uuid = answer["UUID"].as_str().unwrap_or_default();
    if uuid.eq_ignore_ascii_case(&place.id.to_string()) {
        Ok(())
    } else {
        Err(AskError::Foreign(uuid.to_owned()))
    }
}

/// Told of a QEMU that is not.
pub(crate) fn foreign(place: &Place, uuid: &str) -> DriverError {
    DriverError::failed(format!(
        "the QEMU that listens in {} is another machine: it has UUID {uuid}, not {}",
        place.dir.display(),
        place.id
    ))
    .hint("end that QEMU by hand; rmachine does not touch it")
}

/// The machine's QEMU, if one runs. It is certain to be this machine's.
pub(crate) fn connect(place: &Place, socket: &str) -> Result<Option<Qmp>, DriverError> {
    connect_within(place, socket, ASK)
}

fn connect_within(place: &Place, socket: &str, limit: Duration) -> Result<Option<Qmp>, DriverError> {
    let silent = |error: QmpError| {
        DriverError::failed(format!("QEMU of machine `{}` does not answer", place.name))
            .source(error)
            .hint(format!("end it with `rmachine kill {}`", place.name))
    };
    let Some(mut qmp) = Qmp::connect(&place.dir, socket, limit).map_err(silent)? else { return Ok(None) };
    match ask_identity(&mut qmp, place, limit) {
        Ok(()) => Ok(Some(qmp)),
        Err(AskError::Foreign(uuid)) => Err(foreign(place, &uuid)),
        Err(AskError::Qmp(QmpError::Closed)) => Ok(None),
        Err(AskError::Qmp(error)) => Err(silent(error)),
    }
}

/// Presses the power button until the machine goes down; says whether it did.
pub(crate) fn power_down(qmp: &mut Qmp, session: &Session<'_>) -> Result<bool, DriverError> {
    let failed = |error: QmpError| DriverError::failed("the power button did not work").source(error);
    let start = Instant::now();
    let mut pressed: Option<Instant> = None;
    // A paused machine would not notice the button.
    match qmp.execute("cont", json!({}), ASK) {
        Ok(_) | Err(QmpError::Refused { .. }) => {}
        Err(error) => return Err(failed(error)),
    }
    while start.elapsed() < POWER_DOWN {
        session.cancel.check()?;
        // Early in its boot a machine does not listen to the button yet: press again.
        if pressed.is_none_or(|at| at.elapsed() > Duration::from_secs(2)) {
            match qmp.execute("system_powerdown", json!({}), ASK) {
                Ok(_) => pressed = Some(Instant::now()),
                Err(QmpError::Closed) => return Ok(true),
                Err(error) => return Err(failed(error)),
            }
        }
        match qmp.event(Duration::from_millis(50)) {
            Ok(_) => {}
            Err(QmpError::Closed) => return Ok(true),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(false)
}

/// Turns the machine off, by asking QEMU or, if it is deaf, by a signal to what is certain to be it.
pub(crate) fn end(place: &Place) -> Result<(), DriverError> {
    let process = Process::find(&place.dir, place.id);
    // A deaf one that we know by its pid is not waited for long.
    let limit = if process.is_some() { DEAF } else { ASK };
    match connect_within(place, files::CONTROL, limit) {
        Ok(Some(mut qmp)) => {
            if let Err(error) = quit(&mut qmp) {
                tracing::debug!(%error, "QEMU did not quit");
            }
        }
        Ok(None) => {}
        Err(error) if process.is_none() => return Err(error),
        Err(error) => tracing::debug!(%error, "QEMU is deaf"),
    }
    let Some(process) = process else { return Ok(()) };
    if process.wait(Duration::from_secs(1), &|| false) {
        return Ok(());
    }
    process.kill();
    if process.wait(VANISH, &|| false) {
        Ok(())
    } else {
        Err(DriverError::failed(format!(
            "QEMU of machine `{}`, process {}, does not end",
            place.name,
            process.pid()
        )))
    }
}

fn quit(qmp: &mut Qmp) -> Result<(), DriverError> {
    match qmp.execute("quit", json!({}), ASK) {
        Ok(_) | Err(QmpError::Closed) => {}
        Err(error) => return Err(DriverError::failed("QEMU did not quit").source(error)),
    }
    let deadline = Instant::now() + ASK;
    while Instant::now() < deadline {
        if let Err(QmpError::Closed) = qmp.event(Duration::from_millis(50)) {
            return Ok(());
        }
    }
    Err(DriverError::failed("QEMU did not quit"))
}
