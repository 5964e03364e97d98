//! Runs the unit supervisor and listens to it.

use std::collections::BTreeSet;
use std::path::Path;

use hostos_api::{Failure, Report, Stage};
use hostos_units::{Event, Options, ShutdownAction, Supervisor, UnitState};
use nix::sys::reboot::RebootMode;
use tokio::sync::mpsc;

use crate::failure::failure;
use crate::keep;
use crate::report::Reporter;

/// What the machine is started for.
const TARGET: &str = "multi-user.target";

pub(crate) const ENGINE: &str = "docker.service";
pub(crate) const SSH: &str = "sshd.service";
pub(crate) const KV: &str = "kv.service";
pub(crate) const FLEET: &str = "fleet.service";

/// Daemons that say themselves when they serve. A kv says so as etcd does, once it has a leader, which may
/// need other machines; the fleet agent starts after it.
pub(crate) const TELLING: [&str; 2] = [ENGINE, SSH];

/// What becomes of a unit.
#[derive(Debug)]
pub(crate) enum News {
    /// It is active: a daemon that tells does its work.
    Active(String),
    /// It is not, and will not be.
    Failed(String),
}

/// A supervisor whose units are queued.
pub(crate) struct Units {
    supervisor: Supervisor,
    /// Services that the machine is not ready without.
    pub(crate) expected: Vec<&'static str>,
}

/// Settings of a machine's supervisor.
fn options() -> Options {
    let mut options = Options::system();
    for (name, value) in &mut options.environment {
        if name == "PATH" {
            value.insert_str(0, "/opt/bin:");
        }
    }
    options
}

/// Exists once presets were applied. A power cut before that has them applied again.
const PRESETS_APPLIED: &str = "/var/lib/hostos/presets-applied";

/// Links enabled units where a config or the image asks for it: once, so that what an administrator
/// disables stays so. `fresh` says that a config was applied just now.
pub(crate) fn apply_presets(fresh: bool) {
    let mark = Path::new(PRESETS_APPLIED);
    if mark.exists() && !fresh {
        return;
    }
    for change in hostos_units::apply_presets(&options()) {
        tracing::info!(change, "preset applied");
    }
    // The links are safe before the mark says so.
    nix::unistd::sync();
    if let Err(error) = keep::replace(mark, "") {
        tracing::warn!(%error, "presets will be applied again");
    }
}

/// Queues everything that belongs to the machine's target.
///
/// The receiver hears what becomes of them.
pub(crate) fn start(reporter: &Reporter) -> Result<(Units, mpsc::UnboundedReceiver<News>), Failure> {
    let broken = |error: &dyn std::error::Error| failure(Stage::Units, error, "");
    let mut supervisor = Supervisor::new(options()).map_err(|error| broken(&error))?;
    let (sender, news) = mpsc::unbounded_channel();
    let listener = reporter.clone();
    let mut warned = BTreeSet::new();
    supervisor.on_event(move |event| match event {
        Event::UnitChanged(state) if state.active == "failed" && warned.insert(state.name.clone()) => {
            listener.warn(format!(
                "{} failed ({}); see `journalctl -u {}`",
                state.name, state.result, state.name
            ));
            let _ = sender.send(News::Failed(state.name.clone()));
        }
        Event::UnitChanged(state) if state.active == "active" && TELLING.contains(&state.name.as_str()) => {
            let _ = sender.send(News::Active(state.name.clone()));
        }
        Event::ShuttingDown { reason, .. } => listener.send(Report::Stopping { reason: reason.clone() }),
        _ => {}
    });
    supervisor.start(TARGET).map_err(|error| broken(&error))?;
    let expected = [ENGINE, SSH, KV, FLEET]
        .into_iter()
        .filter(|unit| supervisor.state(unit).is_some_and(|state| is_coming(&state)));
    let expected = expected.collect();
    Ok((Units { supervisor, expected }, news))
}

fn is_coming(state: &UnitState) -> bool {
    !state.job.is_empty() || matches!(state.active.as_str(), "active" | "activating")
}

impl Units {
    pub(crate) fn remote(&self) -> hostos_units::Remote {
        self.supervisor.remote()
    }

    /// Runs until the machine is to end.
    pub(crate) fn run(mut self) -> Result<RebootMode, Failure> {
        match self.supervisor.run() {
            Ok(ShutdownAction::Reboot) => Ok(RebootMode::RB_AUTOBOOT),
            Ok(ShutdownAction::Halt) => Ok(RebootMode::RB_HALT_SYSTEM),
            Ok(ShutdownAction::Kexec) => Ok(RebootMode::RB_KEXEC),
            Ok(ShutdownAction::Poweroff | ShutdownAction::Exit) => Ok(RebootMode::RB_POWER_OFF),
            Err(error) => Err(failure(Stage::Units, &error, "")),
        }
    }
}
