//! The body of a request, sized or chunked, as an [`AsyncRead`].
//!
//! The body owns the reading end of the connection; when it is dropped, the reading end goes back to the
//! connection, which serves the next request only if the body had been read to its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::sync::oneshot;

use crate::BoxRead;
use crate::head::Framing;

/// The longest line of a chunk's size with its extensions, and of a trailer.
const MAX_LINE: usize = 4096;
/// Reads of at least this size go past the buffer: large bodies are not copied once more.
const DIRECT: usize = 16 * 1024;

/// The reading end of a connection with the bytes already taken from it.
pub(crate) struct Source {
    pub(crate) io: BoxRead,
    pub(crate) buf: BytesMut,
    pub(crate) eof: bool,
}

impl Source {
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [0u8; 16 * 1024];
        let mut read = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        let n = read.filled().len();
        self.eof |= n == 0;
        self.buf.extend_from_slice(read.filled());
        Poll::Ready(Ok(n))
    }

    /// Reads past the buffer, which must be empty; at most `most` bytes.
    fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(out.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        let n = read.filled().len();
        self.eof |= n == 0;
        out.advance(n);
        Poll::Ready(Ok(n))
    }

    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// This many bytes of data follow, then (when chunked) the end of the chunk.
    Data {
        left: u64,
        chunked: bool,
    },
    ChunkEnd,
    ChunkSize,
    Trailer,
    Done,
}

/// A request's body. Reading at its end gives end of file; the connection stays usable.
pub struct Body {
    source: Option<Source>,
    state: State,
    home: Option<oneshot::Sender<(Source, bool)>>,
}

impl Body {
    pub(crate) fn new(source: Source, framing: Framing, home: oneshot::Sender<(Source, bool)>) -> Body {
        let state = match framing {
            Framing::Sized(0) => State::Done,
            Framing::Sized(left) => State::Data { left, chunked: false },
            Framing::Chunked => State::ChunkSize,
        };
        Body { source: Some(source), state, home: Some(home) }
    }

    /// Reads all of it; more than `limit` bytes is an error of kind `FileTooLarge`.
    pub async fn read_all(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.take(limit as u64 + 1).read_to_end(&mut all).await?;
        if all.len() > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "request body too large"));
        }
        Ok(all)
    }

    /// Throws away what is left, up to `limit` bytes.
    pub(crate) async fn drain(&mut self, limit: u64) -> io::Result<()> {
        tokio::io::copy(&mut self.take(limit), &mut tokio::io::sink()).await.map(|_| ())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(crate) fn source_mut(&mut self) -> &mut Source {
        self.source.as_mut().expect("the source leaves only when the body is dropped or taken apart")
    }

    /// The reading end, for a hijacked connection. Whatever was not read of the body comes first.
    pub(crate) fn into_source(mut self) -> Source {
        self.home = None;
        self.source.take().expect("the source leaves only when the body is dropped or taken apart")
    }

    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        loop {
            let source = self.source_mut();
            if let Some(end) = source.buf.iter().position(|b| *b == b'\n') {
                let mut line = source.buf.split_to(end + 1).to_vec();
                while matches!(line.last(), Some(b'\n' | b'\r')) {
                    line.pop();
                }
                return Poll::Ready(Ok(line));
            }
            if source.buf.len() > MAX_LINE {
                return Poll::Ready(Err(bad_chunk()));
            }
            if ready!(source.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn poll_framing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = ready!(self.poll_line(cx))?;
        self.state = match self.state {
            State::ChunkSize => match chunk_size(&line)? {
                0 => State::Trailer,
                left => State::Data { left, chunked: true },
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkEnd => return Poll::Ready(Err(bad_chunk())),
            State::Trailer if line.is_empty() => State::Done,
            other => other,
        };
        Poll::Ready(Ok(()))
    }
}

fn bad_chunk() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed chunked encoding")
}

fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).map_err(|_| bad_chunk())?;
    if text.is_empty() || text.len() > 15 || text.starts_with('+') {
        return Err(bad_chunk());
    }
    u64::from_str_radix(text, 16).map_err(|_| bad_chunk())
}

impl AsyncRead for Body {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let (left, chunked) = match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Data { left, chunked } => (left, chunked),
                State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    ready!(self.poll_framing(cx))?;
                    continue;
                }
            };
            let source = self.source_mut();
            let most = out.remaining().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = if source.buf.is_empty() && most >= DIRECT {
                ready!(source.poll_read_into(cx, out, most))?
            } else {
                if source.buf.is_empty() {
                    ready!(source.poll_fill(cx))?;
                }
                let n = source.buf.len().min(most);
                out.put_slice(&source.buf[..n]);
                source.buf.advance(n);
                n
            };
            if n == 0 && most > 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let left = left - n as u64;
            self.state = match (left, chunked) {
                (0, true) => State::ChunkEnd,
                (0, false) => State::Done,
                _ => State::Data { left, chunked },
            };
            // A chunked body ends with framing that must be eaten before the connection is reused.
            return Poll::Ready(Ok(()));
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let (Some(source), Some(home)) = (self.source.take(), self.home.take()) {
            // The connection may be gone already; then the reading end just closes.
            let _ = home.send((source, self.state == State::Done));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(framing: Framing, bytes: &'static [u8]) -> (io::Result<Vec<u8>>, Vec<u8>, bool) {
        let (home, back) = oneshot::channel();
        let source = Source { io: Box::new(bytes), buf: BytesMut::new(), eof: false };
        let mut body = Body::new(source, framing, home);
        let got = body.read_all(1000).await;
        drop(body);
        let (source, done) = back.await.unwrap();
        (got, source.buf.to_vec(), done)
    }

    #[tokio::test]
    async fn sized_leaves_the_next_request() {
        let (got, rest, done) = read(Framing::Sized(3), b"abcGET /").await;
        assert_eq!((got.unwrap(), rest, done), (b"abc".to_vec(), b"GET /".to_vec(), true));
    }

    #[tokio::test]
    async fn chunked_with_extension_and_trailer() {
        let (got, rest, done) =
            read(Framing::Chunked, b"3;x=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET").await;
        assert_eq!((got.unwrap(), rest, done), (b"abc0123456789".to_vec(), b"GET".to_vec(), true));
    }

    #[tokio::test]
    async fn cut_short_or_broken_is_an_error() {
        assert!(read(Framing::Sized(5), b"abc").await.0.is_err());
        assert!(read(Framing::Chunked, b"5\r\nabc").await.0.is_err());
        assert!(read(Framing::Chunked, b"zz\r\nabc").await.0.is_err());
        assert!(read(Framing::Chunked, b"3\r\nabcd\r\n").await.0.is_err());
        assert!(read(Framing::Chunked, b"FFFFFFFFFFFFFFFFF\r\n").await.0.is_err());
    }

    #[tokio::test]
    async fn too_large_is_refused() {
        let (home, _back) = oneshot::channel();
        let source = Source { io: Box::new(&b"abcdef"[..]), buf: BytesMut::new(), eof: false };
        let err = Body::new(source, Framing::Sized(6), home).read_all(5).await.unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::FileTooLarge);
    }
}
