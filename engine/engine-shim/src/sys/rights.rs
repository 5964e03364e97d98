//! What a process may do: users, capabilities, limits, the filter of system calls.

use std::ffi::c_long;
use std::io;

use super::check;

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

/// Reads this process's capability sets, in version 3's layout.
pub fn get_capabilities(header: &[u32; 2], data: &mut [u32; 6]) -> io::Result<()> {
    // SAFETY: both arrays have the layout of version 3.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) }).map(drop)
}

/// Does this process run as user 0?
pub fn is_root() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::geteuid() == 0 }
}
