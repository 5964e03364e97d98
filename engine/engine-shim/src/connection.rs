//! One client of the shim: bytes in, bytes out, and what it is for.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde::Serialize;

use crate::wire::{self, HEADER, Kind};

/// Bytes waiting for a slow client before its session is read no further.
pub(crate) const BACKLOG: usize = 1024 * 1024;

pub(crate) struct Connection {
    socket: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// Which session's stream this is, and what of it.
    pub stream: Option<StreamOf>,
    /// Asked to be told the container's end.
    pub waiting: bool,
    /// Nothing more is taken from it; goes when all is sent.
    pub closing: bool,
    pub broken: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StreamOf {
    pub session: String,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl Connection {
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            stream: None,
            waiting: false,
            closing: false,
            broken: false,
        })
    }

    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    pub(crate) fn is_over(&self) -> bool {
        self.broken || (self.closing && self.pending() == 0)
    }

    pub(crate) fn pending(&self) -> usize {
        self.output.len() - self.sent
    }

    pub(crate) fn send(&mut self, kind: Kind, payload: &[u8]) {
        if self.sent > BACKLOG {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        self.output.extend_from_slice(&wire::header(kind, payload.len()));
        self.output.extend_from_slice(payload);
        self.flush();
    }

    pub(crate) fn send_json(&mut self, kind: Kind, value: &impl Serialize) {
        self.send(kind, &serde_json::to_vec(value).unwrap_or_default());
    }

    pub(crate) fn flush(&mut self) {
        while self.pending() > 0 {
            match (&self.socket).write(&self.output[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.broken = true;
                    break;
                }
            }
        }
        self.sent = 0;
        self.output.clear();
        if self.output.capacity() > 64 * 1024 {
            self.output = Vec::new();
        }
    }

    /// Takes what the client sent; false when it is gone.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> bool {
        match (&self.socket).read(buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.input.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// The next whole message. A malformed one breaks the connection.
    pub(crate) fn next_message(&mut self) -> Option<(Kind, Vec<u8>)> {
        let head: [u8; HEADER] = self.input.get(..HEADER)?.try_into().ok()?;
        let Ok((kind, length)) = wire::parse_header(head) else {
            self.broken = true;
            return None;
        };
        if self.input.len() < HEADER + length {
            return None;
        }
        let payload = self.input[HEADER..HEADER + length].to_vec();
        self.input.drain(..HEADER + length);
        if self.input.is_empty() && self.input.capacity() > 64 * 1024 {
            self.input = Vec::new();
        }
        Some((kind, payload))
    }
}
