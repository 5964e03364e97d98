//! Containers' writable layers: an upper folder over an image, and what is made of it later.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{LayerHold, Store, recover};
use crate::archive;
use crate::digest::{DiffId, ImageId};
use crate::dirfd;
use crate::error::{ImageError, Result};
use crate::files;
use crate::overlay::{self, Upper};

/// A container's own layer and what lies below it.
///
/// To mount: `lowerdir` = `lowers` joined by `:`, `upperdir` = `upper`, `workdir` = `work`, and
/// `redirect_dir=off,metacopy=off,index=off`, without which a commit could not be read from `upper`.
#[derive(Debug, Clone, PartialEq)]
pub struct Writable {
    pub id: String,
    pub image: Option<ImageId>,
    pub(super) layers: Vec<DiffId>,
    pub(super) init: String,
    /// Topmost first; the first holds the mount points every container needs and counts in no diff.
    pub lowers: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<ImageId>,
    layers: Vec<DiffId>,
    init: String,
    lowers: Vec<String>,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// One line of `docker diff`; the path is absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    pub path: PathBuf,
}

/// Entries each container has for the runtime to mount on, as Docker's init layer makes them.
const MOUNT_POINTS: &[(&str, Point)] = &[
    (".dockerenv", Point::File),
    ("dev/console", Point::File),
    ("dev/pts", Point::Folder),
    ("dev/shm", Point::Folder),
    ("etc/hostname", Point::File),
    ("etc/hosts", Point::File),
    ("etc/mtab", Point::Link("/proc/mounts")),
    ("etc/resolv.conf", Point::File),
    ("proc", Point::Folder),
    ("sys", Point::Folder),
];

/// Folders of mount points kept for stacks that no container has just now.
const MOST_INITS: usize = 64;

#[derive(Clone, Copy)]
enum Point {
    File,
    Folder,
    Link(&'static str),
}

impl Store {
    /// Makes a writable layer over an image (or over nothing). With `durable` a power cut does not undo it.
    pub fn create_writable(&self, id: &str, image: Option<&ImageId>, durable: bool) -> Result<Arc<Writable>> {
        let _creating = Creating::begin(&self.inner.creating);
        let layers = match image {
            None => Vec::new(),
            Some(id) => match self.image(id) {
                Some(image) => image.config.rootfs.diff_ids.clone(),
                None => return Err(ImageError::NoSuchImage(id.to_string())),
            },
        };
        let holds: Vec<LayerHold> = layers.iter().filter_map(|layer| self.hold_layer(layer)).collect();
        if holds.len() != layers.len() {
            return Err(ImageError::NotFound("the image is just being removed".into()));
        }
        let names: Vec<String> = holds.iter().rev().map(|hold| hold.layer().name.clone()).collect();
        let init = self.init_layer(&layers, &names)?;
        let lowers: Vec<String> = std::iter::once(init.clone()).chain(names).collect();
        let folder = self.path("rw", id);
        let make = |name: &str, mode: u32| {
            let path = folder.join(name);
            DirBuilder::new()
                .recursive(name.is_empty())
                .mode(mode)
                .create(&path)
                .map_err(ImageError::file("create", path))
        };
        if folder.join("record.json").exists() {
            return Err(ImageError::Conflict(format!("the writable layer {id} exists already")));
        }
        let record = Record { image: image.copied(), layers, init, lowers };
        let writable = Arc::new(record.into_writable(&self.inner.root, id));
        self.index().writables.insert(id.to_owned(), writable.clone());
        let made = (|| {
            make("", 0o710)?;
            make("diff", 0o755)?;
            make("work", 0o700)?;
            let bytes = serde_json::to_vec(&Record::of(&writable)).expect("plain value");
            let path = folder.join("record.json");
            let write = if durable { files::replace } else { files::replace_lazily };
            write(&path, &bytes).map_err(ImageError::file("write", path))
        })();
        if let Err(error) = made {
            self.remove_writable(id);
            return Err(error);
        }
        Ok(writable)
    }

    pub fn writable(&self, id: &str) -> Option<Arc<Writable>> {
        self.index().writables.get(id).cloned()
    }

    /// What to sync before a layer that was not made durable outlives a power cut: its record and the folders above.
    pub fn writable_files(&self, id: &str) -> [PathBuf; 3] {
        let folder = self.path("rw", id);
        [folder.join("record.json"), folder, self.inner.root.join("rw")]
    }

