//! One container: what is on disk about it, and what is known while the engine runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use engine_api::container::{Health, MountPoint};
use engine_api::host_config::HostConfig;
use engine_api::network::EndpointSettings;
use engine_image::RunConfig;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::durable::{self, Survive};
use super::exec::ExecSession;
use crate::clock::Nanos;

/// Where a container stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// Also true while it is paused, and between the tries of a restart policy.
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) restarting: bool,
    pub(crate) oom_killed: bool,
    pub(crate) removing: bool,
    pub(crate) dead: bool,
    pub(crate) pid: i32,
    pub(crate) exit_code: i32,
    pub(crate) error: String,
    pub(crate) started_at: Nanos,
    pub(crate) finished_at: Nanos,
    pub(crate) health: Option<Health>,
}

impl State {
    /// Docker's word for it.
    pub(crate) fn status(&self) -> &'static str {
        match self {
            State { running: true, paused: true, .. } => "paused",
            State { running: true, restarting: true, .. } => "restarting",
            State { running: true, .. } => "running",
            State { removing: true, .. } => "removing",
            State { dead: true, .. } => "dead",
            State { started_at: 0, .. } => "created",
            _ => "exited",
        }
    }

    /// The program runs right now.
    pub(crate) fn is_alive(&self) -> bool {
        self.running && !self.restarting
    }
}

/// A mount of a container, resolved at its creation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Mounted {
    /// `bind`, `volume` or `tmpfs`.
    pub(crate) kind: String,
    /// The volume's name.
    pub(crate) name: String,
    pub(crate) source: PathBuf,
    pub(crate) target: String,
    pub(crate) mode: String,
    pub(crate) rw: bool,
    pub(crate) propagation: String,
    pub(crate) non_recursive: bool,
    /// Leave an empty volume empty.
    pub(crate) no_copy: bool,
    /// Options of a tmpfs, for mount(2).
    pub(crate) data: String,
    /// Options of a tmpfs that are flags of the mount and not the default: `exec`, `suid`, `dev`, `ro`.
    pub(crate) flags: Vec<String>,
    /// Made for this container without a name; `docker rm -v` takes it away.
    pub(crate) anonymous: bool,
    /// A bind source that is made when missing (`-v`, not `--mount`).
    pub(crate) create_source: bool,
    /// A tmpfs from `--tmpfs`, which inspect does not list.
    pub(crate) hidden: bool,
    /// Read-only with all that is mounted below it.
    pub(crate) readonly_below: bool,
    /// The part of a volume that is mounted; empty for all.
    pub(crate) subpath: String,
}

impl Mounted {
    pub(crate) fn shown(&self) -> MountPoint {
        let source = if self.kind == "tmpfs" { String::new() } else { self.source.display().to_string() };
        MountPoint {
            kind: self.kind.clone(),
            name: self.name.clone(),
            source,
            destination: self.target.clone(),
            driver: if self.kind == "volume" { "local".into() } else { String::new() },
            mode: self.mode.clone(),
            rw: self.rw,
            propagation: self.propagation.clone(),
        }
    }
}

/// What is on disk about a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// Without the slash.
    pub(crate) name: String,
    pub(crate) created: Nanos,
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    /// `sha256:…`
    pub(crate) image_id: String,
    pub(crate) config: RunConfig,
    pub(crate) host: HostConfig,
    pub(crate) state: State,
    pub(crate) restart_count: u32,
    pub(crate) mounts: Vec<Mounted>,
    /// By network name.
    pub(crate) networks: BTreeMap<String, EndpointSettings>,
    /// The ports as they are published now: `80/tcp` → bindings.
    pub(crate) ports: engine_api::host_config::PortMap,
    /// It is in its networks, as far as events have told.
    pub(crate) joined: bool,
    /// Its interfaces, while it runs.
    pub(crate) endpoints: Vec<engine_net::model::Endpoint>,
    pub(crate) published: Vec<engine_net::model::PublishedPort>,
    /// Stopped by a user: restart policies leave it alone.
    pub(crate) stopped_by_user: bool,
    /// The namespace that carries its network, while it runs.
    pub(crate) sandbox: String,
}

