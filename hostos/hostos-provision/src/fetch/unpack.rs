//! From the bytes that came to the bytes that are stored: decompressed, and checked against their hash.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use hostos_config::Resource;
use sha2::{Digest as _, Sha256, Sha512};

/// The largest content that is unpacked: more than any config file, less than a machine's memory.
const MAX_UNPACKED: u64 = 1 << 30;

/// Why what came cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Broken gzip.
    #[error("the content is not valid gzip")]
    Gzip(#[source] std::io::Error),
    /// Too much of it.
    #[error("the content is larger than {MAX_UNPACKED} bytes")]
    TooLarge,
    /// A compression that the spec does not have.
    #[error("`{0}` is no compression that the spec has")]
    Compression(String),
    /// Not what was promised.
    #[error("the content has the hash {found}, not {wanted}")]
    Hash {
        /// What came.
        found: String,
        /// What the config promises.
        wanted: String,
    },
    /// A hash that is none.
    #[error("`{0}` is no hash: it needs sha256- or sha512- and hexadecimal digits")]
    BadHash(String),
}

/// Decompresses and verifies.
pub(crate) fn unpack(bytes: Vec<u8>, resource: &Resource) -> Result<Vec<u8>, UnpackError> {
    let bytes = match resource.compression.as_deref() {
        None | Some("") => bytes,
        Some("gzip") => gunzip(&bytes)?,
        Some(other) => return Err(UnpackError::Compression(other.into())),
    };
    match resource.verification.hash.as_deref() {
        None | Some("") => {}
        Some(hash) => verify(&bytes, hash)?,
    }
    Ok(bytes)
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(MAX_UNPACKED + 1)
        .read_to_end(&mut unpacked)
        .map_err(UnpackError::Gzip)?;
    if unpacked.len() as u64 > MAX_UNPACKED { Err(UnpackError::TooLarge) } else { Ok(unpacked) }
}

fn verify(bytes: &[u8], hash: &str) -> Result<(), UnpackError> {
    let (function, wanted) = hash.split_once('-').ok_or_else(|| UnpackError::BadHash(hash.into()))?;
    let found = match function {
        "sha256" => hex::encode(Sha256::digest(bytes)),
        "sha512" => hex::encode(Sha512::digest(bytes)),
        _ => return Err(UnpackError::BadHash(hash.into())),
    };
    if hex::decode(wanted).is_err() {
        return Err(UnpackError::BadHash(hash.into()));
    }
    if found.eq_ignore_ascii_case(wanted) {
        Ok(())
    } else {
        Err(UnpackError::Hash { found: format!("{function}-{found}"), wanted: hash.into() })
    }
}
