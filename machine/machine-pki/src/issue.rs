//! Making keys and signing certificates.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::{AUTHORITY_LIFE, CERTIFICATE_LIFE};

/// Clocks of machines may be behind the workstation's by this much.
const BACKDATE: Duration = Duration::hours(1);

/// A certificate and its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its key, PKCS #8. Secret.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("cert", &self.cert).finish_non_exhaustive()
    }
}

/// Why no certificate could be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A key could not be made.
    #[error("could not make a key")]
    MakeKey(#[source] rcgen::Error),
    /// A stored key is none.
    #[error("the stored key is unreadable")]
    ReadKey(#[source] rcgen::Error),
    /// A stored certificate is none.
    #[error("the stored certificate is unreadable: {0}")]
    ReadCertificate(String),
    /// A name cannot stand in a certificate.
    #[error("`{name}` cannot stand in a certificate")]
    Name {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// Signing failed.
    #[error("could not sign a certificate")]
    Sign(#[source] rcgen::Error),
}

/// A new authority for `organization`.
pub fn authority(organization: &str, now: OffsetDateTime) -> Result<Pair, PkiError> {
    let mut params = params("rmachine authority", organization, now, AUTHORITY_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(PkiError::MakeKey)?;
    let cert = params.self_signed(&key).map_err(PkiError::Sign)?;
    Ok(Pair { cert: cert.pem(), key: key.serialize_pem() })
}

/// A certificate for whoever commands engines.
pub fn client(authority: &Pair, organization: &str, now: OffsetDateTime) -> Result<Pair, PkiError> {
    let mut params = params("rmachine client", organization, now, CERTIFICATE_LIFE);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(authority, params)
}

/// A certificate for a machine under all these names and addresses. Machines also speak to each
/// other, so it is good for clients as well.
pub fn server(
    authority: &Pair,
    organization: &str,
    names: &[String],
    now: OffsetDateTime,
) -> Result<Pair, PkiError> {
    let common = names.first().map_or("rmachine", String::as_str);
    let mut params = params(common, organization, now, CERTIFICATE_LIFE);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    add_names(&mut params, names)?;
    sign(authority, params)
}

fn add_names(params: &mut CertificateParams, names: &[String]) -> Result<(), PkiError> {
    for name in names {
        let san = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(
                name.as_str().try_into().map_err(|source| PkiError::Name { name: name.clone(), source })?,
            ),
        };
        if !params.subject_alt_names.contains(&san) {
            params.subject_alt_names.push(san);
        }
    }
    Ok(())
}

fn params(common: &str, organization: &str, now: OffsetDateTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organization);
    name.push(DnType::CommonName, common);
    params.distinguished_name = name;
    params.not_before = now - BACKDATE;
    params.not_after = now + life;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn sign(authority: &Pair, mut params: CertificateParams) -> Result<Pair, PkiError> {
    let ca_key = KeyPair::from_pem(&authority.key).map_err(PkiError::ReadKey)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.cert, ca_key)
        .map_err(|error| PkiError::ReadCertificate(error.to_string()))?;
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(PkiError::MakeKey)?;
    let cert = params.signed_by(&key, &issuer).map_err(PkiError::Sign)?;
    Ok(Pair { cert: cert.pem(), key: key.serialize_pem() })
}
