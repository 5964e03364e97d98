//! Small secrets sealed under the authority's key: ChaCha20-Poly1305, key by HKDF-SHA256.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use crate::Authority;

const PURPOSE: &[u8] = b"fleet join token";

/// Why a sealed secret stays closed.
#[derive(Debug, thiserror::Error)]
#[error("the stored token was sealed under another authority's key; rotate it")]
pub struct SealError;

fn key(authority: &Authority) -> LessSafeKey {
    let salt = Salt::new(HKDF_SHA256, PURPOSE);
    let secret = salt.extract(authority.pair().key.trim().as_bytes());
    let material = secret.expand(&[PURPOSE], &CHACHA20_POLY1305).expect("one key is not too long for HKDF");
    LessSafeKey::new(UnboundKey::from(material))
}

/// Seals for one use, named by `context`; the nonce must never come twice.
pub(crate) fn seal(authority: &Authority, context: &str, secret: &[u8], nonce: [u8; NONCE_LEN]) -> String {
    let mut bytes = secret.to_vec();
    let aad = Aad::from(context.as_bytes());
    key(authority)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes)
        .expect("a secret is not too long to seal");
    STANDARD.encode([nonce.as_slice(), &bytes].concat())
}

/// Opens what was sealed under the same key and for the same use.
pub(crate) fn open(authority: &Authority, context: &str, sealed: &str) -> Result<Vec<u8>, SealError> {
    let bytes = STANDARD.decode(sealed).map_err(|_| SealError)?;
    let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
    let mut rest = rest.to_vec();
    let opened = key(authority)
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context.as_bytes()), &mut rest)
        .map_err(|_| SealError)?;
    Ok(opened.to_vec())
}
