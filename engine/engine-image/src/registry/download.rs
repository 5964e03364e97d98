//! Files fetched over HTTP for `ADD URL`, `docker import URL` and remote build contexts.
//!
//! The same TLS, names and redirects as for registries; no credentials are ever sent along.

use bytes::Bytes;
use reqwest::{Response, Url, header};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::session::{bounded, cause};
use super::{Registry, registry_error, transport};
use crate::error::Result;

/// How much of a refusal's body is shown.
const SHOWN: usize = 16 << 10;

/// A file on its way.
pub struct Download {
    url: String,
    response: Response,
    /// Bytes to come; 0 when the server does not say.
    pub total: u64,
    /// What to call it: the end of the URL's path, or what the server says. May be empty.
    pub name: String,
    /// When it was last changed, in seconds since 1970.
    pub modified: Option<i64>,
}

impl Registry {
    /// Asks for a file; the answer's head is here when this returns.
    pub async fn download(&self, address: &str) -> Result<Download> {
        let url = Url::parse(address)
            .map_err(|error| registry_error(format!("invalid URL {address:?}: {error}"), 400))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let client = transport::client(&host, &self.inner.config, true)?;
        let response = client
            .get(url.clone())
            .send()
            .await
            .map_err(|error| registry_error(format!("Get {address:?}: {}", cause(&error)), 500))?;
        let status = response.status();
        if status.as_u16() >= 400 {
            let body = bounded(response, SHOWN, address).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&body).trim().to_owned();
            let code = if status.is_client_error() { status.as_u16() } else { 500 };
            return Err(registry_error(
                format!("failed to GET {address} with status {status}: {text}"),
                code,
            ));
        }
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let name = name_of(url.path(), text(header::CONTENT_DISPOSITION));
        let modified =
            text(header::LAST_MODIFIED).and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        Ok(Download {
            url: address.to_owned(),
            total: response.content_length().unwrap_or(0),
            name,
            modified: modified.map(OffsetDateTime::unix_timestamp),
            response,
        })
    }
}

impl Download {
    /// The next piece; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.response.chunk().await;
        chunk.map_err(|error| registry_error(format!("Get {:?}: {}", self.url, cause(&error)), 500))
    }
}

/// The last part of the path, else the file name of a Content-Disposition.
fn name_of(path: &str, disposition: Option<&str>) -> String {
    let last = |text: &str| match text.rsplit('/').next() {
        Some("." | "..") | None => String::new(),
        Some(name) => name.to_owned(),
    };
    let from_path = last(&unescape(path));
    if !from_path.is_empty() {
        return from_path;
    }
    let parameters = disposition.into_iter().flat_map(|text| text.split(';').skip(1));
    let file = parameters.filter_map(|pair| pair.trim().split_once('=')).find(|(key, _)| *key == "filename");
    file.map(|(_, value)| last(value.trim().trim_matches('"'))).unwrap_or_default()
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        let rest = bytes.as_slice();
        let hex = |at: usize| rest.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                bytes.nth(1);
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        assert_eq!(name_of("/a/b%20c.tar", None), "b c.tar");
        assert_eq!(name_of("/", Some("attachment; filename=\"x.bin\"")), "x.bin");
        assert_eq!(name_of("/a/", Some("attachment; filename=../../etc/passwd")), "passwd");
        assert_eq!(name_of("/a/..", None), "");
        assert_eq!(name_of("/%2e%2e%2fx%", None), "x%");
    }
}
