//! Whom to believe, and how to say who we are.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::CurlError;
use crate::options::ConnectionOptions;

/// How to connect to servers over TLS.
pub(crate) fn config(options: &ConnectionOptions) -> Result<Arc<ClientConfig>, CurlError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[_] = if options.tls13 { &[&rustls::version::TLS13] } else { rustls::DEFAULT_VERSIONS };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("ring has both versions");
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        builder.with_root_certificates(roots(options)?)
    };
    let Some(certificate) = &options.cert else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let refused = |path: &Path, reason: String| CurlError::ClientCertificate { path: path.into(), reason };
    let pem = fs::read(certificate).map_err(|error| refused(certificate, error.to_string()))?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(refused(certificate, "it holds no PEM certificate".into()));
    }
    let key_file = options.key.as_ref().unwrap_or(certificate);
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| refused(key_file, error.to_string()))?;
    let config =
        builder.with_client_auth_cert(chain, key).map_err(|error| refused(certificate, error.to_string()))?;
    Ok(Arc::new(config))
}

fn roots(options: &ConnectionOptions) -> Result<RootCertStore, CurlError> {
    let from_environment = || {
        let names = ["CURL_CA_BUNDLE", "SSL_CERT_FILE"];
        names.iter().find_map(std::env::var_os).filter(|file| !file.is_empty()).map(Into::into)
    };
    let Some(file) = options.cacert.clone().or_else(from_environment) else {
        return Ok(hostos_trust::roots());
    };
    let mut roots = RootCertStore::empty();
    let added = fs::read(&file).map(|pem| hostos_trust::add_pem(&mut roots, &pem)).unwrap_or(0);
    if added == 0 { Err(CurlError::Authorities(file)) } else { Ok(roots) }
}

/// What a handshake that failed means.
pub(crate) fn failed(error: &io::Error) -> CurlError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => CurlError::Untrusted(reason(why)),
        Some(other) => CurlError::Tls(other.to_string()),
        None => CurlError::Tls(error.to_string()),
    }
}

fn reason(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "unable to get local issuer certificate".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "no alternative certificate subject name matches target host name".into()
        }
        other => other.to_string(),
    }
}

/// Believes any certificate of which the server has the key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
