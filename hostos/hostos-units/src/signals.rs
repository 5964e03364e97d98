//! The signals that come through the loop instead of interrupting it.
#![allow(unsafe_code, reason = "sets with real-time signals have no safe form")]

use std::io;

use nix::sys::signal::SigSet;

/// Blocks the signals of interest for this thread (and those it makes) and returns their set.
pub(crate) fn block() -> io::Result<SigSet> {
    let usual = [libc::SIGCHLD, libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPWR];
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
