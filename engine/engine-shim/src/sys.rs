//! The system calls that neither std nor libc wraps, as safe functions.
//!
//! Thin: one call each, errors as `io::Error`, descriptors owned and always
//! close-on-exec. Policy lives with the callers.
#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{CStr, CString, OsStr, c_long, c_ulong};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Refuse to leave the directory: `..` and absolute links stay inside.
pub const RESOLVE_IN_ROOT: u64 = 0x10;
/// Refuse `/proc/PID/fd` and its like.
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub const RESOLVE_NO_XDEV: u64 = 0x01;

pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;

const FSCONFIG_SET_FLAG: c_long = 0;
const FSCONFIG_SET_STRING: c_long = 1;
const FSCONFIG_CMD_CREATE: c_long = 6;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The current directory, for the `*at` calls.
pub const CWD: BorrowedFd<'static> = {
    // SAFETY: AT_FDCWD is no descriptor that could be closed.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
};

/// An error from a negative return.
pub fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: c_long) -> io::Result<OwnedFd> {
    let fd = check(result)? as RawFd;
    // SAFETY: the kernel just gave us this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A C string; a NUL inside is an invalid argument.
pub fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

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

pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length belong to `groups`.
    check(c_long::from(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })).map(drop)
}

pub fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(c_long::from(unsafe { libc::setresgid(gid, gid, gid) })).map(drop)
}

pub fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(c_long::from(unsafe { libc::setresuid(uid, uid, uid) })).map(drop)
}

pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: no pointers.
    unsafe { libc::umask(mask) }
}

/// Makes every descriptor from `first` on close at exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only sets a flag; nothing is closed now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Makes `fd` also known as number `number`, kept across exec.
pub fn dup_to(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: callers replace only the standard streams.
    check(c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// A pipe: read end, write end.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: ends is a valid place for two descriptors.
    check(c_long::from(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }))?;
    // SAFETY: both were just given to us.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// A connected pair of sequenced-packet sockets.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: ends is a valid place for two descriptors.
    check(c_long::from(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) }))?;
    // SAFETY: both were just given to us.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    let flags = check(c_long::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }))? as i32;
    // SAFETY: no pointers.
    check(c_long::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }))
        .map(drop)
}

/// Asks for a larger pipe; refusal does not matter.
pub fn enlarge_pipe(fd: BorrowedFd<'_>, bytes: i32) {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
}

pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length belong to `buffer`.
    check(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } as c_long)
        .map(|n| n as usize)
}

pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length belong to `bytes`.
    check(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) } as c_long)
        .map(|n| n as usize)
}

/// Blocks `SIGCHLD` and returns a descriptor that becomes readable instead.
pub fn child_signal_fd() -> io::Result<OwnedFd> {
    // SAFETY: all-zero is a valid, empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: set is valid; the process has one thread.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        owned(c_long::from(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)))
    }
}

/// Puts signals back as a fresh program expects them: nothing blocked or ignored.
pub fn reset_signals() {
    // SAFETY: an empty set and default actions; the process has one thread.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        for signal in 1..=64 {
            if signal != libc::SIGKILL && signal != libc::SIGSTOP {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

pub fn ignore_signal(signal: i32) {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Sends bytes, and a descriptor if given, as one packet.
pub fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut iov = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    let mut space = [0u64; 4];
    // SAFETY: all-zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    if let Some(fd) = fd {
        header.msg_control = space.as_mut_ptr().cast();
        // SAFETY: `space` is large and aligned enough for one descriptor.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(4) as _;
            let control = libc::CMSG_FIRSTHDR(&raw const header);
            (*control).cmsg_level = libc::SOL_SOCKET;
            (*control).cmsg_type = libc::SCM_RIGHTS;
            (*control).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(control).cast::<i32>().write_unaligned(fd.as_raw_fd());
        }
    }
    // SAFETY: header points at live buffers.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) } as c_long)
        .map(drop)
}

/// Receives one packet and the descriptor sent along, if any. Zero bytes: the
/// other side is gone.
pub fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut space = [0u64; 4];
    // SAFETY: all-zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = space.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&space) as _;
    // SAFETY: header points at live buffers.
    let length = check(
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) } as c_long,
    )?;
    // SAFETY: the kernel filled the control buffer; the descriptor in it is ours.
    let fd = unsafe {
        let control = libc::CMSG_FIRSTHDR(&raw const header);
        (!control.is_null() && (*control).cmsg_type == libc::SCM_RIGHTS)
            .then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(control).cast::<i32>().read_unaligned()))
    };
    Ok((length as usize, fd))
}

/// One entry of [`poll`].
pub use libc::pollfd as PollFd;

/// Waits for any of `entries`; at most `timeout` milliseconds, -1 for ever.
pub fn poll(entries: &mut [PollFd], timeout: i32) -> io::Result<usize> {
    // SAFETY: pointer and length belong to `entries`.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as _, timeout) };
    match check(c_long::from(ready)) {
        Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(0),
        other => other.map(|n| n as usize),
    }
}

