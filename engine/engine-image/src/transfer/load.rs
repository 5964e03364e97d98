//! `docker load`: archives of `docker save` (with `manifest.json`), and OCI layouts.
//!
//! The stream is read once: layers are unpacked as they pass, before the manifest at the end says what they are
//! for, and held until then. What no image of the archive uses goes again.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::oci;
use crate::archive::{self, Kind, NoWatch, Reader};
use crate::config::ImageConfig;
use crate::digest::{Digest, ImageId};
use crate::dirfd;
use crate::error::{ImageError, Result};
use crate::event::{Event, Sink};
use crate::reference::Reference;
use crate::store::{LayerHold, Store};

/// Largest JSON member taken.
const LARGEST_JSON: u64 = 8 << 20;
/// All JSON members together.
const LARGEST_SUM: usize = 64 << 20;

/// What passed so far.
#[derive(Default)]
pub(super) struct Parts {
    /// JSON members by cleaned name.
    pub json: HashMap<PathBuf, Vec<u8>>,
    /// Layers by cleaned name.
    pub layers: HashMap<PathBuf, LayerHold>,
    /// Links: old archives name a repeated layer by one.
    pub links: HashMap<PathBuf, PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestItem {
    config: PathBuf,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<PathBuf>>,
    #[serde(default)]
    parent: Option<String>,
}

impl Store {
    /// Loads every image of an archive. Events: a bar per layer unless `quiet`, then `Loaded image: …`.
    pub fn load(&self, archive: impl BufRead + Send, quiet: bool, sink: &dyn Sink) -> Result<Vec<ImageId>> {
        let (_, archive) =
            archive::decompress(archive).map_err(ImageError::stream("could not read the archive"))?;
        let mut parts = Parts::default();
        let mut reader = Reader::new(archive, NoWatch);
        let failed = || ImageError::stream("could not read the archive");
        let mut sum = 0;
        while let Some(entry) = reader.next_entry().map_err(failed())? {
            let name = dirfd::clean(Path::new(std::ffi::OsStr::from_bytes(&entry.path)));
            match entry.kind {
                Kind::Symlink => {
                    let target = Path::new(std::ffi::OsStr::from_bytes(&entry.link));
                    let target = dirfd::clean(&name.parent().unwrap_or(Path::new("")).join(target));
                    parts.links.insert(name, target);
                }
                Kind::HardLink => {
                    let target = dirfd::clean(Path::new(std::ffi::OsStr::from_bytes(&entry.link)));
                    parts.links.insert(name, target);
                }
                Kind::File => self.take_member(name, &mut reader, &mut parts, &mut sum)?,
                _ => {}
            }
        }
        reader.finish().map_err(failed())?;
        self.assemble_images(&parts, quiet, sink)
    }

    fn take_member<R: BufRead + Send>(
        &self,
        name: PathBuf,
        reader: &mut Reader<R, NoWatch>,
        parts: &mut Parts,
        sum: &mut usize,
    ) -> Result<()> {
        let size = reader.content_left();
        if let Some(hold) = oci::blob_digest(&name).and_then(|digest| self.hold_layer(&digest)) {
            parts.layers.insert(name, hold);
            return Ok(());
        }
        let mut content = reader.content_stream();
        let failed = || ImageError::stream("could not read the archive");
        let start = content.fill_buf().map_err(failed())?;
        if looks_like_json(&name, start, size) {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(failed())?;
            *sum += bytes.len();
            if *sum > LARGEST_SUM {
                return Err(ImageError::Invalid("the archive's descriptions are too large".into()));
            }
            parts.json.insert(name, bytes);
        } else if size > 0 && looks_like_layer(&name) {
            let expected = oci::blob_digest(&name);
            let hold = self.take_layer(content, oci::LAYER_GZIP, expected.as_ref(), None)?;
            parts.layers.insert(name, hold);
        }
        Ok(())
    }

    fn assemble_images(&self, parts: &Parts, quiet: bool, sink: &dyn Sink) -> Result<Vec<ImageId>> {
        if let Some(manifest) = parts.json.get(Path::new("manifest.json")) {
            let items: Vec<ManifestItem> = serde_json::from_slice(manifest).map_err(|error| {
                ImageError::Invalid(format!("manifest.json of the archive cannot be read: {error}"))
            })?;
            return items.iter().map(|item| self.add_item(item, parts, quiet, sink)).collect();
        }
        if parts.json.contains_key(Path::new("index.json")) {
            return self.load_layout(parts, quiet, sink);
        }
        if parts.json.contains_key(Path::new("repositories")) {
            return Err(ImageError::Invalid(
                "the archive is of Docker before 1.10 (no manifest.json); load and save it once with Docker"
                    .into(),
            ));
        }
        Err(ImageError::Invalid(
            "the archive is no image: neither manifest.json nor index.json is in it".into(),
        ))
    }

