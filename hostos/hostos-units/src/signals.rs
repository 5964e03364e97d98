//! Signals: most come through the loop as data; the end of a child wakes it through a descriptor.
//!
//! SIGCHLD has a handler instead of a place in the blocked set, because the program around the
//! supervisor may have other threads, and one that does not block the signal would swallow it.
#![allow(unsafe_code, reason = "handlers and sets with real-time signals have no safe form")]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::SigSet;

/// Blocks the signals of interest for this thread (and those it makes) and returns their set.
pub(crate) fn block() -> io::Result<SigSet> {
    let usual = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPWR];
    let real_time = (3..=5).map(|offset| libc::SIGRTMIN() + offset);
    // SAFETY: the set is emptied before it is used, and outlives the calls.
    let set = unsafe {
        let mut set = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        let mut set = set.assume_init();
        for signal in usual.into_iter().chain(real_time) {
            libc::sigaddset(&raw mut set, signal);
        }
        if libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        SigSet::from_sigset_t_unchecked(set)
    };
    Ok(set)
}

static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn child_ended(_: libc::c_int) {
    let fd = WAKE.load(Ordering::Relaxed);
    let one = 1u64.to_ne_bytes();
    // SAFETY: write is allowed in a handler, the buffer is local; errno is put back.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(fd, one.as_ptr().cast(), one.len());
        *libc::__errno_location() = errno;
    }
}

/// A descriptor that can be read after a child has ended. One for each process.
pub(crate) fn watch_children() -> io::Result<OwnedFd> {
    let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let fd: OwnedFd = event.into();
    WAKE.store(fd.as_raw_fd(), Ordering::Relaxed);
    // SAFETY: the structure is zeroed before it is filled; the handler does only what handlers may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = child_ended as *const () as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
        libc::sigemptyset(&raw mut action.sa_mask);
        if libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut set = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
    }
    Ok(fd)
}

/// Makes the descriptor quiet again.
pub(crate) fn quiet(fd: &OwnedFd) {
    let mut count = [0; 8];
    let _ = nix::unistd::read(fd, &mut count);
}
