//! The system calls that neither std nor libc wraps, as safe functions.
//!
//! Thin: one call each, errors as `io::Error`, descriptors owned and always close-on-exec. Policy lives with
//! the callers. Each file holds one kind of call; here is what they share.
#![allow(unsafe_code, reason = "raw system calls")]

mod descriptor;
mod interface;
mod mount;
mod packet;
mod path;
mod process;
mod rights;
mod signal;
mod terminal;

use std::ffi::{CStr, CString, OsStr, c_long};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

pub use descriptor::*;
pub use interface::*;
pub use mount::*;
pub use packet::*;
pub use path::*;
pub use process::*;
pub use rights::*;
pub use signal::*;
pub use terminal::*;

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

/// Nanoseconds since 1970.
pub fn now() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: time is a valid place to write.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// The kernel's sentence for an error, as Go programs print it.
pub fn errno_text(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    // SAFETY: strerror returns a valid string until the next call on this thread.
    let text = unsafe { CStr::from_ptr(libc::strerror(number)) }.to_string_lossy().into_owned();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Where `byte` first is: libc's vectorised search, which std does not export.
pub fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    // SAFETY: pointer and length belong to `bytes`; memchr only reads.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), i32::from(byte), bytes.len()) };
    (!found.is_null()).then(|| found as usize - bytes.as_ptr() as usize)
}
