//! `docker cp`, `docker export` and `docker diff`: a container's files from outside.
//!
//! Every path is opened inside the container's root by the kernel, so no symbolic link leads out, also
//! while the container changes it under our hands.

use std::ffi::OsStr;
use std::io::{BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use engine_image::archive::{
    ExtractOptions, NoWatch, PackMode, Reader, Writer, decompress, extract, pack, pack_entry,
};
use engine_runtime::SafeRoot;
use engine_runtime::spec::{Mount, MountKind, Rootfs};
use serde_json::{Value, json};

use super::Daemon;
use super::container::Container;
use super::error::{Refusal, Result};
use super::mounts;
use crate::clock;

/// Longest passwd or group file that is read.
const LONGEST_LIST: u64 = 1 << 20;

/// How an archive is unpacked into a container.
pub(crate) struct Extract {
    /// Refuse to replace a folder by something else, and the reverse.
    pub(crate) keep_folders: bool,
    /// Everything belongs to the container's user, whatever the archive says.
    pub(crate) as_user: bool,
}

/// What is at a path.
pub(crate) struct PathStat {
    name: String,
    size: i64,
    mode: u32,
    mtime: i64,
    link_target: String,
}

impl PathStat {
    /// For the header `X-Docker-Container-Path-Stat`, before base64.
    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "size": self.size,
            "mode": go_mode(self.mode),
            "mtime": clock::rfc3339(self.mtime),
            "linkTarget": self.link_target,
        })
    }
}

/// Go's bits for what a file is.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => 1 << 31,
        libc::S_IFLNK => 1 << 27,
        libc::S_IFBLK => 1 << 26,
        libc::S_IFCHR => 1 << 26 | 1 << 21,
        libc::S_IFIFO => 1 << 25,
        libc::S_IFSOCK => 1 << 24,
        _ => 0,
    };
    let special = [(libc::S_ISUID, 1 << 23), (libc::S_ISGID, 1 << 22), (libc::S_ISVTX, 1 << 20)];
    let special = special.into_iter().filter(|(bit, _)| mode & bit != 0).fold(0, |all, (_, go)| all | go);
    kind | special | (mode & 0o777)
}

impl Daemon {
    /// The container's file system with its volumes, running or not. Blocking.
    fn root_of(&self, container: &Container) -> Result<SafeRoot> {
        if let Some(program) = container.program() {
            return Ok(program.root()?);
        }
        let writable = self.store.writable(&container.id);
        let writable = writable.ok_or_else(|| Refusal::internal("the container's file system is gone"))?;
        let rootfs = Rootfs::Overlay {
            lower: writable.lowers.clone(),
            upper: writable.upper.clone(),
            work: writable.work.clone(),
            volatile: false,
        };
        let record = container.record().clone();
        let binds: Vec<Mount> = record
            .mounts
            .iter()
            .filter(|m| m.kind != "tmpfs" && m.source.exists())
            .map(|m| Mount {
                kind: MountKind::Bind,
                source: m.source.clone(),
                target: m.target.clone(),
                readonly: !m.rw,
                ..Mount::default()
            })
            .collect();
        Ok(engine_runtime::mount_root(&rootfs, &binds, &container.dir.join("mounts"))?)
    }

    pub(crate) fn path_stat(&self, container: &Container, shown: &str, path: &str) -> Result<PathStat> {
        let root = self.root_of(container)?;
        stat_in(&root, path).map_err(|e| not_found(&e, path, shown))
    }

    /// Packs what is at a path.
    pub(crate) fn pack_path(
        &self,
        container: &Container,
        shown: &str,
        path: &str,
        out: impl Write,
    ) -> Result<()> {
        let root = self.root_of(container)?;
        let asked = Asked::new(path);
        let mut tar = Writer::new(out);
        let wrong = |e: std::io::Error| not_found(&e, path, shown);
        let (parent, name) = if asked.through {
            real_place(&root, &asked.absolute).map_err(wrong)?
        } else {
            let (parent, name) = split(&asked.absolute);
            (parent.to_owned(), name.to_owned())
        };
        let folder = open_dir(&root, &parent).map_err(wrong)?;
        let own = if name.as_os_str().is_empty() { OsStr::new(".") } else { name.as_os_str() };
        pack_entry(folder.as_fd(), own, OsStr::new(&asked.name), &mut tar)?;
        tar.finish()?;
        Ok(())
    }

