//! One engine in a network and a mount namespace of its own, with its own folders.
//!
//! Ours and dockerd take the same flags, so there is one way to start either.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::http::{Body, Client};

/// Until it answers, and until it ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running engine.
pub(crate) struct Engine {
    dir: PathBuf,
    child: Child,
    ended: bool,
}

impl Engine {
    /// Starts `program` with its folders below `dir`, and waits until it answers.
    pub(crate) fn start(program: &Path, dir: &Path, subnet: &str) -> Result<Self> {
        fs::create_dir_all(dir.join("exec"))?;
        fs::write(dir.join("daemon.json"), "{}")?;
        let log = File::create(dir.join("log"))?;
        // The state of running containers lies in memory, as /run does.
        let script = "ip link set lo up && mount -t tmpfs exec \"$1/exec\" && cd / && exec \"$2\" \
            --data-root \"$1/root\" --exec-root \"$1/exec\" -p \"$1/pid\" -H \"unix://$1/sock\" \
            --config-file \"$1/daemon.json\" --bip \"$3\"";
        let child = Command::new("unshare")
            .args(["-n", "-m", "--propagation", "private", "sh", "-c", script, "sh"])
            .args([dir.as_os_str(), program.as_os_str(), subnet.as_ref()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("could not run unshare; is util-linux there?")?;
        let mut engine = Self { dir: dir.to_owned(), child, ended: false };
        engine.await_ready(program)?;
        Ok(engine)
    }

    fn await_ready(&mut self, program: &Path) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.client().call("GET", "/version", Body::Nothing).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                bail!("{} ended with {status}: {}", program.display(), self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{} did not answer within {PATIENCE:?}: {}", program.display(), self.log())
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.socket())
    }

    /// The daemon's process: everything before it was exec'd away.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs `work` on a thread within the engine's network.
    pub(crate) fn in_network<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_network_of(self.pid(), work)
    }

    /// Creates a container of `busybox`; `settings` are fields of the request.
    pub(crate) fn create(&self, client: &mut Client, command: &[&str], settings: Value) -> Result<String> {
        let mut body = settings;
        body["Image"] = json!(crate::images::BUSYBOX);
        body["Cmd"] = json!(command);
        let made = client.call("POST", "/containers/create", Body::Json(&body))?;
        Ok(made["Id"].as_str().context("a container without an ID")?.to_owned())
    }

    /// Creates and starts one.
    pub(crate) fn run(&self, client: &mut Client, command: &[&str], settings: Value) -> Result<String> {
        let id = self.create(client, command, settings)?;
        client.call("POST", &format!("/containers/{id}/start"), Body::Nothing)?;
        Ok(id)
    }

    /// Waits for its end; its exit code.
    pub(crate) fn wait(&self, client: &mut Client, id: &str) -> Result<i64> {
        let ended = client.call("POST", &format!("/containers/{id}/wait"), Body::Nothing)?;
        ended["StatusCode"].as_i64().context("no exit code")
    }

    /// Removes one with its volumes.
    pub(crate) fn remove(&self, client: &mut Client, id: &str) -> Result<()> {
        client.call("DELETE", &format!("/containers/{id}?force=1&v=1"), Body::Nothing).map(drop)
    }

    /// Removes what is left, ends the engine and waits for it.
    pub(crate) fn stop(&mut self) {
        if self.ended {
            return;
        }
        let mut client = self.client();
        // What cannot be removed by asking ends with the signals below, or is told by the next run.
        if let Ok(Value::Array(list)) = client.call("GET", "/containers/json?all=1", Body::Nothing) {
            for container in &list {
                let _ = self.remove(&mut client, container["Id"].as_str().unwrap_or_default());
            }
        }
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process number fits"));
        let _ = kill(pid, Signal::SIGTERM);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && !self.ended {
            self.ended = !matches!(self.child.try_wait(), Ok(None));
            std::thread::sleep(Duration::from_millis(20));
        }
        if !self.ended {
            // Its whole group: containerd is a child of dockerd.
            let _ = killpg(pid, Signal::SIGKILL);
            let _ = self.child.wait();
            self.ended = true;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs `work` on a thread of its own within the network of a process.
pub(crate) fn in_network_of<T: Send>(pid: u32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = format!("/proc/{pid}/ns/net");
    let network = File::open(&path).with_context(|| format!("could not open {path}"))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).context("could not enter the network")?;
            work()
        });
        thread.join().unwrap_or_else(|_| bail!("the work in the network panicked"))
    })
}
