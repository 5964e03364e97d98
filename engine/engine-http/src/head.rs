//! The head of a request: its line and its headers, and what they say about the body.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// At most this many header fields are read; more is refused with 431.
const MAX_HEADERS: usize = 100;

/// A parsed request head.
#[derive(Debug, Clone)]
pub struct Head {
    pub method: Method,
    /// The path as sent: still percent-encoded, without the query.
    pub path: String,
    /// What follows the question mark, as sent; empty when there is none.
    pub query: String,
    pub headers: HeaderMap,
    /// False for HTTP/1.0: such a client gets no chunks and no second request.
    pub http11: bool,
}

/// How the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Sized(u64),
    Chunked,
}

/// Why a head cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("malformed HTTP request")]
    Malformed,
    #[error("request header fields too large")]
    TooLarge,
}

impl Head {
    /// Parses the head at the start of `buf`. `Ok(None)` asks for more bytes; else the head and its length.
    pub(crate) fn parse(buf: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut raw = httparse::Request::new(&mut fields);
        let used = match raw.parse(buf) {
            Ok(httparse::Status::Complete(n)) => n,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
            Err(_) => return Err(HeadError::Malformed),
        };
        let method = raw.method.unwrap_or_default().parse().map_err(|_| HeadError::Malformed)?;
        let (path, query) = split_target(raw.path.unwrap_or_default());
        let mut headers = HeaderMap::new();
        for field in raw.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| HeadError::Malformed)?;
            let value = HeaderValue::from_bytes(field.value).map_err(|_| HeadError::Malformed)?;
            headers.append(name, value);
        }
        let http11 = raw.version == Some(1);
        Ok(Some((Head { method, path, query, headers, http11 }, used)))
    }

    /// A header's value when it is there once (or its first) and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The client asked for the connection to become a raw stream with `101`.
    pub fn wants_upgrade(&self) -> bool {
        self.headers.contains_key(http::header::UPGRADE)
    }

    /// How the body ends. Both framings at once, or a size that is no number, is request smuggling.
    pub(crate) fn framing(&self) -> Result<Framing, HeadError> {
        let coded = self.headers.get_all(http::header::TRANSFER_ENCODING);
        let mut lengths = self.headers.get_all(http::header::CONTENT_LENGTH).iter();
        let length = lengths.next();
        if let Some(coding) = coded.iter().next() {
            let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            return if chunked && coded.iter().count() == 1 && length.is_none() {
                Ok(Framing::Chunked)
            } else {
                Err(HeadError::Malformed)
            };
        }
        let Some(length) = length else { return Ok(Framing::Sized(0)) };
        if lengths.any(|other| other != length) || !length.as_bytes().iter().all(u8::is_ascii_digit) {
            return Err(HeadError::Malformed);
        }
        let text = length.to_str().map_err(|_| HeadError::Malformed)?;
        text.parse().map(Framing::Sized).map_err(|_| HeadError::Malformed)
    }

    pub(crate) fn keeps_alive(&self) -> bool {
        let close = self
            .headers
            .get_all(http::header::CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("close"));
        self.http11 && !close
    }

    pub(crate) fn expects_continue(&self) -> bool {
        self.header("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue"))
    }
}

/// Path and query of a request target, which is `/path?query` or an absolute URL.
fn split_target(target: &str) -> (String, String) {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => &rest[rest.find('/').unwrap_or(rest.len())..],
        _ => target,
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    (if path.is_empty() { "/".into() } else { path.into() }, query.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        Head::parse(text.as_bytes()).unwrap().expect("complete").0
    }

    #[test]
    fn line_and_headers() {
        let h = head("POST /v1.41/images/a/b%3A1/push?tag=x HTTP/1.1\r\nHost: d\r\nX-A: 1\r\n\r\n");
        assert_eq!((h.path.as_str(), h.query.as_str()), ("/v1.41/images/a/b%3A1/push", "tag=x"));
        assert_eq!(h.header("x-a"), Some("1"));
        assert!(h.keeps_alive());
        assert_eq!(h.framing().unwrap(), Framing::Sized(0));
    }

    #[test]
    fn absolute_target() {
        assert_eq!(head("GET http://docker/info?a HTTP/1.1\r\n\r\n").path, "/info");
        assert_eq!(head("GET http://docker HTTP/1.0\r\n\r\n").path, "/");
    }

    #[test]
    fn ambiguous_bodies_are_refused() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: +3\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            let h = head(&format!("POST / HTTP/1.1\r\n{fields}\r\n"));
            assert!(h.framing().is_err(), "{fields}");
        }
    }

    #[test]
    fn partial_and_broken() {
        assert!(Head::parse(b"GET / HT").unwrap().is_none());
        assert!(Head::parse(b"\x16\x03\x01\x02\x00").is_err());
    }
}