    /// All writable layers' IDs; what belongs to no container is the caller's to remove.
    pub fn writables(&self) -> Vec<String> {
        self.index().writables.keys().cloned().collect()
    }

    /// Removes a writable layer. It must not be mounted. That it is gone already is fine.
    pub fn remove_writable(&self, id: &str) {
        let Some(writable) = self.index().writables.remove(id) else { return };
        self.discard(&self.path("rw", id));
        self.collect_layers(&writable.layers);
    }

    /// The stack as its container sees it (the writable layer on top), read-only, mounted nowhere.
    /// For a container that runs use the runtime's own mount: overlay does not promise to show later changes here.
    pub fn view(&self, writable: &Writable) -> Result<OwnedFd> {
        let mut folders = vec![writable.upper.clone()];
        folders.extend(writable.lowers.iter().cloned());
        overlay::mount_detached(&folders, None, &self.temporary())
            .map_err(ImageError::file("look into", &writable.upper))
    }

    /// The stack with its upper folder writable. Only while the container does not run.
    pub fn view_writable(&self, writable: &Writable) -> Result<OwnedFd> {
        let upper = Upper { upper: &writable.upper, work: &writable.work };
        overlay::mount_detached(&writable.lowers, Some(upper), &self.temporary())
            .map_err(ImageError::file("mount", &writable.upper))
    }

    /// The files of an image, read-only.
    pub fn view_image(&self, lowers: &[PathBuf]) -> Result<OwnedFd> {
        if lowers.is_empty() {
            let empty = self.temporary();
            fs::create_dir(&empty).map_err(ImageError::file("create", &empty))?;
            return overlay::open_folder(&empty).map_err(ImageError::file("open", empty));
        }
        overlay::mount_detached(lowers, None, &self.temporary())
            .map_err(ImageError::file("look into", &lowers[0]))
    }

    /// `docker diff`: sorted by path.
    pub fn changes(&self, writable: &Writable) -> Result<Vec<Change>> {
        let upper =
            overlay::open_folder(&writable.upper).map_err(ImageError::file("open", &writable.upper))?;
        let lower = self.view_image(&writable.lowers)?;
        let mut changes = BTreeMap::new();
        changes_below(&upper, &lower, Path::new(""), &mut changes)
            .map_err(ImageError::file("compare", &writable.upper))?;
        let list = changes.into_iter().map(|(path, kind)| Change { kind, path: Path::new("/").join(path) });
        Ok(list.collect())
    }

    /// Bytes of the files in the writable layer.
    pub fn writable_size(&self, writable: &Writable) -> Result<u64> {
        let upper =
            overlay::open_folder(&writable.upper).map_err(ImageError::file("open", &writable.upper))?;
        archive::tree_size(upper.as_fd()).map_err(ImageError::file("measure", &writable.upper))
    }

    /// Removes folders of mount points that nothing uses, once there are many (builds make one per step).
    fn trim_inits(&self, newest: &str) {
        let mut index = self.index();
        // Another thread that has just chosen one has not entered its layer yet.
        if index.inits.len() <= MOST_INITS || self.inner.creating.load(Ordering::SeqCst) > 1 {
            return;
        }
        let used: HashSet<String> = index.writables.values().map(|writable| writable.init.clone()).collect();
        let unused: Vec<Vec<DiffId>> = index
            .inits
            .iter()
            .filter(|(_, name)| *name != newest && !used.contains(*name))
            .map(|(layers, _)| layers.clone())
            .collect();
        let names: Vec<String> = unused.iter().filter_map(|layers| index.inits.remove(layers)).collect();
        drop(index);
        for name in names {
            self.discard(&self.path("l", &name));
        }
    }

