//! What survives a reboot: /var and the writable layer of /etc, on the state disk, or in memory
//! without one.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use hostos_stage1::mounts::{MountError, mount_at, mount_virtual};
use nix::mount::{MntFlags, MsFlags, umount2};

use crate::root_image;
use crate::state_disk::{self, DiskError, StateDisk};

/// Why there is nowhere to write.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("cannot prepare the writable directories")]
    Prepare(#[source] io::Error),
}

/// Where state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It ends with the machine.
    Memory,
    /// It stays.
    Disk(StateDisk),
}

/// User and group `core` in the image's /etc/passwd.
const CORE: u32 = 500;

/// Group `systemd-journal` in the image's /etc/group, of which user `core` is a member.
const JOURNAL: u32 = 190;

/// Directories of /var with their permissions.
const VAR: &[(&str, u32)] = &[
    ("cache", 0o755),
    ("home", 0o755),
    ("lib", 0o755),
    ("log", 0o755),
    // What is made in it belongs to the group that may read it.
    ("log/journal", 0o2750),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("opt/bin", 0o755),
    ("roothome", 0o700),
    ("spool", 0o755),
    ("srv", 0o755),
    ("tmp", 0o1777),
    ("usrlocal", 0o755),
    ("usrlocal/bin", 0o755),
];

/// Makes /var and /etc writable.
pub(crate) fn mount_state() -> Result<State, StateError> {
    let state = match state_disk::mount(Path::new("/var"))? {
        Some(disk) => State::Disk(disk),
        None => {
            let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount_virtual("tmpfs", "/var", safe, "mode=0755,size=80%")?;
            State::Memory
        }
    };
    prepare_var().map_err(StateError::Prepare)?;
    overlay_etc(Path::new("/var/.etc"))?;
    Ok(state)
}

/// Lets go of the disk, so that the next boot finds nothing to repair.
pub(crate) fn unmount() {
    root_image::let_go();
    nix::unistd::sync();
    for path in ["/etc", "/var"] {
        if umount2(path, MntFlags::empty()).is_err() {
            // Something is still open; read-only is as good.
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            if let Err(error) = nix::mount::mount(None::<&str>, path, None::<&str>, flags, None::<&str>) {
                println!("rmachine: {path} is still written to ({error}): the next boot repairs it");
            }
        }
    }
}

fn prepare_var() -> io::Result<()> {
    for (name, mode) in VAR {
        let path = Path::new("/var").join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    chown("/var/log/journal", Some(0), Some(JOURNAL))?;
    // Changing the owner takes the bit away.
    fs::set_permissions("/var/log/journal", fs::Permissions::from_mode(0o2750))?;
    // The account that the image brings along finds its home made.
    let home = Path::new("/var/home/core");
    if !home.exists() {
        fs::create_dir(home)?;
        fs::set_permissions(home, fs::Permissions::from_mode(0o700))?;
        chown(home, Some(CORE), Some(CORE))?;
    }
    link("/run", "/var/run")?;
    link("/run/lock", "/var/lock")?;
    fs::create_dir_all("/run/lock")?;
    fs::create_dir_all("/run/media")
}

fn link(target: &str, at: &str) -> io::Result<()> {
    match std::os::unix::fs::symlink(target, at) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// /etc of the image below, what was changed on this machine above.
fn overlay_etc(layer: &Path) -> Result<(), StateError> {
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    for dir in [&upper, &work] {
        fs::create_dir_all(dir).map_err(StateError::Prepare)?;
    }
    fs::set_permissions(layer, fs::Permissions::from_mode(0o700)).map_err(StateError::Prepare)?;
    let data = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    mount_at(
        Some(Path::new("etc")),
        Path::new("/etc"),
        Some("overlay"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(&data),
    )?;
    Ok(())
}
