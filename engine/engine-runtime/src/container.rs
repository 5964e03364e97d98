//! One container with a living shim.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine_shim::rootpath::SafeRoot;
use engine_shim::spec::{ExecSpec, Spec};
use engine_shim::status;
use engine_shim::wire::{Exit, Reply, Request, STATUS_FILE};
use tokio::sync::{Mutex, watch};

use crate::cgroup::CgroupSet;
use crate::channel::{Channel, PATIENCE};
use crate::error::{At, RuntimeError};
use crate::limits::{Resources, Stats};
use crate::stream::{SessionStream, Streams};

/// A prepared or running container. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Container {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    state: PathBuf,
    pid: i32,
    pid_start: u64,
    warnings: Vec<String>,
    spec: Spec,
    cgroup: CgroupSet,
    control: Mutex<Channel>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Container {
    /// Takes over a shim that answers on `control`; `watcher` is a second
    /// connection on which its end is awaited.
    pub(crate) fn new(
        state: PathBuf,
        spec: Spec,
        pid: i32,
        warnings: Vec<String>,
        control: Channel,
        cgroup: CgroupSet,
    ) -> (Self, watch::Sender<Option<Exit>>) {
        let (tell, exit) = watch::channel(None);
        let pid_start = status::start_of(pid).unwrap_or(0);
        let id = spec.id.clone();
        let control = Mutex::new(control);
        (
            Self {
                inner: Arc::new(Inner { id, state, pid, pid_start, warnings, spec, cgroup, control, exit }),
            },
            tell,
        )
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The first process, in the host's numbers.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.inner.pid
    }

    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.inner.spec
    }

    /// What could not be had as asked, e.g. a ulimit above the engine's own.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// Lets the prepared program run. Returns once it was exec'd.
    pub async fn start(&self) -> Result<(), RuntimeError> {
        self.ask(&Request::Start).await.map(drop)
    }

    /// Ends a container that was prepared and never started.
    pub async fn abandon(&self) -> Result<(), RuntimeError> {
        self.ask(&Request::Abandon).await.map(drop)
    }

    /// Joins the program's streams from now on. Before `start`, no byte is missed.
    pub async fn attach(&self, streams: Streams) -> Result<SessionStream, RuntimeError> {
        self.stream(Request::Attach {
            exec: None,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        })
        .await
        .map(|(stream, _)| stream)
    }

    /// Runs a further process; its pid and, if any stream was asked for, its streams.
    pub async fn exec(
        &self,
        spec: ExecSpec,
        streams: Streams,
    ) -> Result<(i32, Option<SessionStream>), RuntimeError> {
        let request = Request::Exec {
            spec: Box::new(spec),
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let (stream, pid) = self.stream(request).await?;
        Ok((pid, streams.any().then_some(stream)))
    }

    /// How an exec session stands: running, or its exit.
    pub async fn exec_state(&self, id: &str) -> Result<Option<Exit>, RuntimeError> {
        match self.ask(&Request::ExecState { id: id.into() }).await? {
            Reply::State { exit, .. } => Ok(exit),
            other => Err(unexpected(&other)),
        }
    }

    /// Sets the terminal's size, of the program or of an exec session.
    pub async fn resize(&self, exec: Option<&str>, rows: u16, columns: u16) -> Result<(), RuntimeError> {
        self.ask(&Request::Resize { exec: exec.map(Into::into), rows, columns }).await.map(drop)
    }

    /// Sends a signal by number, to the program or to an exec session.
    pub async fn signal(&self, exec: Option<&str>, signal: i32) -> Result<(), RuntimeError> {
        self.ask(&Request::Signal { exec: exec.map(Into::into), signal }).await.map(drop)
    }

    /// After the log file was moved away: go on in a new one.
    pub async fn reopen_log(&self) -> Result<(), RuntimeError> {
        self.ask(&Request::ReopenLog).await.map(drop)
    }

    /// Resolves when the container has ended; for any number of waiters.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.inner.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_default(),
            Err(_) => lost(&self.inner.state),
        }
    }

    /// The exit, if it has come.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.inner.exit.borrow().clone()
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.exit().is_none()
    }

    /// Stops all processes where they are.
    pub async fn pause(&self) -> Result<(), RuntimeError> {
        self.freeze(true).await
    }

    pub async fn unpause(&self) -> Result<(), RuntimeError> {
        self.freeze(false).await
    }

    async fn freeze(&self, frozen: bool) -> Result<(), RuntimeError> {
        const STEPS: u32 = 2000;
        self.inner.cgroup.set_frozen(frozen)?;
        for _ in 0..STEPS {
            if self.inner.cgroup.is_frozen() == frozen {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _ = self.inner.cgroup.set_frozen(false);
        Err(RuntimeError::Unsupported {
            what: format!("{} container {}", if frozen { "pause" } else { "unpause" }, self.inner.id),
            why: "its processes did not stop within 2 s".into(),
        })
    }

    /// Changes limits while it runs.
    pub fn update(&self, resources: &Resources) -> Result<(), RuntimeError> {
        self.inner.cgroup.update(resources)
    }

    pub fn stats(&self) -> Result<Stats, RuntimeError> {
        self.inner.cgroup.stats()
    }

    /// All processes of the container, in the host's numbers.
    pub fn pids(&self) -> Result<Vec<i32>, RuntimeError> {
        self.inner.cgroup.pids()
    }

    /// Kills everything in the container's cgroup, whoever its parent is.
    pub fn kill_all(&self) -> Result<(), RuntimeError> {
        self.inner.cgroup.kill_all()
    }

    /// The container's file system as it sees it, volumes included.
    pub fn root(&self) -> Result<SafeRoot, RuntimeError> {
        let path = format!("/proc/{}/root", self.inner.pid);
        let root = SafeRoot::open(Path::new(&path)).at("open", &path)?;
        if status::start_of(self.inner.pid) != Some(self.inner.pid_start) {
            return Err(RuntimeError::NotRunning(self.inner.id.clone()));
        }
        Ok(root)
    }

    /// `/proc/PID/ns/net` and its like, for others to join.
    #[must_use]
    pub fn namespace(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{name}", self.inner.pid))
    }

    async fn ask(&self, request: &Request) -> Result<Reply, RuntimeError> {
        let mut control = self.inner.control.lock().await;
        let reply = control.ask(request).await.map_err(|source| self.gone(source))?;
        checked(reply)
    }

    async fn stream(&self, request: Request) -> Result<(SessionStream, i32), RuntimeError> {
        let mut channel = Channel::connect(&self.inner.state).await.map_err(|source| self.gone(source))?;
        match checked(channel.ask(&request).await.map_err(|source| self.gone(source))?)? {
            Reply::Started { pid } => Ok((SessionStream::new(channel), pid)),
            other => Err(unexpected(&other)),
        }
    }

    fn gone(&self, source: io::Error) -> RuntimeError {
        let id = self.inner.id.clone();
        if source.kind() == io::ErrorKind::TimedOut {
            return RuntimeError::Timeout { id, seconds: PATIENCE.as_secs() };
        }
        if self.inner.state.join(STATUS_FILE).exists() {
            return RuntimeError::NotRunning(id);
        }
        RuntimeError::ShimGone { id, source }
    }
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container")
            .field("id", &self.inner.id)
            .field("pid", &self.inner.pid)
            .finish_non_exhaustive()
    }
}

