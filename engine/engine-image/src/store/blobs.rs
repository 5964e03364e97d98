//! Compressed layers as they came: written to `tmp/`, kept under their digest once complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Store;
use crate::digest::{Digest, Hasher};
use crate::error::{ImageError, Result};

/// A blob as a manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobInfo {
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
}

/// A blob being written. Dropped unfinished, it leaves nothing.
pub(crate) struct BlobWriter {
    file: Option<File>,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl Store {
    pub(crate) fn new_blob(&self) -> Result<BlobWriter> {
        let path = self.temporary();
        let file = File::create_new(&path).map_err(ImageError::file("create", &path))?;
        Ok(BlobWriter { file: Some(file), path, hasher: Hasher::new(), size: 0 })
    }

    /// The bytes of a kept blob.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_file(digest);
        File::open(&path).map_err(ImageError::file("open", path))
    }
}

impl BlobWriter {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The digest of what has been written so far.
    pub(crate) fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Fails unless the bytes have this digest.
    pub(crate) fn verify(&self, what: &str, expected: &Digest) -> Result<()> {
        let found = self.digest();
        if found == *expected {
            return Ok(());
        }
        Err(ImageError::Mismatch { what: what.to_owned(), expected: *expected, found })
    }

    /// Moves the blob to its place; no index entry yet.
    pub(super) fn keep(mut self, store: &Store) -> Result<Digest> {
        let digest = self.digest();
        self.file = None;
        let place = store.blob_file(&digest);
        fs::rename(&self.path, &place).map_err(ImageError::file("keep", place))?;
        Ok(digest)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let written = file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.file.is_some()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "could not remove an unfinished blob");
        }
    }
}
