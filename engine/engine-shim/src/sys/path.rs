//! Calls on files named relative to an open directory.

use std::ffi::{CStr, OsStr, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::{c_string, check, owned};

/// Refuse to leave the directory: `..` and absolute links stay inside.
pub const RESOLVE_IN_ROOT: u64 = 0x10;
/// Refuse what would leave the directory.
pub const RESOLVE_BENEATH: u64 = 0x08;
/// Refuse `/proc/PID/fd` and its like.
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub const RESOLVE_NO_XDEV: u64 = 0x01;

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens `path` below `dir` under the given `RESOLVE_*` rules; `O_CLOEXEC` is added.
pub fn openat2(
    dir: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    flags: i32,
    mode: u32,
    resolve: u64,
) -> io::Result<OwnedFd> {
    let path = c_string(path.as_ref())?;
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: u64::from(mode), resolve };
    loop {
        // SAFETY: path and how outlive the call; the size is that of the struct.
        let result = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            )
        };
        match owned(result) {
            // The kernel asks to retry when a rename raced with a `..`.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            done => return done,
        }
    }
}

pub fn fchdir(dir: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    check(c_long::from(unsafe { libc::fchdir(dir.as_raw_fd()) })).map(drop)
}

pub fn mkdirat(dir: BorrowedFd<'_>, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: name outlives the call.
    check(c_long::from(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) })).map(drop)
}

pub fn mknodat(dir: BorrowedFd<'_>, name: &str, mode: u32, device: u64) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: name outlives the call.
    check(c_long::from(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, device) })).map(drop)
}

pub fn symlinkat(to: &str, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let (to, name) = (c_string(to)?, c_string(name)?);
    // SAFETY: both outlive the call.
    check(c_long::from(unsafe { libc::symlinkat(to.as_ptr(), dir.as_raw_fd(), name.as_ptr()) })).map(drop)
}

pub fn chownat(dir: BorrowedFd<'_>, name: &str, uid: u32, gid: u32) -> io::Result<()> {
    let name = c_string(name)?;
    let flags = libc::AT_SYMLINK_NOFOLLOW | if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: name outlives the call.
    check(c_long::from(unsafe { libc::fchownat(dir.as_raw_fd(), name.as_ptr(), uid, gid, flags) })).map(drop)
}

pub fn fstat(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    // SAFETY: all-zero is a valid stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: stat is a valid place to write.
    check(c_long::from(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) }))?;
    Ok(stat)
}

/// The magic number of the file system `fd` lives on.
pub fn file_system_magic(fd: BorrowedFd<'_>) -> io::Result<i64> {
    // SAFETY: all-zero is a valid statfs.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: stat is a valid place to write.
    check(c_long::from(unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut stat) }))?;
    Ok(stat.f_type as i64)
}

/// May the current (effective) user execute this file?
pub fn may_execute(path: &CStr) -> io::Result<()> {
    // SAFETY: path outlives the call.
    check(c_long::from(unsafe {
        libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS)
    }))
    .map(drop)
}
