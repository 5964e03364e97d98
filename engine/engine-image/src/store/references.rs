//! Names of images: one small file, replaced as a whole.

use std::collections::BTreeMap;

use super::{Image, Index, Store};
use crate::digest::ImageId;
use crate::error::{ImageError, Result};
use crate::files;
use crate::reference::Reference;
use std::sync::Arc;

impl Store {
    /// Points a reference (with tag or digest) at an image. Durable when it returns.
    pub fn tag(&self, id: &ImageId, reference: &Reference) -> Result<()> {
        if reference.is_name_only() {
            return Err(ImageError::Invalid(format!("{reference} has neither tag nor digest")));
        }
        let mut index = self.index();
        let Some(image) = index.images.get(id).cloned() else {
            return Err(ImageError::NoSuchImage(id.to_string()));
        };
        if index.references.get(reference) == Some(id) && !image.last_tagged.is_empty() {
            return Ok(());
        }
        let mut references = index.references.clone();
        references.insert(reference.clone(), *id);
        let image = Image { last_tagged: crate::config::now_rfc3339(), ..Image::clone(&image) };
        self.write_meta(&image)?;
        self.write_references(&references)?;
        index.references = references;
        index.images.insert(*id, Arc::new(image));
        Ok(())
    }

    /// What a reference points at, without guessing.
    pub fn resolve(&self, reference: &Reference) -> Option<ImageId> {
        self.index().references.get(reference).copied()
    }

    /// All references with the images they point at.
    pub fn references(&self) -> Vec<(Reference, ImageId)> {
        self.index().references.iter().map(|(reference, id)| (reference.clone(), *id)).collect()
    }

    /// The image's tags, familiar form, sorted.
    pub fn tags_of(&self, id: &ImageId) -> Vec<String> {
        self.index().tags_of(id)
    }

    /// The image's digests (`busybox@sha256:…`), familiar form, sorted.
    pub fn digests_of(&self, id: &ImageId) -> Vec<String> {
        self.index().digests_of(id)
    }

    pub(super) fn write_references(&self, references: &BTreeMap<Reference, ImageId>) -> Result<()> {
        let path = self.inner.root.join("references.json");
        let bytes = serde_json::to_vec_pretty(references).expect("references are strings");
        files::replace(&path, &bytes).map_err(ImageError::file("write", path))
    }
}

impl Index {
    pub(super) fn tags_of(&self, id: &ImageId) -> Vec<String> {
        self.of(id).filter(|reference| reference.digest().is_none()).map(ToString::to_string).collect()
    }

    pub(super) fn digests_of(&self, id: &ImageId) -> Vec<String> {
        self.of(id).filter(|reference| reference.digest().is_some()).map(ToString::to_string).collect()
    }

    pub(super) fn of<'a>(&'a self, id: &'a ImageId) -> impl Iterator<Item = &'a Reference> {
        self.references.iter().filter(move |(_, target)| *target == id).map(|(reference, _)| reference)
    }
}
