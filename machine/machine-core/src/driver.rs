//! The one trait behind every kind of machine, and the values it speaks in.
//!
//! Calls block: a driver waits for processes and sockets, and `rmachine` runs one thread per
//! machine. Every call gets a [`Session`] with a cancel switch and ends soon after it is thrown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hostos_api::Stage;
use machine_types::{MachineName, State};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Makes, runs and unmakes one machine.
///
/// Every method may be called again after it failed or was interrupted: it finds done what is done.
pub trait Driver: Send {
    /// Name of the driver, as after `-d`.
    fn name(&self) -> &'static str;

    /// What `config.json` keeps for this driver. It never holds a secret.
    fn data(&self) -> serde_json::Value;

    /// Whether a create can work at all. Nothing is made yet.
    fn check(&mut self, session: &Session<'_>) -> Result<(), DriverError>;

    /// Makes what the machine consists of, without turning it on. `ignition` is its whole config.
    fn create(&mut self, session: &Session<'_>, ignition: &[u8]) -> Result<(), DriverError>;

    /// Turns it on. Already on is fine.
    fn start(&mut self, session: &Session<'_>) -> Result<(), DriverError>;

    /// Waits until the machine says that it is ready, or that it never will be.
    fn wait_ready(&mut self, session: &Session<'_>) -> Result<(), DriverError>;

    /// Asks it to go down, and turns it off when it does not.
    fn stop(&mut self, session: &Session<'_>) -> Result<(), DriverError>;

    /// Turns it off as by pulling the plug.
    fn kill(&mut self, session: &Session<'_>) -> Result<(), DriverError>;

    /// Goes down and up again.
    fn restart(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        self.stop(session)?;
        self.start(session)
    }

    /// Unmakes everything outside the machine's folder that `create` and `start` made.
    fn remove(&mut self, session: &Session<'_>) -> Result<(), DriverError>;

    /// What it is doing now. Answers within `limit`.
    fn state(&self, place: &Place, limit: Duration) -> Result<State, DriverError>;

    /// What is known of it now beyond its record, for `inspect`: an object to be merged in.
    fn live(&self, _place: &Place) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Address or name that a user would put after `ssh`.
    fn address(&self) -> Option<String>;

    /// URL of its engine, whether it runs or not.
    fn engine_url(&self) -> Option<String>;

    /// Where its ssh server is.
    fn ssh(&self) -> Option<SshEndpoint>;

    /// User to log in as, whom the machine's config must provide for.
    fn login_user(&self) -> &str {
        "core"
    }

    /// Names and addresses that its certificate must carry, beside its own name.
    fn certificate_names(&self) -> Vec<String>;

    /// Whether its engine was there before us, so that we neither configure nor check it.
    fn has_own_engine(&self) -> bool {
        false
    }

    /// Whether its ssh server was there before us: its host key is pinned at the first connection, and
    /// the key to log in with is the user's.
    fn has_own_ssh(&self) -> bool {
        false
    }

    /// Ways in from this workstation, if the driver makes such.
    fn forwards(&self) -> Vec<Forward> {
        Vec::new()
    }

    /// Opens a way in. A host port of 0 lets the driver choose; the answer says which it took.
    fn add_forward(&mut self, _session: &Session<'_>, _forward: Forward) -> Result<Forward, DriverError> {
        Err(DriverError::unsupported(self.name(), "port forwards"))
    }

    /// Closes a way in.
    fn remove_forward(&mut self, _session: &Session<'_>, _forward: &Forward) -> Result<(), DriverError> {
        Err(DriverError::unsupported(self.name(), "port forwards"))
    }

    /// Lets the next start use another release, and says which it used until now.
    fn set_image(&mut self, _session: &Session<'_>, _image: &str) -> Result<String, DriverError> {
        Err(DriverError::unsupported(self.name(), "images"))
    }

    /// Which release it boots, if it boots one of ours.
    fn image(&self) -> Option<String> {
        None
    }
}

/// Where a machine is kept.
#[derive(Clone, Debug)]
pub struct Place {
    /// The store, absolute.
    pub store: PathBuf,
    /// The machine's folder in it, absolute. It belongs to the machine alone.
    pub dir: PathBuf,
    /// Its name.
    pub name: MachineName,
    /// Its identity, which outlives every name and process.
    pub id: Uuid,
}

impl Place {
    /// The machine's folder as the store names it.
    #[must_use]
    pub fn relative_dir(&self) -> PathBuf {
        self.dir.strip_prefix(&self.store).map_or_else(|_| self.dir.clone(), Path::to_path_buf)
    }
}

/// What every driver call needs to know of its surroundings.
pub struct Session<'a> {
    /// Where the machine is kept.
    pub place: &'a Place,
    /// Who wants to know how it goes.
    pub observer: &'a dyn Observer,
    /// Thrown when the user gives up.
    pub cancel: &'a Cancel,
    /// How long a machine may take from power on to ready.
    pub ready_limit: Duration,
}

/// A switch that says: stop what you do, clean up, return [`ErrorKind::Cancelled`].
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Throws the switch.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was thrown.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error once it was thrown.
    pub fn check(&self) -> Result<(), DriverError> {
        if self.is_cancelled() { Err(DriverError::cancelled()) } else { Ok(()) }
    }
}

/// Someone who shows how a call is going.
pub trait Observer: Sync {
    /// Takes notice of one event. Must not block for long.
    fn notice(&self, event: Event);
}

/// Something worth showing while a call runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// rmachine or a driver did something; a short sentence.
    Step(String),
    /// The machine itself came this far.
    Stage {
        /// How far.
        stage: Stage,
        /// Milliseconds since its kernel started, by its own clock.
        uptime_ms: u64,
        /// What a person may want to know of it, or empty.
        detail: String,
    },
    /// Something is wrong, yet it goes on; a sentence.
    Warning(String),
}

/// Where an ssh server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshEndpoint {
    /// Address or name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User to log in as.
    pub user: String,
}

/// Transport of a [`Forward`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A byte stream.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A way from this workstation into a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Forward {
    /// Transport.
    pub protocol: Protocol,
    /// Address on this workstation.
    pub host_address: std::net::IpAddr,
    /// Port on this workstation.
    pub host_port: u16,
    /// Port in the machine.
    pub guest_port: u16,
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} -> {}/{}", self.host_address, self.host_port, self.guest_port, self.protocol)
    }
}

