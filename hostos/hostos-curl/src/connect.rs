//! Connections: a name looked up, an address that answers, a TLS session over it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::error::CurlError;
use crate::options::ConnectionOptions;
use crate::tls;
use crate::write_out::Stats;

/// As long as curl waits when nothing is said.
const CONNECT_LIMIT: Duration = Duration::from_secs(300);

/// Anything that bytes go through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to the server of `url`, all of it within the time for connecting.
pub(crate) async fn connect(
    options: &ConnectionOptions,
    url: &Url,
    config: &Arc<ClientConfig>,
    stats: &mut Stats,
) -> Result<Box<dyn Stream>, CurlError> {
    let start = Instant::now();
    let limit = options.connect_timeout.filter(|limit| !limit.is_zero()).unwrap_or(CONNECT_LIMIT);
    let host = url.host_str().ok_or(CurlError::Url)?.to_owned();
    let port = url.port_or_known_default().ok_or(CurlError::Url)?;
    let attempt = async {
        let stream = open(options, &host, port, start + limit, stats).await?;
        stats.connected = Some(stats.start.elapsed());
        if url.scheme() != "https" {
            return Ok(stream);
        }
        let stream = secure(stream, &host, config.clone()).await?;
        stats.secured = Some(stats.start.elapsed());
        Ok(stream)
    };
    match timeout(limit, attempt).await {
        Ok(done) => done,
        Err(_) => Err(CurlError::Timeout(format!(
            "Failed to connect to {host} port {port} after {} ms: Timeout was reached",
            start.elapsed().as_millis()
        ))),
    }
}

async fn open(
    options: &ConnectionOptions,
    host: &str,
    port: u16,
    deadline: Instant,
    stats: &mut Stats,
) -> Result<Box<dyn Stream>, CurlError> {
    let refused = |start: Instant, source| CurlError::Connect {
        host: host.to_owned(),
        port,
        after: start.elapsed(),
        source,
    };
    let start = Instant::now();
    if let Some(path) = &options.unix_socket {
        let stream = UnixStream::connect(path).await.map_err(|error| refused(start, error))?;
        return Ok(Box::new(stream));
    }
    let addresses = addresses(options, host, port, deadline).await?;
    stats.resolved = Some(stats.start.elapsed());
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => {
                // A small request must not wait for the answer to an earlier packet.
                let _ = stream.set_nodelay(true);
                stats.remote = Some(SocketAddr::new(address, port));
                return Ok(Box::new(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(refused(start, last))
}

async fn addresses(
    options: &ConnectionOptions,
    host: &str,
    port: u16,
    deadline: Instant,
) -> Result<Vec<IpAddr>, CurlError> {
    if let Some(found) = given(&options.resolve, host, port) {
        return Ok(found);
    }
    let name = host.to_owned();
    let lookup = tokio::task::spawn_blocking(move || hostos_names::lookup(&name, deadline));
    let unknown = || CurlError::Resolve(host.trim_matches(['[', ']']).to_owned());
    let mut found = match lookup.await {
        Ok(Ok(found)) => found,
        _ => return Err(unknown()),
    };
    found.retain(|address| if address.is_ipv4() { !options.ipv6 } else { !options.ipv4 });
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// What `--resolve HOST:PORT:ADDRESS[,ADDRESS]` says of this host and port.
fn given(resolve: &[String], host: &str, port: u16) -> Option<Vec<IpAddr>> {
    resolve.iter().rev().find_map(|entry| {
        let (name, rest) = entry.trim_start_matches('+').split_once(':')?;
        let (number, list) = rest.split_once(':')?;
        let same = (name == "*" || name.eq_ignore_ascii_case(host)) && number.parse() == Ok(port);
        let parse = |text: &str| text.trim_matches(['[', ']']).parse().ok();
        same.then(|| list.split(',').filter_map(parse).collect())
    })
}

async fn secure(
    stream: Box<dyn Stream>,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, CurlError> {
    let name = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(|_| CurlError::Url)?;
    let handshake: Pin<Box<_>> = Box::pin(TlsConnector::from(config).connect(name, stream));
    let stream = handshake.await.map_err(|error| tls::failed(&error))?;
    Ok(Box::new(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_address_counts_for_its_host_and_port_only() {
        let resolve = ["a.test:80:10.0.0.1".to_owned(), "a.test:443:10.0.0.2,[::1]".to_owned()];
        assert_eq!(given(&resolve, "A.test", 80), Some(vec![IpAddr::from([10, 0, 0, 1])]));
        assert_eq!(given(&resolve, "a.test", 443).map(|found| found.len()), Some(2));
        assert_eq!(given(&resolve, "b.test", 80), None);
    }
}
