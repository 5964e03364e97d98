//! Packing a file tree into a tar stream, with the conventions Docker has for layers, exports and copies.
//!
//! Links are packed as links, never followed. Order and headers depend on the tree alone.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::header::{Entry, Kind};
use super::writer::Writer;
use crate::dirfd;

/// How to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackMode {
    /// An overlay upper folder: whiteouts and opaque folders become `.wh.` entries.
    Layer,
    /// A plain tree.
    Tree,
}

/// Packs everything below an opened folder, names relative to it.
pub fn pack<W: Write>(root: BorrowedFd<'_>, mode: PackMode, out: &mut Writer<W>) -> io::Result<()> {
    pack_announcing(root, mode, out, &mut |_| Ok(()))
}

/// As [`pack`], calling back between the header and the content of each regular file.
pub(crate) fn pack_announcing<W: Write>(
    root: BorrowedFd<'_>,
    mode: PackMode,
    out: &mut Writer<W>,
    announce: &mut dyn FnMut(&Entry) -> io::Result<()>,
) -> io::Result<()> {
    let mut packer = Packer { out, mode, links: HashMap::new(), announce };
    packer.folder(root, b"")
}

/// Packs one entry of a folder (with all below it) under another name: `docker cp` from a container.
pub fn pack_entry<W: Write>(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    renamed: &OsStr,
    out: &mut Writer<W>,
) -> io::Result<()> {
    let mut packer = Packer { out, mode: PackMode::Tree, links: HashMap::new(), announce: &mut |_| Ok(()) };
    packer.entry(parent, name, renamed.as_bytes())
}

struct Packer<'a, W> {
    out: &'a mut Writer<W>,
    mode: PackMode,
    /// First name of files with several.
    links: HashMap<(u64, u64), Vec<u8>>,
    announce: &'a mut dyn FnMut(&Entry) -> io::Result<()>,
}

impl<W: Write> Packer<'_, W> {
    fn folder(&mut self, folder: BorrowedFd<'_>, prefix: &[u8]) -> io::Result<()> {
        for name in dirfd::entries(folder)? {
            let path = join(prefix, &name);
            match self.entry(folder, &name, &path) {
                // A running container may delete what was just listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &[u8]) -> io::Result<()> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if self.mode == PackMode::Layer && dirfd::is_whiteout(&stat) {
            return self.whiteout(path);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.folder_entry(parent, name, path, &stat),
            FileType::RegularFile => self.file(parent, name, path, &stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
                let mut entry = describe(path, Kind::Symlink, &stat);
                entry.link = target.into_bytes();
                self.out.entry(&entry)
            }
            FileType::CharacterDevice => self.special(path, Kind::CharDevice, &stat),
            FileType::BlockDevice => self.special(path, Kind::BlockDevice, &stat),
            FileType::Fifo => self.special(path, Kind::Fifo, &stat),
            // Sockets mean nothing outside their process.
            _ => Ok(()),
        }
    }

    fn folder_entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
        stat: &Stat,
    ) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let mut entry = describe(&join(path, OsStr::new("")), Kind::Folder, stat);
        entry.xattrs = capability(folder.as_fd());
        self.out.entry(&entry)?;
        if self.mode == PackMode::Layer && is_opaque(folder.as_fd()) {
            self.out.entry(&Entry::new([path, b"/.wh..wh..opq"].concat(), Kind::File, 0o600))?;
        }
        self.folder(folder.as_fd(), path)
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &[u8], stat: &Stat) -> io::Result<()> {
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino))
        {
            let mut entry = describe(path, Kind::HardLink, stat);
            entry.link.clone_from(first);
            return self.out.entry(&entry);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let mut entry = describe(path, Kind::File, &stat);
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.xattrs = capability(file.as_fd());
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        self.out.entry(&entry)?;
        (self.announce)(&entry)?;
        self.out.content(&mut File::from(file))
    }

    fn special(&mut self, path: &[u8], kind: Kind, stat: &Stat) -> io::Result<()> {
        let mut entry = describe(path, kind, stat);
        entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        self.out.entry(&entry)
    }

    fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        let at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (folder, name) = path.split_at(at);
        self.out.entry(&Entry::new([folder, b".wh.", name].concat(), Kind::File, 0))
    }
}

fn describe(path: &[u8], kind: Kind, stat: &Stat) -> Entry {
    let mut entry = Entry::new(path, kind, stat.st_mode & 0o7777);
    entry.uid = stat.st_uid;
    entry.gid = stat.st_gid;
    // Whole seconds, as Docker packs.
    entry.mtime = stat.st_mtime;
    entry
}

/// The one extended attribute that images carry.
fn capability(file: BorrowedFd<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    const NAME: &str = "security.capability";
    let mut value = [0; 64];
    match rustix::fs::fgetxattr(file, NAME, &mut value) {
        Ok(length) => vec![(NAME.into(), value[..length].to_vec())],
        Err(_) => Vec::new(),
    }
}

fn is_opaque(folder: BorrowedFd<'_>) -> bool {
    let mut value = [0; 4];
    rustix::fs::fgetxattr(folder, "trusted.overlay.opaque", &mut value)
        .is_ok_and(|length| &value[..length] == b"y")
}

fn join(prefix: &[u8], name: &OsStr) -> Vec<u8> {
    let slash: &[u8] = if prefix.is_empty() || prefix.ends_with(b"/") { b"" } else { b"/" };
    [prefix, slash, name.as_bytes()].concat()
}
