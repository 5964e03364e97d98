//! The tree a config is applied to: paths of the config are resolved inside it, whatever links it holds.
//!
//! A path's last component is acted on itself, never followed; the ones before it are followed, but
//! never out of the root (`openat2` with `RESOLVE_IN_ROOT`).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, syncfs, unlinkat};

/// Mode of the directories that are made on the way to a path.
const PARENT_MODE: u32 = 0o755;

/// The tree a config is applied to.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    /// A directory of each filesystem that a place was on, by device: a root has more than one.
    filesystems: Mutex<BTreeMap<u64, OwnedFd>>,
}

/// The owner and the permission bits of something in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

/// A name in a directory of the tree; what it names need not exist.
#[derive(Debug)]
pub(crate) struct Place {
    directory: OwnedFd,
    name: OsString,
}

/// What there is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Other,
}

impl Root {
    /// The tree below that directory, which must exist.
    ///
    /// # Errors
    /// It cannot be opened as a directory.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = nix::fcntl::open(&path, flags, Mode::empty())?;
        Ok(Self { directory, path, filesystems: Mutex::default() })
    }

    /// The directory it was opened as.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place of an absolute path, with its parents made where they are missing.
    pub(crate) fn place(&self, path: &str) -> io::Result<Place> {
        let place = self.resolve(path, true)?;
        let device = nix::sys::stat::fstat(&place.directory)?.st_dev;
        let mut filesystems = self.filesystems.lock().unwrap_or_else(PoisonError::into_inner);
        if let std::collections::btree_map::Entry::Vacant(entry) = filesystems.entry(device) {
            entry.insert(place.directory.try_clone()?);
        }
        Ok(place)
    }

    /// The place of an absolute path, if its parents exist.
    pub(crate) fn find(&self, path: &str) -> io::Result<Option<Place>> {
        match self.resolve(path, false) {
            Ok(place) => Ok(Some(place)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The content of a file, links followed inside the root; nothing if there is none.
    pub(crate) fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let how =
            OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        match openat2(&self.directory, path, how) {
            Ok(file) => {
                let mut content = Vec::new();
                File::from(file).read_to_end(&mut content)?;
                Ok(Some(content))
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until everything written so far is on its disk, whichever of the root's filesystems it is on:
    /// the root itself may be read-only, with /etc and /var elsewhere.
    pub(crate) fn sync(&self) -> io::Result<()> {
        syncfs(&self.directory)?;
        let filesystems = self.filesystems.lock().unwrap_or_else(PoisonError::into_inner);
        filesystems.values().try_for_each(|directory| Ok(syncfs(directory)?))
    }

    /// Forgets filesystems that are about to be unmounted: an open directory would keep them.
    pub(crate) fn let_go(&self) {
        self.filesystems.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn resolve(&self, path: &str, make: bool) -> io::Result<Place> {
        let mut components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
        let name = components.pop().unwrap_or(".");
        let mut parent = String::from("/");
        let mut directory = self.directory(&parent)?;
        for component in components {
            parent = format!("{}/{component}", parent.trim_end_matches('/'));
            directory = match self.directory(&parent) {
                Err(Errno::ENOENT) if make => {
                    match mkdirat(&directory, component, Mode::from_bits_truncate(PARENT_MODE)) {
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    let made = self.directory(&parent)?;
                    chmod_path(&made, PARENT_MODE)?;
                    made
                }
                other => other?,
            };
        }
        Ok(Place { directory, name: name.into() })
    }

    fn directory(&self, path: &str) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat2(&self.directory, path, OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT))
    }
}

fn chmod_path(directory: &OwnedFd, mode: u32) -> nix::Result<()> {
    fchmod(directory, Mode::from_bits_truncate(mode))
}

impl Place {
    /// What is there, links not followed.
    pub(crate) fn kind(&self) -> io::Result<Option<Kind>> {
        Ok(self.stat()?.map(|stat| match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFLNK => Kind::Symlink,
            _ => Kind::Other,
        }))
    }

    /// Owner and permissions of what is there.
    pub(crate) fn access(&self) -> io::Result<Option<Access>> {
        Ok(self.stat()?.map(|stat| Access {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        }))
    }

    /// Device and inode of what is there.
    pub(crate) fn inode(&self) -> io::Result<Option<(u64, u64)>> {
        Ok(self.stat()?.map(|stat| (stat.st_dev, stat.st_ino)))
    }

    fn stat(&self) -> io::Result<Option<FileStat>> {
        match fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The content of the regular file there.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let mut file = File::from(openat(&self.directory, self.name.as_os_str(), flags, Mode::empty())?);
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Puts a file there in one step: readers see the old one or the whole new one, and so does the boot
    /// after a power cut. A run that is repeated then finds no half file that it would have to refuse.
    pub(crate) fn write(
        &self,
        access: Access,
        content: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let temporary = self.temporary();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let file = match openat(&self.directory, temporary.as_os_str(), flags, mode) {
            Err(Errno::EEXIST) => {
                unlinkat(&self.directory, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
                openat(&self.directory, temporary.as_os_str(), flags, mode)?
            }
            other => other?,
        };
        let mut file = File::from(file);
        let written = content(&mut file)
            .and_then(|()| file.flush())
            .and_then(|()| set_access(&file, access))
            .and_then(|()| file.sync_all())
            .and_then(|()| {
                Ok(renameat(&self.directory, temporary.as_os_str(), &self.directory, self.name.as_os_str())?)
            });
        if written.is_err() {
            let _ = unlinkat(&self.directory, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    fn temporary(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(OsStr::from_bytes(&self.name.as_bytes()[..self.name.len().min(200)]));
        name.push(".provision");
        name
    }

    /// Makes a directory there.
    pub(crate) fn make_directory(&self) -> io::Result<()> {
        Ok(mkdirat(&self.directory, self.name.as_os_str(), Mode::from_bits_truncate(0o700))?)
    }

    /// Sets owner and permissions of the file or directory there.
    pub(crate) fn set_access(&self, access: Access) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = openat(&self.directory, self.name.as_os_str(), flags, Mode::empty())?;
        set_access(&file, access)
    }

    /// Sets the owner of what is there, a link itself.
    pub(crate) fn own(&self, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(fchownat(
            &self.directory,
            self.name.as_os_str(),
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?)
    }

    /// Makes a symbolic link there.
    pub(crate) fn symlink(&self, target: &str, uid: u32, gid: u32) -> io::Result<()> {
        symlinkat(target, &self.directory, self.name.as_os_str())?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(fchownat(
            &self.directory,
            self.name.as_os_str(),
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?)
    }

    /// Where the symbolic link there points.
    pub(crate) fn link_target(&self) -> io::Result<OsString> {
        Ok(readlinkat(&self.directory, self.name.as_os_str())?)
    }

    /// Gives the file of another place a second name here.
    pub(crate) fn hard_link(&self, to: &Place) -> io::Result<()> {
        let (from, here) = (to.name.as_os_str(), self.name.as_os_str());
        Ok(linkat(&to.directory, from, &self.directory, here, AtFlags::empty())?)
    }

    /// Gives what is there another name, in the place of what has that name.
    pub(crate) fn rename_to(&self, to: &Place) -> io::Result<()> {
        Ok(renameat(&self.directory, self.name.as_os_str(), &to.directory, to.name.as_os_str())?)
    }

    /// The names in the directory there, sorted.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = list(&self.open_directory()?)?;
        names.sort();
        Ok(names)
    }

    /// A place in the directory there.
    pub(crate) fn child(&self, name: &OsStr) -> io::Result<Place> {
        Ok(Place { directory: self.open_directory()?, name: name.to_owned() })
    }

    fn open_directory(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.directory, self.name.as_os_str(), flags, Mode::empty())
    }

    /// Removes what is there, with all that is below it; nothing there is fine too.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match self.kind()? {
            None => Ok(()),
            Some(Kind::Directory) => {
                for name in self.names()? {
                    self.child(&name)?.remove()?;
                }
                Ok(unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::RemoveDir)?)
            }
            Some(_) => Ok(unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)?),
        }
    }
}

fn list(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut directory = nix::dir::Dir::from_fd(directory.try_clone()?)?;
    let mut names = Vec::new();
    for entry in directory.iter() {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Owner first: changing it clears the set-id bits.
fn set_access(file: &impl std::os::fd::AsFd, access: Access) -> io::Result<()> {
    fchown(file.as_fd(), Some(Uid::from_raw(access.uid)), Some(Gid::from_raw(access.gid)))?;
    Ok(fchmod(file.as_fd(), Mode::from_bits_truncate(access.mode))?)
}
