//! Netlink, by hand: messages with attributes, sent in batches, answered by
//! acknowledgements.
//!
//! One batch is one system call, which is what makes a container's network
//! cheap. Knows neither links nor firewall rules.
#![allow(unsafe_code, reason = "netlink sockets have no std wrapper")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

pub(crate) const HEADER: usize = 16;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const APPEND: u16 = 0x800;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;

/// One message under construction.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    /// What it does, for the error message.
    purpose: String,
}

impl Message {
    /// `kind` is the message type, `fixed` the family's own header.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8], purpose: impl Into<String>) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self { bytes, purpose: purpose.into() }
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        self
    }

    /// A text with its closing zero.
    pub(crate) fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// A number in network order, as netfilter wants them.
    pub(crate) fn big(&mut self, kind: u16, number: u32) -> &mut Self {
        self.attribute(kind, &number.to_be_bytes())
    }

    /// Attributes within an attribute.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Bytes as they are, for headers within attributes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn finish(&mut self, sequence: u32, acknowledge: bool) -> &[u8] {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        if acknowledge {
            let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | ACK;
            self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        &self.bytes
    }
}

/// A refused message.
#[derive(Debug, thiserror::Error)]
#[error("could not {purpose}")]
pub struct NetlinkError {
    pub purpose: String,
    #[source]
    pub source: io::Error,
}

impl NetlinkError {
    pub(crate) fn new(purpose: impl Into<String>, source: io::Error) -> Self {
        Self { purpose: purpose.into(), source }
    }

    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// A netlink socket; it belongs to the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// `libc::NETLINK_ROUTE` or `libc::NETLINK_NETFILTER`.
    pub(crate) fn open(protocol: i32) -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let timeout = libc::timeval { tv_sec: 10, tv_usec: 0 };
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
        // Refusals come without a copy of what was sent.
        set_option(&fd, 270, 10, &1i32)?;
        let bytes: i32 = 4 << 20;
        let _ = set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes);
        let _ = set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes);
        Ok(Self { fd, sequence: 1 })
    }

    /// Joins a multicast group and never blocks.
    pub(crate) fn subscribe(self, group: i32) -> io::Result<OwnedFd> {
        // Without an address of its own a socket is passed over.
        // SAFETY: all-zero is a valid address: the kernel chooses.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: address outlives the call; the length is its size.
        if unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
            return Err(io::Error::last_os_error());
        }
        set_option(&self.fd, 270, 1, &group)?;
        // SAFETY: no pointers.
        if unsafe { libc::fcntl(self.fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(self.fd)
    }

    /// Sends all messages at once and takes their acknowledgements; the first
    /// refusal is the result. Later messages are tried all the same.
    pub(crate) fn batch(&mut self, messages: &mut [Message]) -> Result<(), NetlinkError> {
        let first = self.sequence;
        let mut bytes = Vec::new();
        for (index, message) in messages.iter_mut().enumerate() {
            bytes.extend_from_slice(message.finish(first + index as u32, true));
        }
        self.sequence += messages.len() as u32;
        let failed = |index: usize, source| NetlinkError::new(messages[index].purpose.clone(), source);
        self.send(&bytes).map_err(|error| failed(0, error))?;
        let mut result = Ok(());
        let mut missing = messages.len();
        while missing > 0 {
            let answers = self.receive().map_err(|error| failed(0, error))?;
            for answer in Answers(&answers) {
                let index = answer.sequence.wrapping_sub(first) as usize;
                if answer.kind != ERROR || index >= messages.len() {
                    continue;
                }
                missing -= 1;
                let number = answer.body.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                if number != 0 && result.is_ok() {
                    result = Err(failed(index, io::Error::from_raw_os_error(-number)));
                }
            }
        }
        result
    }

    /// Sends a transaction, of which only refusals and the last message's
    /// acknowledgement come back.
    pub(crate) fn transaction(&mut self, messages: &mut [Message]) -> Result<(), NetlinkError> {
        let first = self.sequence;
        let last = messages.len() - 2;
        let mut bytes = Vec::new();
        for (index, message) in messages.iter_mut().enumerate() {
            // The closing message is never acknowledged; the one before it is.
            bytes.extend_from_slice(message.finish(first + index as u32, index == last));
        }
        self.sequence += messages.len() as u32;
        let failed = |index: usize, source| NetlinkError::new(messages[index].purpose.clone(), source);
        self.send(&bytes).map_err(|error| failed(0, error))?;
        loop {
            let answers = self.receive().map_err(|error| failed(0, error))?;
            let mut refusal = None;
            let mut finished = false;
            for answer in Answers(&answers) {
                let index = answer.sequence.wrapping_sub(first) as usize;
                if answer.kind != ERROR || index >= messages.len() {
                    continue;
                }
                let number = answer.body.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                if number != 0 && refusal.is_none() {
                    refusal = Some(failed(index, io::Error::from_raw_os_error(-number)));
                }
                finished |= number == 0 && index == last;
            }
            if let Some(refusal) = refusal {
                self.discard();
                return Err(refusal);
            }
            if finished {
                return Ok(());
            }
        }
    }

    /// Asks for a list; calls `each` with every answer's type and body.
    pub(crate) fn dump(
        &mut self,
        message: &mut Message,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        let sequence = self.sequence;
        self.sequence += 1;
        let bytes = message.finish(sequence, false).to_vec();
        let failed = |source| NetlinkError::new(message.purpose.clone(), source);
        self.send(&bytes).map_err(failed)?;
        loop {
            let answers = self.receive().map_err(failed)?;
            for answer in Answers(&answers).filter(|answer| answer.sequence == sequence) {
                match answer.kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let number =
                            answer.body.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                        return if number == 0 {
                            Ok(())
                        } else {
                            Err(failed(io::Error::from_raw_os_error(-number)))
                        };
                    }
                    kind => each(kind, answer.body),
                }
            }
        }
    }

    fn discard(&self) {
        let mut buffer = [0u8; 4096];
        loop {
            // SAFETY: pointer and length belong to `buffer`.
            let length = unsafe {
                libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
            };
            if length <= 0 {
                return;
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length belong to `bytes`.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0u8; 64 * 1024];
        // SAFETY: pointer and length belong to `buffer`.
        let length = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        buffer.truncate(length as usize);
        Ok(buffer)
    }
}

