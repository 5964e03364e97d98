//! An attached session: its output as chunks, its input, its end.

use std::io;

use engine_shim::wire::{self, Exit, Kind};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::channel::{Channel, read_message};

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl Streams {
    pub const OUTPUT: Self = Self { stdin: false, stdout: true, stderr: true };
    pub const ALL: Self = Self { stdin: true, stdout: true, stderr: true };

    #[must_use]
    pub fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}

/// A piece of a session's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Also everything a terminal prints.
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The last chunk: how the process ended.
    Exit(Exit),
}

/// Both directions of an attached session. Dropping it detaches.
#[derive(Debug)]
pub struct SessionStream {
    pub output: OutputStream,
    pub input: InputStream,
}

#[derive(Debug)]
pub struct OutputStream(OwnedReadHalf);

#[derive(Debug)]
pub struct InputStream(OwnedWriteHalf);

impl SessionStream {
    pub(crate) fn new(channel: Channel) -> Self {
        let (read, write) = channel.socket.into_split();
        Self { output: OutputStream(read), input: InputStream(write) }
    }
}

impl OutputStream {
    /// The next piece. An error when the shim is gone without an exit. Not
    /// cancel-safe: keep the future, or own the stream in a task.
    pub async fn next(&mut self) -> io::Result<Chunk> {
        let (kind, payload) = read_message(&mut self.0).await?;
        match kind {
            Kind::Stdout => Ok(Chunk::Stdout(payload)),
            Kind::Stderr => Ok(Chunk::Stderr(payload)),
            Kind::Exit => serde_json::from_slice(&payload).map(Chunk::Exit).map_err(io::Error::other),
            Kind::Request | Kind::Reply | Kind::Stdin | Kind::StdinEof => {
                Err(io::Error::other("unexpected message in a stream"))
            }
        }
    }
}

impl InputStream {
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(wire::MAX_PAYLOAD) {
            self.0.write_all(&wire::message(Kind::Stdin, piece)).await?;
        }
        Ok(())
    }

    /// No more input. Closes the program's stdin, if it closes with its first
    /// client (`StdinOnce`) or belongs to an exec session.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.0.write_all(&wire::message(Kind::StdinEof, &[])).await
    }
}
