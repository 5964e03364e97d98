//! A blocking HTTP/1.1 client over the engine's unix socket, one connection a request.
//!
//! It reads sized, chunked and close-delimited bodies, and hands the raw connection out for attach and exec.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use base64::Engine as _;
use serde_json::Value;

/// The engine's socket.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// What was answered, with the body still to be read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header X-Docker-Container-Path-Stat.
    path_stat: String,
    body: Framing,
    pub(crate) stream: BufReader<UnixStream>,
}

enum Framing {
    Sized(u64),
    Chunked,
    ToEnd,
}

/// A sentence for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("Cannot connect to the Docker daemon at unix://{0}. Is the docker daemon running?")]
    NoEngine(String),
    #[error("Error response from daemon: {text}")]
    Refused { text: String, status: u16 },
    /// With the exit code the stock client would end with.
    #[error("{text}")]
    Ended { text: String, code: u8 },
    /// Of a HEAD, whose refusal has no words.
    #[error("it does not exist")]
    Missing,
    #[error("{0}")]
    Usage(String),
    /// A flag that does not parse.
    #[error("{0}")]
    Flag(String),
    #[error("the connection to the engine broke: {0}")]
    Broken(#[from] io::Error),
}

impl Client {
    /// At `host`, or else at `DOCKER_HOST`, or else at the usual place.
    pub(crate) fn open(host: Option<&String>) -> Result<Client, Failure> {
        let host =
            host.cloned().or_else(|| std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()));
        let Some(host) = host else { return Ok(Client { socket: "/var/run/docker.sock".into() }) };
        match host.strip_prefix("unix://") {
            Some(path) => Ok(Client { socket: path.into() }),
            None => Err(Failure::Usage(format!(
                "this client speaks to unix:// sockets only, not to {host}: use the stock client for that"
            ))),
        }
    }

    /// Sends a request; an answer of 400 and above is a [`Failure::Refused`].
    pub(crate) fn send(&self, method: &str, path: &str, body: Body<'_>) -> Result<Answer, Failure> {
        self.send_with(method, path, "", body)
    }

    /// The same with more header lines.
    pub(crate) fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: Body<'_>,
    ) -> Result<Answer, Failure> {
        let shown = self.socket.display().to_string();
        let stream = UnixStream::connect(&self.socket).map_err(|_| Failure::NoEngine(shown))?;
        let mut out = stream.try_clone()?;
        let mut head =
            format!("{method} /v1.41{path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{headers}");
        match &body {
            Body::None => head.push_str("Content-Length: 0\r\n\r\n"),
            Body::Json(value) => {
                let text = value.to_string();
                head.push_str(&format!(
                    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ));
            }
            Body::Hijack(value) => {
                let text = value.to_string();
                head = head.replace("Connection: close", "Connection: Upgrade\r\nUpgrade: tcp");
                head.push_str(&format!(
                    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ));
            }
            Body::Stream(_) => {
                head.push_str("Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n")
            }
        }
        out.write_all(head.as_bytes())?;
        let sent = match body {
            Body::Stream(source) => send_chunks(&mut out, source),
            _ => Ok(()),
        };
        // An engine that stops reading says why.
        let answer = match (read_head(BufReader::new(stream)), sent) {
            (Ok(answer), _) => answer,
            (Err(_), Err(broken)) | (Err(broken), Ok(())) => return Err(broken.into()),
        };
        if method == "HEAD" && answer.status == 404 {
            return Err(Failure::Missing);
        }
        let answer_status = answer.status;
        if answer_status >= 400 {
            let value: Value = serde_json::from_slice(&answer.bytes()?).unwrap_or_default();
            let text = value["message"].as_str().unwrap_or("the request failed").to_owned();
            return Err(Failure::Refused { text, status: answer_status });
        }
        Ok(answer)
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: Body<'_>) -> Result<Value, Failure> {
        let bytes = self.send(method, path, body)?.bytes()?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

/// What a request carries.
pub(crate) enum Body<'a> {
    None,
    Json(&'a Value),
    /// JSON, after which the connection is to become a raw stream.
    Hijack(&'a Value),
    Stream(&'a mut dyn Read),
}

fn send_chunks(out: &mut UnixStream, source: &mut dyn Read) -> io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let n = source.read(&mut buffer)?;
        write!(out, "{n:x}\r\n")?;
        out.write_all(&buffer[..n])?;
        out.write_all(b"\r\n")?;
        if n == 0 {
            return Ok(());
        }
    }
}

const STAT_HEADER: &str = "x-docker-container-path-stat:";

fn read_head(mut stream: BufReader<UnixStream>) -> io::Result<Answer> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split_whitespace().nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the engine answered no HTTP"))?;
    let mut body = Framing::ToEnd;
    let mut path_stat = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(length) = lower.strip_prefix("content-length:") {
            body = Framing::Sized(length.trim().parse().unwrap_or(0));
        } else if lower.starts_with("transfer-encoding:") {
            body = Framing::Chunked;
        } else if lower.starts_with(STAT_HEADER) {
            path_stat = line[STAT_HEADER.len()..].trim().to_owned();
        }
    }
    Ok(Answer { status, path_stat, body, stream })
}

