//! `mount` and `umount`, without fstab: what is mounted, and one mount at a time.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use nix::mount::{MntFlags, MsFlags, umount2};

/// Mount a filesystem, or show what is mounted
#[derive(Debug, Parser)]
#[command(name = "mount")]
struct Mount {
    /// Kind of filesystem; found out if not given
    #[arg(short = 't')]
    kind: Option<String>,
    /// Options, separated by commas
    #[arg(short = 'o')]
    options: Vec<String>,
    /// Show a directory at another place too
    #[arg(long, short = 'B')]
    bind: bool,
    /// Forbid writing
    #[arg(short = 'r')]
    read_only: bool,
    /// Device, directory or nothing in particular
    what: Option<String>,
    /// Where
    at: Option<PathBuf>,
}

/// Unmount filesystems
#[derive(Debug, Parser)]
#[command(name = "umount")]
struct Unmount {
    /// Detach now, clean up when nothing uses it any more
    #[arg(short = 'l')]
    lazy: bool,
    /// Even if the server does not answer
    #[arg(short = 'f')]
    force: bool,
    /// Mount points
    #[arg(required = true)]
    at: Vec<PathBuf>,
}

pub(crate) fn mount(args: Vec<OsString>) -> ExitCode {
    let call = match Mount::try_parse_from(args) {
        Ok(call) => call,
        Err(usage) => return crate::misused(&usage),
    };
    let (mut flags, data) = options(&call.options);
    let (what, at) = match (&call.what, &call.at) {
        (None, None) => return show(),
        (Some(what), Some(at)) => (what.clone(), at.clone()),
        (Some(at), None) if flags.contains(MsFlags::MS_REMOUNT) => ("none".to_owned(), PathBuf::from(at)),
        _ => return crate::failed("mount", "name what to mount and where; there is no fstab here"),
    };
    flags.set(MsFlags::MS_BIND, call.bind || flags.contains(MsFlags::MS_BIND));
    flags.set(MsFlags::MS_RDONLY, call.read_only || flags.contains(MsFlags::MS_RDONLY));
    let plain = flags.intersects(MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_MOVE);
    let kinds = match call.kind {
        Some(kind) => vec![Some(kind)],
        None if plain => vec![None],
        None => known_kinds().into_iter().map(Some).collect(),
    };
    let mut problem = String::from("no filesystem that this kernel knows");
    for kind in kinds {
        let data = (!data.is_empty()).then_some(data.as_str());
        match nix::mount::mount(Some(what.as_str()), &at, kind.as_deref(), flags, data) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => problem = error.desc().to_lowercase(),
        }
    }
    crate::failed("mount", &format!("{what} on {}: {problem}", at.display()))
}

pub(crate) fn unmount(args: Vec<OsString>) -> ExitCode {
    let call = match Unmount::try_parse_from(args) {
        Ok(call) => call,
        Err(usage) => return crate::misused(&usage),
    };
    let mut flags = MntFlags::empty();
    flags.set(MntFlags::MNT_DETACH, call.lazy);
    flags.set(MntFlags::MNT_FORCE, call.force);
    let mut code = ExitCode::SUCCESS;
    for at in &call.at {
        if let Err(error) = umount2(at, flags) {
            code = crate::failed("umount", &format!("{}: {}", at.display(), error.desc().to_lowercase()));
        }
    }
    code
}

fn show() -> ExitCode {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        if let [what, at, kind, options, ..] = words.as_slice() {
            println!("{what} on {at} type {kind} ({options})");
        }
    }
    ExitCode::SUCCESS
}

/// Flags of the kernel's, and the rest for the filesystem.
fn options(given: &[String]) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut rest = Vec::new();
    for option in given.iter().flat_map(|text| text.split(',')) {
        match option {
            "" | "rw" | "defaults" | "auto" | "noauto" => {}
            "ro" => flags |= MsFlags::MS_RDONLY,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
            "remount" => flags |= MsFlags::MS_REMOUNT,
            "bind" => flags |= MsFlags::MS_BIND,
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "move" => flags |= MsFlags::MS_MOVE,
            "private" => flags |= MsFlags::MS_PRIVATE,
            "shared" => flags |= MsFlags::MS_SHARED,
            other => rest.push(other),
        }
    }
    (flags, rest.join(","))
}

/// Filesystems on devices, in the kernel's order.
fn known_kinds() -> Vec<String> {
    let text = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines().filter(|line| !line.starts_with("nodev")).map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_from_a_filesystems_own_options() {
        let (flags, rest) = options(&["ro,noatime".into(), "size=1m,mode=700".into()]);
        assert_eq!(flags, MsFlags::MS_RDONLY | MsFlags::MS_NOATIME);
        assert_eq!(rest, "size=1m,mode=700");
    }
}
