//! Reading certificates back: until when, for which names, by whom.

use std::net::IpAddr;

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::PkiError;

/// What one needs to know of a stored certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// First moment it is valid.
    pub not_before: OffsetDateTime,
    /// Last moment it is valid.
    pub not_after: OffsetDateTime,
    /// DNS names and addresses in it, as text.
    pub names: Vec<String>,
    /// Whether the given authority signed it.
    pub signed_by_authority: bool,
}

impl Certificate {
    /// Reads a certificate and checks whether `authority` (both PEM) signed it.
    pub fn read(pem: &str, authority: &str) -> Result<Self, PkiError> {
        let bytes = der(pem)?;
        let authority = der(authority)?;
        let cert = parse(&bytes)?;
        let authority = parse(&authority)?;
        let names = match cert.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name_text).collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            not_before: cert.validity().not_before.to_datetime(),
            not_after: cert.validity().not_after.to_datetime(),
            names,
            signed_by_authority: cert.verify_signature(Some(authority.public_key())).is_ok(),
        })
    }

    /// Whether less than a third of its life is left.
    #[must_use]
    pub fn is_old(&self, now: OffsetDateTime) -> bool {
        self.not_after - now < (self.not_after - self.not_before) / 3
    }

    /// Whether it carries all these names.
    #[must_use]
    pub fn covers(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.names.contains(name))
    }
}

/// Whether a key (PEM) belongs to a certificate (PEM).
#[must_use]
pub fn key_matches(cert: &str, key: &str) -> bool {
    let (Ok(bytes), Ok(key)) = (der(cert), KeyPair::from_pem(key)) else { return false };
    parse(&bytes).is_ok_and(|cert| cert.public_key().subject_public_key.data.as_ref() == key.der_bytes())
}

fn der(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| PkiError::ReadCertificate(error.to_string()))
}

fn parse<'a>(bytes: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PkiError> {
    let (_, cert) =
        X509Certificate::from_der(bytes).map_err(|error| PkiError::ReadCertificate(error.to_string()))?;
    Ok(cert)
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            if let Ok(four) = <[u8; 4]>::try_from(*bytes) {
                Some(IpAddr::from(four).to_string())
            } else {
                <[u8; 16]>::try_from(*bytes).ok().map(|sixteen| IpAddr::from(sixteen).to_string())
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::{authority, client, server};

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time")
    }

    #[test]
    fn a_machines_certificate_carries_its_names_and_is_signed() {
        let ca = authority("me", now()).expect("an authority");
        let names = ["w1", "localhost", "127.0.0.1", "::1", "w1"].map(str::to_owned);
        let pair = server(&ca, "me", &names, now()).expect("a certificate");
        let cert = Certificate::read(&pair.cert, &ca.cert).expect("readable");
        assert_eq!(cert.names, ["w1", "localhost", "127.0.0.1", "::1"]);
        assert!(cert.signed_by_authority && cert.covers(&names));
        assert!(key_matches(&pair.cert, &pair.key) && !key_matches(&pair.cert, &ca.key));
        let other = authority("other", now()).expect("an authority");
        assert!(!Certificate::read(&pair.cert, &other.cert).expect("readable").signed_by_authority);
    }

    #[test]
    fn a_certificate_is_old_when_a_third_of_its_life_is_left() {
        let ca = authority("me", now()).expect("an authority");
        let pair = client(&ca, "me", now()).expect("a certificate");
        let cert = Certificate::read(&pair.cert, &ca.cert).expect("readable");
        assert!(!cert.is_old(now() + Duration::days(700)));
        assert!(cert.is_old(now() + Duration::days(730)));
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_certificate_is_named() {
        let ca = authority("me", now()).expect("an authority");
        let error = server(&ca, "me", &["bücher".to_owned()], now()).expect_err("not ASCII");
        assert!(error.to_string().contains("bücher"));
    }
}
