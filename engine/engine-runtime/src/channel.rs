//! A connection to a shim, from the engine's side.

use std::io;
use std::path::Path;
use std::time::Duration;

use engine_shim::wire::{self, HEADER, Kind, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A shim answers anything but `Wait` within this, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Channel {
    pub(crate) socket: UnixStream,
}

impl Channel {
    /// Connects to the shim whose state directory this is. The path goes
    /// through a descriptor, because a socket's path may have 107 bytes only.
    pub(crate) async fn connect(state: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let dir = std::fs::File::open(state)?;
        let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), wire::SOCKET_FILE);
        let socket = UnixStream::connect(path).await?;
        Ok(Self { socket })
    }

    pub(crate) fn new(socket: UnixStream) -> Self {
        Self { socket }
    }

    pub(crate) async fn send(&mut self, request: &Request) -> io::Result<()> {
        let payload = serde_json::to_vec(request).map_err(io::Error::other)?;
        self.socket.write_all(&wire::message(Kind::Request, &payload)).await
    }

    /// The next reply; stream messages cannot come before it.
    pub(crate) async fn reply(&mut self) -> io::Result<Reply> {
        let (kind, payload) = read_message(&mut self.socket).await?;
        if kind != Kind::Reply {
            return Err(io::Error::other("expected a reply"));
        }
        serde_json::from_slice(&payload).map_err(io::Error::other)
    }

    pub(crate) async fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        self.send(request).await?;
        tokio::time::timeout(PATIENCE, self.reply()).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

pub(crate) async fn read_message(
    socket: &mut (impl tokio::io::AsyncRead + Unpin),
) -> io::Result<(Kind, Vec<u8>)> {
    let mut head = [0; HEADER];
    socket.read_exact(&mut head).await?;
    let (kind, length) = wire::parse_header(head).map_err(io::Error::other)?;
    let mut payload = vec![0; length];
    socket.read_exact(&mut payload).await?;
    Ok((kind, payload))
}
