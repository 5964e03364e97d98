//! Mounts of the early boot, each with a sentence when it fails.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

/// A mount that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {what} on {}", at.display())]
pub struct MountError {
    /// The device or the kind of filesystem.
    pub what: String,
    /// The mount point.
    pub at: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// Mounts a filesystem that the kernel makes itself (proc, tmpfs, …), making the mount point first.
pub fn mount_virtual(kind: &str, at: &str, flags: MsFlags, data: &str) -> Result<(), MountError> {
    mount_at(Some(Path::new(kind)), Path::new(at), Some(kind), flags, Some(data))
}

/// Mounts `what` on `at`, which is made if the filesystem below it can be written.
pub fn mount_at(
    what: Option<&Path>,
    at: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), MountError> {
    let fail = |source| MountError {
        what: what.map_or_else(|| "nothing".to_owned(), |path| path.display().to_string()),
        at: at.to_owned(),
        source,
    };
    if !at.exists() {
        fs::create_dir_all(at).map_err(fail)?;
    }
    mount(what, at, kind, flags, data).map_err(|errno| fail(errno.into()))
}

/// The three filesystems that everything else needs: /dev, /proc and /sys.
pub fn mount_basics() -> Result<(), MountError> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    mount_virtual("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755")?;
    mount_virtual("proc", "/proc", safe, "")?;
    mount_virtual("sysfs", "/sys", safe, "")
}
