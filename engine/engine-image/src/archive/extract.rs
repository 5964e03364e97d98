//! Unpacking a tar stream below a root descriptor.
//!
//! Nothing an archive says reaches outside the root: names are cleaned, each look-up is bounded by the kernel
//! (`openat2`, as if chrooted), a final link is never followed, `trusted.overlay.*` attributes are ignored.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::header::{Entry, Kind, bad};
use super::reader::{Reader, Watch};
use crate::dirfd;

/// How to unpack.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// `.wh.` entries become overlay's whiteouts and opaque folders.
    pub layer: bool,
    /// Everything belongs to this user and group instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// `docker cp`: refuse to replace a folder by something else, and the reverse.
    pub keep_folders: bool,
    /// Give up after this many bytes of content.
    pub most_bytes: u64,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self { layer: false, owner: None, keep_folders: false, most_bytes: u64::MAX }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extracted {
    pub entries: u64,
    /// Bytes of regular files.
    pub bytes: u64,
}

const MOST_ENTRIES: u64 = 10_000_000;
const DEEPEST: usize = 4096;
const WHITEOUT: &[u8] = b".wh.";

/// Unpacks the whole stream.
pub fn extract<R: io::BufRead, W: Watch>(
    root: BorrowedFd<'_>,
    reader: &mut Reader<R, W>,
    options: &ExtractOptions,
) -> io::Result<Extracted> {
    let mut extractor =
        Extractor { root, options, parent: None, folder_times: Vec::new(), total: Extracted::default() };
    while let Some(entry) = reader.next_entry()? {
        extractor.entry(&entry, reader).map_err(|error| named(&entry, error))?;
    }
    extractor.finish()?;
    Ok(extractor.total)
}

fn named(entry: &Entry, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return io::Error::new(error.kind(), "unexpected EOF");
    }
    let path = String::from_utf8_lossy(&entry.path[..entry.path.len().min(300)]).into_owned();
    io::Error::new(error.kind(), format!("could not unpack {path:?}: {error}"))
}

struct Extractor<'a> {
    root: BorrowedFd<'a>,
    options: &'a ExtractOptions,
    /// The folder the last entry went to.
    parent: Option<(PathBuf, OwnedFd)>,
    folder_times: Vec<(PathBuf, Timestamps)>,
    total: Extracted,
}

