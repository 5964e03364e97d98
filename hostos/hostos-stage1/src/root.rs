//! Moves from the initramfs to the real root, freeing the memory that the initramfs held.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

/// Makes `new` the root of this process and of everything it starts.
///
/// The mounts of /dev, /proc and /sys move along; every file of the old root is deleted. An open
/// file (the image behind a loop device) lives on without its name.
pub fn switch_root(new: &Path) -> io::Result<()> {
    for moved in ["dev", "proc", "sys"] {
        let from = Path::new("/").join(moved);
        mount(Some(&from), &new.join(moved), None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    }
    let old = fs::metadata("/")?.dev();
    delete_below(Path::new("/"), old);
    chdir(new)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

/// Deletes what lies on the device `only` below `dir`; a leftover costs memory, not the boot.
fn delete_below(dir: &Path, only: u64) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.dev() != only {
            continue;
        }
        if meta.is_dir() {
            delete_below(&path, only);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}
