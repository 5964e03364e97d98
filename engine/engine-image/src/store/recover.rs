//! Reading the store at start. Anything damaged or incomplete is left out, and said.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use super::images::ImageMeta;
use super::layers::boot_id;
use super::{Image, Index, Layer, collect, writable};
use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest, ImageId};
use crate::error::{ImageError, Result};
use crate::reference::Reference;

/// Makes `tmp/` an empty folder; old content is deleted in the background.
pub(super) fn empty_temporary(root: &Path) -> Result<()> {
    let folder = root.join("tmp");
    let mut number = 0;
    let aside = loop {
        let aside = root.join(format!("tmp.old.{number}"));
        if !aside.exists() {
            break aside;
        }
        number += 1;
    };
    for stale in (0..number).map(|number| root.join(format!("tmp.old.{number}"))) {
        super::layers::remove_in_background(stale);
    }
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none()) {
        // Another folder in its place would take room, of which a full disk has none.
        return Ok(());
    }
    collect::empty_in_background(&folder, &aside).map_err(ImageError::file("empty", &folder))?;
    fs::DirBuilder::new().mode(0o700).create(&folder).map_err(ImageError::file("create", &folder))
}

/// The index as the files tell it, and the first free number for a layer's name.
pub(super) fn read_index(root: &Path) -> Result<(Index, u64)> {
    let layers = read_layers(root)?;
    let images = read_images(root, &layers)?;
    let mut references = read_references(root)?;
    references.retain(|reference, id| {
        let there = images.contains_key(id);
        if !there {
            tracing::warn!(%reference, image = %id, "a reference points at an image that is gone");
        }
        there
    });
    let writables = writable::read_all(root)?;
    let next = names(root)?.into_iter().filter_map(|name| u64::from_str_radix(&name, 36).ok()).max();
    let index = Index { images, references, layers, holds: HashMap::new(), writables, inits: HashMap::new() };
    Ok((index, next.map_or(0, |last| last + 1)))
}

fn read_layers(root: &Path) -> Result<HashMap<DiffId, Arc<Layer>>> {
    let damaged = damaged(root)?;
    let mut layers = HashMap::new();
    for (hex, path) in files_with(root, "layers", "json")? {
        let Some(layer) = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Layer>(&bytes).ok())
        else {
            tracing::warn!(path = %path.display(), "a layer's record cannot be read; the layer is dropped");
            continue;
        };
        let whole = layer.diff_id.hex() == hex
            && root.join("l").join(&layer.name).is_dir()
            && layer.blob.as_ref().is_none_or(|blob| root.join("blobs").join(blob.digest.hex()).is_file());
        if !whole || damaged.contains(&hex) {
            tracing::warn!(layer = %layer.diff_id, "a layer was not completely written; it is dropped");
            continue;
        }
        layers.insert(layer.diff_id, Arc::new(layer));
    }
    Ok(layers)
}

/// Layers written before the last power cut and not synced by then.
fn damaged(root: &Path) -> Result<HashSet<String>> {
    let boot = boot_id();
    let folder = root.join("unsynced");
    let mut damaged = HashSet::new();
    for name in list(&folder)? {
        if fs::read_to_string(folder.join(&name)).is_ok_and(|marker| marker != boot) {
            damaged.insert(name);
        }
    }
    Ok(damaged)
}

fn read_images(root: &Path, layers: &HashMap<DiffId, Arc<Layer>>) -> Result<HashMap<ImageId, Arc<Image>>> {
    let mut images = HashMap::new();
    for (hex, path) in files_with(root, "images", "json")? {
        let raw = fs::read(&path).map_err(ImageError::file("read", &path))?;
        let id = Digest::of(&raw);
        let Some(config) = serde_json::from_slice::<ImageConfig>(&raw).ok().filter(|_| id.hex() == hex)
        else {
            tracing::warn!(path = %path.display(), "an image's configuration is damaged; the image is dropped");
            continue;
        };
        let sizes: Option<Vec<u64>> = config
            .rootfs
            .diff_ids
            .iter()
            .map(|diff_id| layers.get(diff_id).map(|layer| layer.size))
            .collect();
        let Some(sizes) = sizes else {
            tracing::warn!(image = %id, "an image lacks a layer; it is dropped");
            continue;
        };
        let meta: ImageMeta = fs::read(path.with_extension("meta"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let image = Image {
            id,
            raw,
            config,
            parent: meta.parent,
            last_tagged: meta.last_tagged,
            size: sizes.iter().sum(),
        };
        images.insert(id, Arc::new(image));
    }
    Ok(images)
}

fn read_references(root: &Path) -> Result<BTreeMap<Reference, ImageId>> {
    let path = root.join("references.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(ImageError::file("read", path)(error)),
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        ImageError::Invalid(format!(
            "{} cannot be read: {error}; move it away to start without names",
            path.display()
        ))
    })
}

fn files_with(root: &Path, folder: &str, extension: &str) -> Result<Vec<(String, std::path::PathBuf)>> {
    let folder = root.join(folder);
    let names = list(&folder)?;
    let matching = names.into_iter().filter_map(|name| {
        let (stem, found) = name.split_once('.')?;
        (found == extension).then(|| (stem.to_owned(), folder.join(&name)))
    });
    Ok(matching.collect())
}

fn names(root: &Path) -> Result<Vec<String>> {
    list(&root.join("l"))
}

pub(super) fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(ImageError::file("read", folder))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
