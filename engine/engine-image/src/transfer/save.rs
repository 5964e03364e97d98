//! `docker save`: the archive Docker 20.10 writes, which every version reads: `manifest.json`, `repositories`,
//! and a folder per layer in the form of old.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::Arc;

use serde_json::json;

use crate::archive::{Entry, Kind, Writer};
use crate::config::unix_seconds;
use crate::digest::{DiffId, Digest, ImageId};
use crate::error::{ImageError, Result};
use crate::reference::Reference;
use crate::store::{Image, Layer, Store, chain_ids};

/// One image to be written, with the names to write for it.
pub struct SaveItem {
    image: Arc<Image>,
    references: BTreeSet<Reference>,
}

/// What goes into a folder named by `id`.
struct LegacyLayer {
    id: String,
    json: Vec<u8>,
    diff_id: DiffId,
}

impl Store {
    /// Finds what `names` mean: a repository (all its tags), a reference, or an ID (without names).
    /// Separate from [`Store::save`] so that a bad name can still be answered with a status.
    pub fn plan_save(&self, names: &[String]) -> Result<Vec<SaveItem>> {
        let mut order: Vec<ImageId> = Vec::new();
        let mut found: HashMap<ImageId, SaveItem> = HashMap::new();
        for name in names {
            for (image, reference) in self.named(name)? {
                if !found.contains_key(&image.id) {
                    order.push(image.id);
                }
                let id = image.id;
                let item = found.entry(id).or_insert_with(|| SaveItem { image, references: BTreeSet::new() });
                item.references.extend(reference);
            }
        }
        Ok(order.iter().filter_map(|id| found.remove(id)).collect())
    }

    fn named(&self, name: &str) -> Result<Vec<(Arc<Image>, Option<Reference>)>> {
        if let Ok(reference) = Reference::parse(name) {
            let matching: Vec<_> = self
                .references()
                .into_iter()
                .filter(|(known, _)| match reference.is_name_only() {
                    true => known.name() == reference.name() && known.tag().is_some(),
                    false => *known == reference,
                })
                .filter_map(|(known, id)| Some((self.image(&id)?, known.tag().is_some().then_some(known))))
                .collect();
            if !matching.is_empty() {
                return Ok(matching);
            }
        }
        // Here the name is told as it was given.
        let found = self.lookup(name).map_err(|error| match error {
            ImageError::NoSuchImage(_) => ImageError::NoSuchImage(name.to_owned()),
            other => other,
        })?;
        Ok(vec![(found, None)])
    }

    /// Writes the archive.
    pub fn save(&self, items: &[SaveItem], out: &mut impl Write) -> Result<()> {
        let mut saver =
            Saver { store: self, out: Writer::new(out), written: HashMap::new(), folders: BTreeSet::new() };
        let mut manifest = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for item in items {
            let top = saver.image(&item.image)?;
            let tags: Vec<String> = item.references.iter().map(ToString::to_string).collect();
            let layers: Vec<String> = top.iter().map(|layer| format!("{}/layer.tar", layer.id)).collect();
            for reference in &item.references {
                if let (Some(tag), Some(last)) = (reference.tag(), top.last()) {
                    let tags = repositories.entry(reference.familiar_name()).or_default();
                    tags.insert(tag.to_owned(), last.id.clone());
                }
            }
            let repo_tags = if tags.is_empty() { serde_json::Value::Null } else { json!(tags) };
            manifest.push(json!({
                "Config": format!("{}.json", item.image.id.hex()),
                "RepoTags": repo_tags,
                "Layers": layers,
            }));
        }
        saver.file("manifest.json", &line(&json!(manifest)), 0)?;
        if !repositories.is_empty() {
            saver.file("repositories", &line(&json!(repositories)), 0)?;
        }
        saver.out.finish().map_err(ImageError::stream("could not write the archive"))?;
        Ok(())
    }
}

