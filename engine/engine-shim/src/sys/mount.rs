//! Mounts: the new interface by descriptors, and the old call for what that cannot say.

use std::ffi::{CStr, OsStr, c_long, c_ulong};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::{CWD, c_string, check, fchdir, openat2, owned, setns};

pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;

const FSCONFIG_SET_FLAG: c_long = 0;
const FSCONFIG_SET_STRING: c_long = 1;
const FSCONFIG_CMD_CREATE: c_long = 6;

/// A file system context.
pub fn fsopen(kind: &str) -> io::Result<OwnedFd> {
    let kind = c_string(kind)?;
    // SAFETY: kind outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) })
}

pub fn fsconfig_string(fs: &OwnedFd, key: &str, value: impl AsRef<OsStr>) -> io::Result<()> {
    let (key, value) = (c_string(key)?, c_string(value)?);
    // SAFETY: both strings outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs.as_raw_fd(),
            FSCONFIG_SET_STRING,
            key.as_ptr(),
            value.as_ptr(),
            0,
        )
    })
    .map(drop)
}

pub fn fsconfig_flag(fs: &OwnedFd, key: &str) -> io::Result<()> {
    let key = c_string(key)?;
    // SAFETY: key outlives the call.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_SET_FLAG, key.as_ptr(), 0, 0) })
        .map(drop)
}

/// Makes the file system described by the context and mounts it nowhere yet.
pub fn fsmount(fs: &OwnedFd, attributes: u64) -> io::Result<OwnedFd> {
    // SAFETY: no pointers but null.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_CMD_CREATE, 0, 0, 0) })?;
    // SAFETY: no pointers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 1, attributes) })
}

/// A detached mount of a new file system with `key=value` or `flag` options.
pub fn new_mount(kind: &str, options: &str, attributes: u64) -> io::Result<OwnedFd> {
    let fs = fsopen(kind)?;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_string(&fs, key, value)?,
            None => fsconfig_flag(&fs, option)?,
        }
    }
    fsmount(&fs, attributes)
}

/// A mount of another mount namespace. The kernel clones only what is mounted in one's own, so this process
/// goes there and comes back: it must share its root with no other, and stand on the root of its namespace.
pub fn clone_tree_of(namespace: &Path, path: &str) -> io::Result<OwnedFd> {
    let open = |path: &Path, flags: i32| openat2(CWD, path, flags, 0, 0);
    let own = open(Path::new("/proc/self/ns/mnt"), libc::O_RDONLY)?;
    let theirs = open(namespace, libc::O_RDONLY)?;
    let here = open(Path::new("."), libc::O_PATH | libc::O_DIRECTORY)?;
    setns(theirs.as_fd(), libc::CLONE_NEWNS)?;
    let tree = clone_tree(CWD, path, false);
    setns(own.as_fd(), libc::CLONE_NEWNS)?;
    fchdir(here.as_fd())?;
    tree
}

/// A detached copy of the mount at `path` (of `dir` itself when empty).
pub fn clone_tree(dir: BorrowedFd<'_>, path: impl AsRef<Path>, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_string(path.as_ref())?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH as u32;
    }
    // SAFETY: path outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// Puts a detached mount onto the opened place.
pub fn attach_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = 0x4 | 0x40; // MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    let empty = c"";
    // SAFETY: both paths are the empty constant.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            empty.as_ptr(),
            target.as_raw_fd(),
            empty.as_ptr(),
            flags,
        )
    })
    .map(drop)
}

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets attributes and propagation (`MS_PRIVATE` …, 0 to leave) of a mount.
pub fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    propagation: c_ulong,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr { set, propagation, ..MountAttr::default() };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let empty = c"";
    // SAFETY: attr and the path outlive the call; the size is that of the struct.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// The old mount call, for what the new interface cannot say.
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: c_ulong, data: &CStr) -> io::Result<()> {
    // SAFETY: all strings outlive the call.
    check(c_long::from(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    }))
    .map(drop)
}

/// Changes propagation of the whole tree this process sees.
pub fn set_root_propagation(flags: c_ulong) -> io::Result<()> {
    mount(c"none", c"/", c"", flags, c"")
}

/// Makes the current directory the root and drops the old root.
pub fn pivot_to_current_directory() -> io::Result<()> {
    let dot = c".";
    // SAFETY: constant strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, dot.as_ptr(), dot.as_ptr()) })?;
    // SAFETY: constant string.
    check(c_long::from(unsafe { libc::umount2(dot.as_ptr(), libc::MNT_DETACH) }))?;
    std::env::set_current_dir("/")
}

/// Takes the mount at `path` out of the tree; it ends with its last user.
pub fn detach(path: &CStr) -> io::Result<()> {
    // SAFETY: path outlives the call.
    check(c_long::from(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) })).map(drop)
}
