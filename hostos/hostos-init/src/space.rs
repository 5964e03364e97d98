//! Warns when there is no room left for what the machine keeps, before something else fails of it in
//! a less obvious way; and gives a machine that starts with a full disk the room that it needs itself.

use std::time::Duration;

use nix::sys::statvfs::statvfs;

use crate::report::Reporter;
use crate::root_image;

const MIB: u64 = 1024 * 1024;
const PAUSE: Duration = Duration::from_secs(10);

/// At the start of a boot: if the state disk is full, says so and gives up the copy of the root there,
/// so that logs, daemons and whoever comes to help have its room. Memory holds the root meanwhile.
pub(crate) fn make_room(reporter: &Reporter) {
    if let Some((free, size)) = room()
        && is_full(free, size)
    {
        reporter.warn(warning(free, size, true));
        root_image::remove_copy();
    }
}

/// Whether so many bytes more leave the state disk with room to spare.
pub(crate) fn is_room_for(bytes: u64) -> bool {
    room().is_some_and(|(free, size)| free > bytes && !is_full(free - bytes, size))
}

/// Bytes of /var that are free, and all of them.
fn room() -> Option<(u64, u64)> {
    let now = statvfs("/var").ok()?;
    Some((now.blocks_available() * now.fragment_size(), now.blocks() * now.fragment_size()))
}

/// Warns each time that /var fills up. Never returns.
pub(crate) async fn watch(reporter: &Reporter, on_disk: bool) {
    let mut warned = false;
    loop {
        if let Some((free, size)) = room() {
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
