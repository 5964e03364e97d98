//! A courtesy to etcd's 3.4 clients: `etcdctl endpoint status` and the like name the server by its whole URL
//! (`:authority: http://127.0.0.1:2379`). That is no authority, and our HTTP/2 would refuse the call. Here the seven
//! characters `http://` are replaced by `httpx--` on their way in.
//!
//! The replacement is as long as what it replaces, also in HPACK's Huffman code, so lengths, frames and the
//! compression state stay as the client believes them. Nothing else is touched, and only whole HEADERS frames are
//! looked at.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
/// A new header named by entry 1 of the static table: `:authority`.
const AUTHORITY: u8 = 0x41;
/// `http://` and `httpx--` in Huffman code, 41 bits each.
const HUFFMAN_BAD: u64 = huffman(&[
    (0b100_111, 6),
    (0b01001, 5),
    (0b01001, 5),
    (0b101_011, 6),
    (0b1_011_100, 7),
    (0b011_000, 6),
    (0b011_000, 6),
]);
const HUFFMAN_GOOD: u64 = huffman(&[
    (0b100_111, 6),
    (0b01001, 5),
    (0b01001, 5),
    (0b101_011, 6),
    (0b1_111_001, 7),
    (0b010_110, 6),
    (0b010_110, 6),
]);
/// `https://` and `httpsx--`, 46 bits each.
const HUFFMAN_BAD_TLS: u64 = huffman(&[
    (0b100_111, 6),
    (0b01001, 5),
    (0b01001, 5),
    (0b101_011, 6),
    (0b01000, 5),
    (0b1_011_100, 7),
    (0b011_000, 6),
    (0b011_000, 6),
]);
const HUFFMAN_GOOD_TLS: u64 = huffman(&[
    (0b100_111, 6),
    (0b01001, 5),
    (0b01001, 5),
    (0b101_011, 6),
    (0b01000, 5),
    (0b1_111_001, 7),
    (0b010_110, 6),
    (0b010_110, 6),
]);

/// Codes packed from the top of 64 bits down.
const fn huffman(codes: &[(u64, u32)]) -> u64 {
    let (mut bits, mut used, mut at) = (0, 0, 0);
    while at < codes.len() {
        used += codes[at].1;
        bits |= codes[at].0 << (64 - used);
        at += 1;
    }
    bits
}

enum At {
    Start,
    Frames,
    /// Not HTTP/2, or split where we cannot follow: everything passes as it is.
    Passing,
}

/// A connection, with that one correction.
pub(crate) struct Corrected<S> {
    inner: S,
    at: At,
    /// Bytes left of the frame that the last read ended in.
    skip: usize,
}

impl<S> Corrected<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, at: At::Start, skip: 0 }
    }

    fn look(&mut self, mut new: &mut [u8]) {
        if let At::Start = self.at {
            if !new.starts_with(PREFACE) {
                self.at = At::Passing;
                return;
            }
            self.at = At::Frames;
            new = &mut new[PREFACE.len()..];
        }
        if let At::Passing = self.at {
            return;
        }
        let skipped = self.skip.min(new.len());
        self.skip -= skipped;
        new = &mut new[skipped..];
        while !new.is_empty() {
            if new.len() < 9 {
                self.at = At::Passing;
                return;
            }
            let length = usize::from(new[0]) << 16 | usize::from(new[1]) << 8 | usize::from(new[2]);
            let kind = new[3];
            let end = (9 + length).min(new.len());
            if kind == HEADERS && 9 + length <= new.len() {
                correct(&mut new[9..end]);
            }
            self.skip = 9 + length - end;
            new = &mut new[end..];
        }
    }
}

fn correct(block: &mut [u8]) {
    for at in 0..block.len().saturating_sub(9) {
        if block[at] != AUTHORITY {
            continue;
        }
        let (is_huffman, value) = (block[at + 1] & 0x80 != 0, &mut block[at + 2..]);
        if !is_huffman && value.starts_with(b"http://") {
            value[4..7].copy_from_slice(b"x--");
        } else if !is_huffman && value.starts_with(b"https://") {
            value[5..8].copy_from_slice(b"x--");
        } else if is_huffman && let Some(first) = value.first_chunk_mut::<8>() {
            let bits = u64::from_be_bytes(*first);
            for (bad, good, length) in
                [(HUFFMAN_BAD, HUFFMAN_GOOD, 41), (HUFFMAN_BAD_TLS, HUFFMAN_GOOD_TLS, 46)]
            {
                let mask = u64::MAX << (64 - length);
                if bits & mask == bad {
                    *first = (bits & !mask | good).to_be_bytes();
                    return;
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corrected<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = read {
            self.look(&mut buffer.filled_mut()[before..]);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corrected<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_scheme_of_an_authority_changes() {
        let mut block = b"\x83\x41\x16http://127.0.0.1:12379\x40\x01a\x01b".to_vec();
        correct(&mut block);
        assert_eq!(block, b"\x83\x41\x16httpx--127.0.0.1:12379\x40\x01a\x01b");
        let untouched = b"\x83\x41\x0f127.0.0.1:12379\x40\x01a\x07http://".to_vec();
        let mut block = untouched.clone();
        correct(&mut block);
        assert_eq!(block, untouched);
    }

    #[test]
    fn frames_are_followed_over_reads() {
        let mut connection = Corrected::new(());
        let mut first = PREFACE.to_vec();
        first.extend([0, 0, 20, 4, 0, 0, 0, 0, 0, 1, 2, 3]);
        connection.look(&mut first);
        assert_eq!(connection.skip, 17);
        let mut second = vec![0; 17];
        second.extend([0, 0, 18, HEADERS, 4, 0, 0, 0, 1]);
        second.extend(b"\x41\x10http://127.0.0.1:1");
        connection.look(&mut second);
        assert!(second.ends_with(b"httpx--127.0.0.1:1"), "{second:?}");
    }
}