/// What sort of trouble a [`DriverError`] is; callers choose exit codes and retries by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Found out before anything was made.
    Check,
    /// The user gave up.
    Cancelled,
    /// This driver cannot do that, ever.
    Unsupported,
    /// The machine said that it failed, or fell over.
    Guest,
    /// A named limit passed.
    TimedOut,
    /// Anything else.
    Failed,
}

/// What happened to what, why, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    /// Sort of trouble.
    pub kind: ErrorKind,
    /// One sentence without its cause.
    pub message: String,
    /// What to do next, or empty.
    pub hint: String,
    /// Lines that show it: the end of a serial log, what a program wrote.
    pub evidence: Vec<String>,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl DriverError {
    /// An error of this sort.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: String::new(), evidence: Vec::new(), source: None }
    }

    /// An error of no special sort.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// A create cannot work.
    pub fn check(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Check, message)
    }

    /// The user gave up.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "interrupted")
    }

    /// The driver has no such thing.
    #[must_use]
    pub fn unsupported(driver: &str, what: &str) -> Self {
        Self::new(ErrorKind::Unsupported, format!("the driver `{driver}` has no {what}"))
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same with its cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same with lines that show it.
    #[must_use]
    pub fn evidence(mut self, lines: Vec<String>) -> Self {
        self.evidence = lines;
        self
    }
}
