//! The driver itself: starts QEMU, asks it, ends it.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use machine_core::boot::{BootWatch, Phase, last_lines};
use machine_core::driver::{Driver, DriverError, ErrorKind, Event, Forward, Place, Session, SshEndpoint};
use machine_store::{Image, Store, write_unsynced};
use machine_types::State;
use serde_json::{Value, json};

use crate::check::{check_room, check_shape, find_program};
use crate::config::{ENGINE_PORT, QemuConfig, SSH_PORT};
use crate::control::{ASK, AskError, POWER_DOWN, ask_identity, connect, end, foreign, power_down};
use crate::process::Process;
use crate::qmp::{Qmp, QmpError};
use crate::ready::{self, Outcome};
use crate::{accel, command, files, forward, kernel_arguments};

/// Under KVM a kernel prints its first line at once.
const MUTE: Duration = Duration::from_secs(15);

/// One machine as a QEMU process.
#[derive(Debug)]
pub struct QemuDriver {
    config: QemuConfig,
}

impl QemuDriver {
    /// A driver for a machine of this shape.
    #[must_use]
    pub fn new(config: QemuConfig) -> Self {
        Self { config }
    }

    /// A driver for what `config.json` keeps.
    pub fn load(data: Value) -> Result<Self, DriverError> {
        serde_json::from_value(data).map(Self::new).map_err(|error| {
            DriverError::failed("config.json does not describe a QEMU machine").source(error)
        })
    }

    /// What it keeps.
    #[must_use]
    pub fn config(&self) -> &QemuConfig {
        &self.config
    }

    fn image(place: &Place, id: &str) -> Result<Image, DriverError> {
        let store = Store::at(&place.store)
            .map_err(|error| DriverError::failed("the store is not readable").source(error))?;
        Image::find(&store, id).map_err(|error| {
            DriverError::failed(format!("machine `{}` cannot start without its image", place.name))
                .source(error)
                .hint("see `rmachine image ls`, or build one with `cargo xtask image`")
        })
    }

    fn launch(&mut self, session: &Session<'_>) -> Result<Qmp, DriverError> {
        let place = session.place;
        let image = Self::image(place, &self.config.image)?;
        let verdict = accel::choose(self.config.accel, &place.store.join("cache"))?;
        verdict.as_str().clone_into(&mut self.config.accel_used);
        self.config.accel_reason.clone_from(&verdict.reason);
        for stale in [files::CONTROL, files::QUERY, files::CONSOLE, files::REPORT, files::SERIAL] {
            // Missing is what we want.
            let _ = fs::remove_file(place.dir.join(stale));
        }
        let program = find_program(&self.config.program)?;
        let log_path = place.dir.join(files::QEMU_LOG);
        let log = File::create(&log_path)
            .map_err(|error| DriverError::failed("could not write QEMU's log").source(error))?;
        let status = Command::new(&program)
            .args(command::arguments(&self.config, place, &image, &verdict))
            .current_dir(&place.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .status()
            .map_err(|error| {
                DriverError::failed(format!("could not start {}", program.display())).source(error)
            })?;
        if !status.success() {
            let said = last_lines(&fs::read(&log_path).unwrap_or_default(), 8);
            return Err(did_not_start(&place.name.to_string(), said));
        }
        tracing::info!(machine = %place.name, accel = self.config.accel_used, "QEMU started");
        connect(place, files::CONTROL)?
            .ok_or_else(|| DriverError::failed(format!("QEMU of machine `{}` ended at once", place.name)))
    }

    /// Opens all ways in, and tells which had to move.
    fn open_forwards(&mut self, session: &Session<'_>, qmp: &mut Qmp) -> Result<(), DriverError> {
        let id = session.place.id;
        let range = self.config.local_ports.unwrap_or_default();
        for wanted in &mut self.config.forwards {
            let pinned = self.config.pinned.contains(&wanted.guest_port);
            let opened = forward::open(qmp, id, range, wanted, pinned)?;
            if wanted.host_port != 0 && wanted.host_port != opened.host_port {
                session.observer.notice(Event::Warning(format!(
                    "port {} is taken by another program now: port {} of machine `{}` moved to {}",
                    wanted.host_port, wanted.guest_port, session.place.name, opened.host_port
                )));
            }
            *wanted = opened;
        }
        self.config.note_ports();
        Ok(())
    }

    /// An interrupted start may have opened some ports, and written none of them down.
    fn finish_forwards(&mut self, session: &Session<'_>, qmp: &mut Qmp) -> Result<(), DriverError> {
        for open in forward::existing(qmp)? {
            if self.config.forwards.iter().any(|wanted| wanted.guest_port == open.guest_port) {
                forward::close(qmp, &open)?;
            }
        }
        self.open_forwards(session, qmp)
    }

    fn power_on(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        let mut qmp = self.launch(session)?;
        let opened = self.open_forwards(session, &mut qmp);
        if opened.is_err() {
            drop(qmp);
            end(session.place)?;
        }
        opened
    }

    fn running(session: &Session<'_>) -> Result<Option<Qmp>, DriverError> {
        connect(session.place, files::CONTROL)
    }
}

impl Driver for QemuDriver {
    fn name(&self) -> &'static str {
        crate::NAME
    }

