//! Unpacked layers: made in `tmp/`, renamed to their place, held by whoever works with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::{BlobInfo, BlobWriter, Store};
use crate::digest::DiffId;
use crate::error::{ImageError, Result};
use crate::files;

/// One unpacked layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    pub diff_id: DiffId,
    /// Folder below `l/`.
    pub name: String,
    /// Bytes of its files, as `docker images` counts them.
    pub size: u64,
    /// Bytes of its uncompressed tar.
    pub tar_size: u64,
    /// The compressed form it came in, when that is kept in `blobs/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BlobInfo>,
    /// The compressed form a push made of it; the bytes are made again when needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<BlobInfo>,
    /// Repositories (canonical names) known to hold `blob` or `pushed`: candidates for a mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen_in: Vec<String>,
}

/// A layer being made: a folder to fill. Dropped unfinished, it leaves nothing.
pub(crate) struct LayerWriter {
    store: Store,
    path: Option<PathBuf>,
}

/// Keeps a layer from being collected while something is built on it.
pub struct LayerHold {
    store: Store,
    layer: Arc<Layer>,
}

/// What is known of a finished layer.
pub(crate) struct LayerFacts {
    pub diff_id: DiffId,
    pub size: u64,
    pub tar_size: u64,
    pub blob: Option<(BlobWriter, String)>,
    /// Encoded split; required when there is no blob.
    pub split: Option<Vec<u8>>,
}

impl Store {
    /// A new empty layer folder.
    pub(crate) fn new_layer(&self) -> Result<LayerWriter> {
        let path = self.temporary();
        fs::create_dir(&path).map_err(ImageError::file("create", &path))?;
        Ok(LayerWriter { store: self.clone(), path: Some(path) })
    }

    /// A layer of which the folder exists already (a build step's upper folder).
    pub(crate) fn adopt_layer(&self, folder: PathBuf) -> LayerWriter {
        LayerWriter { store: self.clone(), path: Some(folder) }
    }

    /// The layer, held, if it is here.
    pub fn hold_layer(&self, diff_id: &DiffId) -> Option<LayerHold> {
        let mut index = self.index();
        let layer = index.layers.get(diff_id)?.clone();
        *index.holds.entry(*diff_id).or_default() += 1;
        drop(index);
        Some(LayerHold { store: self.clone(), layer })
    }

    pub fn layer(&self, diff_id: &DiffId) -> Option<Arc<Layer>> {
        self.index().layers.get(diff_id).cloned()
    }

    /// Folder of an unpacked layer.
    pub fn layer_dir(&self, layer: &Layer) -> PathBuf {
        self.path("l", &layer.name)
    }

    /// Changes what is known of a layer (a push learned something).
    pub(crate) fn update_layer(&self, diff_id: &DiffId, change: impl FnOnce(&mut Layer)) -> Result<()> {
        let mut index = self.index();
        let Some(old) = index.layers.get(diff_id) else { return Ok(()) };
        let mut layer = Layer::clone(old);
        change(&mut layer);
        if layer != **old {
            self.write_layer_record(&layer)?;
            index.layers.insert(*diff_id, Arc::new(layer));
        }
        Ok(())
    }

    fn write_layer_record(&self, layer: &Layer) -> Result<()> {
        let path = self.layer_file(&layer.diff_id, "json");
        let bytes = serde_json::to_vec(layer).expect("a layer is a plain value");
        files::replace_lazily(&path, &bytes).map_err(ImageError::file("write", path))
    }

    pub(super) fn next_layer_name(&self) -> String {
        base36(self.inner.next_name.fetch_add(1, Ordering::Relaxed))
    }
}

impl LayerWriter {
    /// The folder to fill.
    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().expect("a layer writer has its folder until it is finished")
    }

    /// The folder, now the caller's.
    pub(crate) fn into_path(mut self) -> PathBuf {
        self.path.take().expect("a layer writer has its folder until it is finished")
    }

    /// Gives the layer its name and place. If the same content is here already, that one is used.
    pub(crate) fn finish(mut self, facts: LayerFacts) -> Result<LayerHold> {
        if let Some(hold) = self.store.hold_layer(&facts.diff_id) {
            return Ok(hold);
        }
        let store = self.store.clone();
        let marker = store.path("unsynced", &facts.diff_id.hex());
        fs::write(&marker, boot_id()).map_err(ImageError::file("write", marker))?;
        if let Some(split) = &facts.split {
            let path = store.layer_file(&facts.diff_id, "split");
            files::replace_lazily(&path, split).map_err(ImageError::file("write", path))?;
        }
        let blob = match facts.blob {
            Some((writer, media_type)) => {
                let size = writer.size();
                Some(BlobInfo { digest: writer.keep(&store)?, size, media_type })
            }
            None => None,
        };
        let layer = Layer {
            diff_id: facts.diff_id,
            name: store.next_layer_name(),
            size: facts.size,
            tar_size: facts.tar_size,
            blob,
            pushed: None,
            seen_in: Vec::new(),
        };
        let place = store.layer_dir(&layer);
        fs::rename(self.path(), &place).map_err(ImageError::file("keep", &place))?;
        self.path = None;
        store.write_layer_record(&layer)?;
        Ok(store.publish(layer))
    }
}