    /// Unpacks below a path, which must be a folder.
    pub(crate) fn extract_into(
        &self,
        container: &Container,
        shown: &str,
        path: &str,
        how: Extract,
        archive: impl BufRead + Send,
    ) -> Result<()> {
        let Extract { keep_folders, as_user } = how;
        let root = self.root_of(container)?;
        let absolute = mounts::clean(path);
        let folder = match open_dir(&root, Path::new(&absolute)) {
            Ok(folder) => folder,
            Err(e) if e.raw_os_error() == Some(libc::ENOTDIR) => {
                return Err(Refusal::bad("extraction point is not a directory"));
            }
            Err(e) => return Err(not_found(&e, path, shown)),
        };
        check_writable(&root, folder.as_fd(), container.record().host.readonly_rootfs)?;
        let (_, plain) = decompress(archive).map_err(|e| Refusal::bad(e.to_string()))?;
        let owner = if as_user { Some(owner_in(&root, &container.record().config.user)?) } else { None };
        let options = ExtractOptions { keep_folders, owner, ..ExtractOptions::default() };
        extract(folder.as_fd(), &mut Reader::new(plain, NoWatch), &options).map_err(|e| {
            // A folder in place of a file, or the reverse, is the client's mistake.
            if keep_folders { Refusal::bad(e.to_string()) } else { Refusal::internal(e.to_string()) }
        })?;
        self.tell_container(container, "extract-to-dir");
        Ok(())
    }

    /// The whole file system, without volumes.
    pub(crate) fn export(&self, container: &Container, out: impl Write) -> Result<()> {
        let writable = self.store.writable(&container.id);
        let writable = writable.ok_or_else(|| Refusal::internal("the container's file system is gone"))?;
        let tree = self.store.view(&writable)?;
        let mut tar = Writer::new(out);
        pack(tree.as_fd(), PackMode::Tree, &mut tar)?;
        tar.finish()?;
        self.tell_container(container, "export");
        Ok(())
    }

    pub(crate) fn changes(&self, container: &Container) -> Result<Vec<Value>> {
        let writable = self.store.writable(&container.id);
        let writable = writable.ok_or_else(|| Refusal::internal("the container's file system is gone"))?;
        let changes = self.store.changes(&writable)?;
        let kind = |k: engine_image::ChangeKind| match k {
            engine_image::ChangeKind::Modified => 0,
            engine_image::ChangeKind::Added => 1,
            engine_image::ChangeKind::Deleted => 2,
        };
        Ok(changes.iter().map(|c| json!({ "Path": c.path, "Kind": kind(c.kind) })).collect())
    }
}

/// Whether a client may write into a folder, wherever a link has led to it.
fn check_writable(root: &SafeRoot, folder: BorrowedFd<'_>, readonly_rootfs: bool) -> Result<()> {
    let top = open_dir(root, Path::new("/"))?;
    let device =
        |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| stat.st_dev).map_err(std::io::Error::from);
    if device(folder)? == device(top.as_fd())? {
        return match readonly_rootfs {
            true => Err(Refusal::forbidden("container rootfs is marked read-only")),
            false => Ok(()),
        };
    }
    let mount = rustix::fs::fstatvfs(folder).map_err(std::io::Error::from)?;
    match mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        true => Err(Refusal::forbidden("mounted volume is marked read-only")),
        false => Ok(()),
    }
}

/// The user that a container's programs are, by its own files.
fn owner_in(root: &SafeRoot, user: &str) -> Result<(u32, u32)> {
    let text = |path: &str| {
        let file = root.open_file(Path::new(path), libc::O_RDONLY | libc::O_NONBLOCK, 0).ok();
        let mut text = String::new();
        // One that cannot be read names nobody.
        file.and_then(|f| std::fs::File::from(f).take(LONGEST_LIST).read_to_string(&mut text).ok());
        text
    };
    let found = engine_shim::user::owner(user, &text("/etc/passwd"), &text("/etc/group"));
    found.map_err(Refusal::internal)
}

/// A path in a container as a client writes it. A slash or a dot at its end says: what a link leads to.
struct Asked {
    absolute: String,
    through: bool,
    /// What the archive calls it.
    name: String,
}

