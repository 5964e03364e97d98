//! Where containers are prepared, found again, and removed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use engine_shim::spec::Spec;
use engine_shim::wire::{Exit, Reply, Request, SOCKET_FILE, SPEC_FILE, STARTED_FILE, Started};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::cgroup::{CgroupSet, Cgroups};
use crate::channel::Channel;
use crate::container::{Container, checked, lost, read_exit, unexpected, watch_end};
use crate::error::{At, RuntimeError};
use crate::limits::Resources;
use crate::program::{SealedProgram, ShimProgram};

/// How long a new shim may take to listen, once it was spawned.
const SHIM_SETUP: Duration = Duration::from_millis(1500);
const SHIM_LOOK: Duration = Duration::from_millis(20);

/// Where and how.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// One directory per container comes below; on a tmpfs such as `/run/docker/shim`.
    pub state_dir: PathBuf,
    pub shim: ShimProgram,
    /// Parent of the containers' cgroups, e.g. `docker`.
    pub cgroup_parent: String,
}

pub struct Runtime {
    config: RuntimeConfig,
    program: SealedProgram,
    cgroups: Cgroups,
}

/// What an engine finds of a container after it was away.
#[derive(Debug)]
pub enum Adopted {
    /// Set up, never started.
    Prepared(Container),
    Running(Container),
    Exited(Exit),
}

impl Runtime {
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        std::fs::create_dir_all(&config.state_dir).at("create", &config.state_dir)?;
        set_mode(&config.state_dir, 0o700).at("protect", &config.state_dir)?;
        let program = SealedProgram::load(&config.shim).at("read the program of", "engine-shim")?;
        let cgroups = Cgroups::detect(&config.cgroup_parent)?;
        Ok(Self { config, program, cgroups })
    }

    /// The hierarchy found here: what limits can be honoured.
    #[must_use]
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Makes the container's cgroups and sets its limits.
    pub fn make_cgroup(&self, id: &str, resources: &Resources) -> Result<CgroupSet, RuntimeError> {
        self.cgroups.create(id, resources)
    }

    /// Spawns a shim and sets the container up; its program waits for
    /// [`Container::start`]. On failure nothing is left but its cgroup.
    pub async fn prepare(&self, spec: &Spec) -> Result<Container, RuntimeError> {
        let state = self.state(&spec.id);
        match std::fs::create_dir(&state) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_dir_all(&state).at("clear", &state)?;
                std::fs::create_dir(&state).at("create", &state)?;
            }
            other => other.at("create", &state)?,
        }
        match self.spawn(spec, &state).await {
            Err(error) => {
                let _ = std::fs::remove_dir_all(&state);
                Err(error)
            }
            done => done,
        }
    }

    async fn spawn(&self, spec: &Spec, state: &Path) -> Result<Container, RuntimeError> {
        let failed = |source| RuntimeError::Spawn { id: spec.id.clone(), source };
        let path = state.join(SPEC_FILE);
        let text = serde_json::to_vec(spec).map_err(|error| failed(io::Error::other(error)))?;
        std::fs::write(&path, text).at("write", &path)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let mut child = Command::new(self.program.path())
            .arg0("engine-shim")
            .arg(state)
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_clear()
            .spawn()
            .map_err(failed)?;
        // Reaps the shim, whenever it ends.
        tokio::spawn(async move { drop(child.wait().await) });
        ours.set_nonblocking(true).map_err(failed)?;
        let mut control = Channel::new(UnixStream::from_std(ours).map_err(failed)?);
        let reply = tokio::time::timeout(crate::channel::PATIENCE, control.reply())
            .await
            .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        match checked(reply)? {
            Reply::Prepared { pid, warnings } => {
                self.take_over(state, spec.clone(), pid, warnings, control).await
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn take_over(
        &self,
        state: &Path,
        spec: Spec,
        pid: i32,
        warnings: Vec<String>,
        control: Channel,
    ) -> Result<Container, RuntimeError> {
        let gone = |source| RuntimeError::ShimGone { id: spec.id.clone(), source };
        let mut watcher = Channel::connect(state).await.map_err(gone)?;
        watcher.send(&Request::Wait).await.map_err(gone)?;
        let cgroup = self.cgroups.existing(&spec.cgroup);
        let (container, tell) = Container::new(state.to_owned(), spec, pid, warnings, control, cgroup);
        tokio::spawn(watch_end(watcher, state.to_owned(), tell));
        Ok(container)
    }

    /// The containers with a state directory, in no order.
    pub fn list(&self) -> Result<Vec<String>, RuntimeError> {
        let dir = &self.config.state_dir;
        let entries = std::fs::read_dir(dir).at("list", dir)?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// Finds a container again: connects to its shim, or reads what it left.
    pub async fn adopt(&self, id: &str) -> Result<Adopted, RuntimeError> {
        let state = self.state(id);
        let spec_path = state.join(SPEC_FILE);
        let text = std::fs::read(&spec_path).at("read", &spec_path)?;
        let spec: Spec = serde_json::from_slice(&text).map_err(io::Error::other).at("parse", &spec_path)?;
        // A shim that was spawned a moment ago does not listen yet.
        let end = tokio::time::Instant::now() + SHIM_SETUP;
        while !state.join(SOCKET_FILE).exists() && tokio::time::Instant::now() < end {
            tokio::time::sleep(SHIM_LOOK).await;
        }
        match self.reconnect(&state, spec.clone()).await {
            Ok(adopted) => Ok(adopted),
            Err(_) => {
                // A shim that died without a word took its container along, or leaves it to us.
                if read_exit(&state).is_none() {
                    let _ = self.cgroups.existing(&spec.cgroup).kill_all();
                }
                Ok(Adopted::Exited(lost(&state)))
            }
        }
    }

    async fn reconnect(&self, state: &Path, spec: Spec) -> Result<Adopted, RuntimeError> {
        let gone = |source| RuntimeError::ShimGone { id: spec.id.clone(), source };
        let mut control = Channel::connect(state).await.map_err(gone)?;
        match control.ask(&Request::State).await.map_err(gone)? {
            Reply::State { exit: Some(exit), .. } => Ok(Adopted::Exited(exit)),
            Reply::State { pid, running, .. } => {
                let container = self.take_over(state, spec.clone(), pid, Vec::new(), control).await?;
                Ok(if running { Adopted::Running(container) } else { Adopted::Prepared(container) })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// When a container's program was started, as its shim noted.
    #[must_use]
    pub fn started(&self, id: &str) -> Option<Started> {
        serde_json::from_slice(&std::fs::read(self.state(id).join(STARTED_FILE)).ok()?).ok()
    }

    /// Removes what an ended container leaves: cgroups and the state directory.
    /// Its mounts went with its mount namespace. Goes on past failures.
    pub async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let mut left = Vec::new();
        if let Err(error) = self.cgroups.remove(id).await {
            left.push(error.to_string());
        }
        let state = self.state(id);
        match std::fs::remove_dir_all(&state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                left.push(format!("{}: {error}", state.display()))
            }
            _ => {}
        }
        if left.is_empty() { Ok(()) } else { Err(RuntimeError::Cleanup(left)) }
    }

    fn state(&self, id: &str) -> PathBuf {
        self.config.state_dir.join(id)
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