    fn add_item(&self, item: &ManifestItem, parts: &Parts, quiet: bool, sink: &dyn Sink) -> Result<ImageId> {
        let config = parts.json_of(&item.config)?;
        let layers = item.layers.as_deref().unwrap_or_default();
        let id = self.add_loaded(config, layers, parts, quiet, sink)?;
        if let Some(parent) = item.parent.as_deref().and_then(|parent| parent.parse::<Digest>().ok()) {
            self.set_parent(&id, &parent)?;
        }
        let tags = item.repo_tags.as_deref().unwrap_or_default();
        self.tag_loaded(&id, tags, sink)?;
        Ok(id)
    }

    /// Enters an image of which configuration and layers passed by.
    pub(super) fn add_loaded(
        &self,
        config: &[u8],
        layers: &[PathBuf],
        parts: &Parts,
        quiet: bool,
        sink: &dyn Sink,
    ) -> Result<ImageId> {
        let parsed: ImageConfig = serde_json::from_slice(config).map_err(|error| {
            ImageError::Invalid(format!("an image's configuration cannot be read: {error}"))
        })?;
        let expected = &parsed.rootfs.diff_ids;
        if expected.len() != layers.len() {
            return Err(ImageError::Invalid(format!(
                "invalid manifest, layers length mismatch: expected {}, got {}",
                expected.len(),
                layers.len()
            )));
        }
        for (at, (expected, name)) in expected.iter().zip(layers).enumerate() {
            let hold = parts.layer_of(name)?;
            if hold.diff_id() != expected {
                return Err(ImageError::Invalid(format!(
                    "invalid diffID for layer {at}: expected \"{expected}\", got \"{}\"",
                    hold.diff_id()
                )));
            }
            if !quiet {
                let size = hold.layer().tar_size;
                let id = Some(expected.short());
                sink.event(Event::Progress { id, status: "Loading layer", current: size, total: size });
            }
        }
        Ok(self.add_image(config.to_vec(), None)?.id)
    }

    pub(super) fn tag_loaded(&self, id: &ImageId, tags: &[String], sink: &dyn Sink) -> Result<()> {
        for tag in tags {
            let reference = Reference::parse(tag)?.with_default_tag();
            if let Some(old) = self.resolve(&reference).filter(|old| old != id) {
                let line = format!(
                    "The image {reference} already exists, renaming the old one with ID {old} to empty string\n"
                );
                sink.event(Event::stream(line));
            }
            self.tag(id, &reference)?;
            sink.event(Event::stream(format!("Loaded image: {reference}\n")));
        }
        if tags.is_empty() {
            sink.event(Event::stream(format!("Loaded image ID: {id}\n")));
        }
        Ok(())
    }
}

impl Parts {
    pub(super) fn json_of(&self, name: &Path) -> Result<&[u8]> {
        let name = dirfd::clean(name);
        let found = self.json.get(&name).map(Vec::as_slice);
        found.ok_or_else(|| ImageError::Invalid(format!("{} is missing in the archive", name.display())))
    }

    fn layer_of(&self, name: &Path) -> Result<&LayerHold> {
        let mut name = dirfd::clean(name);
        for _ in 0..8 {
            if let Some(hold) = self.layers.get(&name) {
                return Ok(hold);
            }
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        Err(ImageError::Invalid(format!("layer {} is missing in the archive", name.display())))
    }
}

fn looks_like_json(name: &Path, start: &[u8], size: u64) -> bool {
    let is_tar = start.len() > 262 && &start[257..262] == b"ustar";
    let brace =
        start.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| matches!(byte, b'{' | b'['));
    let named =
        name.extension().is_some_and(|extension| extension == "json") || name.ends_with("repositories");
    size <= LARGEST_JSON && !is_tar && (brace || named)
}

/// `ID/VERSION`, `oci-layout` and the like are no layers.
fn looks_like_layer(name: &Path) -> bool {
    oci::blob_digest(name).is_some()
        || name.extension().is_some_and(|extension| extension == "tar" || extension == "gz")
}
