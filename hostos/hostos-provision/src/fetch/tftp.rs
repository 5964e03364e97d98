//! TFTP, RFC 1350 with the block size option of RFC 2348: reading one file.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::address::{Address, unescape};

const READ: u16 = 1;
const DATA: u16 = 3;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

/// Fits one Ethernet frame.
const BLOCK_SIZE: usize = 1428;
const PLAIN_BLOCK_SIZE: usize = 512;
const RESEND_AFTER: Duration = Duration::from_secs(2);
const RESENDS: u32 = 5;

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
pub enum TftpError {
    /// The server said no.
    #[error("the TFTP server refused: {0}")]
    Refused(String),
    /// Larger than what we take.
    #[error("the file is larger than {0} bytes")]
    TooLarge(usize),
    /// The network.
    #[error("the TFTP transfer failed")]
    Transfer(#[source] io::Error),
}

/// The bytes of the file at that address.
pub(super) fn read(address: &Address, limit: usize, deadline: Instant) -> Result<Vec<u8>, TftpError> {
    let hosts = hostos_names::lookup(&address.host, deadline).map_err(TftpError::Transfer)?;
    let mut last = TftpError::Transfer(io::ErrorKind::NotFound.into());
    for host in hosts {
        match from(SocketAddr::new(host, address.port), &address.path, limit, deadline) {
            Err(TftpError::Transfer(error)) => last = TftpError::Transfer(error),
            other => return other,
        }
    }
    Err(last)
}

fn from(server: SocketAddr, path: &str, limit: usize, deadline: Instant) -> Result<Vec<u8>, TftpError> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).map_err(TftpError::Transfer)?;
    let mut transfer = Transfer {
        socket,
        peer: server,
        answered: false,
        expected: 1,
        block_size: PLAIN_BLOCK_SIZE,
        content: Vec::new(),
    };
    transfer.run(request(path), limit, deadline)
}

fn request(path: &str) -> Vec<u8> {
    let file = unescape(path.trim_start_matches('/'));
    let mut packet = READ.to_be_bytes().to_vec();
    for word in [file.as_str(), "octet", "blksize", &BLOCK_SIZE.to_string()] {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet
}

struct Transfer {
    socket: UdpSocket,
    /// The server; its port changes with the first answer.
    peer: SocketAddr,
    answered: bool,
    expected: u16,
    block_size: usize,
    content: Vec<u8>,
}

enum Step {
    /// Send this next.
    Send(Vec<u8>),
    /// Send this and be done.
    Done(Vec<u8>),
    /// Nothing of ours.
    Wait,
}

impl Transfer {
    fn run(&mut self, first: Vec<u8>, limit: usize, deadline: Instant) -> Result<Vec<u8>, TftpError> {
        let mut packet = first;
        let mut resends = 0;
        loop {
            self.send(&packet)?;
            match self.next_step(limit, deadline)? {
                Some(Step::Send(next)) => {
                    packet = next;
                    resends = 0;
                }
                Some(Step::Done(last)) => {
                    self.send(&last)?;
                    return Ok(std::mem::take(&mut self.content));
                }
                Some(Step::Wait) | None => {
                    resends += 1;
                    if resends > RESENDS || Instant::now() >= deadline {
                        return Err(TftpError::Transfer(io::ErrorKind::TimedOut.into()));
                    }
                }
            }
        }
    }

    fn send(&self, packet: &[u8]) -> Result<(), TftpError> {
        self.socket.send_to(packet, self.peer).map(|_| ()).map_err(TftpError::Transfer)
    }

    /// Waits for the next packet that moves the transfer on; nothing if none comes in time.
    fn next_step(&mut self, limit: usize, deadline: Instant) -> Result<Option<Step>, TftpError> {
        let until = deadline.min(Instant::now() + RESEND_AFTER);
        let mut buffer = [0; 4 + BLOCK_SIZE + 512];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left)).map_err(TftpError::Transfer)?;
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(TftpError::Transfer(error)),
            };
            if from.ip() != self.peer.ip() || self.answered && from != self.peer {
                continue;
            }
            self.peer = from;
            self.answered = true;
            match self.take(&buffer[..length], limit)? {
                Step::Wait => {}
                step => return Ok(Some(step)),
            }
        }
    }

    fn take(&mut self, packet: &[u8], limit: usize) -> Result<Step, TftpError> {
        let word = |at: usize| packet.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        match word(0) {
            Some(OPTIONS) if self.expected == 1 && self.content.is_empty() => {
                self.block_size = agreed_block_size(&packet[2..]);
                Ok(Step::Send(acknowledge(0)))
            }
            Some(DATA) if word(2) == Some(self.expected) => {
                let data = &packet[4..];
                if self.content.len() + data.len() > limit {
                    return Err(TftpError::TooLarge(limit));
                }
                self.content.extend_from_slice(data);
                let packet = acknowledge(self.expected);
                self.expected = self.expected.wrapping_add(1);
                Ok(if data.len() < self.block_size { Step::Done(packet) } else { Step::Send(packet) })
            }
            Some(ERROR) => {
                let text = packet.get(4..).unwrap_or_default();
                Err(TftpError::Refused(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()))
            }
            _ => Ok(Step::Wait),
        }
    }
}

fn acknowledge(block: u16) -> Vec<u8> {
    [ACKNOWLEDGE.to_be_bytes(), block.to_be_bytes()].concat()
}

fn agreed_block_size(options: &[u8]) -> usize {
    let words: Vec<&[u8]> = options.split(|byte| *byte == 0).collect();
    let value =
        words.chunks(2).find(|pair| pair[0].eq_ignore_ascii_case(b"blksize")).and_then(|pair| pair.get(1));
    let size = value.and_then(|value| std::str::from_utf8(value).ok()).and_then(|value| value.parse().ok());
    size.filter(|size| (8..=BLOCK_SIZE).contains(size)).unwrap_or(PLAIN_BLOCK_SIZE)
}
