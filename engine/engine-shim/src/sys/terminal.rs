//! Terminals: their other side, their size, and whose controlling terminal they are.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, owned};

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