/// Awaits the container's end on a connection of its own.
pub(crate) async fn watch_end(mut channel: Channel, state: PathBuf, tell: watch::Sender<Option<Exit>>) {
    let exit = match channel.reply().await {
        Ok(Reply::Exited { exit }) => exit,
        _ => lost(&state),
    };
    tell.send_replace(Some(exit));
}

/// The exit of a container whose shim is gone: what it wrote, or that it was killed.
pub(crate) fn lost(state: &Path) -> Exit {
    read_exit(state).unwrap_or_else(|| Exit {
        code: 137,
        signal: Some(libc::SIGKILL),
        finished_at: engine_shim::sys::now(),
        error: Some("the container's shim was killed".into()),
        ..Exit::default()
    })
}

pub(crate) fn read_exit(state: &Path) -> Option<Exit> {
    serde_json::from_slice(&std::fs::read(state.join(STATUS_FILE)).ok()?).ok()
}

pub(crate) fn checked(reply: Reply) -> Result<Reply, RuntimeError> {
    match reply {
        Reply::Failed { code, message } => Err(RuntimeError::Start { code, message }),
        other => Ok(other),
    }
}

pub(crate) fn unexpected(reply: &Reply) -> RuntimeError {
    RuntimeError::Refused(format!("unexpected reply {reply:?}"))
}
