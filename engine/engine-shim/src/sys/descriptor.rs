//! Descriptors: duplicates, pipes, reading, writing, waiting.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{c_string, check, fstat, owned};

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

/// Closes every descriptor from `first` on, for a process that owns none of them.
pub fn close_from(first: u32) {
    // SAFETY: the caller never uses or drops its descriptors again.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
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
