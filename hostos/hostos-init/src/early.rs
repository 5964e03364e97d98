//! Mounts that every program expects, and the cgroup tree with all its controllers on.

use std::fs;
use std::io;
use std::path::Path;

use hostos_stage1::mounts::{MountError, mount_virtual};
use nix::mount::MsFlags;

const CGROUP: &str = "/sys/fs/cgroup";

/// Where PID 1 lives: a cgroup with processes in it may not hand controllers down.
const INIT_CGROUP: &str = "/sys/fs/cgroup/init.scope";

/// Mounts what stage 1 left to do.
pub(crate) fn mount_all() -> Result<(), MountError> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let inert = safe | MsFlags::MS_NOEXEC;
    mount_virtual("tmpfs", "/run", safe, "mode=0755,size=25%")?;
    mount_virtual("tmpfs", "/tmp", safe, "mode=1777,size=50%")?;
    mount_virtual(
        "devpts",
        "/dev/pts",
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        "mode=0620,gid=5,ptmxmode=0666",
    )?;
    mount_virtual("tmpfs", "/dev/shm", safe, "mode=1777,size=50%")?;
    mount_virtual("mqueue", "/dev/mqueue", inert, "")?;
    mount_virtual("cgroup2", CGROUP, inert, "nsdelegate,memory_recursiveprot")?;
    make_links();
    Ok(())
}

/// The names below /dev that shells and daemons expect. devtmpfs makes none of them.
fn make_links() {
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        let path = Path::new("/dev").join(name);
        if name == "ptmx" {
            let _ = fs::remove_file(&path);
        }
        let _ = std::os::unix::fs::symlink(target, path);
    }
}

/// Moves PID 1 into a leaf and hands every controller down.
pub(crate) fn set_up_cgroups() -> io::Result<()> {
    fs::create_dir_all(INIT_CGROUP)?;
    fs::write(Path::new(INIT_CGROUP).join("cgroup.procs"), "1")?;
    let available = fs::read_to_string(Path::new(CGROUP).join("cgroup.controllers"))?;
    for controller in available.split_whitespace() {
        // One that cannot be handed down must not keep the others from it.
        let _ = fs::write(Path::new(CGROUP).join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}

/// Kernel settings that containers and a machine without an administrator need.
pub(crate) fn set_kernel_parameters() {
    let settings = [
        ("net/ipv4/ip_forward", "1"),
        ("kernel/panic", "-1"),
        ("fs/inotify/max_user_instances", "1024"),
        ("fs/inotify/max_user_watches", "524288"),
        ("vm/overcommit_memory", "1"),
        ("kernel/dmesg_restrict", "1"),
        ("kernel/kptr_restrict", "1"),
        ("fs/protected_hardlinks", "1"),
        ("fs/protected_symlinks", "1"),
    ];
    for (name, value) in settings {
        if let Err(error) = fs::write(Path::new("/proc/sys").join(name), value) {
            tracing::warn!(name, %error, "kernel parameter not set");
        }
    }
}
