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

/// Asks the daemon at `address` (IP:PORT); the body streams as long as it takes.
pub(crate) async fn ask(
    address: &str,
    method: &Method,
    path: &str,
    body: Bytes,
    identity: Identity,
) -> anyhow::Result<(StatusCode, Body)> {
    ask_for(address, method, path, body, identity, false).await
}

/// As [`ask`]; with what comes after the body, if whoever gets it can be given that.
pub(super) async fn ask_for(
    address: &str,
    method: &Method,
    path: &str,
    body: Bytes,
    identity: Identity,
    trailers: bool,
) -> anyhow::Result<(StatusCode, Body)> {
    let asked = tokio::time::timeout(LIMIT, ask_now(address, method, path, body, identity, trailers)).await;
    asked.context("it does not answer")?
}

async fn ask_now(
    address: &str,
    method: &Method,
    path: &str,
    body: Bytes,
    identity: Identity,
    trailers: bool,
) -> anyhow::Result<(StatusCode, Body)> {
    let address: std::net::SocketAddr = address.parse()?;
    let stream = TcpStream::connect(address).await?;
    let name = rustls::pki_types::ServerName::IpAddress(address.ip().into());
    let stream = tokio_rustls::TlsConnector::from(identity.client).connect(name, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::TE, "trailers")
        .header(PASSED_ON, "1")
        .body(Full::new(body))?;
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
    Ok((status, streaming(receive, trailers)))
}

/// A body that grows as the channel is filled. Without `trailers` it ends where these would begin: to
/// a client that did not ask for them hyper writes neither them nor the end of the body.
pub(super) fn streaming(receive: mpsc::Receiver<Frame<Bytes>>, trailers: bool) -> Body {
    let frames = ReceiverStream::new(receive).filter(move |frame| trailers || frame.is_data());
    let frames = frames.map(Ok::<_, Infallible>);
    BodyExt::boxed(StreamBody::new(frames))
}
