//! What the engine knows of the machine it runs on. Only reads, except for the engine's own id.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

/// Name and version of the operating system, from os-release.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct OsRelease {
    pub(crate) pretty: String,
    pub(crate) version: String,
}

pub(crate) fn os_release() -> OsRelease {
    let read = |path| std::fs::read_to_string(path).ok();
    parse_os_release(&read("/etc/os-release").or_else(|| read("/usr/lib/os-release")).unwrap_or_default())
}

fn parse_os_release(text: &str) -> OsRelease {
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned())
    };
    OsRelease {
        pretty: value("PRETTY_NAME").unwrap_or_else(|| "Linux".into()),
        version: value("VERSION_ID").unwrap_or_default(),
    }
}

pub(crate) fn kernel_version() -> String {
    proc_line("sys/kernel/osrelease")
}

/// The host's name.
pub(crate) fn name() -> String {
    proc_line("sys/kernel/hostname")
}

fn proc_line(path: &str) -> String {
    std::fs::read_to_string(Path::new("/proc").join(path)).unwrap_or_default().trim().to_owned()
}

pub(crate) fn sysctl_on(path: &str) -> bool {
    proc_line(&format!("sys/{path}")) == "1"
}

pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory nodes, counted from 0.
pub(crate) fn memory_nodes() -> usize {
    let online = std::fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
    let last = online.trim().rsplit([',', '-']).next().unwrap_or_default();
    last.parse::<usize>().map_or(1, |last| last + 1)
}

/// Bytes of memory.
pub(crate) fn memory_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

pub(crate) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Memory of this process that is really there.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

pub(crate) fn is_pure_cgroup2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

pub(crate) fn has_controller(name: &str) -> bool {
    if is_pure_cgroup2() {
        let listed = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        return listed.split_whitespace().any(|c| c == name);
    }
    Path::new("/sys/fs/cgroup").join(name).exists()
}

pub(crate) fn has_swap_limit() -> bool {
    is_pure_cgroup2() || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

/// Whether groups can have shares of a disk's time.
pub(crate) fn has_blkio_weight() -> bool {
    let v1 = |file: &str| Path::new("/sys/fs/cgroup/blkio").join(file).exists();
    if is_pure_cgroup2() { has_controller("io") } else { v1("blkio.weight") || v1("blkio.bfq.weight") }
}

/// The file system's name as Docker has it.
pub(crate) fn filesystem_name(path: &Path) -> &'static str {
    let magic = nix::sys::statfs::statfs(path).map(|s| s.filesystem_type().0).unwrap_or_default();
    match magic as u64 {
        0xEF53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794C_7630 => "overlayfs",
        0xF2F5_2010 => "f2fs",
        _ => "<unknown>",
    }
}

pub(crate) fn now_rfc3339() -> String {
    crate::clock::rfc3339(crate::clock::now())
}

/// The engine's id, made once and kept in the data root.
pub(crate) fn engine_id(data_root: &Path) -> anyhow::Result<String> {
    let path = data_root.join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    let bytes: [u8; 16] = rand::random();
    let hex = hex::encode(bytes);
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&path)?;
        writeln!(file, "{id}")?;
        file.sync_all()
    };
    write().with_context(|| format!("could not write {}", path.display()))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_with_and_without_quotes() {
        let os =
            parse_os_release("NAME=\"X\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=12\n");
        assert_eq!(os, OsRelease { pretty: "Debian GNU/Linux 12 (bookworm)".into(), version: "12".into() });
        assert_eq!(parse_os_release("").pretty, "Linux");
    }

    #[test]
    fn the_id_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let id = engine_id(dir.path()).unwrap();
        assert_eq!(engine_id(dir.path()).unwrap(), id);
        assert_eq!(id.len(), 36);
    }
}
