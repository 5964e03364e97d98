//! OCI image layouts inside archives, and the media types of the two worlds.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::load::Parts;
use crate::digest::{Digest, ImageId};
use crate::error::{ImageError, Result};
use crate::event::Sink;
use crate::reference::Reference;
use crate::store::Store;

pub(crate) const LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    platform: Option<crate::platform::Platform>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl Store {
    pub(super) fn load_layout(&self, parts: &Parts, quiet: bool, sink: &dyn Sink) -> Result<Vec<ImageId>> {
        let index: Index = read(parts, Path::new("index.json"))?;
        let mut loaded = Vec::new();
        for descriptor in &index.manifests {
            let names = names_of(descriptor);
            if let Some(id) = self.load_manifest(descriptor, parts, quiet, sink, 0)? {
                self.tag_loaded(&id, &names, sink)?;
                loaded.push(id);
            }
        }
        if loaded.is_empty() {
            return Err(ImageError::Invalid("no image of the archive fits this machine's platform".into()));
        }
        Ok(loaded)
    }

    fn load_manifest(
        &self,
        descriptor: &Descriptor,
        parts: &Parts,
        quiet: bool,
        sink: &dyn Sink,
        depth: u32,
    ) -> Result<Option<ImageId>> {
        let wanted = crate::platform::Platform::here();
        if descriptor.platform.as_ref().is_some_and(|platform| !wanted.runs(platform)) || depth > 4 {
            return Ok(None);
        }
        let path = blob_path(&descriptor.digest);
        if descriptor.media_type.ends_with("index.v1+json")
            || descriptor.media_type.ends_with("manifest.list.v2+json")
        {
            let nested: Index = read(parts, &path)?;
            for descriptor in &nested.manifests {
                if let Some(id) = self.load_manifest(descriptor, parts, quiet, sink, depth + 1)? {
                    return Ok(Some(id));
                }
            }
            return Ok(None);
        }
        let manifest: Manifest = read(parts, &path)?;
        let config = parts.json_of(&blob_path(&manifest.config.digest))?;
        let layers: Vec<PathBuf> = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
        self.add_loaded(config, &layers, parts, quiet, sink).map(Some)
    }
}

fn names_of(descriptor: &Descriptor) -> Vec<String> {
    let annotation = |key: &str| descriptor.annotations.get(key);
    let full = annotation("io.containerd.image.name");
    let short = annotation("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':']));
    full.or(short).filter(|name| Reference::parse(name).is_ok()).cloned().into_iter().collect()
}

fn read<T: serde::de::DeserializeOwned>(parts: &Parts, path: &Path) -> Result<T> {
    let bytes = parts.json_of(path)?;
    if let Some(digest) = blob_digest(path) {
        let found = Digest::of(bytes);
        if found != digest {
            let what = path.display().to_string();
            return Err(ImageError::Mismatch { what, expected: digest, found });
        }
    }
    serde_json::from_slice(bytes).map_err(|error| {
        ImageError::Invalid(format!("{} of the archive cannot be read: {error}", path.display()))
    })
}

fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

/// The digest a member's name promises.
pub(super) fn blob_digest(name: &Path) -> Option<Digest> {
    let hex = name.strip_prefix("blobs/sha256").ok()?.to_str()?;
    Digest::from_hex(hex).ok()
}
