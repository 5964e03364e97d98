//! Garbage: layers and blobs that no image, writable layer or running operation needs.

use std::collections::HashSet;
use std::fs;

use super::{Index, Store, layers};
use crate::digest::{DiffId, Digest};
use crate::files;

impl Store {
    /// Removes these layers if nothing needs them any more.
    pub(super) fn collect_layers(&self, candidates: &[DiffId]) {
        let mut index = self.index();
        let needed = index.layers_in_use(candidates);
        let gone: Vec<_> = candidates
            .iter()
            .filter(|diff_id| !needed.contains(*diff_id))
            .filter_map(|diff_id| index.layers.remove(diff_id))
            .collect();
        let kept_blobs: HashSet<Digest> = if gone.is_empty() { HashSet::new() } else { index.blobs() };
        // Records and folders go under the lock, so that a twin coming in now finds all of it or nothing.
        for layer in gone {
            for extension in ["json", "split"] {
                self.remove_file(&self.layer_file(&layer.diff_id, extension));
            }
            self.remove_file(&self.path("unsynced", &layer.diff_id.hex()));
            if let Some(blob) = &layer.blob
                && !kept_blobs.contains(&blob.digest)
            {
                self.remove_file(&self.blob_file(&blob.digest));
            }
            self.discard(&self.layer_dir(&layer));
        }
    }

    /// Removes everything on disk that the index does not know: what an interrupted process left.
    pub(super) fn collect(&self) {
        let everything: Vec<DiffId> = self.index().layers.keys().copied().collect();
        self.collect_layers(&everything);
        let index = self.index();
        let names: HashSet<String> = index.layers.values().map(|layer| layer.name.clone()).collect();
        let inits: HashSet<String> = index.writables.values().map(|writable| writable.init.clone()).collect();
        let records: HashSet<String> = index.layers.keys().map(Digest::hex).collect();
        let blobs: HashSet<String> = index.blobs().iter().map(Digest::hex).collect();
        let images: HashSet<String> = index.images.keys().map(Digest::hex).collect();
        let writables: HashSet<String> = index.writables.keys().cloned().collect();
        drop(index);
        self.sweep("l", |name| names.contains(name) || inits.contains(name));
        self.sweep("layers", |name| name.split('.').next().is_some_and(|hex| records.contains(hex)));
        self.sweep("images", |name| name.split('.').next().is_some_and(|hex| images.contains(hex)));
        self.sweep("unsynced", |name| records.contains(name));
        self.sweep("blobs", |name| blobs.contains(name));
        self.sweep("rw", |name| writables.contains(name));
    }

    fn sweep(&self, folder: &str, keep: impl Fn(&str) -> bool) {
        let Ok(entries) = fs::read_dir(self.inner.root.join(folder)) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let known = name.to_str().is_some_and(|name| keep(name) && !name.ends_with(".new"));
            if known {
                continue;
            }
            tracing::info!(path = %entry.path().display(), "removing what an interrupted operation left");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.discard(&entry.path());
            } else {
                self.remove_file(&entry.path());
            }
        }
    }

    fn remove_file(&self, path: &std::path::Path) {
        if let Err(error) = files::remove_if_there(path) {
            tracing::warn!(path = %path.display(), %error, "could not remove a file");
        }
    }
}

impl Index {
    fn layers_in_use(&self, candidates: &[DiffId]) -> HashSet<DiffId> {
        let wanted: HashSet<&DiffId> = candidates.iter().collect();
        let images = self.images.values().flat_map(|image| &image.config.rootfs.diff_ids);
        let writables = self.writables.values().flat_map(|writable| &writable.layers);
        let held = self.holds.keys();
        images.chain(writables).chain(held).filter(|diff_id| wanted.contains(diff_id)).copied().collect()
    }

    fn blobs(&self) -> HashSet<Digest> {
        self.layers.values().filter_map(|layer| layer.blob.as_ref()).map(|blob| blob.digest).collect()
    }
}

/// Empties a folder by moving it away and deleting behind the caller's back.
pub(super) fn empty_in_background(folder: &std::path::Path, aside: &std::path::Path) -> std::io::Result<()> {
    match fs::rename(folder, aside) {
        Ok(()) => layers::remove_in_background(aside.to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
