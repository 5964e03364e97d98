//! The one system call that has no safe wrapper for descriptors which are only known by number.
#![allow(unsafe_code, reason = "flock on a number that the caller was given on its command line")]

use std::os::fd::RawFd;

use nix::errno::Errno;

/// flock(2). A number that is no open descriptor is an error like any other.
pub(crate) fn flock(descriptor: RawFd, operation: i32) -> nix::Result<()> {
    // SAFETY: two numbers are passed; no memory is involved, and nothing is opened or closed.
    Errno::result(unsafe { libc::flock(descriptor, operation) }).map(drop)
}
