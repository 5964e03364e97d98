//! One request and its answer on one connection.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio_util::io::ReaderStream;
use url::Url;

use crate::connect::connect;
use crate::error::CurlError;
use crate::options::Options;
use crate::request::{Body, Request};
use crate::write_out::Stats;

type Sent = UnsyncBoxBody<Bytes, std::io::Error>;

/// Sends `request` and returns the head of the answer, its body still to come.
pub(crate) async fn ask(
    options: &Options,
    config: &Arc<ClientConfig>,
    url: &Url,
    request: &Request,
    stats: &mut Stats,
) -> Result<Response<Incoming>, CurlError> {
    let message = message(url, request).await?;
    if options.output.verbose {
        show_request(&message);
    }
    let stream = connect(&options.connection, url, config, stats).await?;
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake::<_, Sent>(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    // It ends with the connection; the program ends with the answer.
    tokio::spawn(connection);
    let response = sender.send_request(message).await.map_err(|error| failed(&error))?;
    stats.started = Some(stats.start.elapsed());
    Ok(response)
}

async fn message(url: &Url, request: &Request) -> Result<hyper::Request<Sent>, CurlError> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| CurlError::Url)?;
    let mut message = hyper::Request::builder()
        .method(method)
        .uri(target)
        .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
        .map_err(|_| CurlError::Url)?;
    let headers = message.headers_mut();
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    if !request.has("host") && !request.without.iter().any(|name| name.eq_ignore_ascii_case("host")) {
        headers.insert(HOST, HeaderValue::from_str(&host).map_err(|_| CurlError::Url)?);
    }
    for (name, value) in &request.headers {
        let bad = || CurlError::Send(format!("`{name}: {value}` cannot be a header"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    match &request.body {
        None => {}
        Some(Body::Bytes(bytes)) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            *message.body_mut() = Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync();
        }
        Some(Body::File(path)) => {
            let (length, body) = file(path).await?;
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            *message.body_mut() = body;
        }
    }
    Ok(message)
}

async fn file(path: &Path) -> Result<(u64, Sent), CurlError> {
    let failed = |source| CurlError::Read { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let length = file.metadata().await.map_err(failed)?.len();
    let body = StreamBody::new(ReaderStream::new(file).map_ok(Frame::data));
    Ok((length, body.boxed_unsync()))
}

fn show_request(message: &hyper::Request<Sent>) {
    eprintln!("> {} {} HTTP/1.1", message.method(), message.uri());
    for (name, value) in message.headers() {
        let secret = name == "authorization" || name == "cookie";
        let value = if secret { "(not shown)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
        eprintln!("> {}: {value}", title(name.as_str()));
    }
    eprintln!(">");
}

/// What a failed exchange means.
pub(crate) fn failed(error: &hyper::Error) -> CurlError {
    if error.is_incomplete_message() {
        return CurlError::Empty;
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        // A server may only judge our certificate after the handshake looked done.
        if let Some(error) = inner.downcast_ref::<std::io::Error>()
            && error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
        {
            return CurlError::Receive(error.to_string());
        }
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    if error.is_user() { CurlError::Send(text) } else { CurlError::Receive(text) }
}

/// `content-type` as most servers write it: `Content-Type`.
pub(crate) fn title(name: &str) -> String {
    let mut title = String::with_capacity(name.len());
    let mut upper = true;
    for c in name.chars() {
        title.push(if upper { c.to_ascii_uppercase() } else { c });
        upper = c == '-';
    }
    title
}
