//! Opens one connection to one endpoint: TCP, TLS over TCP, or a unix socket. Does not retry.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{Config, ConfigError, resolve};

/// The connection was never made, so nothing of a request has left.
#[derive(Debug, thiserror::Error)]
#[error("could not connect to {endpoint}: {source}")]
pub struct Unreachable {
    endpoint: String,
    #[source]
    source: io::Error,
}

/// Bytes both ways.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Opens a connection to a host and a port.
#[derive(Clone)]
pub struct Dialer(Arc<dyn Fn(String, u16) -> Dialing + Send + Sync>);

/// A connection being opened.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

impl Dialer {
    /// By this function.
    pub fn new(dial: impl Fn(String, u16) -> Dialing + Send + Sync + 'static) -> Self {
        Self(Arc::new(dial))
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dialer")
    }
}

#[derive(Clone)]
enum Target {
    Tcp { host: String, port: u16, tls: Option<(Arc<ClientConfig>, ServerName<'static>)> },
    Dialed { host: String, port: u16, dialer: Dialer },
    Unix(String),
}

/// One endpoint as a lazy channel.
///
/// # Errors
/// When it cannot be parsed, or is https and the configuration has no TLS.
pub fn channel(endpoint: &str, config: &Config) -> Result<Channel, ConfigError> {
    let target = parse(endpoint, config)?;
    let connector =
        Connector { name: endpoint.into(), target: Arc::new(target), deadline: config.connect_timeout };
    let endpoint = Endpoint::from_static("http://kv.invalid")
        .tcp_nodelay(true)
        // A watch says nothing for hours: only this tells that the machine behind it is gone.
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(3))
        .initial_connection_window_size(4 << 20)
        .initial_stream_window_size(1 << 20)
        .keep_alive_while_idle(false);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// One connection to an endpoint, speaking HTTP/1 if it is TLS.
///
/// # Errors
/// Outer: the endpoint cannot be parsed. Inner: it cannot be reached within the connect timeout.
pub async fn stream(endpoint: &str, config: &Config) -> Result<io::Result<Box<dyn Wire>>, ConfigError> {
    let mut target = parse(endpoint, config)?;
    if let Target::Tcp { tls: Some((tls, _)), .. } = &mut target {
        Arc::make_mut(tls).alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    let opened = tokio::time::timeout(config.connect_timeout, open(&target)).await;
    Ok(opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
}

fn parse(endpoint: &str, config: &Config) -> Result<Target, ConfigError> {
    let bad = || ConfigError::Endpoint(endpoint.into());
    let (tls, rest) = match endpoint.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(("unix" | "unixs", path)) => return Ok(Target::Unix(path.into())),
        Some(_) => return Err(bad()),
        None => (config.tls.is_some(), endpoint),
    };
    let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(bad());
    }
    if let (false, Some(dialer)) = (tls, &config.dialer) {
        return Ok(Target::Dialed { host, port, dialer: dialer.clone() });
    }
    let tls = match (tls, &config.tls) {
        (false, _) => None,
        (true, None) => return Err(ConfigError::TlsMissing(endpoint.into())),
        (true, Some(tls)) => {
            let mut rustls = (*tls.config).clone();
            rustls.alpn_protocols = vec![b"h2".to_vec()];
            let name = tls.server_name.clone().unwrap_or_else(|| host.clone());
            Some((Arc::new(rustls), ServerName::try_from(name).map_err(|_| bad())?))
        }
    };
    Ok(Target::Tcp { host, port, tls })
}

#[derive(Clone)]
struct Connector {
    name: String,
    target: Arc<Target>,
    deadline: Duration,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Wire>>;
    type Error = Unreachable;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Unreachable>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unreachable>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { name, target, deadline } = self.clone();
        Box::pin(async move {
            let opened = tokio::time::timeout(deadline, open(&target)).await;
            opened
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                .map(TokioIo::new)
                .map_err(|source| Unreachable { endpoint: name, source })
        })
    }
}

async fn open(target: &Target) -> io::Result<Box<dyn Wire>> {
    match target {
        Target::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Target::Dialed { host, port, dialer } => (dialer.0)(host.clone(), *port).await,
        Target::Tcp { host, port, tls } => {
            let tcp = connect_any(host, *port).await?;
            tcp.set_nodelay(true)?;
            match tls {
                None => Ok(Box::new(tcp)),
                Some((config, name)) => {
                    let connector = tokio_rustls::TlsConnector::from(config.clone());
                    Ok(Box::new(connector.connect(name.clone(), tcp).await?))
                }
            }
        }
    }
}

async fn connect_any(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("no address known for `{host}`"));
    for ip in resolve::lookup(host).await? {
        match TcpStream::connect((ip, port)).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}
