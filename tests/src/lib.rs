//! The stage on which system tests play: a store of their own, `rmachine` as a user would call it,
//! and machines that are gone when the test is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

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
