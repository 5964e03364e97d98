//! Small facts about the running machine, and its end.

use std::fs;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::sync;

/// Version of the userland.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Milliseconds since the kernel started.
pub(crate) fn uptime_ms() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| u64::try_from(Duration::from(now).as_millis()).unwrap_or(u64::MAX))
}

/// `uname -r`.
pub(crate) fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Ends the machine. Whatever must be on disk is there when this is called.
pub(crate) fn end(mode: RebootMode) -> ! {
    sync();
    let _ = reboot(mode);
    loop {
        // Only a kernel that cannot power off gets here.
        std::thread::sleep(Duration::from_secs(3600));
    }
}
