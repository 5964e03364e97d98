//! The sockets of the API: unix, and tcp with or without TLS.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use engine_http::{Handler, Limits, serve_connection};
use nix::sys::socket::sockopt::SndBufForce;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::api::{Api, MetricsPage};
use crate::options::{Config, Host, Tls};
use crate::signals::Stop;

/// Connections served at once, over all sockets.
const CONNECTIONS: usize = 4096;
const HANDSHAKE: Duration = Duration::from_secs(15);
/// Bytes the kernel keeps for a client that has not read them yet.
const SEND_ROOM: usize = 512 * 1024;
/// How long requests in flight may take to end when the engine stops.
const DRAIN: Duration = Duration::from_secs(2);

/// A socket that is open but not served yet.
pub(crate) enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener, Option<TlsAcceptor>),
    /// Figures for Prometheus, and nothing else.
    Metrics(TcpListener),
}

/// Opens every socket, so that a mistake shows before anything is served.
pub(crate) fn open(config: &Config) -> anyhow::Result<Vec<Listener>> {
    let acceptor = config.tls.as_ref().map(acceptor).transpose()?;
    let mut open = Vec::new();
    for host in &config.hosts {
        open.push(match host {
            Host::Unix(path) => Listener::Unix(open_unix(path, config.group.as_deref())?, path.clone()),
            Host::Tcp(address) => Listener::Tcp(open_tcp(address, acceptor.is_some())?, acceptor.clone()),
        });
    }
    if let Some(address) = config.metrics {
        let socket = std::net::TcpListener::bind(address)
            .with_context(|| format!("could not listen on {address} for metrics"))?;
        socket.set_nonblocking(true)?;
        open.push(Listener::Metrics(TcpListener::from_std(socket)?));
    }
    Ok(open)
}

fn open_unix(path: &Path, group: Option<&str>) -> anyhow::Result<UnixListener> {
    let shown = path.display();
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("{shown} is served by another process: stop it, or listen elsewhere with --host");
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("could not remove the stale socket {shown}"));
        }
        _ => {}
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
    }
    // Nobody but root may connect before the group is set.
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    nix::sys::stat::umask(old);
    let listener = bound.with_context(|| format!("could not listen on {shown}"))?;
    give_to_group(path, group)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("could not set the mode of {shown}"))?;
    Ok(listener)
}

/// The group named by the user must exist; the default one, `docker`, need not.
fn give_to_group(path: &Path, group: Option<&str>) -> anyhow::Result<()> {
    let name = group.unwrap_or("docker");
    if name.is_empty() {
        return Ok(());
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let listed = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    match (listed.or_else(|| name.parse::<u32>().ok()), group) {
        (Some(gid), _) => std::os::unix::fs::chown(path, None, Some(gid))
            .with_context(|| format!("could not give {} to group {name}", path.display())),
        (None, None) => Ok(()),
        (None, Some(_)) => {
            bail!("group {name} not found: add it to /etc/group, or name another with --group")
        }
    }
}

fn open_tcp(address: &str, tls: bool) -> anyhow::Result<TcpListener> {
    let address = match address.strip_suffix(":0") {
        Some(host) if !host.is_empty() && host != "127.0.0.1" => {
            format!("{host}:{}", if tls { 2376 } else { 2375 })
        }
        _ => address.to_owned(),
    };
    let address = address.replace("localhost:", "127.0.0.1:");
    let Ok(address) = address.parse::<std::net::SocketAddr>() else {
        bail!("tcp://{address} is not an IP address with a port: write tcp://0.0.0.0:2376")
    };
    if !tls {
        tracing::warn!(host = %address, "this socket has no TLS: it gives root on this machine to everyone who reaches it");
    }
    let socket = std::net::TcpListener::bind(address)
        .with_context(|| format!("could not listen on tcp://{address}"))?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket)?)
}

fn acceptor(tls: &Tls) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certs = read_certs(&tls.cert)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|e| anyhow::anyhow!("could not read the key {}: {e}", tls.key.display()))?;
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for cert in read_certs(path)? {
                roots.add(cert).with_context(|| format!("{} holds no usable CA", path.display()))?;
            }
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .with_context(|| format!("{} holds no usable CA", path.display()))?,
            )
        }
    };
    let config = builder.with_single_cert(certs, key).with_context(|| {
        format!("{} and {} do not belong together", tls.cert.display(), tls.key.display())
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read_certs(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let fail = |e| anyhow::anyhow!("could not read the certificate {}: {e}", path.display());
    let certs: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)?;
    if certs.is_empty() {
        bail!("{} holds no certificate in PEM form", path.display());
    }
    Ok(certs)
}

/// Serves until told to stop, then lets requests in flight end for a moment.
pub(crate) async fn serve(
    listeners: Vec<Listener>,
    api: Arc<Api>,
    metrics: Arc<MetricsPage>,
    mut stop: Stop,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut loops = JoinSet::new();
    let mut sockets = Vec::new();
    for listener in listeners {
        let (api, metrics, slots) = (api.clone(), metrics.clone(), slots.clone());
        match listener {
            Listener::Unix(listener, path) => {
                tracing::info!("API listen on {}", path.display());
                sockets.push(path);
                loops.spawn(accept_unix(listener, api, slots));
            }
            Listener::Tcp(listener, tls) => {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!("API listen on {address}");
                }
                loops.spawn(accept_tcp(listener, tls, api, slots));
            }
            Listener::Metrics(listener) => {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!("metrics on http://{address}/metrics");
                }
                loops.spawn(accept_tcp(listener, None, metrics, slots));
            }
        }
    }
    stop.wait().await;
    tracing::info!("stopping: containers run on");
    loops.shutdown().await;
    for path in sockets {
        // A newer engine may have replaced it, or an admin removed it.
        let _ = std::fs::remove_file(path);
    }
    let all = u32::try_from(CONNECTIONS).expect("a few thousand");
    let _ = tokio::time::timeout(DRAIN, slots.acquire_many(all)).await;
}

async fn accept_unix(listener: UnixListener, api: Arc<Api>, slots: Arc<Semaphore>) {
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                // Logs and images go out in large pieces; the kernel's usual room makes us wait at each.
                // Without the right to it, the usual room does.
                let _ = nix::sys::socket::setsockopt(&stream, SndBufForce, &SEND_ROOM);
                let api = api.clone();
                tokio::spawn(async move {
                    let drained = crate::unread::asker(&stream);
                    let (read, write) = stream.into_split();
                    let _slot = slot;
                    talk(Box::new(read), Box::new(write), api, drained).await;
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

async fn accept_tcp<H: Handler>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    api: Arc<H>,
    slots: Arc<Semaphore>,
) {
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let (api, tls) = (api.clone(), tls.clone());
        tokio::spawn(async move {
            let _slot = slot;
            // Small frames of a terminal must not wait for each other.
            let _ = stream.set_nodelay(true);
            let Some(tls) = tls else {
                let (read, write) = stream.into_split();
                return talk(Box::new(read), Box::new(write), api, None).await;
            };
            match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let (read, write) = tokio::io::split(stream);
                    talk(Box::new(read), Box::new(write), api, None).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        });
    }
}

async fn talk<H: Handler>(
    read: engine_http::BoxRead,
    write: engine_http::BoxWrite,
    api: Arc<H>,
    drained: Option<engine_http::Drained>,
) {
    if let Err(error) = serve_connection(read, write, api, Limits::default(), drained).await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Out of descriptors, most likely: it passes, but not at once.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "could not accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
