//! HTTP and HTTPS: one GET, its redirects followed, tried again while the server does not answer.

use std::io::{self, BufReader, Read, Write as _};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hostos_config::{HttpHeader, VERSION};

use super::address::Address;
use super::response::{self, Body, Head};
use super::settings::Settings;
use super::stream::{Connection, Deadlined};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: u32 = 10;
/// A certificate that is not accepted may be so for a clock that is about to be set, not for long.
const TRUST_TRIES: u32 = 4;

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A URL without a host or with a broken port.
    #[error("the URL names no host that could be asked")]
    Url,
    /// The server said no.
    #[error("the server answered {status}{}", meaning(*status))]
    Status {
        /// What it said.
        status: u16,
    },
    /// In circles, or to nowhere.
    #[error("the server redirects without end or to nowhere")]
    Redirects,
    /// The proxy said no.
    #[error("the proxy {proxy} answered {status}")]
    Proxy {
        /// Which.
        proxy: String,
        /// What it said.
        status: u16,
    },
    /// A certificate that nobody we trust has signed, or that is not of this host or this time.
    #[error("the server's certificate is not accepted")]
    Trust(#[source] io::Error),
    /// The connection.
    #[error("no answer from {authority}")]
    Connection {
        /// Whom we asked.
        authority: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Too long.
    #[error("gave up after {attempts} attempts in {seconds} s")]
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        seconds: u64,
        /// Why the last attempt failed.
        #[source]
        last: Box<HttpError>,
    },
    /// Where it should go cannot take it.
    #[error(transparent)]
    Receive(super::unpack::UnpackError),
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 => " (unauthorized)",
        403 => " (forbidden)",
        404 => " (not found)",
        410 => " (gone)",
        _ => "",
    }
}

impl HttpError {
    /// Whether another attempt may help: there was no answer, or the server is in trouble.
    fn is_passing(&self, attempt: u32) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Status { status } | Self::Proxy { status, .. } => *status >= 500,
            Self::Trust(_) => attempt < TRUST_TRIES,
            Self::Url | Self::Redirects | Self::GaveUp { .. } | Self::Receive(_) => false,
        }
    }
}

/// One resource to get.
pub(super) struct Request<'r> {
    pub(super) url: &'r str,
    pub(super) headers: &'r [HttpHeader],
    pub(super) settings: &'r Settings,
    /// The longest time to try, where the config sets none.
    pub(super) patience: Duration,
}

