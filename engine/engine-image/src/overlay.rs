//! Overlay mounts that nobody else sees: made with the new mount API, reached only through their descriptor,
//! gone with it. For looking into images and for filling build steps; containers' mounts are the runtime's.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount, unmount,
};

/// Where changes go; `work` must be an empty folder on the same file system.
pub struct Upper<'a> {
    pub upper: &'a Path,
    pub work: &'a Path,
}

/// The root folder of these layers, topmost first, mounted nowhere. Read-only without an upper.
///
/// The mount is `volatile`: whoever keeps the upper folder syncs it himself and throws `work` away.
pub fn mount_detached(lowers: &[PathBuf], upper: Option<Upper<'_>>, scratch: &Path) -> io::Result<OwnedFd> {
    match (lowers, &upper) {
        ([], Some(upper)) => return open_folder(upper.upper),
        ([], None) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "an overlay of nothing")),
        ([only], None) => return open_folder(only),
        _ => {}
    }
    // Before 6.5 there is no `lowerdir+`, and each attempt would leave a line in the kernel's log.
    if !takes_lowers_one_by_one(&rustix::system::uname().release().to_string_lossy()) {
        return mount_aside(lowers, upper.as_ref(), scratch);
    }
    match mount_by_descriptor(lowers, upper.as_ref()) {
        // A kernel whose number says more than it can.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            mount_aside(lowers, upper.as_ref(), scratch)
        }
        other => Ok(other?),
    }
}

/// Whether a kernel of this release should; one that does not tell is tried.
fn takes_lowers_one_by_one(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_none_or(|version| version >= (6, 5))
}

/// Opens a folder for use as a root of further look-ups.
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?)
}

fn mount_by_descriptor(lowers: &[PathBuf], upper: Option<&Upper<'_>>) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in lowers {
        fsconfig_set_string(context.as_fd(), "lowerdir+", lower.as_path())?;
    }
    if let Some(upper) = upper {
        fsconfig_set_string(context.as_fd(), "upperdir", upper.upper)?;
        fsconfig_set_string(context.as_fd(), "workdir", upper.work)?;
        fsconfig_set_flag(context.as_fd(), "volatile")?;
    }
    for (option, value) in FIXED_OPTIONS {
        if upper.is_some() || *option != "index" {
            fsconfig_set_string(context.as_fd(), *option, *value)?;
        }
    }
    fsconfig_create(context.as_fd())?;
    let attributes =
        if upper.is_some() { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    readable(mounted)
}

/// Off whatever the kernel's defaults are: our layers must mean the same on every machine.
const FIXED_OPTIONS: &[(&str, &str)] = &[("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")];

/// `fsmount` gives an O_PATH descriptor; listing needs a real one.
fn readable(mounted: OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(mounted, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The old way: mount on a folder of our own, open it, detach it again.
fn mount_aside(lowers: &[PathBuf], upper: Option<&Upper<'_>>, scratch: &Path) -> io::Result<OwnedFd> {
    fs::create_dir_all(scratch)?;
    let joined: Vec<String> = lowers.iter().map(|path| path.display().to_string()).collect();
    let mut options = format!("lowerdir={},redirect_dir=off,metacopy=off", joined.join(":"));
    let mut flags = MountFlags::RDONLY;
    if let Some(upper) = upper {
        options.push_str(&format!(
            ",index=off,upperdir={},workdir={}",
            upper.upper.display(),
            upper.work.display()
        ));
        flags = MountFlags::empty();
    }
    let options = std::ffi::CString::new(options)?;
    mount("overlay", scratch, "overlay", flags, options.as_c_str())?;
    let opened = open_folder(scratch);
    unmount(scratch, UnmountFlags::DETACH)?;
    opened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_tells_what_its_kernel_can() {
        for (release, can) in [
            ("6.1.0-56-cloud-amd64", false),
            ("6.5.0", true),
            ("6.12-rc1", true),
            ("5.15.0", false),
            ("?", true),
        ] {
            assert_eq!(takes_lowers_one_by_one(release), can, "{release}");
        }
    }
}
