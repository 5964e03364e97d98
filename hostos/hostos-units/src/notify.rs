//! The socket of `sd_notify`: datagrams with the sender's process id, which the kernel vouches for.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind, recvmsg, setsockopt,
    socket, sockopt::PassCred,
};

#[derive(Debug)]
pub(crate) struct NotifySocket {
    fd: OwnedFd,
}

impl NotifySocket {
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let _ = std::fs::remove_file(path);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        // Services that run as another user notify too; who may is decided by process.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        setsockopt(&fd, PassCred, &true)?;
        Ok(Self { fd })
    }

    /// The next message and who sent it. Descriptors that come with it are closed.
    pub(crate) fn receive(&self) -> Option<(i32, String)> {
        let mut buffer = [0; 4096];
        let mut space = nix::cmsg_space!(nix::libc::ucred, [std::os::fd::RawFd; 16]);
        let mut slices = [io::IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.fd.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
        let mut pid = 0;
        for control in message.cmsgs().ok()? {
            match control {
                ControlMessageOwned::ScmCredentials(credentials) => pid = credentials.pid(),
                ControlMessageOwned::ScmRights(fds) => crate::socket::close_all(&fds),
                _ => {}
            }
        }
        let length = message.bytes;
        Some((pid, String::from_utf8_lossy(&buffer[..length]).into_owned()))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