impl Request<'_> {
    /// Hands the body to `receive`, again for every attempt.
    pub(super) fn get<T>(
        &self,
        mut receive: impl FnMut(Body) -> Result<T, super::unpack::UnpackError>,
    ) -> Result<T, HttpError> {
        let start = Instant::now();
        let end = start + self.settings.total.unwrap_or(self.patience);
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let error = match self.attempt(end) {
                Ok(body) => match receive(body) {
                    Ok(received) => return Ok(received),
                    Err(error) if error.is_of_the_connection() => self.broken(error),
                    Err(error) => return Err(HttpError::Receive(error)),
                },
                Err(error) => error,
            };
            if !error.is_passing(attempt) {
                return Err(error);
            }
            if Instant::now() + pause >= end {
                let seconds = start.elapsed().as_secs();
                return Err(HttpError::GaveUp { attempts: attempt, seconds, last: Box::new(error) });
            }
            tracing::warn!(url = self.url, attempt, error = %chain(&error), "fetch failed, trying again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(HttpError::Redirects)
    }

    fn broken(&self, error: super::unpack::UnpackError) -> HttpError {
        let authority = Address::parse(self.url).map_or_else(String::new, |address| address.authority());
        HttpError::Connection { authority, source: io::Error::other(error) }
    }

    /// One attempt: the body of the first response that is no redirect.
    fn attempt(&self, end: Instant) -> Result<Body, HttpError> {
        let mut address = Address::parse(self.url).ok_or(HttpError::Url)?;
        let mut headers = self.headers;
        for _ in 0..=MAX_REDIRECTS {
            let (stream, head) = self.ask(&address, headers, end)?;
            match head.status {
                200 | 204 => return Ok(Body::new(stream, &head)),
                301 | 302 | 303 | 307 | 308 => {
                    let location = head.location.as_deref().ok_or(HttpError::Redirects)?;
                    address = address.join(location).ok_or(HttpError::Redirects)?;
                    // What the config says to one server is not for another.
                    headers = &[];
                }
                status => return Err(HttpError::Status { status }),
            }
        }
        Err(HttpError::Redirects)
    }

    fn ask(
        &self,
        address: &Address,
        headers: &[HttpHeader],
        end: Instant,
    ) -> Result<(BufReader<Connection>, Head), HttpError> {
        let deadline = self.settings.headers.map_or(end, |headers| end.min(Instant::now() + headers));
        let proxy = self.settings.proxy_for(address);
        let mut stream = match (&proxy, address.scheme.as_str()) {
            (None, _) => self.connect(address, address, deadline)?,
            (Some(proxy), "https") => self.tunnel(proxy, address, deadline)?,
            (Some(proxy), _) => self.connect(proxy, proxy, deadline)?,
        };
        let through = proxy.as_ref().filter(|_| address.scheme == "http");
        let request = head_of(address, through, headers);
        let answer = stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).and_then(|()| {
            let mut stream = BufReader::new(stream);
            let head = response::read_head(&mut stream)?;
            Ok((stream, head))
        });
        let (mut stream, head) = answer.map_err(|source| failed(address, source))?;
        stream.get_mut().set_deadline(end);
        Ok((stream, head))
    }

    /// A connection to an address, with TLS if its scheme says so for the server at the other end.
    fn connect(&self, to: &Address, server: &Address, deadline: Instant) -> Result<Connection, HttpError> {
        let stream = Deadlined::connect(&to.host, to.port, deadline).map_err(|source| failed(to, source))?;
        self.secure(stream, server)
    }

    fn secure(&self, stream: Deadlined, server: &Address) -> Result<Connection, HttpError> {
        if server.scheme != "https" {
            return Ok(Connection::Plain(stream));
        }
        Connection::tls(stream, &server.host, self.settings.tls.clone())
            .map_err(|source| failed(server, source))
    }

    /// A connection through a proxy that passes bytes on.
    fn tunnel(&self, proxy: &Address, address: &Address, deadline: Instant) -> Result<Connection, HttpError> {
        let mut stream =
            Deadlined::connect(&proxy.host, proxy.port, deadline).map_err(|source| failed(proxy, source))?;
        let target = format!("{}:{}", bracketed(&address.host), address.port);
        let request =
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", authorization(proxy, "Proxy-"));
        stream.write_all(request.as_bytes()).map_err(|source| failed(proxy, source))?;
        match read_status(&mut stream).map_err(|source| failed(proxy, source))? {
            200..=299 => self.secure(stream, address),
            status => Err(HttpError::Proxy { proxy: proxy.authority(), status }),
        }
    }
}

/// The status of a proxy's answer; not a byte behind its head is read.
fn read_status(stream: &mut Deadlined) -> io::Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&head);
    let status = line.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the proxy does not speak HTTP"))
}

fn head_of(address: &Address, proxy: Option<&Address>, headers: &[HttpHeader]) -> String {
    let target = if proxy.is_some() { address.to_string() } else { address.path.clone() };
    let mut lines = vec![
        ("Host".to_owned(), address.authority()),
        ("User-Agent".to_owned(), format!("Ignition/{VERSION} rmachine/{}", env!("CARGO_PKG_VERSION"))),
        ("Accept".to_owned(), format!("application/vnd.coreos.ignition+json;version={VERSION}, */*;q=0.1")),
        ("Accept-Encoding".to_owned(), "identity".to_owned()),
        ("Connection".to_owned(), "close".to_owned()),
    ];
    for header in headers {
        let Some(value) = &header.value else { continue };
        lines.retain(|(name, _)| !name.eq_ignore_ascii_case(&header.name));
        lines.push((header.name.clone(), value.clone()));
    }
    let lines: String =
        lines.iter().map(|(name, value)| format!("{}: {}\r\n", one_line(name), one_line(value))).collect();
    let proxy = proxy.map_or(String::new(), |proxy| authorization(proxy, "Proxy-"));
    format!("GET {target} HTTP/1.1\r\n{lines}{}{proxy}\r\n", authorization(address, ""))
}

/// A header cannot carry another one.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

fn authorization(address: &Address, prefix: &str) -> String {
    match &address.user {
        Some(user) => format!("{prefix}Authorization: Basic {}\r\n", STANDARD.encode(user)),
        None => String::new(),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}

fn failed(address: &Address, source: io::Error) -> HttpError {
    let of_trust = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)));
    if of_trust {
        HttpError::Trust(source)
    } else {
        HttpError::Connection { authority: address.authority(), source }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
