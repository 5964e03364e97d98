//! One request and its reply.
//!
//! A handler reads the body (or takes it away), then answers in one of three ways: with bytes of known
//! length, with a stream of flushed chunks, or by taking the connection over.

use std::io;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;

use crate::body::{Body, Source};
use crate::head::{Framing, Head};
use crate::{BoxRead, BoxWrite, Drained};

/// A client that takes nothing for this long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(300);
/// What a client may send ahead while a reply streams, before we stop reading it.
const READ_AHEAD: usize = 64 * 1024;
/// How long a client may take to read the head of a hijack before the stream begins.
const HEAD_LIMIT: Duration = Duration::from_millis(500);
/// What it gets where reading cannot be seen.
const HEAD_GRACE: Duration = Duration::from_millis(3);

/// What became of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Unanswered,
    Answered,
    Close,
}

/// A request, and the means to answer it once.
pub struct Exchange {
    pub head: Head,
    /// Sent with every reply of this exchange.
    pub headers: HeaderMap,
    pub(crate) body: Option<Body>,
    pub(crate) back: Option<oneshot::Receiver<(Source, bool)>>,
    pub(crate) writer: Option<BoxWrite>,
    pub(crate) outcome: Outcome,
    pub(crate) continue_due: bool,
    pub(crate) drained: Option<Drained>,
}

/// A connection taken over: raw bytes both ways.
pub struct Hijacked {
    /// Starts with what the client had already sent after its request.
    pub reader: BoxRead,
    pub writer: BoxWrite,
    drained: Option<Drained>,
}

impl Hijacked {
    /// The two ends, and what to wait for before the first byte is sent.
    pub fn into_parts(self) -> (BoxRead, BoxWrite, HeadRead) {
        (self.reader, self.writer, HeadRead(Some(self.drained)))
    }
}

/// The client's reading of a hijack's head.
///
/// Docker's Python SDK reads the head through a buffer and the stream past it: what is sent along with the
/// head is lost to it. Docker never meets this, because it is slow.
pub struct HeadRead(Option<Option<Drained>>);

