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
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::sync::watch;

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
    loaded: Mutex<Loaded>,
    /// Told when files were read again.
    anew: watch::Sender<()>,
}

struct Loaded {
    tls: Tls,
    stamps: Vec<SystemTime>,
    looked: Instant,
}

/// What the files say.
struct Tls {
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Acceptor {
    pub(crate) fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let loaded = Loaded { tls: load(files)?, stamps: stamps(files), looked: Instant::now() };
        Ok(Self { files: files.clone(), loaded: Mutex::new(loaded), anew: watch::Sender::default() })
    }

    /// The configuration as of now; files are looked at once a second at most.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.looked.elapsed() > Duration::from_secs(1) {
            loaded.looked = Instant::now();
            let now = stamps(&self.files);
            if now != loaded.stamps {
                match load(&self.files) {
                    Ok(tls) => {
                        (loaded.tls, loaded.stamps) = (tls, now);
                        self.anew.send_replace(());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "changed certificate not usable, keeping the old one")
                    }
                }
            }
        }
        loaded.tls.config.clone()
    }

    /// Whether certificates may be revoked while their connections are open.
    pub(crate) fn revokes(&self) -> bool {
        self.files.crl.is_some()
    }

    /// Returns when files were read again by which the holder of this chain would not be let in.
    pub(crate) async fn distrusts(&self, chain: Option<Vec<CertificateDer<'static>>>) {
        let mut anew = self.anew.subscribe();
        while let Some((first, others)) = chain.as_deref().and_then(<[_]>::split_first) {
            if anew.changed().await.is_err() {
                break;
            }
            let verifier = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).tls.verifier.clone();
            if verifier.is_some_and(|it| it.verify_client_cert(first, others, UnixTime::now()).is_err()) {
                return;
            }
        }
        std::future::pending().await
    }
}

fn stamps(files: &TlsFiles) -> Vec<SystemTime> {
    [&files.cert, &files.key, &files.ca, &files.crl]
        .into_iter()
        .flatten()
        .map(|path| path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH))
        .collect()
}

fn load(files: &TlsFiles) -> Result<Tls, TlsError> {
    let (Some(cert), Some(key)) = (&files.cert, &files.key) else { return Err(TlsError::Missing) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions");
    let verifier = match (&files.ca, files.require_client_cert) {
        (None, true) => return Err(TlsError::NoCa),
        (Some(ca), _) => {
            let mut roots = RootCertStore::empty();
            for der in certificates(ca)? {
                roots.add(der).map_err(|_| TlsError::Pem { path: ca.clone(), what: "CA certificate" })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier =
                if files.require_client_cert { verifier } else { verifier.allow_unauthenticated() };
            let lists = files.crl.as_deref().map(revocations).transpose()?;
            // The list is of this CA; chains through others, and one whose renewal is late, are let pass.
            let verifier = verifier
                .with_crls(lists.into_iter().flatten())
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status();
            Some(verifier.build().map_err(|error| match (&files.crl, error) {
                (Some(crl), VerifierBuilderError::InvalidCrl(_)) => {
                    TlsError::Pem { path: crl.clone(), what: "revocation list" }
                }
                _ => TlsError::Pem { path: ca.clone(), what: "CA certificate" },
            })?)
        }
        (None, false) => None,
    };
    let builder = match &verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let pem = read(key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| TlsError::Pem { path: key.clone(), what: "private key" })?;
    let mut config = builder.with_single_cert(certificates(cert)?, key).map_err(TlsError::Identity)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(config), verifier })
}

fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        // What is no PEM may be DER, as with etcd; rustls says if it is not.
        Ok(_) if !bytes.is_empty() => Ok(vec![bytes.into()]),
        _ => Err(TlsError::Pem { path: path.into(), what: "revocation list" }),
    }
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

#[cfg(test)]
mod tests;
