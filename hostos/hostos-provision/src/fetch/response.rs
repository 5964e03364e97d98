//! The response of an HTTP/1.1 server: its head, and its body as a reader, however it is framed.

use std::io::{self, BufRead, BufReader, Read};

use super::stream::Connection;

const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;

/// Status and the headers that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    length: Option<u64>,
    chunked: bool,
}

/// Reads a head, interim responses skipped.
pub(super) fn read_head(stream: &mut BufReader<Connection>) -> io::Result<Head> {
    loop {
        let head = parse_head(&read_head_bytes(stream)?)?;
        if !(100..200).contains(&head.status) {
            return Ok(head);
        }
    }
}

fn read_head_bytes(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let room = (MAX_HEAD - before) as u64;
        stream.take(room).read_until(b'\n', &mut head)?;
        match &head[before..] {
            [] => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            b"\r\n" | b"\n" => return Ok(head),
            line if !line.ends_with(b"\n") => return Err(invalid("the head of the response is too large")),
            _ => {}
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(bytes).map_err(|_| invalid("the server does not speak HTTP"))?;
    let mut head = Head { status: response.code.unwrap_or_default(), ..Head::default() };
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        match header.name.to_ascii_lowercase().as_str() {
            "location" => head.location = Some(value),
            "content-length" => {
                head.length =
                    Some(value.parse().map_err(|_| invalid("the length of the response is no number"))?);
            }
            "transfer-encoding" => head.chunked = value.to_ascii_lowercase().ends_with("chunked"),
            _ => {}
        }
    }
    Ok(head)
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The body that follows a head.
pub(super) struct Body {
    stream: BufReader<Connection>,
    framing: Framing,
}

enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// So many bytes of this chunk are left; another follows.
    Chunk(u64),
    /// Until the server closes.
    Close,
    Done,
}

impl Body {
    pub(super) fn new(stream: BufReader<Connection>, head: &Head) -> Self {
        let framing = match (head.status, head.chunked, head.length) {
            (204, ..) => Framing::Done,
            (_, true, _) => Framing::Chunk(0),
            (_, false, Some(length)) => Framing::Length(length),
            (_, false, None) => Framing::Close,
        };
        Self { stream, framing }
    }

    /// Reads the size of the next chunk, after the line break that ends the one before.
    fn next_chunk(&mut self, first: bool) -> io::Result<u64> {
        let mut line = String::new();
        if !first {
            self.line(&mut line)?;
        }
        self.line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid("the response has a broken chunk"))?;
        if size == 0 {
            while !line.trim().is_empty() {
                self.line(&mut line)?;
            }
        }
        Ok(size)
    }

    fn line(&mut self, line: &mut String) -> io::Result<()> {
        line.clear();
        let length = (&mut self.stream).take(4096).read_line(line)?;
        if length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.framing {
                Framing::Done => return Ok(0),
                Framing::Length(0) => self.framing = Framing::Done,
                Framing::Close => match self.stream.read(buffer) {
                    // Many servers end TLS without a word; nothing says how much should have come.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                    other => return other,
                },
                Framing::Chunk(0) => match self.next_chunk(true)? {
                    0 => self.framing = Framing::Done,
                    size => self.framing = Framing::Chunk(size),
                },
                Framing::Length(left) | Framing::Chunk(left) => return self.read_some(buffer, left),
            }
        }
    }
}

impl Body {
    fn read_some(&mut self, buffer: &mut [u8], left: u64) -> io::Result<usize> {
        let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.stream.read(&mut buffer[..room])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the response ended early"));
        }
        let left = left - read as u64;
        self.framing = match self.framing {
            Framing::Chunk(_) if left == 0 => match self.next_chunk(false)? {
                0 => Framing::Done,
                size => Framing::Chunk(size),
            },
            Framing::Chunk(_) => Framing::Chunk(left),
            _ => Framing::Length(left),
        };
        Ok(read)
    }
}
