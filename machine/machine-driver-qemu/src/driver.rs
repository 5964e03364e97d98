//! The driver itself: starts QEMU, asks it, ends it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use machine_core::boot::{BootWatch, Phase, last_lines};
use machine_core::driver::{Driver, DriverError, ErrorKind, Event, Forward, Place, Session, SshEndpoint};
use machine_store::{Image, Store, write_unsynced};
use machine_types::State;
use serde_json::{Value, json};

use crate::config::{ENGINE_PORT, Network, QemuConfig, SSH_PORT};
use crate::process::Process;
use crate::qmp::{Qmp, QmpError};
use crate::ready::{self, Outcome};
use crate::{accel, command, files, forward};

/// For one question to a QEMU that may be busy.
const ASK: Duration = Duration::from_secs(5);
/// For a guest to go down by itself after the power button.
const POWER_DOWN: Duration = Duration::from_secs(30);
/// For a killed process to vanish.
const VANISH: Duration = Duration::from_secs(10);
/// Under KVM a kernel prints its first line at once.
const MUTE: Duration = Duration::from_secs(15);
/// A start needs room for logs; a machine's disk grows as it is used.
const ROOM: u64 = 64 << 20;

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
        for wanted in &mut self.config.forwards {
            let pinned = self.config.pinned.contains(&wanted.guest_port);
            let opened = forward::open(qmp, id, wanted, pinned)?;
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
            // An interrupted start may have left ports closed.
            Some(mut qmp) if self.config.ssh_port == 0 => self.open_forwards(session, &mut qmp),
            Some(_) => Ok(()),
            None => self.power_on(session),
        }
    }

    fn wait_ready(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        let mute_limit =
            (self.config.accel == accel::Accel::Auto && self.config.accel_used == "kvm").then_some(MUTE);
        let ended = || DriverError::failed(format!("machine `{}` is not running", session.place.name));
        let mut qmp = Self::running(session)?.ok_or_else(ended)?;
        if let Outcome::Mute = ready::wait(session, &mut qmp, mute_limit)? {
            drop(qmp);
            let reason = format!("a machine printed nothing within {} s", MUTE.as_secs());
            session.observer.notice(Event::Warning(format!("KVM: {reason}; starting again with TCG")));
            accel::distrust(&session.place.store.join("cache"), &reason);
            end(session.place)?;
            self.power_on(session)?;
            qmp = Self::running(session)?.ok_or_else(ended)?;
            ready::wait(session, &mut qmp, None)?;
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
        let mut qmp = match Qmp::connect(&place.dir, files::QUERY, limit) {
            Ok(Some(qmp)) => qmp,
            Ok(None) => return Ok(State::Stopped),
            Err(QmpError::TimedOut { .. }) => return Ok(State::Timeout),
            Err(error) => return Err(DriverError::failed("could not ask QEMU").source(error)),
        };
        let status =
            ask_identity(&mut qmp, place).and_then(|()| Ok(qmp.execute("query-status", json!({}), limit)?));
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
            Some(mut qmp) => forward::open(&mut qmp, session.place.id, &wanted, wanted.host_port != 0)?,
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

enum AskError {
    Foreign(String),
    Qmp(QmpError),
}

impl From<QmpError> for AskError {
    fn from(error: QmpError) -> Self {
        Self::Qmp(error)
    }
}

fn ask_identity(qmp: &mut Qmp, place: &Place) -> Result<(), AskError> {
    let answer = qmp.execute("query-uuid", json!({}), ASK)?;
    let uuid = answer["UUID"].as_str().unwrap_or_default();
    if uuid.eq_ignore_ascii_case(&place.id.to_string()) {
        Ok(())
    } else {
        Err(AskError::Foreign(uuid.to_owned()))
    }
}

fn foreign(place: &Place, uuid: &str) -> DriverError {
    DriverError::failed(format!(
        "the QEMU that listens in {} is another machine: it has UUID {uuid}, not {}",
        place.dir.display(),
        place.id
    ))
    .hint("end that QEMU by hand; rmachine does not touch it")
}

/// The machine's QEMU, if one runs. It is certain to be this machine's.
fn connect(place: &Place, socket: &str) -> Result<Option<Qmp>, DriverError> {
    let silent = |error: QmpError| {
        DriverError::failed(format!("QEMU of machine `{}` does not answer", place.name))
            .source(error)
            .hint(format!("end it with `rmachine kill {}`", place.name))
    };
    let Some(mut qmp) = Qmp::connect(&place.dir, socket, ASK).map_err(silent)? else { return Ok(None) };
    match ask_identity(&mut qmp, place) {
        Ok(()) => Ok(Some(qmp)),
        Err(AskError::Foreign(uuid)) => Err(foreign(place, &uuid)),
        Err(AskError::Qmp(QmpError::Closed)) => Ok(None),
        Err(AskError::Qmp(error)) => Err(silent(error)),
    }
}

/// Presses the power button until the machine goes down; says whether it did.
fn power_down(qmp: &mut Qmp, session: &Session<'_>) -> Result<bool, DriverError> {
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
fn end(place: &Place) -> Result<(), DriverError> {
    let process = Process::find(&place.dir, place.id);
    match connect(place, files::CONTROL) {
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
    if process.wait(Duration::from_secs(2), &|| false) {
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
        Phase::Silent | Phase::Booting(_) => State::Starting,
        Phase::Ready { .. } => State::Running,
        Phase::Failed(_) => State::Error,
        Phase::Stopping(_) => State::Stopping,
    }
}

fn find_program(program: &str) -> Result<PathBuf, DriverError> {
    let missing = || {
        DriverError::check(format!("`{program}` is not installed"))
            .hint("install it: `apt-get install qemu-system-x86`, or name another with `--qemu-program`")
    };
    if program.contains('/') {
        let path = PathBuf::from(program);
        return if path.is_file() { Ok(path) } else { Err(missing()) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file()).ok_or_else(missing)
}

fn check_shape(config: &QemuConfig) -> Result<(), DriverError> {
    if config.memory < 128 {
        return Err(DriverError::check(format!("{} MiB of memory are too few", config.memory))
            .hint("a machine needs at least `--qemu-memory 128`, and 256 to run something"));
    }
    if !(1..=255).contains(&config.cpu) {
        return Err(DriverError::check(format!("a machine cannot have {} processors", config.cpu)));
    }
    if !(200..=100_000_000).contains(&config.disk_size) {
        return Err(DriverError::check(format!("a disk of {} MB cannot be made", config.disk_size))
            .hint("choose `--qemu-disk-size` between 200 and 100000000"));
    }
    if config.network == Network::Bridge && config.network_bridge.is_empty() {
        return Err(DriverError::check("the network `bridge` needs `--qemu-network-bridge NAME`"));
    }
    Ok(())
}

fn check_room(place: &Place) -> Result<(), DriverError> {
    let Ok(stat) = nix::sys::statvfs::statvfs(&place.store) else { return Ok(()) };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free >= ROOM {
        return Ok(());
    }
    Err(DriverError::check(format!(
        "the disk under {} is full: {} MB are left, a machine needs {}",
        place.store.display(),
        free >> 20,
        ROOM >> 20
    ))
    .hint("make room, or keep machines elsewhere with `--storage-path`"))
}

fn did_not_start(name: &str, said: Vec<String>) -> DriverError {
    let error = DriverError::failed(format!("QEMU did not start machine `{name}`"));
    let hint = said.iter().find_map(|line| {
        if line.contains("Cannot allocate memory") || line.contains("cannot set up guest memory") {
            Some("this workstation has too little memory free: lower `--qemu-memory`")
        } else if line.contains("kvm") || line.contains("KVM") {
            Some("leave out `--qemu-accel kvm`: `auto` uses KVM where it works, and TCG elsewhere")
        } else if line.contains("\"write\" lock") {
            Some("another QEMU still has the machine's disk open")
        } else {
            None
        }
    });
    let error = error.evidence(said);
    if let Some(hint) = hint { error.hint(hint) } else { error }
}