impl HeadRead {
    /// Resolves when the client has read the head, or when it has had long enough.
    pub async fn wait(&mut self) {
        let Some(first) = self.0.take() else { return };
        let Some(drained) = first else { return tokio::time::sleep(HEAD_GRACE).await };
        let end = tokio::time::Instant::now() + HEAD_LIMIT;
        let mut tries = 0;
        while !drained() && tokio::time::Instant::now() < end {
            tries += 1;
            match tries {
                ..20 => tokio::task::yield_now().await,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }
}

impl Exchange {
    /// The whole body, at most `limit` bytes.
    pub async fn body(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        self.send_continue().await?;
        match self.body.as_mut() {
            Some(body) => body.read_all(limit).await,
            None => Ok(Vec::new()),
        }
    }

    /// Takes the body away, to be read by another task while this one answers.
    pub async fn take_body(&mut self) -> io::Result<Option<Body>> {
        self.send_continue().await?;
        Ok(self.body.take())
    }

    /// How long the body says it is; `None` when it does not say.
    pub fn body_length(&self) -> Option<u64> {
        match self.head.framing() {
            Ok(Framing::Sized(length)) => Some(length),
            _ => None,
        }
    }

    /// True once the reply has begun.
    pub fn answered(&self) -> bool {
        self.outcome != Outcome::Unanswered
    }

    /// Answers with `bytes`. To a HEAD request the headers alone are sent.
    pub async fn reply(&mut self, status: StatusCode, content_type: &str, bytes: &[u8]) -> io::Result<()> {
        let mut head = self.status_line(status);
        let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        if !content_type.is_empty() && !bodiless {
            push_field(&mut head, "Content-Type", content_type.as_bytes());
        }
        if !bodiless {
            push_field(&mut head, "Content-Length", bytes.len().to_string().as_bytes());
        }
        let close = !self.head.keeps_alive();
        self.finish_head(&mut head, close);
        if self.head.method != Method::HEAD && !bodiless {
            head.extend_from_slice(bytes);
        }
        self.outcome = if close { Outcome::Close } else { Outcome::Answered };
        write(self.writer_mut(), &head).await
    }

    /// Begins a reply whose length is not known; its headers are sent at once.
    pub async fn stream(&mut self, status: StatusCode, content_type: &str) -> io::Result<StreamReply<'_>> {
        let chunked = self.head.http11;
        let mut head = self.status_line(status);
        if !content_type.is_empty() {
            push_field(&mut head, "Content-Type", content_type.as_bytes());
        }
        if chunked {
            push_field(&mut head, "Transfer-Encoding", b"chunked");
        }
        let close = !self.head.keeps_alive();
        self.finish_head(&mut head, close);
        // Until the last chunk is out, the connection is good for nothing else.
        self.outcome = Outcome::Close;
        write(self.writer_mut(), &head).await?;
        Ok(StreamReply { chunked, close, ex: self })
    }

    /// Takes the connection over. `101 UPGRADED` when the client asked for it, else `200 OK`.
    pub async fn hijack(&mut self, plain_type: &str, upgraded_type: &str) -> io::Result<Hijacked> {
        let upgrade = self.head.wants_upgrade();
        let mut head = BytesMut::new();
        if upgrade {
            head.extend_from_slice(b"HTTP/1.1 101 UPGRADED\r\n");
            push_field(&mut head, "Content-Type", upgraded_type.as_bytes());
            push_field(&mut head, "Connection", b"Upgrade");
            push_field(&mut head, "Upgrade", b"tcp");
        } else {
            head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
            push_field(&mut head, "Content-Type", plain_type.as_bytes());
        }
        for (name, value) in &self.headers {
            push_field(&mut head, &title_case(name), value.as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        self.hand_over(head).await
    }

    /// Takes the connection over for another protocol, with these fields in the answer's head.
    pub async fn upgrade(&mut self, protocol: &str, fields: &[(&str, &str)]) -> io::Result<Hijacked> {
        let mut head = BytesMut::from("HTTP/1.1 101 Switching Protocols\r\n");
        push_field(&mut head, "Upgrade", protocol.as_bytes());
        push_field(&mut head, "Connection", b"Upgrade");
        for (name, value) in fields {
            push_field(&mut head, name, value.as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        self.hand_over(head).await
    }

    async fn hand_over(&mut self, head: BytesMut) -> io::Result<Hijacked> {
        self.outcome = Outcome::Close;
        let source = self.body.take().map(Body::into_source).ok_or(io::ErrorKind::NotConnected)?;
        let mut writer = self.writer.take().ok_or(io::ErrorKind::NotConnected)?;
        write(&mut writer, &head).await?;
        Ok(Hijacked { reader: Box::new(Leftover(source)), writer, drained: self.drained.take() })
    }

    /// Resolves when the client has closed its side. It is not an error to have sent more before.
    pub async fn closed(&mut self) {
        let Some(body) = self.body.as_mut() else { return std::future::pending().await };
        let source = body.source_mut();
        while !source.eof && source.buf.len() < READ_AHEAD {
            if source.fill().await.is_err() {
                return;
            }
        }
        if !source.eof {
            std::future::pending::<()>().await;
        }
    }

    async fn send_continue(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.continue_due) {
            write(self.writer_mut(), b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        Ok(())
    }

    fn writer_mut(&mut self) -> &mut BoxWrite {
        self.writer.as_mut().expect("a handler answers once, and not after a hijack")
    }

    fn status_line(&self, status: StatusCode) -> BytesMut {
        let mut head = BytesMut::with_capacity(512);
        let reason = status.canonical_reason().unwrap_or("Status");
        head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
        head
    }

    fn finish_head(&self, head: &mut BytesMut, close: bool) {
        for (name, value) in &self.headers {
            push_field(head, &title_case(name), value.as_bytes());
        }
        push_field(head, "Date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
        if close {
            push_field(head, "Connection", b"close");
        }
        head.extend_from_slice(b"\r\n");
    }
}

/// A reply sent piece by piece. Dropped without [`StreamReply::end`], the connection is cut, so that
/// the client knows that it has not got everything.
pub struct StreamReply<'a> {
    ex: &'a mut Exchange,
    chunked: bool,
    close: bool,
}

impl StreamReply<'_> {
    /// Sends a piece and flushes it.
    pub async fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        if piece.is_empty() || self.ex.head.method == Method::HEAD {
            return Ok(());
        }
        let chunked = self.chunked;
        let writer = self.ex.writer_mut();
        if !chunked {
            return write(writer, piece).await;
        }
        let mut framed = BytesMut::with_capacity(piece.len() + 16);
        framed.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        framed.extend_from_slice(piece);
        framed.extend_from_slice(b"\r\n");
        write(writer, &framed).await
    }

    /// Resolves when the client has gone away.
    pub async fn closed(&mut self) {
        self.ex.closed().await;
    }

    /// Says that this was all.
    pub async fn end(self) -> io::Result<()> {
        if self.chunked && self.ex.head.method != Method::HEAD {
            write(self.ex.writer_mut(), b"0\r\n\r\n").await?;
        }
        if self.chunked && !self.close {
            self.ex.outcome = Outcome::Answered;
        }
        Ok(())
    }
}

/// The rest of a connection: first what had been buffered, then the stream itself.
struct Leftover(Source);

impl AsyncRead for Leftover {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        let source = &mut self.0;
        if source.buf.is_empty() {
            return std::pin::Pin::new(&mut source.io).poll_read(cx, out);
        }
        let n = source.buf.len().min(out.remaining());
        out.put_slice(&source.buf.split_to(n));
        std::task::Poll::Ready(Ok(()))
    }
}

pub(crate) async fn write(writer: &mut BoxWrite, bytes: &[u8]) -> io::Result<()> {
    let sent = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    match tokio::time::timeout(WRITE_LIMIT, sent).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn push_field(head: &mut BytesMut, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// `api-version` as `Api-Version`: the form that Go writes, and that people grep for.
fn title_case(name: &HeaderName) -> String {
    let mut up = true;
    let raise = |c: char| {
        let shown = if up { c.to_ascii_uppercase() } else { c };
        up = c == '-';
        shown
    };
    name.as_str().chars().map(raise).collect()
}

/// A header value of text; what a header cannot carry is replaced by a question mark.
impl Exchange {
    pub fn set_header(&mut self, name: &'static str, value: &str) {
        let clean: String =
            value.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
        let value = HeaderValue::from_str(&clean).expect("printable ASCII is a header value");
        self.headers.insert(HeaderName::from_static(name), value);
    }
}