/// What waiters watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) running: bool,
    /// How often the program has ended since the engine runs.
    pub(crate) exits: u64,
    pub(crate) exit_code: i32,
    pub(crate) error: String,
    pub(crate) removed: bool,
    /// Why removing it failed, when it did.
    pub(crate) removal_error: Option<String>,
}

/// A container.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    record: Mutex<Record>,
    pub(crate) phase: watch::Sender<Phase>,
    /// Held by what changes the container's life: start, stop's end, remove, rename, update.
    pub(crate) lifecycle: tokio::sync::Mutex<()>,
    /// The running program.
    pub(crate) program: Mutex<Option<engine_runtime::Container>>,
    /// Ends a pending restart.
    pub(crate) no_restart: Notify,
    pub(crate) execs: Mutex<BTreeMap<String, Arc<ExecSession>>>,
    /// What must go when the program ends: published ports, names, addresses.
    pub(crate) network: Mutex<Option<super::sandbox::Sandbox>>,
    pub(crate) removal_waiters: super::haste::RemovalWaiters,
    /// Clients that wait for the next program.
    pub(crate) attachers: super::attach::Attachers,
    /// Ends the health check of the running program.
    pub(crate) health_task: Mutex<Option<tokio::task::AbortHandle>>,
}

impl Container {
    pub(crate) fn new(dir: PathBuf, record: Record) -> Container {
        let phase =
            Phase { running: record.state.running, exit_code: record.state.exit_code, ..Phase::default() };
        Container {
            id: record.id.clone(),
            dir,
            record: Mutex::new(record),
            phase: watch::Sender::new(phase),
            lifecycle: tokio::sync::Mutex::default(),
            program: Mutex::default(),
            no_restart: Notify::new(),
            execs: Mutex::default(),
            network: Mutex::default(),
            removal_waiters: super::haste::RemovalWaiters::default(),
            attachers: super::attach::Attachers::default(),
            health_task: Mutex::default(),
        }
    }

    /// What is on record. Held only for a moment, never across an await.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no code panics holding it")
    }

    pub(crate) fn name(&self) -> String {
        self.record().name.clone()
    }

    pub(crate) fn program(&self) -> Option<engine_runtime::Container> {
        self.program.lock().expect("no code panics holding it").clone()
    }

    /// Writes the record to disk.
    pub(crate) fn save(&self, survive: Survive) -> std::io::Result<()> {
        let record = self.record().clone();
        durable::write(&self.dir.join("container.json"), &record, survive)
    }

    /// Writes the record for the first time. It outlives a power cut, and so do the files it relies on.
    pub(crate) fn save_new(&self, relies_on: &[PathBuf], parent: &Path) -> std::io::Result<()> {
        let record = self.record().clone();
        durable::write_new(&self.dir.join("container.json"), &record, relies_on, &[parent])
    }

    /// Writes the record; what fails is logged, because the state in memory is right all the same.
    pub(crate) fn save_or_warn(&self, survive: Survive) {
        if let Err(error) = self.save(survive) {
            tracing::error!(container = %self.id, %error, "could not save the container's state");
        }
    }

    /// The attributes every event of this container has: labels, image, name.
    pub(crate) fn event_attributes(&self) -> BTreeMap<String, String> {
        let record = self.record();
        let mut attributes = record.config.labels.clone().unwrap_or_default();
        attributes.insert("image".into(), record.config.image.clone());
        attributes.insert("name".into(), record.name.clone());
        attributes
    }

    /// Where the log is, for the json-file driver.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}-json.log", self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_words() {
        let mut s = State::default();
        assert_eq!(s.status(), "created");
        s.started_at = 1;
        assert_eq!(s.status(), "exited");
        s.running = true;
        assert_eq!(s.status(), "running");
        s.restarting = true;
        assert!(s.status() == "restarting" && !s.is_alive());
        s.restarting = false;
        s.paused = true;
        assert_eq!(s.status(), "paused");
    }
}
