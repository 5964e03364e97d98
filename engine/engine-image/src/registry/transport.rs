//! HTTP clients for registries: TLS by rustls with the machine's roots and `certs.d`, names by our own resolver.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::names::Names;
use super::{Proxies, RegistryConfig};
use crate::error::{ImageError, Result};

const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// A client for one registry host.
pub(super) fn client(host: &str, config: &RegistryConfig, verify: bool) -> Result<reqwest::Client> {
    let redirect = reqwest::redirect::Policy::custom(|attempt| {
        let to_metadata = attempt.url().host_str().is_some_and(|host| host.starts_with("169.254."));
        if attempt.previous().len() > 10 || to_metadata {
            attempt.error("refused redirect")
        } else {
            attempt.follow()
        }
    });
    through(&config.proxies, reqwest::Client::builder())?
        .tls_backend_preconfigured(tls(host, &config.certificates, verify)?)
        .dns_resolver(Arc::new(Names))
        .redirect(redirect)
        .connect_timeout(Duration::from_secs(30))
        .read_timeout(Duration::from_secs(120))
        .user_agent(format!("docker/{} go/go1.19 os/linux arch/amd64", crate::DOCKER_VERSION))
        .build()
        .map_err(|error| ImageError::Registry {
            message: format!("could not make an HTTP client: {error}"),
            status: 500,
        })
}

/// The proxies of the configuration and no others.
fn through(proxies: &Proxies, builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder> {
    let direct = format!("localhost,127.0.0.0/8,::1,{}", proxies.except);
    let mut builder = builder.no_proxy();
    for (address, proxy) in [
        (&proxies.http, reqwest::Proxy::http(&proxies.http)),
        (&proxies.https, reqwest::Proxy::https(&proxies.https)),
    ] {
        if address.is_empty() {
            continue;
        }
        let proxy = proxy.map_err(|error| ImageError::Registry {
            message: format!("the proxy {address:?} is unusable: {error}"),
            status: 500,
        })?;
        builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&direct)));
    }
    Ok(builder)
}

fn tls(host: &str, certificates: &Path, verify: bool) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| ImageError::Invalid(format!("TLS cannot be set up: {error}")))?;
    let folder = certificates.join(host);
    let builder = if verify {
        builder.with_root_certificates(roots(&folder))
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerifier(provider)))
    };
    match client_identity(&folder) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            ImageError::Invalid(format!(
                "the client certificate in {} is unusable: {error}",
                folder.display()
            ))
        }),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The machine's roots (or the built-in ones) and those for this host.
fn roots(folder: &Path) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundle = named.into_iter().chain(BUNDLES.map(PathBuf::from)).find(|path| path.is_file());
    match bundle {
        Some(path) => add_file(&mut store, &path),
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    for path in with_extension(folder, "crt") {
        add_file(&mut store, &path);
    }
    store
}

fn add_file(store: &mut RootCertStore, path: &Path) {
    match CertificateDer::pem_file_iter(path) {
        Ok(certificates) => {
            store.add_parsable_certificates(certificates.flatten());
        }
        Err(error) => tracing::warn!(path = %path.display(), %error, "could not read root certificates"),
    }
}

/// `NAME.cert` with `NAME.key`, as Docker finds them.
fn client_identity(folder: &Path) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    with_extension(folder, "cert").into_iter().find_map(|path| {
        let chain: Vec<_> = CertificateDer::pem_file_iter(&path).ok()?.flatten().collect();
        let key = PrivateKeyDer::from_pem_file(path.with_extension("key")).ok()?;
        Some((chain, key))
    })
}

fn with_extension(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

/// For registries the user declared insecure.
#[derive(Debug)]
struct NoVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
