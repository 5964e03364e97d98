//! A member's certificates on its disk.
//!
//! `identity.pem` (certificate and key in one file, so that both change at once) is the truth; `ca.pem`,
//! `cert.pem` and `key.pem` say the same for daemons that want them apart, `ca-key.pem` is there on
//! managers. Everything is written aside, synced and renamed; what is secret has mode 0600.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use crate::Joined;

/// A directory with a member's certificates.
#[derive(Clone, Debug)]
pub struct Identity {
    dir: PathBuf,
}

/// Why the files could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Reading.
    #[error("could not read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Writing.
    #[error("could not write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not what it should be.
    #[error("{} holds no {what}; remove the directory and join again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub from: OffsetDateTime,
    /// Last moment.
    pub until: OffsetDateTime,
}

impl Validity {
    /// Less than a third of its life is left: time to ask for the next.
    #[must_use]
    pub fn is_old(&self, now: OffsetDateTime) -> bool {
        self.until - now < (self.until - self.from) / 3
    }
}

impl Identity {
    /// In this directory, which need not be there yet.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Has this machine joined?
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path("identity.pem").exists()
    }

    /// Path of one of its files.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes what a join or a renewal brought.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, joined: &Joined) -> Result<(), IdentityError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|source| IdentityError::Write { path: self.dir.clone(), source })?;
        self.write("ca.pem", &joined.authority, 0o644)?;
        if let Some(key) = &joined.authority_key {
            self.write("ca-key.pem", key, 0o600)?;
        }
        self.write("identity.pem", &format!("{}{}", joined.certificate, joined.key), 0o600)?;
        self.write("cert.pem", &joined.certificate, 0o644)?;
        self.write("key.pem", &joined.key, 0o600)
    }

    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// They cannot be read, or are damaged.
    pub fn load(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
        let path = self.path("identity.pem");
        let bytes =
            std::fs::read(&path).map_err(|source| IdentityError::Read { path: path.clone(), source })?;
        let damaged = |what| IdentityError::Damaged { path: path.clone(), what };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| damaged("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| damaged("key"))?;
        Ok((chain, key))
    }

    /// Reads the authority's certificate.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn authority(&self) -> Result<CertificateDer<'static>, IdentityError> {
        let path = self.path("ca.pem");
        let bytes =
            std::fs::read(&path).map_err(|source| IdentityError::Read { path: path.clone(), source })?;
        CertificateDer::from_pem_slice(&bytes)
            .map_err(|_| IdentityError::Damaged { path, what: "certificate" })
    }

    /// From when to when the certificate is valid.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn validity(&self) -> Result<Validity, IdentityError> {
        let (chain, _) = self.load()?;
        let damaged = || IdentityError::Damaged { path: self.path("identity.pem"), what: "certificate" };
        validity(&chain[0]).ok_or_else(damaged)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), IdentityError> {
        let path = self.path(name);
        write_durably(&path, text.as_bytes(), mode).map_err(|source| IdentityError::Write { path, source })
    }
}

/// From when to when a certificate (DER) is valid.
#[must_use]
pub(crate) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    Some(Validity { from: validity.not_before.to_datetime(), until: validity.not_after.to_datetime() })
}

fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
