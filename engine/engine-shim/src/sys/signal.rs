//! Signals: as descriptors, ignored, blocked, waited for.

use std::ffi::c_long;
use std::io;
use std::os::fd::OwnedFd;

use super::{check, owned};

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
