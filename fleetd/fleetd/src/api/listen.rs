//! Listening: unix sockets for this machine, mutual TLS for others.

use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fleet_join::CertificateRole;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::{Api, Role};
use crate::config::Config;

const HEADER_LIMIT: Duration = Duration::from_secs(30);
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// A listener that runs until it is cancelled.
pub(crate) type Listening = Pin<Box<dyn Future<Output = ()> + Send>>;

/// This machine's certificates, as a server and as a client of other machines.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Identity {
    /// From the files that the configuration names; nothing when it names none.
    pub(crate) fn load(config: &Config) -> Result<Option<Self>> {
        let [Some(ca), Some(cert), Some(key)] = &config.tls else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).with_context(|| format!("{} holds no CA certificate", ca.display()))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(cert)?;
        let key =
            PrivateKeyDer::from_pem_file(key).with_context(|| format!("{} holds no key", key.display()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Who shows no certificate may join with a token; the API refuses it everything else.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Some(Self { server: Arc::new(server), client: Arc::new(client) }))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read =
        CertificateDer::pem_file_iter(path).with_context(|| format!("could not read {}", path.display()))?;
    let found: Vec<_> =
        read.collect::<Result<_, _>>().with_context(|| format!("{} is no PEM", path.display()))?;
    if found.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(found)
}

/// Opens every address of the configuration.
pub(crate) async fn bind(config: &Config, api: &Api) -> Result<Vec<Listening>> {
    let mut listening: Vec<Listening> = Vec::new();
    for address in &config.listen {
        if address.starts_with('/') {
            let listener = bind_unix(Path::new(address)).await?;
            listening.push(Box::pin(serve_unix(listener, api.clone())));
        } else {
            let listener = TcpListener::bind(address.as_str())
                .await
                .with_context(|| format!("could not listen on {address}"))?;
            listening.push(Box::pin(serve_tls(listener, api.clone())));
        }
    }
    Ok(listening)
}

/// A socket file that nobody answers on is what a killed daemon left behind.
async fn bind_unix(path: &Path) -> Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        bail!("another daemon listens on {}; stop it, or set listen", path.display());
    }
    let _ = std::fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("could not listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("could not guard {}", path.display()))?;
    Ok(listener)
}

async fn serve_unix(listener: UnixListener, api: Api) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let role = Role::Known(CertificateRole::Admin);
                drop(tokio::spawn(serve_connection(TokioIo::new(stream), api.clone(), role)));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve_tls(listener: TcpListener, api: Api) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let api = api.clone();
        tokio::spawn(async move {
            let Some(identity) = api.identity() else { return };
            let accepted = TlsAcceptor::from(identity.server).accept(stream);
            match tokio::time::timeout(HANDSHAKE_LIMIT, accepted).await {
                Ok(Ok(stream)) => {
                    let role = role(stream.get_ref().1.peer_certificates());
                    serve_connection(TokioIo::new(stream), api, role).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        });
    }
}

/// Who shows this chain; the CA's signature has been checked.
fn role(chain: Option<&[CertificateDer<'_>]>) -> Role {
    let known = chain.and_then(<[_]>::first).and_then(|first| CertificateRole::of(first));
    known.map_or(Role::Nobody, Role::Known)
}

async fn serve_connection<I>(io: TokioIo<I>, api: Api, role: Role)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (api, role) = (api.clone(), role.clone());
        async move { Ok::<_, std::convert::Infallible>(api.answer(role, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(io, service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}