/// Nanoseconds since 1970.
pub fn now() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time is a valid place to write.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: limit outlives the call.
    check(c_long::from(unsafe { libc::setrlimit(resource as _, &raw const limit) })).map(drop)
}

pub fn get_rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is a valid place to write.
    check(c_long::from(unsafe { libc::getrlimit(resource as _, &raw mut limit) }))?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Replaces effective, permitted and inheritable capabilities.
pub fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let low = |set: u64| set as u32;
    let high = |set: u64| (set >> 32) as u32;
    let data = [
        low(effective),
        low(permitted),
        low(inheritable),
        high(effective),
        high(permitted),
        high(inheritable),
    ];
    // SAFETY: both arrays have the layout of version 3 and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// Loads a classic BPF program as system call filter.
pub fn load_seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let header = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: header points at the program, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const header) }).map(drop)
}

/// Unlocks a terminal's master and opens its other side without a path.
pub fn open_terminal_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let unlock: i32 = 0;
    // SAFETY: TIOCSPTLCK reads one int; TIOCGPTPEER takes flags.
    unsafe {
        check(c_long::from(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock)))?;
        owned(c_long::from(libc::ioctl(
            master.as_raw_fd(),
            libc::TIOCGPTPEER,
            libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC,
        )))
    }
}

pub fn set_controlling_terminal(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a number.
    check(c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) })).map(drop)
}

pub fn set_window_size(fd: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: size outlives the call.
    check(c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })).map(drop)
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

/// May the current (effective) user execute this file?
pub fn may_execute(path: &CStr) -> io::Result<()> {
    // SAFETY: path outlives the call.
    check(c_long::from(unsafe {
        libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS)
    }))
    .map(drop)
}

/// Ends this process without running anything on the way out.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// The kernel's sentence for an error, as Go programs print it.
pub fn errno_text(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    // SAFETY: strerror returns a valid string until the next call on this thread.
    let text = unsafe { CStr::from_ptr(libc::strerror(number)) }.to_string_lossy().into_owned();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Borrows a descriptor that is known to be open for the program's life.
pub fn standard(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: only called with 0, 1 and 2, which this program never closes.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Takes ownership of an inherited descriptor.
pub fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    fstat(standard(fd))?;
    // SAFETY: checked to be open; called once, at start, before anything else opens files.
    let duplicate = unsafe { BorrowedFd::borrow_raw(fd) }.as_fd().try_clone_to_owned()?;
    Ok(duplicate)
}

/// Reads this process's capability sets, in version 3's layout.
pub fn get_capabilities(header: &[u32; 2], data: &mut [u32; 6]) -> io::Result<()> {
    // SAFETY: both arrays have the layout of version 3.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) }).map(drop)
}

/// Takes the mount at `path` out of the tree; it ends with its last user.
pub fn detach(path: &CStr) -> io::Result<()> {
    // SAFETY: path outlives the call.
    check(c_long::from(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) })).map(drop)
}

/// A set of signals.
pub struct SignalSet(libc::sigset_t);

/// Blocks every signal, to be taken by [`wait_signal`].
pub fn block_all_signals() -> io::Result<SignalSet> {
    // SAFETY: all-zero is a valid set; the process has one thread.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        check(c_long::from(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut())))?;
        Ok(SignalSet(set))
    }
}

/// The next blocked signal.
pub fn wait_signal(set: &SignalSet) -> Option<i32> {
    // SAFETY: the set is valid, no details are asked for.
    let signal = unsafe { libc::sigwaitinfo(&raw const set.0, std::ptr::null_mut()) };
    (signal > 0).then_some(signal)
}

/// Closes every descriptor from `first` on, for a process that owns none of them.
pub fn close_from(first: u32) {
    // SAFETY: the caller never uses or drops its descriptors again.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// A new session; stdin, if a terminal, becomes its controlling terminal.
pub fn setsid_and_terminal() {
    // SAFETY: no pointers; stealing the terminal from our own parent needs privilege, which is held here.
    unsafe {
        libc::setsid();
        if libc::isatty(0) == 1 {
            libc::ioctl(0, libc::TIOCSCTTY, 1);
        }
    }
}

/// Where `byte` first is: libc's vectorised search, which std does not export.
pub fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    // SAFETY: pointer and length belong to `bytes`; memchr only reads.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), i32::from(byte), bytes.len()) };
    (!found.is_null()).then(|| found as usize - bytes.as_ptr() as usize)
}

/// A memory file with these contents, which nobody can change or shorten.
pub fn sealed_memory(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = c_string(name)?;
    // SAFETY: name outlives the call.
    let memory = owned(c_long::from(unsafe {
        libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
    }))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[write(memory.as_fd(), rest)?..];
    }
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: no pointers.
    check(c_long::from(unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) }))?;
    Ok(memory)
}

/// Does this process run as user 0?
pub fn is_root() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::geteuid() == 0 }
}
