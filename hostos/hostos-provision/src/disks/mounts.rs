//! Filesystems mounted below the root while files are written, and unmounted again, deepest first.

use std::path::{Path, PathBuf};

use hostos_config::Filesystem;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{DiskError, failed};

/// Mounts that end when this is dropped or closed.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    targets: Vec<PathBuf>,
}

/// Whether a filesystem has a place in the tree.
pub(super) fn is_mounted(filesystem: &Filesystem) -> bool {
    let given = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
    let format = filesystem.format.as_deref().unwrap_or_default();
    given(&filesystem.path) && !matches!(format, "" | "swap" | "none")
}

impl Mounts {
    pub(super) fn mount(&mut self, wanted: &Filesystem, device: &Path, root: &Path) -> Result<(), DiskError> {
        let path = wanted.path.as_deref().unwrap_or_default();
        let target = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(&target).map_err(failed("make the mount point of", device))?;
        let (flags, data) = options(&wanted.mount_options);
        let format = wanted.format.as_deref();
        mount(Some(device), &target, format, flags, data.as_deref())
            .map_err(|error| failed("mount", device)(error.into()))?;
        self.targets.push(target);
        Ok(())
    }

    /// Unmounts all of them; the first failure is returned, the others are tried all the same.
    pub(crate) fn close(mut self) -> std::io::Result<()> {
        self.unmount_all()
    }

    fn unmount_all(&mut self) -> std::io::Result<()> {
        let mut result = Ok(());
        while let Some(target) = self.targets.pop() {
            if let Err(error) = umount2(&target, MntFlags::empty()) {
                result = result.and(Err(error.into()));
            }
        }
        result
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        if let Err(error) = self.unmount_all() {
            tracing::warn!(%error, "a filesystem stays mounted");
        }
    }
}

/// Options as mount(8) takes them, as flags and what is left for the filesystem itself.
fn options(options: &[String]) -> (MsFlags, Option<String>) {
    let mut flags = MsFlags::empty();
    let mut data: Vec<&str> = Vec::new();
    for option in options.iter().flat_map(|option| option.split(',')) {
        match option {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
            "dirsync" => flags |= MsFlags::MS_DIRSYNC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "nodiratime" => flags |= MsFlags::MS_NODIRATIME,
            "relatime" => flags |= MsFlags::MS_RELATIME,
            "strictatime" => flags |= MsFlags::MS_STRICTATIME,
            "lazytime" => flags |= MsFlags::MS_LAZYTIME,
            "" | "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "auto" | "noauto" | "nofail"
            | "nouser" => {}
            option if option.starts_with("x-") => {}
            option => data.push(option),
        }
    }
    (flags, (!data.is_empty()).then(|| data.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_into_flags_and_data() {
        let given =
            ["noatime,ro".to_owned(), "data=ordered".into(), "x-systemd.automount".into(), "discard".into()];
        let (flags, data) = options(&given);
        assert_eq!(flags, MsFlags::MS_NOATIME | MsFlags::MS_RDONLY);
        assert_eq!(data.as_deref(), Some("data=ordered,discard"));
    }
}
