//! The quick way between members: a connection on which one question at a time is asked and answered. Nothing stands
//! between the one who asks and the socket, so an entry on its way to a follower wakes nobody but the follower.
//!
//! ```text
//! first     RKVLINE1 | cluster u64 | to u64 | from u64
//! question  length u32 | kind u8 | payload
//! answer    length u32 | outcome u8 (0 good, 1 refused, 2 nothing is answered on this line) | payload or sentence
//! ```
//! Lines are opened as they are needed, on the port of other members' calls, and kept for the next question. One on
//! which anything went wrong is closed: what it would answer next is not known.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use kv_api::internal::peer_call::Kind;
use kv_client::connect::Wire;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::oneshot,
};

use super::{Answering, LARGEST_MESSAGE};

pub(crate) const GREETING: &[u8; 8] = b"RKVLINE1";
/// Lines kept to one member.
const MOST_IDLE: usize = 8;
/// Lines being opened to one member; who wants more is told that there is none.
const MOST_OPENING: usize = 4;
/// A line that was not used for so long is not used again.
const IDLE: Duration = Duration::from_secs(30);
/// The other side waits longer, so that it does not close what is about to be used.
const SILENCE: Duration = Duration::from_secs(90);

const GOOD: u8 = 0;
const REFUSED: u8 = 1;
const CLOSED: u8 = 2;

/// What goes on lines: frequent questions that few ask at a time.
pub(super) fn takes(kind: Kind) -> bool {
    match kind {
        Kind::Append | Kind::Vote | Kind::PreVote | Kind::ReadIndex | Kind::Propose => true,
        Kind::Transfer | Kind::KeepAlive | Kind::TimeToLive | Kind::Membership => false,
    }
}

/// Who speaks with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parties {
    pub(super) cluster: u64,
    pub(super) to: u64,
    pub(super) from: u64,
}

struct Line {
    wire: Box<dyn Wire>,
    read: BytesMut,
    used: Instant,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Line>,
    opening: usize,
}

/// The lines of one member to others, by URL.
#[derive(Clone)]
pub(super) struct Lines {
    pools: Arc<Mutex<HashMap<(String, u64), Pool>>>,
    config: Arc<kv_client::Config>,
}

