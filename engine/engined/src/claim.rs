//! Making sure that one engine alone uses a data root, and saying who it is.
//!
//! A lock on a file in the data root decides; the pid file is for people and scripts. Both go when the
//! process ends, however it ends: the lock by itself, a left-over pid file because its process is gone.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::options::Config;

/// Held as long as the engine runs.
pub(crate) struct Claim {
    pidfile: PathBuf,
    _lock: Flock<File>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Somebody may have taken it away already.
        let _ = std::fs::remove_file(&self.pidfile);
    }
}

pub(crate) fn take(config: &Config) -> anyhow::Result<Claim> {
    make_dir(&config.data_root, 0o710)?;
    make_dir(&config.exec_root, 0o700)?;
    let lock = lock(&config.data_root.join("engined.lock"), &config.data_root)?;
    write_pidfile(&config.pidfile)?;
    if let Some(score) = config.oom_score_adjust
        && let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string())
    {
        tracing::warn!(%error, score, "could not set the engine's oom_score_adj");
    }
    Ok(Claim { pidfile: config.pidfile.clone(), _lock: lock })
}

fn make_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("could not make the directory {}", path.display()))
}

fn lock(path: &Path, root: &Path) -> anyhow::Result<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("could not open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!(
            "another engine uses the data root {}: stop it, or give this one its own --data-root, --exec-root, --pidfile and --host",
            root.display()
        ),
        Err((_, errno)) => Err(errno).with_context(|| format!("could not lock {}", path.display())),
    }
}

fn write_pidfile(path: &Path) -> anyhow::Result<()> {
    if let Ok(text) = std::fs::read_to_string(path)
        && let Ok(pid) = text.trim().parse::<u32>()
        && pid != std::process::id()
        && Path::new(&format!("/proc/{pid}")).exists()
    {
        bail!("pid file found, ensure docker is not running or delete {}", path.display());
    }
    if let Some(dir) = path.parent() {
        make_dir(dir, 0o755)?;
    }
    let mut file = File::create(path).with_context(|| format!("could not write {}", path.display()))?;
    write!(file, "{}", std::process::id()).with_context(|| format!("could not write {}", path.display()))
}
