//! Paths inside a tree we do not trust: every look-up stays below a root descriptor, symbolic links included.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Opens `path` as if `root` were `/`: `..` and absolute links cannot leave it, `/proc` magic links are refused.
pub fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let inside = relative(path);
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // The kernel answers EAGAIN when a rename elsewhere disturbed the walk; that is no verdict.
    for _ in 0..64 {
        match rustix::fs::openat2(root, inside, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => continue,
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// Opens a folder for use with the `*at` calls.
pub fn open_folder_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    open_in(root, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// Opens a regular file for reading, links followed inside the root. Never waits for a pipe's other end.
pub fn open_file_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<std::fs::File> {
    let file = std::fs::File::from(open_in(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// Status of what `path` names, following links inside the root.
pub fn stat_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<Stat> {
    Ok(rustix::fs::fstat(open_in(root, path, OFlags::PATH)?)?)
}

/// Status without following a final link.
pub fn lstat_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<Stat> {
    Ok(rustix::fs::fstat(open_in(root, path, OFlags::PATH | OFlags::NOFOLLOW)?)?)
}

/// Opens the folder, making what is missing of it (mode 0755, the given owner). Links on the way are followed.
pub fn make_folders_in(
    root: BorrowedFd<'_>,
    path: &Path,
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<OwnedFd> {
    match open_folder_in(root, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut done = PathBuf::new();
    let mut folder = open_folder_in(root, Path::new(""))?;
    for name in names(path) {
        done.push(name);
        folder = match open_folder_in(root, &done) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(folder.as_fd(), name, mode, owner)?;
                open_folder_in(root, &done)?
            }
            other => other?,
        };
    }
    Ok(folder)
}

fn make_folder(parent: BorrowedFd<'_>, name: &OsStr, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) => {}
        // A dangling link stands there: like mkdir -p, refuse.
        Err(error) => return Err(error.into()),
    }
    rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    if let Some((uid, gid)) = owner {
        chown(parent, name, uid, gid)?;
    }
    Ok(())
}

/// Changes the owner of an entry itself.
pub fn chown(parent: BorrowedFd<'_>, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    Ok(rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Deletes an entry and everything below it, never following a link.
pub fn remove_all(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in entries(folder.as_fd())? {
        remove_all(folder.as_fd(), &entry)?;
    }
    drop(folder);
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Names in an opened folder, sorted by bytes.
pub fn entries(folder: BorrowedFd<'_>) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    // Opened anew to be read: `folder` may be open as a place only.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in rustix::fs::Dir::new(rustix::fs::openat(folder, ".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// True for overlay's mark of a deleted entry.
pub fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The path without leading slashes; the root itself is `.`.
fn relative(path: &Path) -> &Path {
    let inside = path.strip_prefix("/").unwrap_or(path);
    if inside.as_os_str().is_empty() { Path::new(".") } else { inside }
}

/// The real names in a path: no `/`, no `.`; `..` is kept for the kernel to bound.
fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        _ => None,
    })
}

/// Cleans as Go's `filepath.Clean("/" + path)` does and drops the leading slash: `..` stops at the root.
pub fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_stays_inside() {
        for (path, cleaned) in [("/a/./b//c", "a/b/c"), ("../../x", "x"), ("a/../..", ""), ("./", "")] {
            assert_eq!(clean(Path::new(path)), Path::new(cleaned));
        }
    }

    #[test]
    fn links_cannot_leave_the_root() {
        let place = tempfile::tempdir().expect("temporary folder");
        let inside = place.path().join("root");
        std::fs::create_dir_all(inside.join("etc")).expect("folder");
        std::fs::write(place.path().join("secret"), "x").expect("file");
        std::os::unix::fs::symlink("/etc", inside.join("absolute")).expect("link");
        std::os::unix::fs::symlink("../../secret", inside.join("up")).expect("link");
        let root = crate::overlay::open_folder(&inside).expect("root");
        make_folders_in(root.as_fd(), Path::new("absolute/deep/er"), 0o755, None).expect("made inside");
        assert!(inside.join("etc/deep/er").is_dir());
        assert!(stat_in(root.as_fd(), Path::new("up")).is_err());
        assert!(stat_in(root.as_fd(), Path::new("../../secret")).is_err());
    }
}
