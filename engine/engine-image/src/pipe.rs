//! Byte streams between async and blocking code: request bodies to readers, writers to response bodies.

use std::io::{self, BufRead, Read, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

const BOUND: usize = 16;
const CHUNK: usize = 256 * 1024;

enum Piece {
    Data(Bytes),
    End,
}

/// The async end that feeds a [`PipeReader`]. Dropped without [`PipeSender::finish`], the reader sees an
/// interrupted stream, not an end.
pub struct PipeSender(mpsc::Sender<Piece>);

/// A stream for blocking code. Never read it on an async thread.
pub struct PipeReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

/// A bounded pipe from async to blocking code.
pub fn pipe() -> (PipeSender, PipeReader) {
    let (sender, pieces) = mpsc::channel(BOUND);
    (PipeSender(sender), PipeReader { pieces, current: Bytes::new(), ended: false })
}

impl PipeSender {
    /// False when nobody reads any more.
    pub async fn send(&self, bytes: Bytes) -> bool {
        bytes.is_empty() || self.0.send(Piece::Data(bytes)).await.is_ok()
    }

    pub async fn finish(self) {
        let _ = self.0.send(Piece::End).await;
    }
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the stream was interrupted",
                    ));
                }
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, length: usize) {
        let _ = self.current.split_to(length);
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// Blocking code's end of a stream that async code sends on. Flush before dropping it.
pub struct PipeWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

/// A bounded pipe from blocking to async code.
pub fn pipe_out() -> (PipeWriter, mpsc::Receiver<io::Result<Bytes>>) {
    let (pieces, receiver) = mpsc::channel(BOUND);
    (PipeWriter { pieces, buffer: BytesMut::with_capacity(CHUNK) }, receiver)
}

impl PipeWriter {
    /// Ends the stream with an error, so that the other side does not take it for whole.
    pub fn fail(self, error: io::Error) {
        let _ = self.pieces.blocking_send(Err(error));
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK)).freeze();
        self.pieces.blocking_send(Ok(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
