//! The joiner's side of a certificate: a key that never leaves the machine, and a request for it.

use rcgen::{CertificateParams, DnType, KeyPair};

use crate::PkiError;

/// A key made on board and the request that proves it is held.
pub struct SigningRequest {
    /// The request, PEM; goes to a member.
    pub request: String,
    /// The key, PEM; stays here.
    pub key: String,
}

impl std::fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningRequest").finish_non_exhaustive()
    }
}

impl SigningRequest {
    /// With a new key.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn create(machine_id: &str) -> Result<Self, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, machine_id);
        let key = KeyPair::generate().map_err(PkiError::MakeKey)?;
        let request = params.serialize_request(&key).map_err(PkiError::Sign)?;
        let request = request.pem().map_err(PkiError::Sign)?;
        Ok(Self { request, key: key.serialize_pem() })
    }
}
