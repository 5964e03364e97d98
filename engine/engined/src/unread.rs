//! Whether the peer of a unix socket has read everything that was sent to it.
#![allow(unsafe_code, reason = "no crate wraps SIOCOUTQ")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use engine_http::Drained;

/// A question about this socket that outlives the borrow; `None` when there is no descriptor left for it.
pub(crate) fn asker(socket: &impl AsFd) -> Option<Drained> {
    let own = socket.as_fd().try_clone_to_owned().ok()?;
    Some(Arc::new(move || unread(&own) == 0))
}

/// Bytes that lie in the peer's buffer. A broken socket has none.
fn unread(socket: &OwnedFd) -> i32 {
    let mut count: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (the same number as SIOCOUTQ) writes one int to the place given, which is ours.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if asked < 0 { 0 } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_sent_is_unread_until_it_is_read() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let drained = asker(&near).unwrap();
        assert!(drained());
        near.write_all(b"head").unwrap();
        assert!(!drained());
        far.read_exact(&mut [0; 4]).unwrap();
        assert!(drained());
    }
}
