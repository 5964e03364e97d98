//! The life of one connection: request after request, until either side is done.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::body::{Body, Source};
use crate::exchange::{Exchange, Outcome, write};
use crate::head::{Head, HeadError};
use crate::{BoxRead, BoxWrite, Drained};

/// How much is thrown away of a body that the handler did not want, to save the connection.
const DRAIN_LIMIT: u64 = 256 * 1024;

/// How long a client that sends more has to notice its answer.
const LINGER: Duration = Duration::from_millis(500);

/// What a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a connection may idle between requests.
    pub idle: Duration,
    /// How long the head of a request may take from its first byte.
    pub head: Duration,
    /// The largest head, in bytes.
    pub head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { idle: Duration::from_secs(600), head: Duration::from_secs(30), head_bytes: 1 << 20 }
    }
}

/// Answers requests. An error means that the connection is unusable; it is then closed.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, exchange: &mut Exchange) -> impl Future<Output = io::Result<()>> + Send;
}

/// Serves one connection to its end. `drained` is for hijacks; a transport that cannot tell gives none.
pub async fn serve_connection<H: Handler>(
    reader: BoxRead,
    mut writer: BoxWrite,
    handler: Arc<H>,
    limits: Limits,
    drained: Option<Drained>,
) -> io::Result<()> {
    let mut source = Source { io: reader, buf: BytesMut::new(), eof: false };
    loop {
        let head = match read_head(&mut source, limits).await? {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(()),
            Err(error) => return refuse(&mut writer, &error).await,
        };
        let framing = match head.framing() {
            Ok(framing) => framing,
            Err(error) => return refuse(&mut writer, &error).await,
        };
        let (home, back) = oneshot::channel();
        let continue_due = head.expects_continue();
        let mut exchange = Exchange {
            head,
            headers: HeaderMap::new(),
            body: Some(Body::new(source, framing, home)),
            back: Some(back),
            writer: Some(writer),
            outcome: Outcome::Unanswered,
            continue_due,
            drained: drained.clone(),
        };
        handler.handle(&mut exchange).await?;
        match reclaim(exchange).await? {
            Some((s, w)) => (source, writer) = (s, w),
            None => return Ok(()),
        }
    }
}

