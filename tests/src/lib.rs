//! The stage on which system tests play: a store of their own, `rmachine` as a user would call it,
//! and machines that are gone when the test is.

mod config;
mod iso;
mod plain;
mod refusal;
mod registry;
mod release;
mod web;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
pub use config::{Config, data_url};
pub use iso::iso;
pub use plain::{Plain, Running};
pub use refusal::{Refusal, bad_config, refusal};
pub use registry::Registry;
pub use release::Release;
pub use web::Web;

/// A workstation with an empty store. Dropping it removes every machine in the store.
pub struct Workstation {
    store: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Workstation {
    /// A new one.
    ///
    /// # Errors
    /// No room for a temporary directory.
    pub fn new() -> Result<Self> {
        Ok(Self {
            store: tempfile::Builder::new().prefix("rmachine-").tempdir().context("no place for a store")?,
        })
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> &Path {
        self.store.path()
    }

    /// The directory of a machine in the store.
    #[must_use]
    pub fn machine_dir(&self, name: &str) -> PathBuf {
        self.store().join("machines").join(name)
    }

    /// `rmachine WORDS…`, not started yet.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let program = std::env::var_os("RMACHINE_BIN").unwrap_or_else(|| "rmachine".into());
        let mut command = Command::new(program);
        command.arg("-s").arg(self.store()).args(words).stdin(Stdio::null());
        command
    }

    /// Runs `rmachine WORDS…` to its end, whatever that is.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn try_rmachine(&self, words: &[&str]) -> Result<Ran> {
        ran(&mut self.command(words))
    }

    /// Runs `rmachine WORDS…` and returns its standard output.
    ///
    /// # Errors
    /// Any exit code but 0, with what it said.
    pub fn rmachine(&self, words: &[&str]) -> Result<String> {
        self.try_rmachine(words)?.stdout_if_ok(&format!("rmachine {}", words.join(" ")))
    }

    /// Runs the stock docker client against a machine, as `eval $(rmachine env NAME)` sets it up.
    ///
    /// # Errors
    /// Any exit code but 0, with what it said.
    pub fn docker(&self, machine: &str, words: &[&str]) -> Result<String> {
        let env = self.rmachine(&["env", "--shell", "sh", machine])?;
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{env}\nexec docker \"$@\""))
            .arg("docker")
            .args(words)
            .stdin(Stdio::null());
        ran(&mut command)?.stdout_if_ok(&format!("docker {}", words.join(" ")))
    }

    /// Runs a command as `root` on a machine, with the stock ssh client.
    ///
    /// # Errors
    /// Any exit code but 0, with what it said.
    pub fn as_root(&self, machine: &str, command: &str) -> Result<String> {
        let port = self.rmachine(&["inspect", "--format", "{{.Driver.SSHPort}}", machine])?;
        let mut client = stock_client("ssh", &self.machine_dir(machine).join("id_ed25519"));
        client.args(["-p", port.trim(), "root@127.0.0.1", command]);
        ran(&mut client)?.stdout_if_ok(command)
    }

    /// The process id of the machine's QEMU.
    ///
    /// # Errors
    /// The machine has no such record.
    pub fn qemu_pid(&self, machine: &str) -> Result<i32> {
        let path = self.machine_dir(machine).join("qemu.pid");
        let text = std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
        text.trim().parse().with_context(|| format!("`{}` is no process id", text.trim()))
    }
}

impl Drop for Workstation {
    fn drop(&mut self) {
        let Ok(names) = self.rmachine(&["ls", "-q"]) else { return };
        for name in names.lines() {
            if let Err(error) = self.rmachine(&["rm", "-f", name]) {
                eprintln!("{name} could not be removed: {error:#}");
            }
        }
    }
}

