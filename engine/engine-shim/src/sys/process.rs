//! Processes: making them, their namespaces, their names, their end.

use std::ffi::{CStr, CString, c_long, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, owned};

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What [`clone3`] should make new.
#[derive(Default)]
pub struct CloneRequest<'a> {
    /// `CLONE_NEW*`
    pub namespaces: i32,
    /// A directory of a unified hierarchy to start in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks with namespaces. `Ok(None)` in the child.
///
/// Only for single-threaded programs: the child goes on in ordinary Rust.
pub fn clone3(request: &CloneRequest<'_>) -> io::Result<Option<i32>> {
    let mut args = CloneArgs {
        flags: request.namespaces as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no stack is given, so this is a fork; the process has one thread.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    Ok((pid != 0).then_some(pid as i32))
}

pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(c_long::from(unsafe { libc::unshare(flags) })).map(drop)
}

pub fn setns(fd: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(c_long::from(unsafe { libc::setns(fd.as_raw_fd(), flags) })).map(drop)
}

pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(c_long::from(unsafe { libc::kill(pid, signal) })).map(drop)
}

/// Reaps one ended child: its pid and wait status, or `None` if none is waiting.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: status is a valid place to write.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length belong to `name`.
    check(c_long::from(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })).map(drop)
}

pub fn set_domainname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length belong to `name`.
    check(c_long::from(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) })).map(drop)
}

/// `prctl` with one number.
pub fn prctl(option: i32, argument: c_ulong) -> io::Result<()> {
    // SAFETY: only used with options that take numbers.
    check(c_long::from(unsafe { libc::prctl(option, argument, 0, 0, 0) })).map(drop)
}

pub fn set_process_name(name: &CStr) {
    // SAFETY: name is a C string; the kernel copies at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

pub fn setsid() {
    // SAFETY: no pointers. Fails only for a group leader, which is as good.
    unsafe { libc::setsid() };
}

pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: no pointers.
    unsafe { libc::umask(mask) }
}

/// Executes a program; returns only the reason it could not.
pub fn exec(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both vectors end with null and their strings are alive.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process without running anything on the way out.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}