struct Saver<'a, W: Write> {
    store: &'a Store,
    out: Writer<W>,
    /// Layers written, by content: a repeated one becomes a link.
    written: HashMap<DiffId, String>,
    folders: BTreeSet<String>,
}

impl<W: Write> Saver<'_, W> {
    fn image(&mut self, image: &Image) -> Result<Vec<LegacyLayer>> {
        let time = unix_seconds(&image.config.created).max(0);
        let layers = legacy_layers(image);
        for legacy in &layers {
            if !self.folders.insert(legacy.id.clone()) {
                continue;
            }
            let layer = self.store.layer(&legacy.diff_id);
            let layer =
                layer.ok_or_else(|| ImageError::NotFound(format!("layer {} is missing", legacy.diff_id)))?;
            self.folder(&legacy.id, time)?;
            self.file(&format!("{}/VERSION", legacy.id), b"1.0", time)?;
            self.file(&format!("{}/json", legacy.id), &legacy.json, time)?;
            self.layer(legacy, &layer, time)?;
        }
        let name = format!("{}.json", image.id.hex());
        if self.folders.insert(name.clone()) {
            self.file(&name, &image.raw, time)?;
        }
        Ok(layers)
    }

    fn folder(&mut self, name: &str, time: i64) -> Result<()> {
        let mut entry = Entry::new(format!("{name}/"), Kind::Folder, 0o755);
        entry.mtime = time;
        self.out.entry(&entry).map_err(ImageError::stream("could not write the archive"))
    }

    fn file(&mut self, name: &str, content: &[u8], time: i64) -> Result<()> {
        let mut entry = Entry::new(name, Kind::File, 0o644);
        entry.mtime = time;
        self.out.file(&entry, content).map_err(ImageError::stream("could not write the archive"))
    }

    fn layer(&mut self, legacy: &LegacyLayer, layer: &Layer, time: i64) -> Result<()> {
        let name = format!("{}/layer.tar", legacy.id);
        let failed = ImageError::stream("could not write the archive");
        let mut entry = Entry::new(name, Kind::File, 0o644);
        entry.mtime = time;
        if let Some(first) = self.written.get(&layer.diff_id) {
            entry.kind = Kind::Symlink;
            entry.mode = 0o777;
            entry.link = format!("../{first}/layer.tar").into_bytes();
            return self.out.entry(&entry).map_err(failed);
        }
        entry.size = layer.tar_size;
        self.out.entry(&entry).map_err(failed)?;
        self.store.write_layer_tar(layer, &mut self.out)?;
        self.written.insert(layer.diff_id, legacy.id.clone());
        Ok(())
    }
}

/// The image as the stack of one-layer images that Docker before 1.10 knew. IDs are stable for equal content.
fn legacy_layers(image: &Image) -> Vec<LegacyLayer> {
    let diff_ids = &image.config.rootfs.diff_ids;
    let mut layers: Vec<LegacyLayer> = Vec::with_capacity(diff_ids.len());
    for (at, (diff_id, chain)) in diff_ids.iter().zip(chain_ids(diff_ids)).enumerate() {
        let is_top = at + 1 == diff_ids.len();
        let parent = layers.last().map(|layer| layer.id.clone());
        let mut value = if is_top {
            serde_json::from_slice(&image.raw).unwrap_or_else(|_| json!({}))
        } else {
            json!({"created": "1970-01-01T00:00:00Z", "container_config": crate::config::RunConfig::default()})
        };
        if let Some(map) = value.as_object_mut() {
            map.remove("history");
            map.remove("rootfs");
            map.insert(
                "os".into(),
                json!(if image.config.os.is_empty() { "linux" } else { &image.config.os }),
            );
            if let Some(parent) = &parent {
                map.insert("parent".into(), json!(parent));
            }
        }
        let id = Digest::of(format!("{chain} {value}").as_bytes()).hex();
        if let Some(map) = value.as_object_mut() {
            map.insert("id".into(), json!(id));
        }
        layers.push(LegacyLayer { id, json: value.to_string().into_bytes(), diff_id: *diff_id });
    }
    layers
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}
