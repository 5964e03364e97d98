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

/// The value of `name=` on the kernel command line.
pub(crate) fn kernel_parameter(name: &str) -> Option<String> {
    parameter(&fs::read_to_string("/proc/cmdline").ok()?, name)
}

fn parameter(cmdline: &str, name: &str) -> Option<String> {
    cmdline
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .rfind(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_parameters_counts() {
        let line = "quiet ignition.config.url=http://a/ x ignition.config.url=http://b/\n";
        assert_eq!(parameter(line, "ignition.config.url").as_deref(), Some("http://b/"));
        assert_eq!(parameter(line, "quiet"), None);
    }
}
