//! Releases that machines boot, as folders `images/ID/`. `ID` is the version and the first digits
//! of the manifest's digest, so that two builds of one version lie side by side.
//!
//! A release is copied in and checked once. Later uses compare sizes and times only.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostos_api::manifest::{FORMAT, MANIFEST_FILE, Manifest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::file::{sync_dir, temporary_beside, write_atomic};
use crate::{Store, StoreError};

const STAMP: &str = ".verified.json";
const LOCK_LIMIT: Duration = Duration::from_secs(60);

/// A release in the store, checked.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name of its folder.
    pub id: String,
    /// Its folder, absolute.
    pub dir: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
}

/// Why a release cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no release in that folder.
    #[error("there is no image in {}: it has no {MANIFEST_FILE}", .0.display())]
    NoManifest(PathBuf),
    /// The manifest is not readable as one.
    #[error("{} is no manifest of an image", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Written by another version of the builder.
    #[error("{} has format {found}, this rmachine reads format {FORMAT}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// A name in the manifest leads out of the folder, or is missing from the list.
    #[error("{} lists the file name `{name}`, which cannot be", path.display())]
    FileName {
        /// Which manifest.
        path: PathBuf,
        /// Which name.
        name: String,
    },
    /// A file differs from what the manifest says.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// No image of that name.
    #[error("there is no image `{0}` in the store")]
    NoImage(String),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    size: u64,
    modified_s: i64,
    modified_ns: i64,
    inode: u64,
}

impl Image {
    /// The kernel to boot.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(&self.manifest.kernel)
    }

    /// Its initramfs.
    #[must_use]
    pub fn initramfs(&self) -> PathBuf {
        self.dir.join(&self.manifest.initramfs)
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.manifest.files.values().map(|file| file.size).sum()
    }

    /// Brings a release folder into the store, unless it is there, and returns it checked.
    pub fn add(store: &Store, source: &Path) -> Result<Self, ImageError> {
        let (bytes, manifest) = read_manifest(source)?;
        let id = id_of(&manifest, &bytes);
        let dir = store.images().join(&id);
        let _lock = store.lock_images(LOCK_LIMIT)?;
        if !dir.exists() {
            store.make_dir(&store.images())?;
            let temporary = temporary_beside(&dir);
            let result = copy_release(source, &temporary, &manifest, &bytes).and_then(|()| {
                let failed = |source| StoreError::Write { path: dir.clone(), source };
                fs::rename(&temporary, &dir).map_err(failed)?;
                Ok(sync_dir(&store.images()).map_err(failed)?)
            });
            if result.is_err() {
                // Best effort: the error is the one that counts.
                let _ = fs::remove_dir_all(&temporary);
            }
            result?;
        }
        let image = Self { id, dir, manifest };
        image.check_quickly()?;
        Ok(image)
    }

    /// An image of the store by its id, or the newest whose version or id begins so.
    pub fn find(store: &Store, wanted: &str) -> Result<Self, ImageError> {
        let mut all = Self::list(store)?;
        let exact = all.iter().position(|image| image.id == wanted);
        let at = exact.or_else(|| all.iter().rposition(|image| image.id.starts_with(wanted)));
        let image = at.map(|at| all.swap_remove(at)).ok_or_else(|| ImageError::NoImage(wanted.to_owned()))?;
        image.check_quickly()?;
        Ok(image)
    }

    /// The newest image of the store, if there is one.
    pub fn newest(store: &Store) -> Result<Option<Self>, ImageError> {
        Ok(Self::list(store)?.pop())
    }

    /// All images that can be read, oldest first: by version, then by the time they came.
    pub fn list(store: &Store) -> Result<Vec<Self>, ImageError> {
        let entries = match fs::read_dir(store.images()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StoreError::Read { path: store.images(), source }.into()),
        };
        let mut images = Vec::new();
        for entry in entries.flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            if id.starts_with('.') {
                continue;
            }
            if let Ok((_, manifest)) = read_manifest(&entry.path()) {
                let came = entry.metadata().and_then(|metadata| metadata.modified()).ok();
                let version = semver::Version::parse(&manifest.version).ok();
                images.push(((version, came), Self { id, dir: entry.path(), manifest }));
            }
        }
        images.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(images.into_iter().map(|(_, image)| image).collect())
    }

    /// Reads every byte again and compares it with the manifest.
    pub fn verify(&self) -> Result<(), ImageError> {
        // Whatever the outcome, the old verdict no longer counts.
        let _ = fs::remove_file(self.dir.join(STAMP));
        for (name, file) in &self.manifest.files {
            let path = self.dir.join(name);
            let mut hasher = Hasher::default();
            let mut source = open(&path)?;
            io::copy(&mut source, &mut hasher).map_err(|source| read_error(&path, source))?;
            hasher.compare(&path, &file.sha256, file.size)?;
        }
        let stamp = serde_json::to_vec(&self.look()?).expect("a stamp is plain JSON");
        Ok(write_atomic(&self.dir.join(STAMP), &stamp, 0o600)?)
    }

    /// Removes it. The caller knows that no machine needs it.
    pub fn remove(self, store: &Store) -> Result<(), ImageError> {
        let _lock = store.lock_images(LOCK_LIMIT)?;
        Ok(fs::remove_dir_all(&self.dir).map_err(|source| StoreError::Remove { path: self.dir, source })?)
    }

    /// Believes an earlier [`Self::verify`] when no file changed since.
    fn check_quickly(&self) -> Result<(), ImageError> {
        let stamp: Option<BTreeMap<String, Seen>> =
            fs::read(self.dir.join(STAMP)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if stamp.is_some() && stamp == self.look().ok() { Ok(()) } else { self.verify() }
    }

    fn look(&self) -> Result<BTreeMap<String, Seen>, ImageError> {
        let see = |name: &String| {
            let path = self.dir.join(name);
            let metadata = fs::metadata(&path).map_err(|source| read_error(&path, source))?;
            Ok((
                name.clone(),
                Seen {
                    size: metadata.len(),
                    modified_s: metadata.mtime(),
                    modified_ns: metadata.mtime_nsec(),
                    inode: metadata.ino(),
                },
            ))
        };
        self.manifest.files.keys().map(see).collect()
    }
}

