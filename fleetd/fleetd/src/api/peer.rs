//! Asking another machine's daemon, over mutual TLS.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::Identity;

/// Until the head of the answer has come.
const LIMIT: Duration = Duration::from_secs(5);
/// Set on requests between daemons: whoever gets one answers it itself or not at all.
pub(super) const PASSED_ON: &str = "x-fleet-passed-on";

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// What is asked of another machine's daemon.
pub(crate) struct Question<'a> {
    /// Of which daemon: IP:PORT.
    pub(crate) address: &'a str,
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: Bytes,
    /// Also what comes after the answer's body: whoever gets it must be able to take that.
    pub(crate) trailers: bool,
}

impl<'a> Question<'a> {
    /// A question that only reads.
    pub(crate) fn get(address: &'a str, path: &'a str) -> Self {
        Self { address, method: Method::GET, path, body: Bytes::new(), trailers: false }
    }

    /// Asks; the answer's body streams as long as it takes.
    pub(crate) async fn ask(self, identity: Identity) -> anyhow::Result<(StatusCode, Body)> {
        let asked = tokio::time::timeout(LIMIT, ask_now(self, identity)).await;
        asked.context("it does not answer")?
    }
}

async fn ask_now(question: Question<'_>, identity: Identity) -> anyhow::Result<(StatusCode, Body)> {
    let address: std::net::SocketAddr = question.address.parse()?;
    let stream = TcpStream::connect(address).await?;
    let name = rustls::pki_types::ServerName::IpAddress(address.ip().into());
    let stream = tokio_rustls::TlsConnector::from(identity.client).connect(name, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(question.method)
        .uri(question.path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::TE, "trailers")
        .header(PASSED_ON, "1")
        .body(Full::new(question.body))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    let (send, receive) = mpsc::channel(16);
    tokio::spawn(async move {
        // The connection lives as long as its sender.
        let _sender = sender;
        while let Some(Ok(frame)) = body.frame().await {
            if send.send(frame).await.is_err() {
                return;
            }
        }
    });
    Ok((status, streaming(receive, question.trailers)))
}

/// A body that grows as the channel is filled. Without `trailers` it ends where these would begin: to
/// a client that did not ask for them hyper writes neither them nor the end of the body.
pub(super) fn streaming(receive: mpsc::Receiver<Frame<Bytes>>, trailers: bool) -> Body {
    let frames = ReceiverStream::new(receive).filter(move |frame| trailers || frame.is_data());
    let frames = frames.map(Ok::<_, Infallible>);
    BodyExt::boxed(StreamBody::new(frames))
}
