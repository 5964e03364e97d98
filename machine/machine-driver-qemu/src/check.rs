//! What can be found out before a machine is made.

use std::path::PathBuf;

use machine_core::driver::{DriverError, Place};

use crate::config::{Network, QemuConfig};

/// A start needs room for logs; a machine's disk grows as it is used.
const ROOM: u64 = 64 << 20;

/// The emulator, as a shell would find it.
pub(crate) fn find_program(program: &str) -> Result<PathBuf, DriverError> {
    let missing = || {
        DriverError::check(format!("`{program}` is not installed"))
            .hint("install it: `apt-get install qemu-system-x86`, or name another with `--qemu-program`")
    };
    if program.contains('/') {
        let path = PathBuf::from(program);
        return if path.is_file() { Ok(path) } else { Err(missing()) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file()).ok_or_else(missing)
}

/// Whether QEMU can make a machine of this shape.
pub(crate) fn check_shape(config: &QemuConfig) -> Result<(), DriverError> {
    if config.memory < 128 {
        return Err(DriverError::check(format!("{} MiB of memory are too few", config.memory))
            .hint("a machine needs at least `--qemu-memory 128`, and 256 to run something"));
    }
    if !(1..=255).contains(&config.cpu) {
        return Err(DriverError::check(format!("a machine cannot have {} processors", config.cpu)));
    }
    if !(200..=100_000_000).contains(&config.disk_size) {
        return Err(DriverError::check(format!("a disk of {} MB cannot be made", config.disk_size))
            .hint("choose `--qemu-disk-size` between 200 and 100000000"));
    }
    if config.io_mode == "native" && !["none", "directsync"].contains(&config.cache_mode.as_str()) {
        return Err(DriverError::check("`--qemu-io-mode native` goes past the cache, so there may be none")
            .hint("add `--qemu-cache-mode none`"));
    }
    if config.network == Network::Bridge && config.network_bridge.is_empty() {
        return Err(DriverError::check("the network `bridge` needs `--qemu-network-bridge NAME`"));
    }
    Ok(())
}

/// Whether the disk has room for a start.
pub(crate) fn check_room(place: &Place) -> Result<(), DriverError> {
    let Ok(stat) = nix::sys::statvfs::statvfs(&place.store) else { return Ok(()) };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free >= ROOM {
        return Ok(());
    }
    Err(DriverError::check(format!(
        "the disk under {} is full: {} MB are left, a machine needs {}",
        place.store.display(),
        free >> 20,
        ROOM >> 20
    ))
    .hint("make room, or keep machines elsewhere with `--storage-path`"))
}
