//! The layered root, as a mount that is nowhere yet.
//!
//! The layers are handed to the kernel one by one where it can take them so
//! (`lowerdir+`, Linux 6.5); before, through `/proc/self/fd` names, which are
//! short enough for a hundred layers in the one page the old call has.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::sys;

/// Mounts `lower` (topmost first) under `upper`. `volatile` skips every sync.
pub fn mount(lower: &[PathBuf], upper: &Path, work: &Path, volatile: bool) -> io::Result<OwnedFd> {
    // Each attempt that a kernel does not understand leaves a line in its log.
    if !takes_layers_one_by_one(&std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()) {
        return mount_by_numbers(lower, upper, work, volatile);
    }
    match mount_one_by_one(lower, upper, work, volatile) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            mount_by_numbers(lower, upper, work, volatile)
        }
        done => done,
    }
}

/// Whether a kernel of this release should; one that does not tell is tried.
fn takes_layers_one_by_one(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_none_or(|version| version >= (6, 5))
}

fn mount_one_by_one(lower: &[PathBuf], upper: &Path, work: &Path, volatile: bool) -> io::Result<OwnedFd> {
    let fs = sys::fsopen("overlay")?;
    sys::fsconfig_string(&fs, "source", "overlay")?;
    for layer in lower {
        sys::fsconfig_string(&fs, "lowerdir+", layer)?;
    }
    sys::fsconfig_string(&fs, "upperdir", upper)?;
    sys::fsconfig_string(&fs, "workdir", work)?;
    if volatile {
        sys::fsconfig_flag(&fs, "volatile")?;
    }
    sys::fsmount(&fs, 0)
}

fn mount_by_numbers(lower: &[PathBuf], upper: &Path, work: &Path, volatile: bool) -> io::Result<OwnedFd> {
    let open = |path: &Path| sys::openat2(sys::CWD, path, libc::O_PATH | libc::O_DIRECTORY, 0, 0);
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let layers = lower.iter().map(|path| open(path)).collect::<io::Result<Vec<_>>>()?;
    let (upper, work) = (open(upper)?, open(work)?);
    let names: Vec<String> = layers.iter().map(name).collect();
    let lower = names.join(":");
    // Here a string may have 256 bytes only: a few layers fit, more need the old call.
    let fs = sys::fsopen("overlay")?;
    sys::fsconfig_string(&fs, "source", "overlay")?;
    if lower.len() < 256 {
        sys::fsconfig_string(&fs, "lowerdir", &lower)?;
        sys::fsconfig_string(&fs, "upperdir", name(&upper))?;
        sys::fsconfig_string(&fs, "workdir", name(&work))?;
        if volatile {
            sys::fsconfig_flag(&fs, "volatile")?;
        }
        return sys::fsmount(&fs, 0);
    }
    mount_the_old_way(&lower, &name(&upper), &name(&work), volatile)
}

/// The old call needs a place: the upper directory's own, left again at once.
fn mount_the_old_way(lower: &str, upper: &str, work: &str, volatile: bool) -> io::Result<OwnedFd> {
    let volatile = if volatile { ",volatile" } else { "" };
    let data = sys::c_string(format!("lowerdir={lower},upperdir={upper},workdir={work}{volatile}"))?;
    if data.count_bytes() >= 4096 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many layers for this kernel"));
    }
    let place = sys::c_string(work)?;
    sys::mount(c"overlay", &place, c"overlay", 0, &data)?;
    let tree = sys::clone_tree(sys::CWD, work, false);
    sys::detach(&place)?;
    tree
}
