//! A pseudo terminal whose near end is read and written without blocking a thread.
#![allow(
    unsafe_code,
    reason = "a size is set by ioctl, and registering a descriptor promises to keep it open"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// In characters and in pixels, as the client counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: u32,
    pub(crate) rows: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Size {
    fn winsize(self) -> Winsize {
        let short = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        Winsize {
            ws_row: short(self.rows),
            ws_col: short(self.columns),
            ws_xpixel: short(self.width),
            ws_ypixel: short(self.height),
        }
    }
}

/// The near end. Its clones are the same terminal.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    near: Arc<AsyncFd<File>>,
}

/// A new terminal and its far end, which becomes a program's stdin, stdout and stderr.
pub(crate) fn open(size: Size) -> io::Result<(Terminal, OwnedFd)> {
    let pair = openpty(Some(&size.winsize()), None)?;
    let mut modes = tcgetattr(&pair.slave)?;
    modes.input_flags.insert(InputFlags::IUTF8);
    tcsetattr(&pair.slave, SetArg::TCSANOW, &modes)?;
    fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(&pair.master, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    fcntl(&pair.slave, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    // SAFETY: the file is owned by the value registered and closed with it, not before.
    let near = unsafe { AsyncFd::register(File::from(pair.master)) }.map_err(io::Error::from)?;
    Ok((Terminal { near: Arc::new(near) }, pair.slave))
}

impl Terminal {
    pub(crate) fn resize(&self, size: Size) {
        let size = size.winsize();
        // SAFETY: the descriptor is open and `size` is a whole `struct winsize` that outlives the call.
        unsafe { libc::ioctl(self.near.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.near.poll_read_ready(cx))?;
            let unfilled = buffer.initialize_unfilled();
            match guard.try_io(|near| near.get_ref().read(unfilled)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The last program has closed its end: that is the end of the output.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.near.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|near| near.get_ref().write(bytes)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