fn id_of(manifest: &Manifest, bytes: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(bytes));
    format!("{}-{}", manifest.version, &digest[..8])
}

fn read_manifest(dir: &Path) -> Result<(Vec<u8>, Manifest), ImageError> {
    let path = dir.join(MANIFEST_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ImageError::NoManifest(dir.to_owned()));
        }
        Err(source) => return Err(read_error(&path, source)),
    };
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|source| ImageError::Manifest { path: path.clone(), source })?;
    if manifest.format != FORMAT {
        return Err(ImageError::Format { path, found: manifest.format });
    }
    let plain = |name: &String| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    let listed = |name: &String| manifest.files.contains_key(name);
    let version_is_safe = semver::Version::parse(&manifest.version).is_ok();
    if let Some(name) = manifest.files.keys().find(|name| !plain(name)) {
        return Err(ImageError::FileName { path, name: name.clone() });
    }
    if let Some(name) = [&manifest.kernel, &manifest.initramfs].into_iter().find(|name| !listed(name)) {
        return Err(ImageError::FileName { path, name: name.clone() });
    }
    if !version_is_safe {
        return Err(ImageError::Damaged { path, what: format!("`{}` is no version", manifest.version) });
    }
    Ok((bytes, manifest))
}

fn copy_release(source: &Path, target: &Path, manifest: &Manifest, bytes: &[u8]) -> Result<(), ImageError> {
    let write_error = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Write { path, source }
    };
    fs::create_dir(target).map_err(write_error(target))?;
    for (name, file) in &manifest.files {
        let (from, to) = (source.join(name), target.join(name));
        let mut reader = open(&from)?;
        let mut options = OpenOptions::new();
        let mut copy =
            options.write(true).create_new(true).mode(0o600).open(&to).map_err(write_error(&to))?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = reader.read(&mut buffer).map_err(|source| read_error(&from, source))?;
            if count == 0 {
                break;
            }
            hasher.write_all(&buffer[..count]).expect("hashing does not fail");
            copy.write_all(&buffer[..count]).map_err(write_error(&to))?;
        }
        hasher.compare(&from, &file.sha256, file.size)?;
        copy.sync_all().map_err(write_error(&to))?;
    }
    write_atomic(&target.join(MANIFEST_FILE), bytes, 0o600)?;
    // The copy is what was hashed, so this look is the verdict.
    let image = Image { id: String::new(), dir: target.to_owned(), manifest: manifest.clone() };
    let stamp = serde_json::to_vec(&image.look()?).expect("a stamp is plain JSON");
    Ok(write_atomic(&target.join(STAMP), &stamp, 0o600)?)
}