impl Asked {
    fn new(path: &str) -> Asked {
        let absolute = mounts::clean(path);
        let bare = path.trim_end_matches('/');
        let is_dot = bare == "." || bare.ends_with("/.");
        let name = match split(&absolute).1.to_string_lossy() {
            // Its contents are meant, not the folder by its name.
            _ if is_dot => ".".into(),
            name if name.is_empty() => "/".into(),
            name => name.into_owned(),
        };
        Asked { through: is_dot || path.ends_with('/'), absolute, name }
    }
}

fn not_found(error: &std::io::Error, path: &str, shown: &str) -> Refusal {
    match error.raw_os_error() {
        Some(libc::ENOTDIR) => Refusal::internal(format!("lstat {path}: not a directory")),
        Some(libc::ENOENT | libc::ELOOP) => {
            Refusal::missing(format!("Could not find the file {path} in container {shown}"))
        }
        _ => Refusal::internal(format!("{path}: {error}")),
    }
}

/// The folder and the last part of a clean absolute path.
fn split(path: &str) -> (&Path, &Path) {
    let path = Path::new(path);
    let name = path.file_name().map_or(Path::new(""), Path::new);
    (path.parent().unwrap_or(Path::new("/")), name)
}

fn open_dir(root: &SafeRoot, path: &Path) -> std::io::Result<OwnedFd> {
    root.open_file(path, libc::O_RDONLY | libc::O_DIRECTORY, 0)
}

/// Where a link at the end of a path leads, seen from inside: folder and name.
fn real_place(root: &SafeRoot, path: &str) -> std::io::Result<(PathBuf, PathBuf)> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let handle = root.handle_nofollow(&path)?;
        if rustix::fs::fstat(&handle)?.st_mode & libc::S_IFMT != libc::S_IFLNK {
            let (parent, name) = split(&path);
            return Ok((parent.to_owned(), name.to_owned()));
        }
        path = follow(&handle, &path)?;
    }
    Err(std::io::Error::from_raw_os_error(libc::ELOOP))
}

fn follow(link: &OwnedFd, path: &str) -> std::io::Result<String> {
    let target = rustix::fs::readlinkat(link, "", Vec::new())?;
    let target = target.to_string_lossy().into_owned();
    let whole =
        if target.starts_with('/') { target } else { format!("{}/{target}", split(path).0.display()) };
    Ok(mounts::clean(&whole))
}

fn stat_in(root: &SafeRoot, path: &str) -> std::io::Result<PathStat> {
    let Asked { absolute, through, name } = Asked::new(path);
    let handle = if through { root.handle(&absolute)? } else { root.handle_nofollow(&absolute)? };
    let stat = rustix::fs::fstat(&handle)?;
    if through && stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(std::io::Error::from_raw_os_error(libc::ENOTDIR));
    }
    let is_link = stat.st_mode & libc::S_IFMT == libc::S_IFLNK;
    Ok(PathStat {
        name,
        size: stat.st_size,
        mode: stat.st_mode,
        mtime: stat.st_mtime * 1_000_000_000 + i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
        link_target: if is_link { follow(&handle, &absolute)? } else { String::new() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_in_go() {
        assert_eq!(go_mode(libc::S_IFDIR | 0o755), 1 << 31 | 0o755);
        assert_eq!(go_mode(libc::S_IFREG | libc::S_ISUID | 0o755), 1 << 23 | 0o755);
    }

    #[test]
    fn links_are_seen_from_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/f"), "abc").unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("l")).unwrap();
        std::os::unix::fs::symlink("../../../../etc/passwd", dir.path().join("out")).unwrap();
        let root = SafeRoot::open(dir.path()).unwrap();
        assert_eq!(stat_in(&root, "/l/f").unwrap().size, 3);
        let link = stat_in(&root, "/l").unwrap();
        assert_eq!((link.link_target.as_str(), link.name.as_str()), ("/etc", "l"));
        assert!(stat_in(&root, "/l/").unwrap().mode & libc::S_IFMT == libc::S_IFDIR);
        assert!(root.handle("/out").is_err());
        assert!(stat_in(&root, "/etc/f/").is_err());
        assert_eq!(real_place(&root, "/l").unwrap(), (PathBuf::from("/"), PathBuf::from("etc")));
    }
}
