//! Mount units: the kernel's mounts, made with the system call, without a helper program.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use nix::mount::MsFlags;

use crate::config::triggers::MountConfig;
use crate::jobs::StartError;
use crate::states::{ActiveState, JobResult};
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

impl Supervisor {
    fn mount_config(&self, id: UnitId) -> MountConfig {
        match &self.unit(id).detail {
            Detail::Mount(mount) => (**mount).clone(),
            _ => unreachable!("only asked of mounts"),
        }
    }

    pub(crate) fn mount_start(&mut self, id: UnitId) -> Result<(), StartError> {
        self.new_invocation(id);
        let config = self.mount_config(id);
        let there = crate::mounts::is_mount_point(&config.place);
        if let Some(error) = (!there).then(|| mount(&config).err()).flatten() {
            self.log_unit(id, 3, &format!("could not mount {} at {}: {error}", config.what, config.place));
            self.set_state(id, ActiveState::Failed, "failed");
            return Err(StartError::Ends(JobResult::Failed));
        }
        self.set_state(id, ActiveState::Active, "mounted");
        Ok(())
    }

    pub(crate) fn mount_stop(&mut self, id: UnitId) {
        let config = self.mount_config(id);
        if crate::mounts::is_mount_point(&config.place)
            && nix::mount::umount2(config.place.as_str(), nix::mount::MntFlags::empty()).is_err()
            && !crate::sandbox::detach(Path::new(&config.place))
        {
            self.log_unit(id, 4, &format!("could not unmount {}", config.place));
        }
        self.set_state(id, ActiveState::Inactive, "dead");
    }
}

fn mount(config: &MountConfig) -> std::io::Result<()> {
    if !Path::new(&config.place).exists() {
        fs::DirBuilder::new().recursive(true).mode(config.directory_mode).create(&config.place)?;
    }
    let (flags, data) = split_options(&config.options);
    let kind = (!config.kind.is_empty() && config.kind != "none" && config.kind != "auto")
        .then_some(config.kind.as_str());
    let data = (!data.is_empty()).then_some(data.as_str());
    nix::mount::mount(Some(config.what.as_str()), config.place.as_str(), kind, flags, data)?;
    if flags.contains(MsFlags::MS_BIND) && flags.contains(MsFlags::MS_RDONLY) {
        let again = flags | MsFlags::MS_REMOUNT;
        nix::mount::mount(None::<&str>, config.place.as_str(), None::<&str>, again, None::<&str>)?;
    }
    Ok(())
}

/// What the kernel takes as flags, and the rest, which the filesystem takes as text.
fn split_options(text: &str) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut rest: Vec<&str> = Vec::new();
    for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        match option {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "relatime" => flags |= MsFlags::MS_RELATIME,
            "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
            "bind" => flags |= MsFlags::MS_BIND,
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "rw" | "defaults" | "auto" | "noauto" | "nofail" | "_netdev" | "suid" | "dev" | "exec"
            | "async" => {}
            other if other.starts_with("x-") => {}
            other => rest.push(other),
        }
    }
    (flags, rest.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split() {
        let (flags, rest) = split_options("defaults,ro,noexec,size=1m,x-systemd.growfs,mode=755");
        assert_eq!(flags, MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC);
        assert_eq!(rest, "size=1m,mode=755");
    }
}