fn open(path: &Path) -> Result<File, ImageError> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ImageError::Damaged { path: path.to_owned(), what: "it is missing".into() })
        }
        other => other.map_err(|source| read_error(path, source)),
    }
}

fn read_error(path: &Path, source: io::Error) -> ImageError {
    StoreError::Read { path: path.to_owned(), source }.into()
}

#[derive(Default)]
struct Hasher {
    digest: Sha256,
    size: u64,
}

impl Hasher {
    fn compare(self, path: &Path, sha256: &str, size: u64) -> Result<(), ImageError> {
        let found = hex::encode(self.digest.finalize());
        let what = if self.size != size {
            format!("it has {} bytes, its manifest says {size}", self.size)
        } else if found != sha256 {
            format!("its sha256 is {found}, its manifest says {sha256}")
        } else {
            return Ok(());
        };
        Err(ImageError::Damaged { path: path.to_owned(), what })
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(dir: &Path, kernel: &[u8]) {
        let file = |bytes: &[u8]| serde_json::json!({"sha256": hex::encode(Sha256::digest(bytes)), "size": bytes.len()});
        let manifest = serde_json::json!({
            "format": FORMAT, "version": "1.2.3", "flavor": "vm", "kernel_version": "6.1",
            "cmdline": "quiet", "kernel": "vmlinuz", "initramfs": "initrd.zst",
            "files": {"vmlinuz": file(kernel), "initrd.zst": file(b"initrd")},
        });
        fs::create_dir_all(dir).expect("a folder");
        fs::write(dir.join("vmlinuz"), kernel).expect("a kernel");
        fs::write(dir.join("initrd.zst"), b"initrd").expect("an initramfs");
        fs::write(dir.join(MANIFEST_FILE), manifest.to_string()).expect("a manifest");
    }

    #[test]
    fn two_builds_of_one_version_lie_side_by_side() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(&dir.path().join("store")).expect("a store");
        let source = dir.path().join("release");
        release(&source, b"one");
        let one = Image::add(&store, &source).expect("added");
        assert_eq!(Image::add(&store, &source).expect("again").id, one.id);
        release(&source, b"other");
        let other = Image::add(&store, &source).expect("added");
        assert_ne!(one.id, other.id);
        assert_eq!(fs::read(one.kernel()).expect("kept"), b"one");
        assert_eq!(Image::list(&store).expect("list").len(), 2);
        assert_eq!(Image::find(&store, "1.2.3").expect("found").manifest.version, "1.2.3");
        one.remove(&store).expect("removed");
        assert_eq!(Image::newest(&store).expect("list").expect("one is left").id, other.id);
    }

    #[test]
    fn a_damaged_release_is_refused_and_nothing_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(&dir.path().join("store")).expect("a store");
        let source = dir.path().join("release");
        release(&source, b"one");
        fs::write(source.join("vmlinuz"), b"0ne").expect("damaged");
        let error = Image::add(&store, &source).expect_err("damaged");
        assert!(error.to_string().contains("sha256"), "{error}");
        assert_eq!(fs::read_dir(store.images()).expect("list").count(), 0);
    }

    #[test]
    fn damage_after_the_check_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(&dir.path().join("store")).expect("a store");
        let source = dir.path().join("release");
        release(&source, b"one");
        let image = Image::add(&store, &source).expect("added");
        fs::write(image.kernel(), b"two").expect("damaged");
        assert!(Image::find(&store, &image.id).is_err());
        fs::remove_file(image.kernel()).expect("removed");
        let error = Image::find(&store, &image.id).expect_err("missing");
        assert!(error.to_string().contains("vmlinuz"), "{error}");
    }

    #[test]
    fn a_manifest_cannot_lead_out_of_its_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(&dir.path().join("store")).expect("a store");
        release(dir.path(), b"one");
        let path = dir.path().join(MANIFEST_FILE);
        let evil = fs::read_to_string(&path).expect("read").replace("\"vmlinuz\"", "\"../vmlinuz\"");
        fs::write(&path, evil).expect("written");
        assert!(matches!(Image::add(&store, dir.path()), Err(ImageError::FileName { .. })));
        assert!(matches!(Image::add(&store, &dir.path().join("no")), Err(ImageError::NoManifest(_))));
    }
}