impl Ran {
    /// The standard output of a command that went well.
    ///
    /// # Errors
    /// Any exit code but 0.
    pub fn stdout_if_ok(self, shown: &str) -> Result<String> {
        if self.code == Some(0) {
            return Ok(self.stdout);
        }
        bail!("`{shown}` ended with {:?}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

/// `ssh`, `scp` or `sftp` of OpenSSH, with this key and none of the user's settings.
#[must_use]
pub fn stock_client(program: &str, key: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-i").arg(key).args(["-F", "none"]).stdin(Stdio::null());
    let quiet = ["BatchMode=yes", "LogLevel=ERROR", "IdentitiesOnly=yes", "ConnectTimeout=20"];
    for option in quiet.iter().chain(&["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]) {
        command.args(["-o", option]);
    }
    command
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started.
pub fn ran(command: &mut Command) -> Result<Ran> {
    let began = Instant::now();
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("could not start {:?}", command.get_program()))?;
    Ok(Ran {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        took: began.elapsed(),
    })
}

/// Asks again, each 100 ms, until it is so or the limit is over.
///
/// # Errors
/// It is not so within the limit.
pub fn eventually(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > limit {
            bail!("not within {} s: {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The image that machines of these tests boot.
#[must_use]
pub fn image() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("RMACHINE_IMAGE") {
        return Some(dir.into());
    }
    let program = std::env::current_exe().ok()?;
    let built = |dir: &Path| [dir.join("image/vm"), dir.join("target/image/vm")];
    program.ancestors().flat_map(built).find(|dir| dir.join("manifest.json").exists())
}

/// The processes with this word, or a part of it, in their command line.
#[must_use]
pub fn processes_naming(word: &str) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let names_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    };
    pids.filter(names_it).collect()
}

/// What a server says first.
///
/// # Errors
/// Nobody listens there, or it says less within ten seconds.
pub fn first_bytes(address: &str, count: usize) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(address).with_context(|| format!("no {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).with_context(|| format!("{address} says nothing"))?;
    Ok(bytes)
}

/// The SHA-256 of a file, by Debian's own tool.
///
/// # Errors
/// It cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let sum = ran(Command::new("sha256sum").arg(path))?.stdout_if_ok("sha256sum")?;
    Ok(sum.split(' ').next().unwrap_or_default().to_owned())
}

/// Machines of one cluster, and the ways to talk to it.
pub struct Cluster {
    /// Where its store is.
    pub here: Workstation,
    /// Its name.
    pub name: &'static str,
}

impl Cluster {
    /// Makes one with a single command; `more` are further flags of `create`.
    ///
    /// # Errors
    /// It is not made.
    pub fn create(name: &'static str, machines: &[&str], more: &[&str]) -> Result<Self> {
        let here = Workstation::new()?;
        let mut words = vec!["create", "-d", "qemu", "--qemu-memory", "512", "--timeout", "300"];
        words.extend(["--cluster", name]);
        words.extend(more);
        words.extend(machines);
        here.rmachine(&words)?;
        Ok(Self { here, name })
    }

    /// `rmachine fleetctl -- WORDS…`
    ///
    /// # Errors
    /// Any exit code but 0, with what it said.
    pub fn fleetctl(&self, words: &[&str]) -> Result<String> {
        self.here.rmachine(&[&["fleetctl", "--cluster", self.name, "--"], words].concat())
    }

    /// `rmachine kvctl -- WORDS…`
    ///
    /// # Errors
    /// Any exit code but 0, with what it said.
    pub fn kvctl(&self, words: &[&str]) -> Result<String> {
        self.here.rmachine(&[&["kvctl", "--cluster", self.name, "--"], words].concat())
    }

    /// Whether `rmachine status` finds nothing wrong with it.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.here.rmachine(&["status", "--cluster", self.name]).is_ok()
    }

    /// The name of the machine that a unit is active on.
    #[must_use]
    pub fn machine_of(&self, unit: &str) -> Option<String> {
        let words = ["status", "--cluster", self.name, "--format", "json"];
        let seen: serde_json::Value =
            serde_json::from_str(&self.here.try_rmachine(&words).ok()?.stdout).ok()?;
        let units = seen["Units"].as_array()?;
        let state = units.iter().find(|it| it["name"] == unit && it["systemdActiveState"] == "active")?;
        let machines = seen["Machines"].as_array()?;
        let found = machines.iter().find(|it| it["Id"] == state["machineID"])?;
        Some(found["Name"].as_str()?.to_owned())
    }

    /// Pulls a machine's plug: SIGKILL to its QEMU.
    ///
    /// # Errors
    /// It does not run.
    pub fn pull_the_plug(&self, machine: &str) -> Result<()> {
        let pid = self.here.qemu_pid(machine)?.to_string();
        ran(Command::new("kill").args(["-9", &pid]))?.stdout_if_ok("kill").map(drop)
    }

    /// Cuts a machine off the cluster's switch, or connects it again.
    ///
    /// # Errors
    /// Its QEMU does not obey.
    pub fn link(&self, machine: &str, up: bool) -> Result<()> {
        use std::io::{BufRead as _, BufReader, Write as _};
        let path = self.here.machine_dir(machine).join("query.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(&path)
            .with_context(|| format!("no QEMU at {}", path.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        lines.next().context("no greeting")??;
        for command in [
            serde_json::json!({ "execute": "qmp_capabilities" }),
            serde_json::json!({ "execute": "set_link", "arguments": { "name": "net1", "up": up } }),
        ] {
            writeln!(stream, "{command}")?;
            loop {
                let line = lines.next().context("QEMU ended")??;
                if line.contains("\"error\"") {
                    bail!("QEMU says {line}");
                }
                if line.contains("\"return\"") {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Writes a unit file and returns its path.
    ///
    /// # Errors
    /// No room.
    pub fn unit_file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.here.store().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }
}
