//! Paths inside a root that somebody else controls.
//!
//! Every symbolic link, `..` and rename race in a container's file system must
//! end inside that file system. The kernel does the resolving
//! (`openat2` with `RESOLVE_IN_ROOT`), we only hold descriptors: what was
//! checked is what gets used. Magic links (`/proc/self/fd/…`) are refused.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use crate::sys;

const INSIDE: u64 = sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS;

/// A directory that nothing resolved through it can leave.
#[derive(Debug)]
pub struct SafeRoot {
    dir: OwnedFd,
    /// Keeps a private mount namespace alive, when the root lives in one.
    _namespace: Option<OwnedFd>,
}

impl SafeRoot {
    /// The directory at `path`, which must be trustworthy itself.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::from_fd(sys::openat2(sys::CWD, path, libc::O_PATH | libc::O_DIRECTORY, 0, 0)?))
    }

    #[must_use]
    pub fn from_fd(dir: OwnedFd) -> Self {
        Self { dir, _namespace: None }
    }

    /// A root whose mounts live as long as `namespace` is held.
    #[must_use]
    pub fn with_namespace(dir: OwnedFd, namespace: OwnedFd) -> Self {
        Self { dir, _namespace: Some(namespace) }
    }

    /// Opens `path` following links inside the root. `flags` as for `open(2)`.
    pub fn open_file(&self, path: impl AsRef<Path>, flags: i32, mode: u32) -> io::Result<OwnedFd> {
        sys::openat2(self.dir.as_fd(), inside(path.as_ref()), flags, mode, INSIDE)
    }

    /// A handle to what is at `path`, without opening it for reading.
    pub fn handle(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open_file(path, libc::O_PATH, 0)
    }

    /// A handle to `path` itself, even when it is a symbolic link.
    pub fn handle_nofollow(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open_file(path, libc::O_PATH | libc::O_NOFOLLOW, 0)
    }

    /// A handle to the directory `path`, of which no part is a symbolic link.
    pub fn real_directory(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        let resolve = INSIDE | sys::RESOLVE_NO_SYMLINKS;
        sys::openat2(self.dir.as_fd(), inside(path.as_ref()), libc::O_PATH | libc::O_DIRECTORY, 0, resolve)
    }

    /// Reads a small regular file; anything else (fifo, device, directory) and
    /// anything longer than `limit` is an error.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        let fd = self.open_file(path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0)?;
        let stat = sys::fstat(fd.as_fd())?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        File::from(fd).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "file too large"));
        }
        Ok(bytes)
    }

    /// Opens the directory `path`, making what is missing (mode 0755).
    pub fn make_directory(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        let path = inside(path.as_ref());
        match self.open_file(path, libc::O_PATH | libc::O_DIRECTORY, 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            done => return done,
        }
        let (parent, name) = split(path)?;
        let parent = self.make_directory(parent)?;
        match sys::mkdirat(parent.as_fd(), name, 0o755) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
            _ => {}
        }
        // A dangling link in this place stays an error: we never make what it points at.
        self.open_file(path, libc::O_PATH | libc::O_DIRECTORY, 0)
    }

    /// A handle to the file `path`, made empty if missing, with its directories.
    pub fn make_file(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        let path = inside(path.as_ref());
        match self.handle(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            done => return done,
        }
        let (parent, name) = split(path)?;
        let parent = self.make_directory(parent)?;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_WRONLY;
        match sys::openat2(parent.as_fd(), Path::new(name), flags, 0o644, INSIDE) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
            _ => {}
        }
        self.handle(path)
    }
}

impl AsFd for SafeRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// `openat2` wants a path relative to the directory; the root itself is ".".
fn inside(path: &Path) -> &Path {
    let path = path.strip_prefix("/").unwrap_or(path);
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Ok((path.parent().unwrap_or(Path::new("")), name)),
        _ => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, SafeRoot) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::write(dir.path().join("canary"), "host").unwrap();
        let root = SafeRoot::open(&dir.path().join("root")).unwrap();
        (dir, root)
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let (dir, root) = root();
        symlink(dir.path().join("canary"), dir.path().join("root/absolute")).unwrap();
        symlink("../canary", dir.path().join("root/relative")).unwrap();
        for path in ["absolute", "relative", "../canary", "/../../canary"] {
            assert!(root.read(path, 100).is_err(), "{path}");
        }
        assert!(root.make_file("relative").is_err());
        root.make_directory("../../a/b").unwrap();
        assert!(dir.path().join("root/a/b").is_dir());
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn nothing_is_made_through_a_link_to_the_outside() {
        let (dir, root) = root();
        symlink(dir.path(), dir.path().join("root/out")).unwrap();
        // The link's target is looked up inside the root, where it does not exist.
        assert!(root.make_file("out/new").is_err());
        assert!(!dir.path().join("new").exists());
    }

    #[test]
    fn a_fifo_or_magic_link_is_not_read() {
        let (dir, root) = root();
        let status = std::process::Command::new("mkfifo").arg(dir.path().join("root/fifo")).status().unwrap();
        assert!(status.success());
        assert!(root.read("fifo", 100).is_err());
        let proc = SafeRoot::open(Path::new("/proc")).unwrap();
        assert!(proc.handle("self/fd/0").is_err());
        assert!(proc.handle("self/root/etc").is_err());
    }

    #[test]
    fn an_exchanged_directory_never_leads_out() {
        let (dir, root) = root();
        std::fs::create_dir(dir.path().join("root/d")).unwrap();
        symlink("/", dir.path().join("root/l")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        let base = dir.path().to_owned();
        let swapper = std::thread::spawn(move || {
            for _ in 0..3000 {
                let _ = std::fs::rename(base.join("root/d"), base.join("root/x"));
                let _ = std::fs::rename(base.join("root/l"), base.join("root/d"));
                let _ = std::fs::rename(base.join("root/d"), base.join("root/l"));
                let _ = std::fs::rename(base.join("root/x"), base.join("root/d"));
            }
        });
        let target = format!("d{}/outside/made", dir.path().display());
        while !swapper.is_finished() {
            let _ = root.make_file(&target);
        }
        swapper.join().unwrap();
        assert!(!dir.path().join("outside/made").exists());
    }
}
