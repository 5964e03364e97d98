//! The TLS identity towards the store: read again without losing the connections that are open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use anyhow::{Context as _, Result};
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

/// Shows the store the certificate that was read last.
#[derive(Debug)]
pub(crate) struct StoreIdentity {
    files: Option<(PathBuf, PathBuf)>,
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

impl StoreIdentity {
    /// From the files of the configuration: CA, certificate, key.
    pub(crate) fn load(files: &[Option<PathBuf>; 3]) -> Result<Arc<Self>> {
        let files = match files {
            [_, Some(cert), Some(key)] => Some((cert.clone(), key.clone())),
            [_, None, None] => None,
            _ => anyhow::bail!("etcd_certfile and etcd_keyfile go together; one of them is missing"),
        };
        let identity = Arc::new(Self { files, current: RwLock::new(None) });
        identity.reload()?;
        Ok(identity)
    }

    /// Reads the files again; new connections show what is in them now.
    pub(crate) fn reload(&self) -> Result<()> {
        let Some((cert, key)) = &self.files else { return Ok(()) };
        let read = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = read.with_context(|| format!("could not read {}", cert.display()))?;
        let key =
            PrivateKeyDer::from_pem_file(key).with_context(|| format!("could not read {}", key.display()))?;
        let certified =
            CertifiedKey::from_der(chain, key, &provider()).context("certificate and key do not fit")?;
        *self.current.write().expect("no holder of this lock panics") = Some(Arc::new(certified));
        Ok(())
    }

    /// What the store's client connects with.
    pub(crate) fn tls(self: &Arc<Self>, ca: &Path) -> Result<kv_client::Tls> {
        let mut roots = RootCertStore::empty();
        let read = CertificateDer::pem_file_iter(ca).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        for certificate in read.with_context(|| format!("could not read {}", ca.display()))? {
            roots.add(certificate).with_context(|| format!("{} holds no CA certificate", ca.display()))?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(kv_client::Tls::from_rustls(Arc::new(config)))
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

impl ResolvesClientCert for StoreIdentity {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current.read().expect("no holder of this lock panics").clone()
    }

    fn has_certs(&self) -> bool {
        self.files.is_some()
    }
}
