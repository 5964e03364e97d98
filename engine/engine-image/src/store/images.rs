//! Images: configurations kept byte for byte, and what is said of them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Index, Store};
use crate::config::ImageConfig;
use crate::digest::{Digest, ImageId};
use crate::error::{ImageError, Result};
use crate::files;

/// One image.
#[derive(Debug, Clone)]
pub struct Image {
    pub id: ImageId,
    /// The configuration's bytes; their digest is the ID.
    pub raw: Vec<u8>,
    pub config: ImageConfig,
    /// The image this one was built on here, if it was.
    pub parent: Option<ImageId>,
    /// When a reference last came to point at it (RFC 3339), empty if never.
    pub last_tagged: String,
    /// Bytes of the files of all layers.
    pub size: u64,
}

/// What is ours to know about an image.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ImageMeta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ImageId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_tagged: String,
}

/// One line of `docker history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// `<missing>` for lines that are no image here.
    pub id: String,
    pub created: i64,
    pub created_by: String,
    pub comment: String,
    pub size: u64,
    pub tags: Vec<String>,
}

impl Store {
    pub fn image(&self, id: &ImageId) -> Option<Arc<Image>> {
        self.index().images.get(id).cloned()
    }

    /// All images, in no particular order.
    pub fn images(&self) -> Vec<Arc<Image>> {
        self.index().images.values().cloned().collect()
    }

    /// The images built on this one here.
    pub fn children(&self, id: &ImageId) -> Vec<ImageId> {
        self.index().children(id)
    }

    /// Folders for overlay's `lowerdir`, topmost first.
    pub fn lower_dirs(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let index = self.index();
        let layers = image.config.rootfs.diff_ids.iter().rev();
        layers
            .map(|diff_id| match index.layers.get(diff_id) {
                Some(layer) => Ok(self.layer_dir(layer)),
                None => {
                    Err(ImageError::NotFound(format!("layer {diff_id} of image {} is missing", image.id)))
                }
            })
            .collect()
    }

    /// Makes an image of a new configuration. All its layers must be here (and held by the caller).
    pub fn create_image(&self, config: &ImageConfig, parent: Option<ImageId>) -> Result<Arc<Image>> {
        let raw = serde_json::to_vec(config).expect("a configuration is a plain value");
        self.add_image(raw, parent)
    }

    /// Enters a configuration as it came. Durable when it returns, but for files of layers younger than a moment.
    pub fn add_image(&self, raw: Vec<u8>, parent: Option<ImageId>) -> Result<Arc<Image>> {
        let id = Digest::of(&raw);
        if let Some(image) = self.image(&id) {
            return Ok(image);
        }
        let config: ImageConfig = serde_json::from_slice(&raw).map_err(|error| {
            ImageError::Invalid(format!("image configuration {id} cannot be read: {error}"))
        })?;
        let mut index = self.index();
        let size = index.size_of(&config)?;
        let image = Arc::new(Image { id, raw, config, parent, last_tagged: String::new(), size });
        if parent.is_some() {
            self.write_meta(&image)?;
        }
        let path = self.path("images", &format!("{}.json", id.hex()));
        files::replace_lazily(&path, &image.raw).map_err(ImageError::file("write", path))?;
        index.images.insert(id, image.clone());
        drop(index);
        self.sync_later();
        Ok(image)
    }

    /// Notes which image this one was built on, if that one is here and nothing is noted yet.
    pub(crate) fn set_parent(&self, id: &ImageId, parent: &ImageId) -> Result<()> {
        let mut index = self.index();
        let Some(image) = index.images.get(id).filter(|image| image.parent.is_none()) else { return Ok(()) };
        if !index.images.contains_key(parent) || id == parent {
            return Ok(());
        }
        let image = Image { parent: Some(*parent), ..Image::clone(image) };
        self.write_meta(&image)?;
        index.images.insert(*id, Arc::new(image));
        Ok(())
    }

    pub(super) fn write_meta(&self, image: &Image) -> Result<()> {
        let meta = ImageMeta { parent: image.parent, last_tagged: image.last_tagged.clone() };
        let path = self.path("images", &format!("{}.meta", image.id.hex()));
        let bytes = serde_json::to_vec(&meta).expect("plain value");
        files::replace_lazily(&path, &bytes).map_err(ImageError::file("write", path))
    }

    /// Removes an image's files; the index entry is the caller's.
    pub(super) fn erase_image(&self, id: &ImageId) {
        for extension in ["json", "meta"] {
            let path = self.path("images", &format!("{}.{extension}", id.hex()));
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "could not remove an image's file");
            }
        }
    }

    /// `docker history`: newest first.
    pub fn history(&self, image: &Image) -> Vec<HistoryLine> {
        let index = self.index();
        let mut layers = image.config.rootfs.diff_ids.iter();
        let mut lines: Vec<HistoryLine> = image
            .config
            .history
            .iter()
            .map(|step| {
                let layer =
                    if step.empty_layer { None } else { layers.next().and_then(|id| index.layers.get(id)) };
                HistoryLine {
                    id: "<missing>".into(),
                    created: crate::config::unix_seconds(&step.created),
                    created_by: step.created_by.clone(),
                    comment: step.comment.clone(),
                    size: layer.map_or(0, |layer| layer.size),
                    tags: Vec::new(),
                }
            })
            .collect();
        // Newest first, but layers belong to steps from the oldest on.
        lines.reverse();
        let mut current = index.images.get(&image.id).cloned();
        for line in &mut lines {
            let Some(here) = current else { break };
            line.id = here.id.to_string();
            line.tags = index.tags_of(&here.id);
            current = here.parent.and_then(|parent| index.images.get(&parent).cloned());
        }
        lines
    }
}

impl Index {
    pub(super) fn children(&self, id: &ImageId) -> Vec<ImageId> {
        self.images.values().filter(|image| image.parent.as_ref() == Some(id)).map(|image| image.id).collect()
    }

    pub(super) fn size_of(&self, config: &ImageConfig) -> Result<u64> {
        config.rootfs.diff_ids.iter().try_fold(0, |sum, diff_id| match self.layers.get(diff_id) {
            Some(layer) => Ok(sum + layer.size),
            None => Err(ImageError::NotFound(format!("layer {diff_id} is missing"))),
        })
    }
}
