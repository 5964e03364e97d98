//! From the bytes that come to the bytes that are stored: decompressed, and checked against their hash.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use hostos_config::Resource;
use sha2::{Digest as _, Sha256, Sha512};

use super::content::{Content, Spool};

/// The largest content that is taken: more than any config needs, less than any disk has.
pub(super) const MAX_UNPACKED: u64 = 4 << 30;

/// Why what came cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Broken gzip.
    #[error("the content is not valid gzip")]
    Gzip(#[source] io::Error),
    /// Broken off.
    #[error("the content came in part only")]
    Read(#[source] io::Error),
    /// Nowhere to keep it.
    #[error("the content cannot be kept until it is written")]
    Keep(#[source] io::Error),
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

impl UnpackError {
    /// Whether the transport is at fault rather than the content.
    pub(super) fn is_of_the_connection(&self) -> bool {
        matches!(self, Self::Read(_))
    }
}

/// Decompresses and verifies.
pub(super) fn unpack(mut raw: impl Read, resource: &Resource, spool: Spool) -> Result<Content, UnpackError> {
    let mut sink = Sink { hasher: Hasher::of(resource)?, spool, length: 0 };
    match resource.compression.as_deref() {
        None | Some("") => copy(&mut raw, &mut sink, UnpackError::Read)?,
        Some("gzip") => gunzip(raw, &mut sink)?,
        Some(other) => return Err(UnpackError::Compression(other.into())),
    }
    sink.hasher.verify()?;
    Ok(sink.spool.finish())
}

/// Errors of the source pass through the decoder marked, so that they can be told from broken gzip.
fn gunzip(raw: impl Read, sink: &mut Sink) -> Result<(), UnpackError> {
    let mut source = Marked { inner: raw, error: None };
    let result = copy(&mut MultiGzDecoder::new(&mut source), sink, UnpackError::Gzip);
    match source.error {
        Some(error) => Err(UnpackError::Read(error)),
        None => result,
    }
}

struct Marked<R> {
    inner: R,
    error: Option<io::Error>,
}

impl<R: Read> Read for Marked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let kind = error.kind();
            self.error = Some(error);
            kind.into()
        })
    }
}

fn copy(
    from: &mut impl Read,
    to: &mut Sink,
    failed: fn(io::Error) -> UnpackError,
) -> Result<(), UnpackError> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.take(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

struct Sink {
    hasher: Hasher,
    spool: Spool,
    length: u64,
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        self.length += bytes.len() as u64;
        if self.length > MAX_UNPACKED {
            return Err(UnpackError::TooLarge);
        }
        match &mut self.hasher {
            Hasher::None => {}
            Hasher::Sha256(state, _) => state.update(bytes),
            Hasher::Sha512(state, _) => state.update(bytes),
        }
        self.spool.write_all(bytes).map_err(UnpackError::Keep)
    }
}

enum Hasher {
    None,
    Sha256(Sha256, String),
    Sha512(Box<Sha512>, String),
}

impl Hasher {
    fn of(resource: &Resource) -> Result<Self, UnpackError> {
        let Some(hash) = resource.verification.hash.as_deref().filter(|hash| !hash.is_empty()) else {
            return Ok(Self::None);
        };
        let bad = || UnpackError::BadHash(hash.into());
        let (function, digits) = hash.split_once('-').ok_or_else(bad)?;
        hex::decode(digits).map_err(|_| bad())?;
        match function {
            "sha256" => Ok(Self::Sha256(Sha256::new(), hash.into())),
            "sha512" => Ok(Self::Sha512(Box::new(Sha512::new()), hash.into())),
            _ => Err(bad()),
        }
    }

    fn verify(self) -> Result<(), UnpackError> {
        let (found, wanted) = match self {
            Self::None => return Ok(()),
            Self::Sha256(state, wanted) => (format!("sha256-{}", hex::encode(state.finalize())), wanted),
            Self::Sha512(state, wanted) => (format!("sha512-{}", hex::encode(state.finalize())), wanted),
        };
        if found.eq_ignore_ascii_case(&wanted) { Ok(()) } else { Err(UnpackError::Hash { found, wanted }) }
    }
}

#[cfg(test)]
mod tests {
    use hostos_config::Verification;

    use super::*;

    fn unpacked(bytes: &[u8], compression: Option<&str>, hash: Option<&str>) -> Result<Vec<u8>, UnpackError> {
        let resource = Resource {
            compression: compression.map(str::to_owned),
            verification: Verification { hash: hash.map(str::to_owned) },
            ..Resource::default()
        };
        unpack(bytes, &resource, Spool::new(std::env::temp_dir()))
            .map(|content| content.bytes().expect("it reads"))
    }

    /// `hi`, compressed with gzip.
    const HI: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\xc8\x04\x00\xac*\x93\xd8\x02\x00\x00\x00";
    const HI_SHA256: &str = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";

    #[test]
    fn the_hash_is_that_of_the_decompressed_content() {
        assert_eq!(unpacked(HI, Some("gzip"), Some(&format!("sha256-{HI_SHA256}"))).expect("it fits"), b"hi");
        let error =
            unpacked(HI, None, Some(&format!("sha256-{HI_SHA256}"))).expect_err("compressed is different");
        assert!(error.to_string().contains(&format!("not sha256-{HI_SHA256}")), "{error}");
    }

    #[test]
    fn broken_gzip_is_refused() {
        assert!(matches!(unpacked(b"hi", Some("gzip"), None), Err(UnpackError::Gzip(_))));
        assert!(matches!(unpacked(&HI[..15], Some("gzip"), None), Err(UnpackError::Gzip(_))));
    }

    #[test]
    fn hashes_that_are_none_are_refused() {
        for hash in ["md5-00", "sha256", "sha256-xy"] {
            assert!(matches!(unpacked(b"", None, Some(hash)), Err(UnpackError::BadHash(_))), "{hash}");
        }
    }
}