    /// The name of the folder of mount points for this stack, made when first needed.
    fn init_layer(&self, layers: &[DiffId], names: &[String]) -> Result<String> {
        let known = |store: &Self| {
            let index = store.index();
            let found = index.writables.values().find(|writable| writable.layers == layers);
            found.map(|writable| writable.init.clone()).or_else(|| index.inits.get(layers).cloned())
        };
        if let Some(name) = known(self) {
            return Ok(name);
        }
        let (upper, work) = (self.temporary(), self.temporary());
        for (folder, mode) in [(&upper, 0o755), (&work, 0o700)] {
            DirBuilder::new().mode(mode).create(folder).map_err(ImageError::file("create", folder))?;
        }
        let lowers: Vec<PathBuf> = names.iter().map(|name| self.path("l", name)).collect();
        let root =
            overlay::mount_detached(&lowers, Some(Upper { upper: &upper, work: &work }), &self.temporary())
                .map_err(ImageError::file("mount", &upper))?;
        for (path, point) in MOUNT_POINTS {
            make_point(&root, Path::new(path), *point)
                .map_err(ImageError::file("prepare", upper.join(path)))?;
        }
        drop(root);
        let name = self.next_layer_name();
        let place = self.path("l", &name);
        fs::rename(&upper, &place).map_err(ImageError::file("keep", place))?;
        super::layers::remove_in_background(work);
        self.index().inits.insert(layers.to_vec(), name.clone());
        self.trim_inits(&name);
        Ok(name)
    }
}

/// Counts the writable layers being made just now.
struct Creating<'a>(&'a AtomicU64);

impl<'a> Creating<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes one mount point unless the image has something there. A hostile image may have anything there:
/// links are resolved inside, and what cannot be made is left to the runtime to refuse.
fn make_point(root: &OwnedFd, path: &Path, point: Point) -> io::Result<()> {
    if dirfd::lstat_in(root.as_fd(), path).is_ok() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    let Ok(folder) = dirfd::make_folders_in(root.as_fd(), parent, 0o755, None) else { return Ok(()) };
    let Some(name) = path.file_name() else { return Ok(()) };
    let made = match point {
        Point::Folder => rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)),
        Point::Link(target) => rustix::fs::symlinkat(target, &folder, name),
        Point::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o755)).map(drop)
        }
    };
    match made {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn changes_below(
    upper: &OwnedFd,
    lower: &OwnedFd,
    folder: &Path,
    changes: &mut BTreeMap<PathBuf, ChangeKind>,
) -> io::Result<()> {
    let opened =
        dirfd::open_in(upper.as_fd(), folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
    for name in dirfd::entries(opened.as_fd())? {
        let path = folder.join(&name);
        let stat = dirfd::lstat_in(upper.as_fd(), &path)?;
        let below = dirfd::lstat_in(lower.as_fd(), &path).ok();
        if dirfd::is_whiteout(&stat) {
            changes.insert(path.clone(), ChangeKind::Deleted);
            mark_parents(&path, changes);
            continue;
        }
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let same_folder = below.is_some_and(|below| {
            is_folder
                && below.st_mode == stat.st_mode
                && (below.st_mtime, below.st_mtime_nsec) == (stat.st_mtime, stat.st_mtime_nsec)
        });
        if !same_folder {
            let kind = if below.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
            changes.insert(path.clone(), kind);
            mark_parents(&path, changes);
        }
        if is_folder {
            changes_below(upper, lower, &path, changes)?;
        }
    }
    Ok(())
}

/// A changed entry's folders count as modified.
fn mark_parents(path: &Path, changes: &mut BTreeMap<PathBuf, ChangeKind>) {
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        changes.entry(parent.to_owned()).or_insert(ChangeKind::Modified);
    }
}

impl Record {
    fn of(writable: &Writable) -> Self {
        let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self {
            image: writable.image,
            layers: writable.layers.clone(),
            init: writable.init.clone(),
            lowers: writable.lowers.iter().filter_map(name).collect(),
        }
    }

    fn into_writable(self, root: &Path, id: &str) -> Writable {
        let folder = root.join("rw").join(id);
        Writable {
            id: id.to_owned(),
            image: self.image,
            layers: self.layers,
            init: self.init,
            lowers: self.lowers.iter().map(|name| root.join("l").join(name)).collect(),
            upper: folder.join("diff"),
            work: folder.join("work"),
        }
    }
}

/// Writable layers found on disk. One whose record cannot be read was never finished.
pub(super) fn read_all(root: &Path) -> Result<HashMap<String, Arc<Writable>>> {
    let mut writables = HashMap::new();
    for id in recover::list(&root.join("rw"))? {
        let path = root.join("rw").join(&id).join("record.json");
        let record = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        match record {
            Some(record) => {
                let writable = record.into_writable(root, &id);
                writables.insert(id, Arc::new(writable));
            }
            None => tracing::warn!(id, "a writable layer has no readable record; it is removed"),
        }
    }
    Ok(writables)
}
