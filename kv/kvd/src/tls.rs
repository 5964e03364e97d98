//! TLS for listeners, and for calling other members. Files are read again when they change, so that a renewed
//! certificate needs no restart.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::config::TlsFiles;

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("could not read `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` holds no usable {what} in PEM form", .path.display())]
    Pem { path: PathBuf, what: &'static str },
    #[error("the certificate and the key do not go together")]
    Identity(#[source] rustls::Error),
    #[error("https is listened on, but no certificate is given")]
    Missing,
    #[error("a client certificate is required, but no CA to check it against is given")]
    NoCa,
}

/// A listener's TLS.
pub(crate) struct Acceptor {
    files: TlsFiles,
    loaded: Mutex<(Arc<ServerConfig>, Vec<SystemTime>, Instant)>,
}

impl Acceptor {
    pub(crate) fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let loaded = Mutex::new((load(files)?, stamps(files), Instant::now()));
        Ok(Self { files: files.clone(), loaded })
    }

    /// The configuration as of now; files are looked at once a second at most.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.2.elapsed() > Duration::from_secs(1) {
            loaded.2 = Instant::now();
            let now = stamps(&self.files);
            if now != loaded.1 {
                match load(&self.files) {
                    Ok(config) => (loaded.0, loaded.1) = (config, now),
                    Err(error) => {
                        tracing::warn!(%error, "changed certificate not usable, keeping the old one")
                    }
                }
            }
        }
        loaded.0.clone()
    }
}

fn stamps(files: &TlsFiles) -> Vec<SystemTime> {
    [&files.cert, &files.key, &files.ca]
        .into_iter()
        .flatten()
        .map(|path| path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH))
        .collect()
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let (Some(cert), Some(key)) = (&files.cert, &files.key) else { return Err(TlsError::Missing) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions");
    let builder = match (&files.ca, files.require_client_cert) {
        (None, true) => return Err(TlsError::NoCa),
        (Some(ca), _) => {
            let mut roots = RootCertStore::empty();
            for der in certificates(ca)? {
                roots.add(der).map_err(|_| TlsError::Pem { path: ca.clone(), what: "CA certificate" })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier =
                if files.require_client_cert { verifier } else { verifier.allow_unauthenticated() };
            let verifier =
                verifier.build().map_err(|_| TlsError::Pem { path: ca.clone(), what: "CA certificate" })?;
            builder.with_client_cert_verifier(verifier)
        }
        (None, false) => builder.with_no_client_auth(),
    };
    let pem = read(key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| TlsError::Pem { path: key.clone(), what: "private key" })?;
    let mut config = builder.with_single_cert(certificates(cert)?, key).map_err(TlsError::Identity)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::Pem { path: path.into(), what: "certificate" }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })
}