/// The two ends of the connection after a reply, if it can carry another request.
async fn reclaim(mut exchange: Exchange) -> io::Result<Option<(Source, BoxWrite)>> {
    if exchange.outcome != Outcome::Answered {
        return Ok(None);
    }
    if let Some(mut body) = exchange.body.take() {
        if exchange.continue_due && !body.is_done() {
            return Ok(None);
        }
        body.drain(DRAIN_LIMIT).await?;
    }
    let (Some(back), Some(writer)) = (exchange.back.take(), exchange.writer.take()) else {
        return Ok(None);
    };
    // A task that took the body has let go of it by the time it answered, or the connection ends here.
    match timeout(Duration::from_secs(1), back).await {
        Ok(Ok((source, true))) if !source.eof => Ok(Some((source, writer))),
        Ok(Ok((source, false))) if !source.eof => {
            linger(source, writer).await;
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// A client that is still sending reads its answer only if nothing breaks meanwhile: it is told that this is
/// all, and what it sends is thrown away for a moment.
async fn linger(mut source: Source, mut writer: BoxWrite) {
    // It may have left already.
    let _ = writer.shutdown().await;
    let rest = async {
        while matches!(source.fill().await, Ok(n) if n > 0) {
            source.buf.clear();
        }
    };
    let _ = timeout(LINGER, rest).await;
}

async fn read_head(source: &mut Source, limits: Limits) -> io::Result<Result<Option<Head>, HeadError>> {
    let mut wait = limits.idle;
    loop {
        match Head::parse(&source.buf) {
            Ok(Some((head, used))) => {
                source.buf.advance(used);
                return Ok(Ok(Some(head)));
            }
            Ok(None) if source.buf.len() > limits.head_bytes => return Ok(Err(HeadError::TooLarge)),
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
        if !source.buf.is_empty() {
            wait = limits.head;
        }
        match timeout(wait, source.fill()).await {
            Ok(Ok(0)) | Err(_) => return Ok(Ok(None)),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
}

async fn refuse(writer: &mut BoxWrite, error: &HeadError) -> io::Result<()> {
    let status = match error {
        HeadError::Malformed => StatusCode::BAD_REQUEST,
        HeadError::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    };
    let line = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{status}: {error}"
    );
    write(writer, line.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// Echoes bodies, streams on /stream, and hands the connection out on /raw.
    struct Echo;

    impl Handler for Echo {
        async fn handle(&self, ex: &mut Exchange) -> io::Result<()> {
            match ex.head.path.as_str() {
                "/stream" => {
                    let mut out = ex.stream(StatusCode::OK, "text/plain").await?;
                    out.send(b"one").await?;
                    out.send(b"two").await?;
                    out.end().await
                }
                "/raw" => {
                    ex.body(100).await?;
                    let mut raw = ex.hijack("a/plain", "a/upgraded").await?;
                    let mut all = Vec::new();
                    raw.reader.read_to_end(&mut all).await?;
                    raw.writer.write_all(&all).await?;
                    raw.writer.shutdown().await
                }
                _ => {
                    let body = ex.body(100).await?;
                    ex.reply(StatusCode::OK, "text/plain", &body).await
                }
            }
        }
    }

    async fn talk(request: &str) -> String {
        let (near, far) = tokio::io::duplex(64);
        let (read, write) = tokio::io::split(far);
        let (read, write) = (Box::new(read), Box::new(write));
        tokio::spawn(serve_connection(read, write, Arc::new(Echo), Limits::default(), None));
        let (mut from, mut to) = tokio::io::split(near);
        let request = request.to_owned();
        tokio::spawn(async move {
            to.write_all(request.as_bytes()).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let mut all = String::new();
        from.read_to_string(&mut all).await.unwrap();
        all
    }

    #[tokio::test]
    async fn requests_follow_each_other() {
        let got = talk(
            "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nho\r\n0\r\n\r\nHEAD / HTTP/1.1\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 3, "{got}");
        assert!(got.contains("\r\n\r\nhiHTTP") && got.contains("\r\n\r\nhoHTTP"), "{got}");
        assert!(got.ends_with("Connection: close\r\n\r\n"));
    }

    #[tokio::test]
    async fn streams_in_chunks() {
        let got = talk("GET /stream HTTP/1.1\r\n\r\n").await;
        assert!(got.ends_with("\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"), "{got}");
        let old = talk("GET /stream HTTP/1.0\r\n\r\n").await;
        assert!(old.ends_with("\r\n\r\nonetwo"), "{old}");
    }

    #[tokio::test]
    async fn hijack_with_and_without_upgrade_keeps_buffered_bytes() {
        let got = talk(
            "POST /raw HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\n{}early",
        )
        .await;
        assert!(got.starts_with("HTTP/1.1 101 UPGRADED\r\nContent-Type: a/upgraded\r\n"), "{got}");
        assert!(got.ends_with("\r\n\r\nearly"), "{got}");
        let got = talk("POST /raw HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}early").await;
        assert!(got.starts_with("HTTP/1.1 200 OK\r\nContent-Type: a/plain\r\n"), "{got}");
        assert!(got.ends_with("\r\n\r\nearly"), "{got}");
    }

    /// Over a real socket, where to close on what was not read would take the answer away.
    #[tokio::test]
    async fn a_client_that_still_sends_reads_its_answer() {
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        let (read, write) = far.into_split();
        let (read, write) = (Box::new(read), Box::new(write));
        tokio::spawn(serve_connection(read, write, Arc::new(Echo), Limits::default(), None));
        let (mut from, mut to) = near.into_split();
        let sent = tokio::spawn(async move {
            to.write_all(b"GET /stream HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n").await?;
            to.write_all(&vec![0; 2_000_000]).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            to.write_all(&vec![0; 900_000]).await
        });
        sent.await.unwrap().expect("nobody hangs up on a client that sends");
        let mut all = String::new();
        from.read_to_string(&mut all).await.unwrap();
        assert!(all.ends_with("3\r\ntwo\r\n0\r\n\r\n"), "{all}");
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let got = talk("\x16\x03\x01 garbage\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 400 Bad Request"), "{got}");
    }

    #[tokio::test]
    async fn continue_is_sent_when_the_body_is_wanted() {
        let got = talk("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi").await;
        assert!(got.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), "{got}");
    }
}
