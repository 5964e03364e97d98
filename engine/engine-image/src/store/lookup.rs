//! From what a user typed to an image: reference, ID, beginning of an ID.

use std::sync::Arc;

use super::{Image, Store};
use crate::digest::{Digest, ImageId};
use crate::error::{ImageError, Result};
use crate::reference::{Reference, ReferenceError};

impl Store {
    /// Finds the image a user means. Errors are Docker's: `No such image: x:latest`, `invalid reference format`.
    pub fn lookup(&self, text: &str) -> Result<Arc<Image>> {
        if let Some(image) = self.by_full_id(text) {
            return Ok(image);
        }
        let hexadecimal = text.strip_prefix("sha256:").unwrap_or(text);
        let reference = match Reference::parse(text) {
            Ok(reference) => reference.with_default_tag(),
            Err(ReferenceError::Identifier(_)) => {
                return Err(ImageError::NoSuchImage(format!("sha256:{text}")));
            }
            Err(error) if !is_hex(hexadecimal) => return Err(error.into()),
            Err(error) => return self.by_prefix(hexadecimal)?.ok_or(error.into()),
        };
        if let Some(image) = self.resolve(&reference).and_then(|id| self.image(&id)) {
            return Ok(image);
        }
        if let Some(image) = self.by_digest(&reference) {
            return Ok(image);
        }
        if is_hex(hexadecimal)
            && let Some(image) = self.by_prefix(hexadecimal)?
        {
            return Ok(image);
        }
        Err(ImageError::NoSuchImage(reference.to_string()))
    }

    fn by_full_id(&self, text: &str) -> Option<Arc<Image>> {
        let id = text.parse::<Digest>().or_else(|_| Digest::from_hex(text)).ok()?;
        self.image(&id)
    }

    /// `name@sha256:…`: the digest decides, whatever tag stands before it.
    fn by_digest(&self, reference: &Reference) -> Option<Arc<Image>> {
        let digest = reference.digest()?;
        let id = self.resolve(&reference.with_digest(*digest))?;
        self.image(&id)
    }

    fn by_prefix(&self, prefix: &str) -> Result<Option<Arc<Image>>> {
        if prefix.is_empty() || prefix.len() > 64 {
            return Ok(None);
        }
        let index = self.index();
        let mut found = index.images.values().filter(|image| starts_with(&image.id, prefix));
        let first = found.next().cloned();
        if first.is_some() && found.next().is_some() {
            return Err(ImageError::Invalid(format!(
                "ambiguous reference: image ID prefix {prefix} fits several images"
            )));
        }
        Ok(first)
    }
}

fn starts_with(id: &ImageId, prefix: &str) -> bool {
    id.hex().starts_with(prefix)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
