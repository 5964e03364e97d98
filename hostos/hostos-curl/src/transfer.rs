//! From a URL on the command line to its body where it belongs: redirects, tries, limits.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use rustls::ClientConfig;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::client::{ask, failed, title};
use crate::error::CurlError;
use crate::options::Options;
use crate::output::Output;
use crate::request::Request;
use crate::retry::Retry;
use crate::tls;
use crate::write_out::{self, Stats};

/// Transfers every URL; the exit code is that of the last one.
pub(crate) async fn all(options: &Options) -> u8 {
    let mut code = 0;
    for (index, url) in options.urls().enumerate() {
        let mut stats = Stats::new(url);
        let outcome = one(options, index, url, &mut stats).await;
        stats.end(&outcome);
        if let Err(error) = &outcome
            && options.shows_errors()
        {
            eprintln!("curl: ({}) {error}", error.code());
        }
        if let Some(format) = &options.output.write_out {
            write_out::write(format, &stats);
        }
        code = stats.code;
    }
    code
}

async fn one(options: &Options, index: usize, url: &str, stats: &mut Stats) -> Result<(), CurlError> {
    let mut url = parse(url)?;
    let request = Request::new(options, &mut url)?;
    let mut output = Output::new(&options.output, index, &url)?;
    stats.file = output.name();
    let config = tls::config(&options.connection)?;
    let mut retry = Retry::new(options);
    loop {
        let mut after = None;
        let attempt = follow(options, &config, url.clone(), request.clone(), &mut output, stats, &mut after);
        let outcome = match options.connection.max_time.filter(|limit| !limit.is_zero()) {
            None => attempt.await,
            Some(limit) => match timeout(limit, attempt).await {
                Ok(outcome) => outcome,
                Err(_) => Err(CurlError::Timeout(format!(
                    "Operation timed out after {} milliseconds with {} bytes received",
                    limit.as_millis(),
                    stats.received
                ))),
            },
        };
        match retry.next(options, &outcome, stats.status, after) {
            None => return outcome.and_then(|()| output.finish()),
            Some(pause) => {
                sleep(pause).await;
                output.restart();
                (stats.received, stats.status) = (0, 0);
            }
        }
    }
}

/// A URL as people write it: the scheme may be missing.
fn parse(text: &str) -> Result<Url, CurlError> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).map_err(|_| CurlError::Url)?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        "http" | "https" => Err(CurlError::Url),
        other => Err(CurlError::Protocol(other.to_owned())),
    }
}

/// One try: asks, follows redirects, hands the body over.
async fn follow(
    options: &Options,
    config: &Arc<ClientConfig>,
    mut url: Url,
    mut request: Request,
    output: &mut Output,
    stats: &mut Stats,
    after: &mut Option<Duration>,
) -> Result<(), CurlError> {
    stats.redirects = 0;
    loop {
        stats.url = url.to_string();
        stats.method.clone_from(&request.method);
        let response = ask(options, config, &url, &request, stats).await?;
        note(&response, stats);
        *after = retry_after(response.headers());
        let status = stats.status;
        let next = redirect(&response, &url);
        stats.redirect_url = next.as_ref().map(Url::to_string).unwrap_or_default();
        let follows = options.request.location && next.is_some();
        let fails = status >= 400 && options.output.fail;
        heads(options, &response, output, fails)?;
        if let Some(next) = next.filter(|_| follows) {
            stats.redirects += 1;
            let most = options.request.max_redirs;
            if u32::try_from(most).is_ok_and(|most| stats.redirects > most) {
                return Err(CurlError::Redirects(most.unsigned_abs()));
            }
            if !matches!(next.scheme(), "http" | "https") {
                return Err(CurlError::Protocol(next.scheme().to_owned()));
            }
            request.redirect(status, next.origin() != url.origin());
            url = next;
            continue;
        }
        if fails {
            return Err(CurlError::Status(status));
        }
        body(response, output, stats).await?;
        if status >= 400 && options.output.fail_with_body {
            output.finish()?;
            return Err(CurlError::Status(status));
        }
        return Ok(());
    }
}

fn note(response: &Response<Incoming>, stats: &mut Stats) {
    stats.status = response.status().as_u16();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    stats.content_type = kind.unwrap_or_default().to_owned();
    stats.header_bytes = head(response).len();
}

fn redirect(response: &Response<Incoming>, url: &Url) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    let mut next = url.join(std::str::from_utf8(location.as_bytes()).ok()?).ok()?;
    if next.fragment().is_none() {
        next.set_fragment(url.fragment());
    }
    Some(next)
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}

/// The head of an answer as text.
fn head(response: &Response<Incoming>) -> Vec<u8> {
    let status = response.status();
    let reason = response
        .extensions()
        .get::<hyper::ext::ReasonPhrase>()
        .map_or_else(|| status.canonical_reason().unwrap_or_default().as_bytes(), |reason| reason.as_bytes());
    let mut head = format!("{:?} {} ", response.version(), status.as_u16()).into_bytes();
    head.extend_from_slice(reason);
    head.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        head.extend_from_slice(title(name.as_str()).as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Writes the head of an answer wherever it was asked for.
fn heads(
    options: &Options,
    response: &Response<Incoming>,
    output: &mut Output,
    fails: bool,
) -> Result<(), CurlError> {
    let wanted = &options.output;
    let head = head(response);
    if wanted.verbose {
        for line in String::from_utf8_lossy(&head).lines() {
            eprintln!("< {line}");
        }
    }
    if (wanted.include || options.request.head) && !fails {
        output.write(&head)?;
    }
    let Some(file) = &wanted.dump_header else { return Ok(()) };
    if file.as_os_str() == "-" {
        return std::io::stdout().write_all(&head).map_err(CurlError::Write);
    }
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    opened.and_then(|mut file| file.write_all(&head)).map_err(CurlError::Write)
}

async fn body(response: Response<Incoming>, output: &mut Output, stats: &mut Stats) -> Result<(), CurlError> {
    let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length: Option<u64> = length.and_then(|length| length.parse().ok());
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match length {
            Some(length) if broke_off(&error) => {
                CurlError::Partial(format!("{} bytes of ", length.saturating_sub(stats.received)))
            }
            None if broke_off(&error) => CurlError::Partial(String::new()),
            _ => failed(&error),
        })?;
        if let Some(data) = frame.data_ref() {
            stats.received += data.len() as u64;
            output.write(data)?;
        }
    }
    output.flush()
}

fn broke_off(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_may_be_missing_and_some_are_not_spoken() {
        assert_eq!(
            parse("localhost:8080/a").map(|url| url.to_string()).ok().as_deref(),
            Some("http://localhost:8080/a")
        );
        assert!(matches!(parse("ftp://a/"), Err(CurlError::Protocol(_))));
        assert!(matches!(parse("http://"), Err(CurlError::Url)));
    }
}