impl Extractor<'_> {
    fn entry<R: io::BufRead, W: Watch>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R, W>,
    ) -> io::Result<()> {
        self.total.entries += 1;
        if self.total.entries > MOST_ENTRIES {
            return Err(bad("the archive has too many entries"));
        }
        let path = inside(&entry.path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return self.root_entry(entry);
        };
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        if self.options.layer && name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&folder, &name.as_bytes()[WHITEOUT.len()..]);
        }
        self.enter(&folder)?;
        let opaque = self.make_room(&path, &name, entry.kind, reader)?;
        let parent = self.current();
        match entry.kind {
            Kind::Folder => self.folder(&path, &name, entry, opaque)?,
            Kind::File => {
                let file = self.file(&name, entry, reader)?;
                apply_to_file(&file, entry, self.options.owner)?;
            }
            Kind::Symlink => {
                rustix::fs::symlinkat(OsStr::from_bytes(&entry.link), parent, &name)?;
                self.metadata(&name, entry)?;
            }
            Kind::HardLink => self.hard_link(&name, entry)?,
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => self.device(&name, entry)?,
            // Docker ignores what it does not know, with a line in its log.
            Kind::Other(flag) => tracing::debug!(flag, "skipping an archive entry of unknown type"),
        }
        Ok(())
    }

    /// `./` itself: only its metadata.
    fn root_entry(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.kind == Kind::Folder && self.options.layer {
            let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
            rustix::fs::fchown(self.root, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            rustix::fs::fchmod(self.root, Mode::from_raw_mode(entry.mode))?;
            self.folder_times.push((PathBuf::from("."), times(entry)));
        }
        Ok(())
    }

    /// Makes `folder` the current one, creating what is missing.
    fn enter(&mut self, folder: &Path) -> io::Result<()> {
        if self.parent.as_ref().is_some_and(|(path, _)| path == folder) {
            return Ok(());
        }
        let opened = dirfd::make_folders_in(self.root, folder, 0o755, self.options.owner)?;
        self.parent = Some((folder.to_owned(), opened));
        Ok(())
    }

    fn current(&self) -> BorrowedFd<'_> {
        self.parent.as_ref().map_or(self.root, |(_, folder)| folder.as_fd())
    }

    /// Removes what stands where the entry goes. True if it was a whiteout of this layer.
    fn make_room<R: io::BufRead, W: Watch>(
        &mut self,
        path: &Path,
        name: &OsStr,
        kind: Kind,
        reader: &mut Reader<R, W>,
    ) -> io::Result<bool> {
        let stat = match rustix::fs::statat(self.current(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let was_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_folder = kind == Kind::Folder;
        if was_folder && is_folder {
            return Ok(false);
        }
        if self.options.keep_folders && was_folder {
            return Err(io::Error::other(format!("cannot overwrite directory {path:?} with non-directory")));
        }
        if self.options.keep_folders && is_folder {
            return Err(io::Error::other(format!("cannot overwrite non-directory {path:?} with directory")));
        }
        reader.watch.replaced(path, self.current(), name)?;
        dirfd::remove_all(self.current(), name)?;
        if was_folder {
            // The current folder may have been reached through what is gone now.
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            self.parent = None;
            self.enter(&folder)?;
        }
        Ok(self.options.layer && dirfd::is_whiteout(&stat))
    }

    fn folder(&mut self, path: &Path, name: &OsStr, entry: &Entry, opaque: bool) -> io::Result<()> {
        let parent = self.current();
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.metadata(name, entry)?;
        if opaque {
            self.make_opaque(path)?;
        }
        self.folder_times.push((path.to_owned(), times(entry)));
        Ok(())
    }

    fn file<R: io::BufRead, W: Watch>(
        &mut self,
        name: &OsStr,
        entry: &Entry,
        reader: &mut Reader<R, W>,
    ) -> io::Result<OwnedFd> {
        self.total.bytes = self.total.bytes.saturating_add(entry.size);
        if self.total.bytes > self.options.most_bytes {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "the archive unpacks to more than the {} bytes there is room for",
                    self.options.most_bytes
                ),
            ));
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.current(), name, flags, Mode::from_raw_mode(0o600))?;
        match &entry.sparse {
            None => reader.content(|piece| write_all(&file, piece))?,
            Some(segments) => sparse_content(&file, segments, entry.size, reader)?,
        }
        Ok(file)
    }

    fn hard_link(&self, name: &OsStr, entry: &Entry) -> io::Result<()> {
        let target = inside(&entry.link)?;
        let Some(target_name) = target.file_name() else {
            return Err(bad(format!("invalid hardlink to {target:?}")));
        };
        let folder = dirfd::open_folder_in(self.root, target.parent().unwrap_or(Path::new("")))?;
        Ok(rustix::fs::linkat(&folder, target_name, self.current(), name, AtFlags::empty())?)
    }

    fn device(&self, name: &OsStr, entry: &Entry) -> io::Result<()> {
        let kind = match entry.kind {
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        rustix::fs::mknodat(self.current(), name, kind, Mode::from_raw_mode(entry.mode), device)?;
        self.metadata(name, entry)
    }

    /// Owner, mode, attributes and time of something that is not an open file.
    fn metadata(&self, name: &OsStr, entry: &Entry) -> io::Result<()> {
        let parent = self.current();
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        dirfd::chown(parent, name, uid, gid)?;
        if entry.kind != Kind::Symlink {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        if entry.kind == Kind::Folder && !entry.xattrs.is_empty() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            set_xattrs(&folder, entry)?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` all of the folder.
    fn whiteout(&mut self, folder: &Path, hidden: &[u8]) -> io::Result<()> {
        if hidden == b".wh..opq" {
            self.enter(folder)?;
            return self.make_opaque(folder);
        }
        if hidden.starts_with(WHITEOUT) {
            // Bookkeeping of a union file system long gone.
            return Ok(());
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(bad("invalid whiteout"));
        }
        self.enter(folder)?;
        let name = OsString::from(OsStr::from_bytes(hidden));
        match rustix::fs::statat(self.current(), &name, AtFlags::SYMLINK_NOFOLLOW) {
            // It hides only what is below: something of this layer stays.
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.make_opaque(&folder.join(&name))
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                let mode = Mode::from_raw_mode(0);
                Ok(rustix::fs::mknodat(self.current(), &name, FileType::CharacterDevice, mode, 0)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make_opaque(&self, folder: &Path) -> io::Result<()> {
        let folder = dirfd::open_in(self.root, folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(rustix::fs::fsetxattr(&folder, "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
    }

    /// Folders get their times last, as filling them changes them.
    fn finish(&mut self) -> io::Result<()> {
        for (path, times) in self.folder_times.drain(..).rev() {
            match dirfd::open_in(self.root, &path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
                Ok(folder) => rustix::fs::futimens(&folder, &times)?,
                // Replaced by a later entry.
                Err(_) => continue,
            }
        }
        Ok(())
    }
}

/// The entry's path below the root; one that climbs out is an attack, not a mistake.
fn inside(raw: &[u8]) -> io::Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(raw));
    let mut depth: i64 = 0;
    let mut deepest = 0;
    for component in path.components() {
        match component {
            std::path::Component::Normal(_) => depth += 1,
            std::path::Component::ParentDir => depth -= 1,
            _ => {}
        }
        deepest += 1;
        if depth < 0 {
            return Err(bad(format!("{path:?} is outside of the archive's root")));
        }
    }
    if deepest > DEEPEST {
        return Err(bad("a path in the archive is too deep"));
    }
    Ok(dirfd::clean(path))
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn sparse_content<R: io::BufRead, W: Watch>(
    file: &OwnedFd,
    segments: &[(u64, u64)],
    size: u64,
    reader: &mut Reader<R, W>,
) -> io::Result<()> {
    rustix::fs::ftruncate(file, size)?;
    let mut segments = segments.iter().copied().filter(|(_, length)| *length > 0);
    let mut current = segments.next();
    reader.content(|mut piece| {
        while !piece.is_empty() {
            let Some((offset, length)) = current else { return Err(bad("archive/tar: invalid sparse map")) };
            let now = piece.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            let written = rustix::io::pwrite(file, &piece[..now], offset)?;
            piece = &piece[written..];
            let left = length - written as u64;
            current = if left > 0 { Some((offset + written as u64, left)) } else { segments.next() };
        }
        Ok(())
    })
}

fn apply_to_file(file: &OwnedFd, entry: &Entry, owner: Option<(u32, u32)>) -> io::Result<()> {
    let (uid, gid) = owner.unwrap_or((entry.uid, entry.gid));
    rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    set_xattrs(file, entry)?;
    Ok(rustix::fs::futimens(file, &times(entry))?)
}

/// Attributes that the file system or our rights do not allow are left out, as Docker does.
fn set_xattrs(file: &OwnedFd, entry: &Entry) -> io::Result<()> {
    for (name, value) in &entry.xattrs {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        match rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOTSUP | Errno::PERM) => {
                tracing::debug!(name = %String::from_utf8_lossy(name), "an extended attribute was left out");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn times(entry: &Entry) -> Timestamps {
    // Before the epoch: Docker sets the epoch.
    let time = if entry.mtime < 0 {
        Timespec { tv_sec: 0, tv_nsec: 0 }
    } else {
        Timespec { tv_sec: entry.mtime, tv_nsec: entry.mtime_nanos.into() }
    };
    Timestamps { last_access: time, last_modification: time }
}