    fn data(&self) -> Value {
        serde_json::to_value(&self.config).expect("a configuration is plain JSON")
    }

    fn check(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        find_program(&self.config.program)?;
        check_shape(&self.config)?;
        check_room(session.place)?;
        Self::image(session.place, &self.config.image)
            .map_err(|error| DriverError { kind: ErrorKind::Check, ..error })?;
        let verdict = accel::choose(self.config.accel, &session.place.store.join("cache"))?;
        if !verdict.kvm {
            tracing::debug!(reason = verdict.reason, "no KVM");
        }
        Ok(())
    }

    fn create(&mut self, session: &Session<'_>, ignition: &[u8]) -> Result<(), DriverError> {
        let dir = &session.place.dir;
        let write = |name: &str, bytes: &[u8]| {
            write_unsynced(&dir.join(name), bytes, 0o600).map_err(|error| {
                DriverError::failed(format!("machine `{}` was not made", session.place.name)).source(error)
            })
        };
        write(files::CONFIG, ignition)?;
        if !dir.join(files::DISK).exists() {
            write(files::DISK, &crate::qcow2::empty(self.config.disk_size * 1_000_000))?;
        }
        Ok(())
    }

    fn start(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        match Self::running(session)? {
            Some(mut qmp) if self.config.ssh_port == 0 => self.finish_forwards(session, &mut qmp),
            Some(_) => Ok(()),
            None => self.power_on(session),
        }
    }

    fn wait_ready(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        let mute_limit =
            (self.config.accel == accel::Accel::Auto && self.config.accel_used == "kvm").then_some(MUTE);
        let ended = || DriverError::failed(format!("machine `{}` is not running", session.place.name));
        let mut qmp = Self::running(session)?.ok_or_else(ended)?;
        let mut outcome = ready::wait(session, &mut qmp, mute_limit)?;
        if let Outcome::Mute = outcome {
            drop(qmp);
            let reason = format!("a machine printed nothing within {} s", MUTE.as_secs());
            session.observer.notice(Event::Warning(format!("KVM: {reason}; starting again with TCG")));
            accel::distrust(&session.place.store.join("cache"), &reason);
            end(session.place)?;
            self.power_on(session)?;
            qmp = Self::running(session)?.ok_or_else(ended)?;
            outcome = ready::wait(session, &mut qmp, None)?;
        }
        if let Outcome::Restart(wanted) = outcome {
            drop(qmp);
            kernel_arguments::accept(&mut self.config, session, wanted)?;
            end(session.place)?;
            self.power_on(session)?;
            qmp = Self::running(session)?.ok_or_else(ended)?;
            if let Outcome::Restart(_) = ready::wait(session, &mut qmp, None)? {
                return Err(kernel_arguments::asked_twice(session));
            }
        }
        // From here on a reboot is the guest's own business.
        qmp.execute("set-action", json!({ "reboot": "reset" }), ASK).map_err(|error| {
            DriverError::failed("could not let the machine reboot by itself").source(error)
        })?;
        Ok(())
    }

    fn stop(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        let Some(mut qmp) = Self::running(session)? else { return Ok(()) };
        match power_down(&mut qmp, session) {
            Ok(true) => {}
            Ok(false) => {
                session.observer.notice(Event::Warning(format!(
                    "machine `{}` did not go down within {} s and was turned off",
                    session.place.name,
                    POWER_DOWN.as_secs()
                )));
            }
            Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
            Err(error) => tracing::debug!(%error, "power button did not work"),
        }
        drop(qmp);
        end(session.place)
    }

    fn kill(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        end(session.place)
    }

    fn remove(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        end(session.place)
    }

    fn state(&self, place: &Place, limit: Duration) -> Result<State, DriverError> {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut qmp = match Qmp::connect(&place.dir, files::QUERY, limit) {
            Ok(Some(qmp)) => qmp,
            Ok(None) => return Ok(State::Stopped),
            Err(QmpError::TimedOut { .. }) => return Ok(State::Timeout),
            Err(error) => return Err(DriverError::failed("could not ask QEMU").source(error)),
        };
        let status = ask_identity(&mut qmp, place, left())
            .and_then(|()| Ok(qmp.execute("query-status", json!({}), left())?));
        match status {
            Ok(status) => Ok(combine(status["status"].as_str().unwrap_or_default(), place)),
            Err(AskError::Foreign(uuid)) => Err(foreign(place, &uuid)),
            Err(AskError::Qmp(QmpError::Closed)) => Ok(State::Stopped),
            Err(AskError::Qmp(QmpError::TimedOut { .. })) => Ok(State::Timeout),
            Err(AskError::Qmp(error)) => Err(DriverError::failed("could not ask QEMU").source(error)),
        }
    }

