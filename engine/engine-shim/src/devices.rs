//! `/dev`: a tmpfs with the standard nodes, made by number on a handle.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::failure::{During, Failure};
use crate::rootfs::standard_target;
use crate::rootpath::SafeRoot;
use crate::spec::{Device, Spec};
use crate::sys::{self, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID};

const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Mounts and fills `/dev`, and returns a handle to it.
pub(crate) fn mount_dev(spec: &Spec, root: &SafeRoot) -> Result<OwnedFd, Failure> {
    let during = || "mounting /dev".to_owned();
    let target = standard_target(root, "dev")?;
    let dev = sys::new_mount("tmpfs", "mode=755,size=65536k", MOUNT_ATTR_NOSUID).during(during)?;
    for (name, major, minor) in NODES {
        if spec.namespaces.user.is_some() {
            bind_node(&dev, name).during(|| format!("making /dev/{name}"))?;
        } else {
            sys::mknodat(dev.as_fd(), name, libc::S_IFCHR | 0o666, libc::makedev(major, minor))
                .during(|| format!("making /dev/{name}"))?;
        }
    }
    for (to, name) in LINKS {
        sys::symlinkat(to, dev.as_fd(), name).during(|| format!("making /dev/{name}"))?;
    }
    if Path::new("/proc/kcore").exists() {
        sys::symlinkat("/proc/kcore", dev.as_fd(), "core").during(|| "making /dev/core".into())?;
    }
    sys::attach_mount(dev.as_fd(), target.as_fd()).during(during)?;
    Ok(dev)
}

/// In a user namespace nodes cannot be made, only borrowed.
fn bind_node(dev: &OwnedFd, name: &str) -> io::Result<()> {
    sys::mknodat(dev.as_fd(), name, libc::S_IFREG | 0o666, 0)?;
    let place = sys::openat2(dev.as_fd(), name, libc::O_PATH, 0, sys::RESOLVE_NO_SYMLINKS)?;
    let tree = sys::clone_tree(sys::CWD, format!("/dev/{name}"), false)?;
    sys::attach_mount(tree.as_fd(), place.as_fd())
}

/// A devpts of its own. Group 5 is `tty` everywhere; a user namespace without
/// it goes without.
pub(crate) fn new_devpts() -> io::Result<OwnedFd> {
    let attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
    match sys::new_mount("devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", attributes) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            sys::new_mount("devpts", "newinstance,ptmxmode=0666,mode=0620", attributes)
        }
        done => done,
    }
}

/// The nodes asked for with `--device`.
pub(crate) fn make_devices(spec: &Spec, root: &SafeRoot) -> Result<(), Failure> {
    for device in &spec.devices {
        make_device(root, device).during(|| format!("error creating device node {}", device.path))?;
    }
    Ok(())
}

fn make_device(root: &SafeRoot, device: &Device) -> io::Result<()> {
    let path = crate::rootfs::lexical(&device.path);
    let (parent, name) = path.rsplit_once('/').ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let parent = root.make_directory(if parent.is_empty() { "/" } else { parent })?;
    let kind = match device.kind {
        'b' => libc::S_IFBLK,
        'p' => libc::S_IFIFO,
        _ => libc::S_IFCHR,
    };
    let mode = if device.mode == 0 { 0o666 } else { device.mode & 0o7777 };
    match sys::mknodat(parent.as_fd(), name, kind | mode, libc::makedev(device.major, device.minor)) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => return Ok(()),
        done => done?,
    }
    sys::chownat(parent.as_fd(), name, device.uid, device.gid)
}
