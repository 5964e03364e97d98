//! Warns when there is no room left for what the machine keeps, before something else fails of it in
//! a less obvious way.

use std::time::Duration;

use nix::sys::statvfs::statvfs;

use crate::report::Reporter;

const MIB: u64 = 1024 * 1024;
const PAUSE: Duration = Duration::from_secs(10);

/// Warns each time that /var fills up. Never returns.
pub(crate) async fn watch(reporter: &Reporter, on_disk: bool) {
    let mut warned = false;
    loop {
        if let Ok(now) = statvfs("/var") {
            let (free, size) =
                (now.blocks_available() * now.fragment_size(), now.blocks() * now.fragment_size());
            if is_full(free, size) && !warned {
                reporter.warn(warning(free, size, on_disk));
            }
            warned = is_full(free, size);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A twentieth of a small disk, 256 MiB of a large one.
fn is_full(free: u64, size: u64) -> bool {
    free < (size / 20).min(256 * MIB)
}

fn warning(free: u64, size: u64, on_disk: bool) -> String {
    let what = if on_disk { "the state disk" } else { "the memory that holds /var" };
    format!(
        "{what} is full: {} of {} MiB are left; remove what is not needed below /var, such as images",
        free / MIB,
        size / MIB
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_disks_have_limits_of_their_own() {
        assert!(is_full(12 * MIB, 256 * MIB));
        assert!(!is_full(13 * MIB, 256 * MIB));
        assert!(!is_full(300 * MIB, 1024 * 1024 * MIB));
        assert!(is_full(255 * MIB, 1024 * 1024 * MIB));
    }

    #[test]
    fn the_warning_says_what_is_full() {
        assert!(warning(MIB, 256 * MIB, true).starts_with("the state disk is full: 1 of 256 MiB are left;"));
        assert!(warning(0, MIB, false).starts_with("the memory that holds /var is full"));
    }
}