impl Answer {
    /// What a HEAD or GET of an archive says of the path.
    pub(crate) fn path_stat(&self) -> io::Result<Value> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(&self.path_stat);
        let bytes = bytes.map_err(|_| io::Error::other("the engine told nothing of the path"))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// The body for code that pulls.
    pub(crate) fn into_reader(self) -> BodyReader {
        let left = match self.body {
            Framing::Sized(left) => left,
            Framing::Chunked | Framing::ToEnd => 0,
        };
        BodyReader { answer: self, left, ended: false }
    }

    pub(crate) fn bytes(mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.each(&mut |piece| {
            all.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(all)
    }

    /// The body piece by piece, as it comes.
    pub(crate) fn each(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self.body {
            Framing::Sized(left) => copy(&mut (&mut self.stream).take(left), take),
            Framing::ToEnd => copy(&mut self.stream, take),
            Framing::Chunked => loop {
                let mut line = String::new();
                self.stream.read_line(&mut line)?;
                let size =
                    u64::from_str_radix(line.trim(), 16).map_err(|_| io::Error::other("a broken chunk"))?;
                copy(&mut (&mut self.stream).take(size), take)?;
                self.stream.read_line(&mut line)?;
                if size == 0 {
                    return Ok(());
                }
            },
        }
    }
}

/// A body as a stream. A chunked one that is cut off is an error, not an end.
pub(crate) struct BodyReader {
    answer: Answer,
    /// Of the sized body, or of the current chunk.
    left: u64,
    ended: bool,
}

impl BodyReader {
    fn next_chunk(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.answer.stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            // The end of the chunk before.
            line.clear();
            self.answer.stream.read_line(&mut line)?;
        }
        self.left = u64::from_str_radix(line.trim(), 16)
            .map_err(|_| io::Error::new(io::ErrorKind::UnexpectedEof, "the engine broke the stream off"))?;
        self.ended = self.left == 0;
        Ok(())
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Framing::ToEnd = self.answer.body {
            return self.answer.stream.read(buffer);
        }
        if let Framing::Chunked = self.answer.body
            && self.left == 0
            && !self.ended
        {
            self.next_chunk()?;
        }
        let read = (&mut self.answer.stream).take(self.left).read(buffer)?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn copy(source: &mut dyn Read, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            n => take(&buffer[..n])?,
        }
    }
}

/// An error of this host as Go words it.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "is a directory".into(),
        _ => error.to_string(),
    }
}

/// For a query.
pub(crate) fn escape(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'/' | b':');
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escape("a b&c=d/e:1"), "a%20b%26c%3Dd/e:1");
    }
}
