//! The image store below the data root: what is on disk, and the index of it in memory.
//!
//! ```text
//! blobs/HEX          compressed layers as a registry or archive gave them (a push sends these bytes again)
//! l/NAME/            unpacked layers, overlay-ready; NAME is short, for overlay's one-page option string
//! layers/HEX.json    what is known of a layer, by the digest of its uncompressed tar
//! layers/HEX.split   its tar without the file contents, when no blob is kept (see `archive::split`)
//! images/HEX.json    image configurations, byte for byte; HEX.meta beside it is ours
//! references.json    names and digests → image
//! rw/ID/             containers' writable layers
//! unsynced/HEX       layers a power cut could damage still
//! tmp/               work in progress; emptied at start, so a killed process leaves no half image
//! ```
//!
//! Every change reaches the disk before the index, images last; what an interrupted operation left is not
//! reachable and goes at the next start. Calls block on the disk: use a blocking thread. One process per root.

mod blobs;
mod collect;
mod images;
mod layers;
mod lookup;
mod recover;
mod references;
mod remove;
mod unpack;
mod writable;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use blobs::BlobInfo;
pub(crate) use blobs::BlobWriter;
pub use images::{HistoryLine, Image};
pub use layers::{Layer, LayerHold};
pub(crate) use layers::{LayerFacts, LayerWriter};
pub use remove::{Removed, Usage, UsedBy, chain_ids};
pub use writable::{Change, ChangeKind, Writable};

use crate::digest::{DiffId, Digest, ImageId};
use crate::error::{ImageError, Result};
use crate::reference::Reference;

/// The store. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    index: Mutex<Index>,
    next_name: AtomicU64,
    next_temporary: AtomicU64,
    /// Writable layers being made just now.
    creating: AtomicU64,
    syncer: layers::Syncer,
}

#[derive(Default)]
struct Index {
    images: HashMap<ImageId, Arc<Image>>,
    references: BTreeMap<Reference, ImageId>,
    layers: HashMap<DiffId, Arc<Layer>>,
    /// Layers in use by something that is no image yet (or no longer): running pulls and builds.
    holds: HashMap<DiffId, usize>,
    writables: HashMap<String, Arc<Writable>>,
    /// Folders of mount points made for a stack of layers since the start.
    inits: HashMap<Vec<DiffId>, String>,
}

impl Store {
    /// Opens or makes the store below `root`, and clears away what an interrupted process left.
    pub fn open(root: &Path) -> Result<Self> {
        for folder in ["blobs", "l", "layers", "images", "rw", "unsynced"] {
            let path = root.join(folder);
            // Layers hold setuid programs: other users of the host must not get at them.
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(ImageError::file("create", &path))?;
        }
        recover::empty_temporary(root)?;
        let (index, next_name) = recover::read_index(root)?;
        let inner = Inner {
            root: root.to_owned(),
            index: Mutex::new(index),
            next_name: AtomicU64::new(next_name),
            next_temporary: AtomicU64::new(0),
            creating: AtomicU64::new(0),
            syncer: layers::Syncer::default(),
        };
        let store = Self { inner: Arc::new(inner) };
        store.collect();
        store.sync_later();
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.inner.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn path(&self, folder: &str, name: &str) -> PathBuf {
        self.inner.root.join(folder).join(name)
    }

    /// A fresh name in `tmp/`; the caller makes the file or folder, and whatever is there dies with the process.
    pub(crate) fn temporary(&self) -> PathBuf {
        let number = self.inner.next_temporary.fetch_add(1, Ordering::Relaxed);
        self.path("tmp", &number.to_string())
    }

    /// `tmp/` itself.
    pub(crate) fn temporary_folder(&self) -> PathBuf {
        self.inner.root.join("tmp")
    }

    /// Where a kept blob is.
    pub(crate) fn blob_path(&self, blob: &Digest) -> PathBuf {
        self.blob_file(blob)
    }

    fn layer_file(&self, layer: &DiffId, extension: &str) -> PathBuf {
        self.path("layers", &format!("{}.{extension}", layer.hex()))
    }

    fn blob_file(&self, blob: &Digest) -> PathBuf {
        self.path("blobs", &blob.hex())
    }
}

#[cfg(test)]
mod tests;
