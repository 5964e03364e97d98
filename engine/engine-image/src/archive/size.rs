//! How much a tree holds, counting each file once however many names it has.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// Sum of the sizes of everything but folders below an opened folder.
pub fn tree_size(root: BorrowedFd<'_>) -> io::Result<u64> {
    let mut seen = HashSet::new();
    size_below(root, &mut seen)
}

fn size_below(folder: BorrowedFd<'_>, seen: &mut HashSet<(u64, u64)>) -> io::Result<u64> {
    let mut sum = 0;
    for name in crate::dirfd::entries(folder)? {
        let stat = match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // A container may be deleting meanwhile.
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(folder, &name, flags, Mode::empty()) {
                Ok(child) => sum += size_below(child.as_fd(), seen)?,
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        } else if stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
            sum += u64::try_from(stat.st_size).unwrap_or(0);
        }
    }
    Ok(sum)
}
