//! A client of the Docker Remote API over a unix socket: one connection kept alive, answers read whole.
//!
//! It does no more than the engines' answers need: lengths, chunks, and streams that end with the connection.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

const VERSION: &str = "/v1.41";
/// Longer than anything that is measured takes.
const PATIENCE: Duration = Duration::from_secs(600);
const LARGEST_HEAD: usize = 64 * 1024;

/// What goes with a request.
pub(crate) enum Body<'a> {
    Nothing,
    Json(&'a Value),
    Tar(&'a [u8]),
    /// So many bytes of a tar.
    Stream(&'a mut dyn Read, u64),
}

/// One connection.
pub(crate) struct Client {
    path: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

/// How an answer's body ends.
enum End {
    Length(u64),
    Chunks,
    Close,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { path: socket.to_owned(), stream: None }
    }

    /// A request whose answer is JSON, or nothing.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: Body<'_>) -> Result<Value> {
        let bytes = self.bytes(method, path, body)?;
        // A stream of objects is no value, and nobody asks for it.
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A request whose answer is wanted as it is.
    pub(crate) fn bytes(&mut self, method: &str, path: &str, body: Body<'_>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read(method, path, body, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// A request whose answer is a stream of objects; an error among them is an error.
    pub(crate) fn progress(&mut self, method: &str, path: &str, body: Body<'_>) -> Result<()> {
        let bytes = self.bytes(method, path, body)?;
        refuse_errors(method, path, &bytes)
    }

    /// A request whose answer goes to `take`, piece by piece.
    pub(crate) fn read(
        &mut self,
        method: &str,
        path: &str,
        body: Body<'_>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let told = || format!("{method} {path}");
        // Dockerd insists on it for a push, and nobody minds it elsewhere: base64 of `{}`.
        self.send(method, path, body, "X-Registry-Auth: e30=\r\n").with_context(told)?;
        let (status, end, close) = self.head().with_context(told)?;
        let mut error = Vec::new();
        let bad = status >= 400;
        self.body(&end, &mut |piece| if bad { error.extend_from_slice(piece) } else { take(piece) })
            .with_context(told)?;
        if close {
            self.stream = None;
        }
        if bad {
            bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&error).trim());
        }
        Ok(())
    }

    /// A request that takes the connection over; reads until the engine closes it.
    pub(crate) fn hijack(socket: &Path, path: &str, body: &Value) -> Result<Vec<u8>> {
        let mut client = Self::new(socket);
        client.send("POST", path, Body::Json(body), "Connection: Upgrade\r\nUpgrade: tcp\r\n")?;
        let (status, _, _) = client.head()?;
        if status >= 400 {
            bail!("POST {path}: {status}");
        }
        let mut bytes = Vec::new();
        client.body(&End::Close, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    fn send(&mut self, method: &str, path: &str, body: Body<'_>, more: &str) -> Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            slot => {
                let stream = UnixStream::connect(&self.path)
                    .with_context(|| format!("could not connect to {}", self.path.display()))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                slot.insert(BufReader::with_capacity(256 * 1024, stream))
            }
        };
        let json = if let Body::Json(value) = &body { serde_json::to_vec(value)? } else { Vec::new() };
        let (kind, length) = match &body {
            Body::Nothing => ("", 0),
            Body::Json(_) => ("application/json", json.len() as u64),
            Body::Tar(bytes) => ("application/x-tar", bytes.len() as u64),
            Body::Stream(_, length) => ("application/x-tar", *length),
        };
        let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let head = format!(
            "{method} {VERSION}{path} HTTP/1.1\r\nHost: engine\r\n{kind}{more}Content-Length: {length}\r\n\r\n"
        );
        let mut socket = stream.get_ref();
        let mut first = head.into_bytes();
        first.extend_from_slice(&json);
        socket.write_all(&first)?;
        match body {
            Body::Tar(bytes) => socket.write_all(bytes)?,
            Body::Stream(reader, length) => {
                let copied = std::io::copy(&mut reader.take(length), &mut socket)?;
                if copied < length {
                    bail!("the body has only {copied} of {length} bytes");
                }
            }
            Body::Nothing | Body::Json(_) => {}
        }
        Ok(())
    }

    fn stream(&mut self) -> Result<&mut BufReader<UnixStream>> {
        self.stream.as_mut().context("not connected")
    }

    /// Status, how the body ends, and whether the connection ends with it.
    fn head(&mut self) -> Result<(u16, End, bool)> {
        let stream = self.stream()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head)? == 0 {
                bail!("the engine closed the connection");
            }
            if head.len() > LARGEST_HEAD {
                bail!("an endless head");
            }
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(&head)?;
        let status = response.code.context("no status")?;
        let header = |name: &str| {
            let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::to_lowercase)
        };
        let close = header("connection").is_some_and(|value| value.contains("close"));
        let chunked = header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
        let end = match header("content-length") {
            _ if chunked => End::Chunks,
            _ if status == 204 || status == 304 => End::Length(0),
            Some(length) => End::Length(length.parse().context("no length")?),
            None => End::Close,
        };
        Ok((status, end, close))
    }

    fn body(&mut self, end: &End, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let stream = self.stream()?;
        match end {
            End::Length(length) => exactly(stream, *length, take),
            End::Close => {
                while exactly_some(stream, u64::MAX, take)? > 0 {}
                Ok(())
            }
            End::Chunks => loop {
                let mut line = String::new();
                stream.read_line(&mut line)?;
                let length = u64::from_str_radix(line.trim(), 16).context("no length of a chunk")?;
                exactly(stream, length, take)?;
                line.clear();
                stream.read_line(&mut line)?;
                if length == 0 {
                    return Ok(());
                }
            },
        }
    }
}

/// An error among the objects of a stream is an error.
fn refuse_errors(method: &str, path: &str, stream: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(stream);
    match text.lines().find(|line| line.contains("\"errorDetail\"")) {
        Some(line) => bail!("{method} {path}: {line}"),
        None => Ok(()),
    }
}

fn exactly(stream: &mut BufReader<UnixStream>, mut length: u64, take: &mut dyn FnMut(&[u8])) -> Result<()> {
    while length > 0 {
        match exactly_some(stream, length, take)? {
            0 => bail!("the answer is cut short"),
            some => length -= some,
        }
    }
    Ok(())
}

/// At most `most` bytes; 0 at the end.
fn exactly_some(stream: &mut BufReader<UnixStream>, most: u64, take: &mut dyn FnMut(&[u8])) -> Result<u64> {
    let bytes = stream.fill_buf()?;
    let length = bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    take(&bytes[..length]);
    stream.consume(length);
    Ok(length as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answer: &'static [u8]) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            // The request fits into one read.
            let _ = stream.read(&mut head).unwrap();
            stream.write_all(answer).unwrap();
        });
        let found = Client::new(&path).bytes("GET", "/x", Body::Nothing);
        server.join().unwrap();
        found
    }

    #[test]
    fn bodies_end_by_length_by_chunks_and_with_the_connection() {
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").unwrap(), b"ab");
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(answered(chunks).unwrap(), b"abcd");
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").unwrap(), b"until the end");
    }

    #[test]
    fn a_refusal_is_told_with_its_reason() {
        let error = answered(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone").unwrap_err();
        assert_eq!(error.to_string(), "GET /x: 404 none");
        assert!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort").is_err());
    }
}