impl Lines {
    pub(super) fn new(config: kv_client::Config) -> Self {
        Self { pools: Arc::default(), config: Arc::new(config) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u64), Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer; the inner error is the other's. `NotConnected` promises that nothing was sent.
    pub(super) async fn ask(
        &self,
        url: &str,
        parties: Parties,
        kind: Kind,
        payload: &[u8],
    ) -> io::Result<Result<Bytes, String>> {
        let mut line = match self.idle(url, parties.to) {
            Some(line) => line,
            None => self.open(url, parties).await.map_err(|error| {
                io::Error::new(io::ErrorKind::NotConnected, format!("no line to {url}: {error}"))
            })?,
        };
        let (outcome, answer) = line.ask(kind, payload).await?;
        match outcome {
            GOOD => self.keep(url, parties.to, line),
            REFUSED => {
                self.keep(url, parties.to, line);
                return Ok(Err(String::from_utf8_lossy(&answer).into_owned()));
            }
            _ => return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned())),
        }
        Ok(Ok(answer))
    }

    fn idle(&self, url: &str, to: u64) -> Option<Line> {
        let mut pools = self.lock();
        let idle = &mut pools.get_mut(&(url.to_owned(), to))?.idle;
        while let Some(mut line) = idle.pop() {
            if line.used.elapsed() < IDLE && line.is_open() {
                return Some(line);
            }
        }
        None
    }

    fn keep(&self, url: &str, to: u64, mut line: Line) {
        line.used = Instant::now();
        let mut pools = self.lock();
        let pool = pools.entry((url.to_owned(), to)).or_default();
        if pool.idle.len() < MOST_IDLE {
            pool.idle.push(line);
        }
    }

    /// Opens a line. Who asks may give up before it is open; it is kept for the next then.
    async fn open(&self, url: &str, parties: Parties) -> io::Result<Line> {
        {
            let mut pools = self.lock();
            let pool = pools.entry((url.to_owned(), parties.to)).or_default();
            if pool.opening >= MOST_OPENING {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            pool.opening += 1;
        }
        let (this, url, (sender, receiver)) = (self.clone(), url.to_owned(), oneshot::channel());
        tokio::spawn(async move {
            let opened = greet(&url, &this.config, parties).await;
            if let Some(pool) = this.lock().get_mut(&(url.clone(), parties.to)) {
                pool.opening -= 1;
            }
            if let Err(Ok(line)) = sender.send(opened) {
                this.keep(&url, parties.to, line);
            }
        });
        receiver.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

async fn greet(url: &str, config: &kv_client::Config, parties: Parties) -> io::Result<Line> {
    let mut wire = kv_client::connect::stream(url, config).await.map_err(io::Error::other)??;
    let mut greeting = BytesMut::from(&GREETING[..]);
    for id in [parties.cluster, parties.to, parties.from] {
        greeting.put_u64(id);
    }
    wire.write_all(&greeting).await?;
    wire.flush().await?;
    Ok(Line { wire, read: BytesMut::new(), used: Instant::now() })
}

impl Line {
    /// Nothing may come before the next question is asked, not even an end.
    fn is_open(&mut self) -> bool {
        self.wire.read_buf(&mut self.read).now_or_never().is_none()
    }

    async fn ask(&mut self, kind: Kind, payload: &[u8]) -> io::Result<(u8, Bytes)> {
        write(&mut self.wire, kind as u8, payload).await?;
        match read(&mut self.wire, &mut self.read).await? {
            Some(answer) => Ok(answer),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

async fn write(wire: &mut (impl AsyncWrite + Unpin), mark: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut frame = BytesMut::with_capacity(5 + payload.len());
    frame.put_u32(length);
    frame.put_u8(mark);
    frame.put_slice(payload);
    wire.write_all(&frame).await?;
    wire.flush().await
}

/// The next frame; none when the other side has closed.
async fn read(wire: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<Option<(u8, Bytes)>> {
    while buffer.len() < 5 {
        if wire.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
    let length = buffer.get_u32() as usize;
    let mark = buffer.get_u8();
    if length > LARGEST_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    buffer.reserve(length.saturating_sub(buffer.len()));
    while buffer.len() < length {
        if wire.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some((mark, buffer.split_to(length).freeze())))
}

/// Answers on a line whose greeting's first word was read, until the other side closes it.
pub(crate) async fn serve(
    answering: &Answering,
    mut wire: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut ids = [0; 3];
    for id in &mut ids {
        *id = wire.read_u64().await?;
    }
    let [cluster, to, from] = ids;
    let mut buffer = BytesMut::new();
    loop {
        let next = tokio::time::timeout(SILENCE, read(&mut wire, &mut buffer)).await;
        let Ok(Some((kind, payload))) = next.unwrap_or(Ok(None)) else { return Ok(()) };
        let kind = Kind::try_from(i32::from(kind)).map_err(io::Error::other)?;
        match answering.answer(Parties { cluster, to, from }, kind, payload).await {
            Ok(Ok(answer)) => write(&mut wire, GOOD, &answer).await?,
            Ok(Err(refusal)) => write(&mut wire, REFUSED, refusal.as_bytes()).await?,
            Err(status) => return write(&mut wire, CLOSED, status.message().as_bytes()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_whole_however_they_are_cut() {
        let (mut left, mut right) = tokio::io::duplex(7);
        let sent = async {
            write(&mut left, 1, b"first").await?;
            write(&mut left, 2, b"").await?;
            write(&mut left, 3, &[b'x'; 1000]).await?;
            drop(left);
            Ok::<_, io::Error>(())
        };
        let got = async {
            let mut buffer = BytesMut::new();
            let mut frames = Vec::new();
            while let Some((mark, payload)) = read(&mut right, &mut buffer).await? {
                frames.push((mark, payload.len()));
            }
            Ok::<_, io::Error>(frames)
        };
        let (sent, got) = tokio::join!(sent, got);
        sent.expect("sent");
        assert_eq!(got.expect("read"), [(1, 5), (2, 0), (3, 1000)]);
    }

    #[tokio::test]
    async fn a_line_that_the_other_side_closed_is_not_used() {
        let (near, far) = tokio::io::duplex(64);
        let mut line = Line { wire: Box::new(near), read: BytesMut::new(), used: Instant::now() };
        assert!(line.is_open());
        drop(far);
        assert!(!line.is_open());
    }

    #[tokio::test]
    async fn a_frame_that_breaks_off_is_an_error() {
        let (mut left, mut right) = tokio::io::duplex(64);
        left.write_all(&[0, 0, 0, 9, 1, b'x']).await.expect("room");
        drop(left);
        let error = read(&mut right, &mut BytesMut::new()).await.expect_err("it breaks off");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
