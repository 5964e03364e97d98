//! Network interfaces, as far as a container without a network needs them.

use std::ffi::c_long;
use std::io;
use std::os::fd::AsRawFd;

use super::{check, owned};

/// Turns on `lo` of this network namespace; the kernel gives it 127.0.0.1.
pub fn set_loopback_up() -> io::Result<()> {
    // SAFETY: no pointers.
    let socket = owned(c_long::from(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    }))?;
    // SAFETY: all-zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = *byte as _;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
    // SAFETY: the request outlives the call, which reads its name and flags.
    check(c_long::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }))
        .map(drop)
}
