//! The file system of a container that does not run, without mounting it
//! anywhere a crash could leave it.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use engine_shim::rootpath::SafeRoot;
use engine_shim::spec::{Mount, MountKind, Rootfs};
use engine_shim::sys;

use crate::error::RuntimeError;

/// Mounts the root and its volumes in a mount namespace of their own, which
/// ends with the returned handle. Blocking: a few milliseconds.
pub fn mount_root(rootfs: &Rootfs, mounts: &[Mount], place: &Path) -> Result<SafeRoot, RuntimeError> {
    let (rootfs, mounts, place) = (rootfs.clone(), mounts.to_vec(), place.to_owned());
    let worker = std::thread::Builder::new()
        .name("mount-root".into())
        .spawn(move || build(&rootfs, &mounts, &place))
        .map_err(|source| failed("thread".into(), source))?;
    worker.join().map_err(|_| failed("thread".into(), io::ErrorKind::Other.into()))?
}

fn failed(path: std::path::PathBuf, source: io::Error) -> RuntimeError {
    RuntimeError::File { action: "mount the root file system at", path, source }
}

fn build(rootfs: &Rootfs, mounts: &[Mount], place: &Path) -> Result<SafeRoot, RuntimeError> {
    let at = |source| failed(place.to_owned(), source);
    // This thread alone changes its namespace, and ends with this function.
    sys::unshare(libc::CLONE_NEWNS).map_err(at)?;
    sys::set_root_propagation(libc::MS_REC | libc::MS_PRIVATE).map_err(at)?;
    let tree = engine_shim::mount_root(rootfs)
        .map_err(|failure| RuntimeError::Start { code: failure.code, message: failure.message })?;
    let target = sys::openat2(sys::CWD, place, libc::O_PATH | libc::O_DIRECTORY, 0, 0).map_err(at)?;
    sys::attach_mount(tree.as_fd(), target.as_fd()).map_err(at)?;
    let root = SafeRoot::from_fd(tree.try_clone().map_err(at)?);
    for mount in mounts.iter().filter(|mount| mount.kind == MountKind::Bind) {
        let source = sys::clone_tree(sys::CWD, &mount.source, !mount.non_recursive)
            .map_err(|source| failed(mount.source.clone(), source))?;
        let is_dir = sys::fstat(source.as_fd()).map_err(at)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let target = if is_dir { root.make_directory(&mount.target) } else { root.make_file(&mount.target) };
        let target = target.map_err(|source| failed(mount.target.clone().into(), source))?;
        if mount.readonly {
            sys::set_mount_attributes(source.as_fd(), sys::MOUNT_ATTR_RDONLY, 0, false).map_err(at)?;
        }
        sys::attach_mount(source.as_fd(), target.as_fd()).map_err(at)?;
    }
    let namespace = sys::openat2(sys::CWD, "/proc/thread-self/ns/mnt", libc::O_RDONLY, 0, 0).map_err(at)?;
    Ok(SafeRoot::with_namespace(tree, namespace))
}
