//! Where the cluster is and how to prove who we are. Reads PEM files; connects to nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::connect::Dialer;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct Config {
    /// `http://host:port`, `https://host:port`, `unix:///path`, or `host:port` (https when `tls` is given).
    pub endpoints: Vec<String>,
    /// Needed for https endpoints.
    pub tls: Option<Tls>,
    /// To open a connection. Default 2 s.
    pub connect_timeout: Duration,
    /// For one call, including tries on other endpoints. Default 5 s.
    pub request_timeout: Duration,
    /// Opens TCP connections in the system's place: the network of a simulation.
    pub dialer: Option<Dialer>,
}

impl Config {
    /// These endpoints, without TLS, with default timeouts.
    pub fn new<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            dialer: None,
        }
    }

    /// The same with TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }
}

/// A rustls configuration for the client side.
#[derive(Debug, Clone)]
pub struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    /// Checked against the server's certificate instead of the endpoint's host, when given.
    pub server_name: Option<String>,
}

/// Why a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` holds no usable {what} in PEM form", .path.display())]
    Pem { path: PathBuf, what: &'static str },
    #[error("certificate and key do not make a TLS identity")]
    Identity(#[source] rustls::Error),
    #[error("a certificate was given without its key, or a key without its certificate")]
    HalfIdentity,
    #[error("no endpoints given")]
    NoEndpoints,
    #[error("endpoint `{0}` is not http://host:port, https://host:port, unix:///path or host:port")]
    Endpoint(String),
    #[error("endpoint `{0}` is https but no CA or client certificate was given")]
    TlsMissing(String),
}

impl Tls {
    /// Trusts the CAs in `ca` (PEM, required), and shows `cert` with `key` when both are given.
    ///
    /// # Errors
    /// When a file cannot be read or does not hold what it should.
    pub fn from_files(ca: &Path, cert: Option<&Path>, key: Option<&Path>) -> Result<Self, ConfigError> {
        let mut roots = RootCertStore::empty();
        for der in certificates(ca)? {
            roots.add(der).map_err(|_| ConfigError::Pem { path: ca.into(), what: "CA certificate" })?;
        }
        let builder = builder().with_root_certificates(roots);
        let config = match (cert, key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                builder.with_client_auth_cert(chain, private_key(key)?).map_err(ConfigError::Identity)?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => return Err(ConfigError::HalfIdentity),
        };
        Ok(Self { config: Arc::new(config), server_name: None })
    }

    /// A configuration made elsewhere. It must offer the ALPN protocol `h2`.
    #[must_use]
    pub fn from_rustls(config: Arc<ClientConfig>) -> Self {
        Self { config, server_name: None }
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(ConfigError::Pem { path: path.into(), what: "certificate" }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| ConfigError::Pem { path: path.into(), what: "private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Read { path: path.into(), source })
}
