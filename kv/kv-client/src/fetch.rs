//! One plain HTTP/1 request over our own connections (no getaddrinfo). For discovery services and members' health.

use std::{io, time::Duration};

use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;

use crate::{Config, ConfigError, Tls, connect};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("`{0}` is not a URL that can be asked")]
    Url(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("could not connect to {url}: {source}")]
    Connect {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error("{url} broke off: {reason}")]
    Broken { url: String, reason: String },
    #[error("{url} did not answer in time")]
    Timeout { url: String },
}

const LARGEST_ANSWER: usize = 16 << 20;

/// Asks, and reads the whole answer as text: status, headers, body. A body is sent as a form.
///
/// # Errors
/// When there is no answer within `limit`.
pub async fn fetch(
    method: Method,
    url: &str,
    body: Option<String>,
    tls: Option<&Tls>,
    limit: Duration,
) -> Result<(u16, HeaderMap, String), FetchError> {
    let asked = ask(method, url, body, tls);
    tokio::time::timeout(limit, asked).await.map_err(|_| FetchError::Timeout { url: url.to_owned() })?
}

async fn ask(
    method: Method,
    url: &str,
    body: Option<String>,
    tls: Option<&Tls>,
) -> Result<(u16, HeaderMap, String), FetchError> {
    let bad = || FetchError::Url(url.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let default_port = if scheme == "https" { 443 } else { 80 };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:{default_port}") };
    let mut config = Config::new([url]);
    config.tls = tls.cloned();
    let stream = connect::stream(&format!("{scheme}://{with_port}"), &config)
        .await?
        .map_err(|source| FetchError::Connect { url: url.to_owned(), source })?;
    let broken = |reason: String| FetchError::Broken { url: url.to_owned(), reason };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    let driver = tokio::spawn(connection);
    let request = http::Request::builder()
        .method(method)
        .uri(if path.is_empty() { "/" } else { path })
        .header(http::header::HOST, authority)
        .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::<bytes::Bytes>::from(body.unwrap_or_default()))
        .map_err(|_| bad())?;
    let response = sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
    let (parts, body) = response.into_parts();
    let body =
        Limited::new(body, LARGEST_ANSWER).collect().await.map_err(|error| broken(error.to_string()))?;
    driver.abort();
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok((parts.status.as_u16(), parts.headers, text))
}
