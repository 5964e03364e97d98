//! The little that rmachine itself asks an engine, over TLS with the machine's client certificate.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::failure::Failure;

/// Asks the engine at `tcp://ADDRESS:PORT` for `path` and returns the body of its answer.
pub(crate) fn get(url: &str, keys: &Path, path: &str, limit: Duration) -> Result<Vec<u8>, Failure> {
    let address = socket_address(url)?;
    let config = client_config(keys)?;
    let deadline = Instant::now() + limit;
    ask(address, config, path, deadline).map_err(|error| {
        Failure::because(format!("the engine at {url} does not answer over TLS"), &error)
            .hint("if its certificate is the reason: `rmachine regenerate-certs NAME`")
    })
}

/// The address in a URL. Names are not resolved here.
pub(crate) fn socket_address(url: &str) -> Result<SocketAddr, Failure> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_end_matches('/')
        .parse()
        .map_err(|_| Failure::new(format!("`{url}` has no numeric address and port")))
}

fn client_config(keys: &Path) -> Result<ClientConfig, Failure> {
    let read = |file: &str, error: rustls::pki_types::pem::Error| {
        Failure::because(format!("{} is unusable", keys.join(file).display()), &error)
    };
    let ca = CertificateDer::from_pem_file(keys.join("ca.pem")).map_err(|error| read("ca.pem", error))?;
    let cert =
        CertificateDer::from_pem_file(keys.join("cert.pem")).map_err(|error| read("cert.pem", error))?;
    let key = PrivateKeyDer::from_pem_file(keys.join("key.pem")).map_err(|error| read("key.pem", error))?;
    let tls = |error: rustls::Error| Failure::because("the keys do not work for TLS", &error);
    let mut roots = RootCertStore::empty();
    roots.add(ca).map_err(tls)?;
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![cert], key)
        .map_err(tls)
}

fn ask(address: SocketAddr, config: ClientConfig, path: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_read_timeout(Some(left()?))?;
    stream.set_write_timeout(Some(left()?))?;
    let name = ServerName::IpAddress(address.ip().into());
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        stream.sock.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            // Closed without TLS's goodbye; HTTP/1.0 ends so as well.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        if answer.len() > 4 << 20 {
            return Err(io::Error::other("the answer is too long"));
        }
        if is_whole(&answer) {
            break;
        }
    }
    body(answer)
}

/// Whether the announced length has arrived, so that nobody waits for a connection to close.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = find(answer, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.is_some_and(|length: usize| answer.len() >= end + 4 + length)
}

fn body(mut answer: Vec<u8>) -> io::Result<Vec<u8>> {
    let end = find(&answer, b"\r\n\r\n").ok_or_else(|| io::Error::other("that is no HTTP answer"))?;
    let status = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default());
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("it answers `{status}`")));
    }
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    answer.drain(..end + 4);
    if head.contains("transfer-encoding: chunked") {
        return unchunk(&answer);
    }
    Ok(answer)
}

fn unchunk(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let broken = || io::Error::other("its answer is broken");
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n").ok_or_else(broken)?;
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| broken())?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = rest.get(end + 2..end + 2 + size).ok_or_else(broken)?;
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + size..).ok_or_else(broken)?;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
        assert!(is_whole(plain) && !is_whole(&plain[..plain.len() - 1]));
        assert_eq!(body(plain.to_vec()).expect("a body"), b"OK");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(body(chunked.to_vec()).expect("a body"), b"abcd");
        assert!(body(b"HTTP/1.1 500 No\r\n\r\n".to_vec()).is_err());
        assert!(socket_address("tcp://127.0.0.1:2376").is_ok() && socket_address("tcp://host:1").is_err());
    }
}