fn set_option<T>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length belong to `value`.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(crate) struct Answer<'a> {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

/// The messages in a received buffer.
pub(crate) struct Answers<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Answers<'a> {
    type Item = Answer<'a>;

    fn next(&mut self) -> Option<Answer<'a>> {
        let bytes = self.0;
        let head = bytes.get(..HEADER)?;
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let body = bytes.get(HEADER..length)?;
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Answer {
            kind: u16::from_ne_bytes([head[4], head[5]]),
            sequence: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
            body,
        })
    }
}

/// The attributes in a body, as (type, value).
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// Reads from a socket that was subscribed.
pub(crate) fn read_nonblocking(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length belong to `buffer`.
    let length = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if length < 0 { Err(io::Error::last_os_error()) } else { Ok(length as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested_and_read_back() {
        let mut message = Message::new(16, 0, &[], "test");
        message.text(1, "abc").nest(2, |inner| {
            inner.big(3, 7);
        });
        let bytes = message.finish(5, true).to_vec();
        let answer = Answers(&bytes).next().unwrap();
        assert_eq!((answer.kind, answer.sequence), (16, 5));
        let all: Vec<_> = attributes(answer.body).collect();
        assert_eq!(all[0], (1, b"abc\0".as_slice()));
        assert_eq!(attributes(all[1].1).collect::<Vec<_>>(), [(3, [0, 0, 0, 7].as_slice())]);
    }

    #[test]
    fn a_truncated_answer_ends_the_walk() {
        assert!(Answers(&[1, 2, 3]).next().is_none());
        assert!(Answers(&[0xff; 16]).next().is_none());
        assert_eq!(attributes(&[9, 0, 1, 0, 1]).count(), 0);
    }
}
