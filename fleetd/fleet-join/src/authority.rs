//! The cluster's authority: makes itself, reads itself, signs members and issues people's certificates.

use std::net::IpAddr;

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};

use crate::{JoinToken, MemberRole, PkiError, READ_ONLY, Secret};

/// How long a member's certificate is valid, as in Docker's swarm.
pub const MEMBER_LIFE: Duration = Duration::days(90);
const AUTHORITY_LIFE: Duration = Duration::days(20 * 365);
const PERSON_LIFE: Duration = Duration::days(1080);
/// Clocks of machines may be behind by this much.
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

/// For whom a person's certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// May do everything.
    Admin,
    /// May only read.
    ReadOnly,
}

/// A cluster's authority.
pub struct Authority {
    pair: Pair,
    organization: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("organization", &self.organization).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority of the cluster called `organization`.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn create(organization: &str, now: OffsetDateTime) -> Result<Self, PkiError> {
        let mut params = params("cluster authority", organization, None, now, AUTHORITY_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(PkiError::MakeKey)?;
        let cert = params.self_signed(&key).map_err(PkiError::Sign)?;
        Self::load(&cert.pem(), &key.serialize_pem())
    }

    /// The authority of these PEM texts; of several certificates the first counts.
    ///
    /// # Errors
    /// One of them is unreadable, or they do not belong together.
    pub fn load(cert: &str, key: &str) -> Result<Self, PkiError> {
        let cert = canonical_pem(cert)?;
        let keys = KeyPair::from_pem(key).map_err(PkiError::ReadKey)?;
        let der = first_certificate(&cert)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| PkiError::ReadCertificate(error.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != keys.der_bytes() {
            return Err(PkiError::KeyOfAnother);
        }
        let organization = parsed.subject().iter_organization().next();
        let organization = organization.and_then(|name| name.as_str().ok()).unwrap_or("cluster").to_owned();
        let issuer = Issuer::from_ca_cert_pem(&cert, keys)
            .map_err(|error| PkiError::ReadCertificate(error.to_string()))?;
        Ok(Self { pair: Pair { cert, key: key.to_owned() }, organization, issuer })
    }

    /// Certificate and key.
    #[must_use]
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Name of the cluster.
    #[must_use]
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// The token with this secret.
    #[must_use]
    pub fn token(&self, secret: Secret) -> JoinToken {
        JoinToken { authority: digest_of(&self.pair.cert), secret }
    }

    /// Signs a machine's request. Of the request only the key counts: id, names and role are what the
    /// caller has made sure of.
    ///
    /// # Errors
    /// The request is none, or a name cannot stand in a certificate.
    pub fn sign(
        &self,
        request_pem: &str,
        id: &str,
        names: &[String],
        role: MemberRole,
        now: OffsetDateTime,
        life: Duration,
    ) -> Result<String, PkiError> {
        let request =
            rcgen::CertificateSigningRequestParams::from_pem(request_pem).map_err(PkiError::Request)?;
        let mut params = params(id, &self.organization, Some(role.organizational_unit()), now, life);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = alternative_names(names)?;
        let cert = params.signed_by(&request.public_key, &self.issuer).map_err(PkiError::Sign)?;
        canonical_pem(&cert.pem())
    }

    /// A certificate with a key for a person or program; it can never serve as a machine.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn issue(&self, name: &str, holder: Holder, now: OffsetDateTime) -> Result<Pair, PkiError> {
        let unit = match holder {
            Holder::Admin => None,
            Holder::ReadOnly => Some(READ_ONLY),
        };
        let mut params = params(name, &self.organization, unit, now, PERSON_LIFE);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(PkiError::MakeKey)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(PkiError::Sign)?;
        Ok(Pair { cert: cert.pem(), key: key.serialize_pem() })
    }
}

/// SHA-256 of a certificate in canonical PEM form: what a token names the authority by.
#[must_use]
pub fn digest_of(canonical: &str) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, canonical.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The first certificate of a PEM text in the one form that digests are taken of: no headers, lines
/// of 64, a line feed at each end.
///
/// # Errors
/// It holds no certificate.
pub fn canonical_pem(text: &str) -> Result<String, PkiError> {
    let der = first_certificate(text)?;
    let body = base64::engine::general_purpose::STANDARD.encode(&der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    Ok(pem)
}

fn first_certificate(text: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|error| PkiError::ReadCertificate(error.to_string()))
}

fn alternative_names(names: &[String]) -> Result<Vec<SanType>, PkiError> {
    let mut alternatives = Vec::new();
    for name in names {
        let it = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if is_host_name(name) => {
                SanType::DnsName(name.as_str().try_into().map_err(|_| PkiError::Name(name.clone()))?)
            }
            Err(_) => return Err(PkiError::Name(name.clone())),
        };
        if !alternatives.contains(&it) {
            alternatives.push(it);
        }
    }
    Ok(alternatives)
}

/// Labels of letters, digits, dashes and underscores: no wildcards, for a machine has its own names only.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn params(
    common: &str,
    organization: &str,
    unit: Option<&str>,
    now: OffsetDateTime,
    life: Duration,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organization);
    if let Some(unit) = unit {
        name.push(DnType::OrganizationalUnitName, unit);
    }
    name.push(DnType::CommonName, common);
    params.distinguished_name = name;
    params.not_before = now - BACKDATE.min(life);
    params.not_after = now + life;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}