impl Store {
    /// Enters a layer whose files are in place. A twin that was faster wins; ours goes.
    fn publish(&self, layer: Layer) -> LayerHold {
        let mut index = self.index();
        *index.holds.entry(layer.diff_id).or_default() += 1;
        let ours = Arc::new(layer);
        let entry = index.layers.entry(ours.diff_id).or_insert_with(|| ours.clone()).clone();
        drop(index);
        if entry.name != ours.name {
            // The record of the twin was overwritten by ours a moment ago: put it back.
            if let Err(error) = self.write_layer_record(&entry) {
                tracing::warn!(layer = %entry.diff_id, error = %error.report(), "could not write a layer's record");
            }
            self.discard(&self.layer_dir(&ours));
        }
        LayerHold { store: self.clone(), layer: entry }
    }

    /// Takes a folder out of sight at once and deletes it in the background.
    pub(crate) fn discard(&self, folder: &Path) {
        let aside = self.temporary();
        if let Err(error) = fs::rename(folder, &aside) {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(folder = %folder.display(), %error, "could not remove a folder");
            }
            return;
        }
        remove_in_background(aside);
    }
}

/// Deletes a tree on a thread of its own, or here if no thread can be had.
pub(super) fn remove_in_background(folder: PathBuf) {
    let remove = move |folder: &Path| {
        if let Err(error) = fs::remove_dir_all(folder) {
            tracing::warn!(folder = %folder.display(), %error, "could not delete a folder");
        }
    };
    let again = folder.clone();
    let thread = std::thread::Builder::new().name("image-remove".into()).spawn(move || remove(&folder));
    if thread.is_err() {
        remove(&again);
    }
}

impl Drop for LayerWriter {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            remove_in_background(path);
        }
    }
}

impl LayerHold {
    pub fn layer(&self) -> &Arc<Layer> {
        &self.layer
    }

    pub fn diff_id(&self) -> &DiffId {
        &self.layer.diff_id
    }
}

impl Drop for LayerHold {
    fn drop(&mut self) {
        let mut index = self.store.index();
        let Some(count) = index.holds.get_mut(&self.layer.diff_id) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        index.holds.remove(&self.layer.diff_id);
        drop(index);
        self.store.collect_layers(&[self.layer.diff_id]);
    }
}

const SYNC_DELAY: std::time::Duration = std::time::Duration::from_millis(700);

/// One background sync at a time; layers it covers lose their `unsynced` marker.
#[derive(Default)]
pub(super) struct Syncer {
    running: AtomicBool,
    again: AtomicBool,
}

impl Store {
    /// Asks for the layers written so far to be made durable, without waiting for it.
    pub(crate) fn sync_later(&self) {
        let syncer = &self.inner.syncer;
        syncer.again.store(true, Ordering::SeqCst);
        if syncer.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let store = self.clone();
        let spawned = std::thread::Builder::new().name("image-sync".into()).spawn(move || store.sync_loop());
        if spawned.is_err() {
            self.inner.syncer.running.store(false, Ordering::SeqCst);
        }
    }

    fn sync_loop(&self) {
        let syncer = &self.inner.syncer;
        loop {
            while syncer.again.load(Ordering::SeqCst) {
                // Steps of a build come in a row; one sync serves them all.
                std::thread::sleep(SYNC_DELAY);
                syncer.again.store(false, Ordering::SeqCst);
                if let Err(error) = self.sync_now() {
                    tracing::warn!(error = %error.report(), "could not sync the image store");
                }
            }
            syncer.running.store(false, Ordering::SeqCst);
            // A request between the last look and the line above would be lost otherwise.
            if !syncer.again.load(Ordering::SeqCst) || syncer.running.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Makes everything written so far durable.
    pub fn sync_now(&self) -> Result<()> {
        let folder = self.inner.root.join("unsynced");
        let markers: Vec<PathBuf> = fs::read_dir(&folder)
            .map_err(ImageError::file("read", &folder))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        if markers.is_empty() {
            return Ok(());
        }
        let root = fs::File::open(&self.inner.root).map_err(ImageError::file("open", &self.inner.root))?;
        rustix::fs::syncfs(&root)
            .map_err(|error| ImageError::file("sync", &self.inner.root)(error.into()))?;
        for marker in markers {
            files::remove_if_there(&marker).map_err(ImageError::file("remove", marker))?;
        }
        Ok(())
    }
}

/// The kernel's ID of this boot: a marker from another boot means the power went before the sync.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

pub(super) fn base36(mut number: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = Vec::new();
    loop {
        text.push(DIGITS[(number % 36) as usize]);
        number /= 36;
        if number == 0 {
            break;
        }
    }
    text.reverse();
    String::from_utf8(text).expect("base 36 is ASCII")
}
