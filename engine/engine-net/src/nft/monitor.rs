//! Tells when somebody changed the kernel's firewall.
#![allow(unsafe_code, reason = "tokio asks for a promise about the descriptor")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::netlink::Socket;

/// `NFNLGRP_NFTABLES`
const GROUP: i32 = 7;

/// Notices changes in the network namespace of the thread that made it.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<OwnedFd>,
}

impl Monitor {
    /// Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?.subscribe(GROUP)?;
        // SAFETY: the descriptor is owned by the result and closed after it.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Self { socket })
    }

    /// Resolves after the next change, ours included. A burst counts once.
    pub async fn changed(&self) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        let mut buffer = [0; 8192];
        loop {
            match crate::netlink::read_nonblocking(self.socket.get_ref(), &mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    return Ok(());
                }
                // More happened than the buffer held: a change all the same.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