    fn live(&self, place: &Place) -> Value {
        let mut watch = BootWatch::default();
        watch.feed(&fs::read(place.dir.join(files::REPORT)).unwrap_or_default());
        let stages: Vec<Value> =
            watch.stages().iter().map(|(stage, ms)| json!({ "stage": stage, "uptime_ms": ms })).collect();
        let mut boot = json!({ "Stages": stages, "Warnings": watch.warnings() });
        if let Phase::Ready { version, uptime_ms, addresses } = watch.phase() {
            boot["Version"] = json!(version);
            boot["ReadyMs"] = json!(uptime_ms);
            boot["Addresses"] = json!(addresses);
        }
        let pid = Process::find(&place.dir, place.id).map(Process::pid);
        json!({ "Boot": boot, "Pid": pid })
    }

    fn address(&self) -> Option<String> {
        Some(self.config.ip_address.to_string())
    }

    fn engine_url(&self) -> Option<String> {
        (self.config.engine_port != 0)
            .then(|| format!("tcp://{}:{}", self.config.ip_address, self.config.engine_port))
    }

    fn ssh(&self) -> Option<SshEndpoint> {
        (self.config.ssh_port != 0).then(|| SshEndpoint {
            host: self.config.ip_address.to_string(),
            port: self.config.ssh_port,
            user: self.config.ssh_user.clone(),
        })
    }

    fn login_user(&self) -> &str {
        &self.config.ssh_user
    }

    fn certificate_names(&self) -> Vec<String> {
        // The last is the address that QEMU's own network gives to its only guest.
        ["localhost", "127.0.0.1", "::1", "10.0.2.15"].map(str::to_owned).to_vec()
    }

    fn forwards(&self) -> Vec<Forward> {
        self.config.forwards.clone()
    }

    fn add_forward(&mut self, session: &Session<'_>, wanted: Forward) -> Result<Forward, DriverError> {
        let same = |other: &Forward| {
            (other.protocol, other.host_address, other.host_port)
                == (wanted.protocol, wanted.host_address, wanted.host_port)
        };
        if wanted.host_port != 0 && self.config.forwards.iter().any(same) {
            return Err(DriverError::failed(format!("{wanted} is open already")));
        }
        let opened = match Self::running(session)? {
            Some(mut qmp) => {
                let range = self.config.local_ports.unwrap_or_default();
                forward::open(&mut qmp, session.place.id, range, &wanted, wanted.host_port != 0)?
            }
            None => wanted,
        };
        self.config.forwards.push(opened.clone());
        Ok(opened)
    }

    fn remove_forward(&mut self, session: &Session<'_>, forward: &Forward) -> Result<(), DriverError> {
        if [SSH_PORT, ENGINE_PORT].contains(&forward.guest_port)
            && self.config.forwards.iter().filter(|f| f.guest_port == forward.guest_port).count() < 2
        {
            return Err(DriverError::failed(format!(
                "port {} of a machine stays open: rmachine needs it",
                forward.guest_port
            )));
        }
        if let Some(mut qmp) = Self::running(session)? {
            forward::close(&mut qmp, forward)?;
        }
        self.config.forwards.retain(|other| other != forward);
        Ok(())
    }

    fn set_image(&mut self, session: &Session<'_>, image: &str) -> Result<String, DriverError> {
        let image = Self::image(session.place, image)?;
        Ok(std::mem::replace(&mut self.config.image, image.id))
    }

    fn image(&self) -> Option<String> {
        Some(self.config.image.clone())
    }
}

/// What the machine is doing, from what QEMU knows and what the guest reported.
fn combine(status: &str, place: &Place) -> State {
    match status {
        "paused" | "suspended" | "prelaunch" => return State::Paused,
        "guest-panicked" | "internal-error" | "io-error" => return State::Error,
        "shutdown" => return State::Stopped,
        _ => {}
    }
    let mut watch = BootWatch::default();
    watch.feed(&fs::read(place.dir.join(files::REPORT)).unwrap_or_default());
    match watch.phase() {
        Phase::Silent | Phase::Booting(_) | Phase::Restarting { .. } => State::Starting,
        Phase::Ready { .. } => State::Running,
        Phase::Failed(_) => State::Error,
        Phase::Stopping(_) => State::Stopping,
    }
}

fn did_not_start(name: &str, said: Vec<String>) -> DriverError {
    let error = DriverError::failed(format!("QEMU did not start machine `{name}`"));
    let hint = said.iter().find_map(|line| {
        if line.contains("Cannot allocate memory") || line.contains("cannot set up guest memory") {
            Some("this workstation has too little memory free: lower `--qemu-memory`")
        } else if line.contains("kvm") || line.contains("KVM") {
            Some("leave out `--qemu-accel kvm`: `auto` uses KVM where it works, and TCG elsewhere")
        } else if line.contains("bridge helper failed") {
            Some(
                "as root, write `allow BRIDGE` into /etc/qemu/bridge.conf and make qemu-bridge-helper setuid",
            )
        } else if line.contains("could not configure /dev/net/tun") {
            Some("as root, make the tap for this user: `ip tuntap add NAME mode tap user USER`")
        } else if line.contains("\"write\" lock") {
            Some("another QEMU still has the machine's disk open")
        } else {
            None
        }
    });
    let error = error.evidence(said);
    if let Some(hint) = hint { error.hint(hint) } else { error }
}
