//! Certificates that are good no more although their time is not over: those of machines that were removed.

use rcgen::{CertificateRevocationListParams, RevokedCertParams, SerialNumber};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::{Authority, PkiError};

/// Lists are made anew whenever there is something new; nobody need give up on an old one.
const LIST_LIFE: Duration = Duration::days(20 * 365);

/// One certificate of a member, by what a revocation list names it by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// Serial number, in hexadecimal digits.
    pub serial: String,
    /// Seconds since 1970 at which it runs out.
    pub valid_until: i64,
}

impl Issued {
    /// Reads it from a certificate (DER).
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let serial = certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { serial, valid_until: certificate.validity().not_after.timestamp() })
    }
}

impl Authority {
    /// The list (PEM) of these serial numbers. Of two lists, the one with the larger number is newer.
    ///
    /// # Errors
    /// A serial number is none, or signing failed.
    pub fn revocation_list(
        &self,
        serials: &[String],
        number: u64,
        now: OffsetDateTime,
    ) -> Result<String, PkiError> {
        let revoked = |serial: &String| {
            let bytes = bytes_of(serial).ok_or_else(|| PkiError::Serial(serial.clone()))?;
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from(bytes),
                revocation_time: now,
                reason_code: None,
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: now + LIST_LIFE,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect::<Result<_, PkiError>>()?,
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = params.signed_by(self.issuer()).map_err(PkiError::Sign)?;
        list.pem().map_err(PkiError::Sign)
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.is_ascii() && hex.len().is_multiple_of(2) && (2..=40).contains(&hex.len());
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok();
    if digits { (0..hex.len()).step_by(2).map(pair).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

    use super::*;
    use crate::{MEMBER_LIFE, MemberRole, SigningRequest};

    #[test]
    fn a_list_names_the_certificates_that_were_revoked_and_no_others() {
        let now = OffsetDateTime::now_utc();
        let authority = Authority::create("demo", now).expect("an authority");
        let issued = |id: &str| {
            let request = SigningRequest::create(id).expect("a request").request;
            let cert =
                authority.sign(&request, id, &[], MemberRole::Worker, now, MEMBER_LIFE).expect("signs");
            Issued::of(&CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM")).expect("a certificate")
        };
        let (gone, stays) = (issued("m1"), issued("m2"));
        assert_eq!(gone.valid_until, (now + MEMBER_LIFE).unix_timestamp());
        let list = authority.revocation_list(std::slice::from_ref(&gone.serial), 7, now).expect("a list");
        let der = CertificateRevocationListDer::from_pem_slice(list.as_bytes()).expect("PEM");
        let (_, list) = x509_parser::parse_x509_crl(&der).expect("a list");
        let hex = |serial: &[u8]| serial.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let named: Vec<String> = list.iter_revoked_certificates().map(|it| hex(it.raw_serial())).collect();
        assert_eq!(named, [gone.serial]);
        assert_ne!(named[0], stays.serial);
        assert!(matches!(authority.revocation_list(&["xyz".into()], 8, now), Err(PkiError::Serial(_))));
    }
}
