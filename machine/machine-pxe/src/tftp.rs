//! TFTP for firmware, read only (RFC 1350, 2347, 2348, 2349): one transfer as a value that is told what
//! came and says what to send.

use std::sync::Arc;
use std::time::{Duration, Instant};

const READ: u16 = 1;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;
const RESEND: Duration = Duration::from_secs(1);
const TRIES: u32 = 8;
const BLOCK: usize = 512;
/// What fits into an Ethernet frame.
const LARGEST_BLOCK: usize = 1468;

/// A request to read a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its name, without leading slashes.
    pub file: String,
    options: Vec<(String, String)>,
}

impl Wish {
    /// A request; nothing if it is no read request.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        if datagram.get(..2)? != READ.to_be_bytes() {
            return None;
        }
        let text = std::str::from_utf8(&datagram[2..]).ok()?;
        let mut words = text.split_terminator('\0');
        let file = words.next()?.trim_start_matches('/').to_owned();
        let _mode = words.next()?;
        let mut options = Vec::new();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            options.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Some(Self { file, options })
    }
}

/// A refusal, to be sent as it is.
#[must_use]
pub fn refusal(text: &str) -> Vec<u8> {
    let mut datagram = [ERROR.to_be_bytes(), 1_u16.to_be_bytes()].concat();
    datagram.extend(text.bytes());
    datagram.push(0);
    datagram
}

/// One file on its way to one client.
#[derive(Debug)]
pub struct Transfer {
    content: Arc<[u8]>,
    block_size: usize,
    /// The block that waits for its acknowledgement; 0 is the options'.
    block: u64,
    last: Vec<u8>,
    sent: Instant,
    tries: u32,
}

/// What a transfer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Send(Vec<u8>),
    /// Nothing yet.
    Wait,
    /// It is over.
    Done,
}

impl Transfer {
    /// Begins one; the first datagram is to be sent.
    #[must_use]
    pub fn begin(wish: &Wish, content: Arc<[u8]>, now: Instant) -> (Self, Vec<u8>) {
        let mut granted = Vec::new();
        let mut block_size = BLOCK;
        for (name, value) in &wish.options {
            match (name.as_str(), value.parse::<usize>()) {
                ("blksize", Ok(size)) if size >= 8 => {
                    block_size = size.min(LARGEST_BLOCK);
                    granted.push(("blksize", block_size.to_string()));
                }
                ("tsize", Ok(_)) => granted.push(("tsize", content.len().to_string())),
                _ => {}
            }
        }
        let mut transfer = Self { content, block_size, block: 0, last: Vec::new(), sent: now, tries: 1 };
        if granted.is_empty() {
            transfer.block = 1;
            transfer.last = transfer.data();
        } else {
            transfer.last = OPTIONS.to_be_bytes().to_vec();
            for (name, value) in granted {
                transfer.last.extend(name.bytes().chain([0]).chain(value.bytes()).chain([0]));
            }
        }
        let first = transfer.last.clone();
        (transfer, first)
    }

    /// A datagram of the client.
    pub fn take(&mut self, datagram: &[u8], now: Instant) -> Step {
        let (Some(code), Some(number)) = (word(datagram, 0), word(datagram, 2)) else { return Step::Wait };
        match code {
            ERROR => Step::Done,
            // Block numbers are 16 bits and wrap around.
            ACK if u64::from(number) == self.block & 0xffff => {
                if self.block > 0 && self.end() - self.start() < self.block_size {
                    return Step::Done;
                }
                self.block += 1;
                self.last = self.data();
                (self.sent, self.tries) = (now, 1);
                Step::Send(self.last.clone())
            }
            _ => Step::Wait,
        }
    }

    /// Time passes; what got lost is sent again, for a while.
    pub fn tick(&mut self, now: Instant) -> Step {
        if now.saturating_duration_since(self.sent) < RESEND {
            return Step::Wait;
        }
        if self.tries >= TRIES {
            return Step::Done;
        }
        self.tries += 1;
        self.sent = now;
        Step::Send(self.last.clone())
    }

    fn start(&self) -> usize {
        usize::try_from(self.block.saturating_sub(1))
            .unwrap_or(usize::MAX)
            .saturating_mul(self.block_size)
            .min(self.content.len())
    }

    fn end(&self) -> usize {
        (self.start() + self.block_size).min(self.content.len())
    }

    fn data(&self) -> Vec<u8> {
        let number = u16::try_from(self.block & 0xffff).expect("it was cut to 16 bits");
        let mut datagram = [DATA.to_be_bytes(), number.to_be_bytes()].concat();
        datagram.extend(&self.content[self.start()..self.end()]);
        datagram
    }
}

fn word(datagram: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(datagram.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(words: &[&str]) -> Wish {
        let text: String = words.iter().map(|word| format!("{word}\0")).collect();
        Wish::parse(&[&READ.to_be_bytes()[..], text.as_bytes()].concat()).expect("a wish")
    }

    fn ack(number: u16) -> Vec<u8> {
        [ACK.to_be_bytes(), number.to_be_bytes()].concat()
    }

    /// Takes a whole file, acknowledging everything.
    fn fetch(wish: &Wish, content: &[u8]) -> Vec<u8> {
        let now = Instant::now();
        let (mut transfer, mut datagram) = Transfer::begin(wish, content.into(), now);
        let mut got = Vec::new();
        loop {
            let number = match word(&datagram, 0) {
                Some(OPTIONS) => 0,
                _ => {
                    got.extend(&datagram[4..]);
                    word(&datagram, 2).expect("a number")
                }
            };
            match transfer.take(&ack(number), now) {
                Step::Send(next) => datagram = next,
                Step::Done => return got,
                Step::Wait => panic!("it waits for what it got"),
            }
        }
    }

    #[test]
    fn files_arrive_whole_whatever_their_size() {
        for size in [0, 1, 511, 512, 513, 1024, 512 * 70_000] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            assert!(fetch(&wish(&["f", "octet"]), &content) == content, "{size}");
            assert!(
                fetch(&wish(&["/f", "octet", "blksize", "1432", "tsize", "0"]), &content) == content,
                "{size}"
            );
        }
    }

    #[test]
    fn what_is_lost_is_sent_again_and_not_for_ever() {
        let now = Instant::now();
        let (mut transfer, first) = Transfer::begin(&wish(&["f", "octet"]), vec![1; 600].into(), now);
        assert_eq!(transfer.tick(now), Step::Wait);
        assert_eq!(transfer.take(&ack(9), now), Step::Wait, "not what waits");
        let mut at = now;
        let mut sent = 1;
        loop {
            at += RESEND;
            match transfer.tick(at) {
                Step::Send(again) => assert_eq!(again, first),
                Step::Done => break,
                Step::Wait => panic!("time has passed"),
            }
            sent += 1;
        }
        assert_eq!(sent, TRIES);
        assert_eq!(Wish::parse(&[0, 2, b'x', 0]), None, "nothing is written here");
    }
}
