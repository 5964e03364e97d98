//! Keeps the clock from showing a time before the image was built: certificates made for the machine
//! would not be valid yet.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

/// Sets a clock that is wrong for sure to the build date.
pub(crate) fn not_before_the_build() {
    let Some(floor) = build_date() else { return };
    if SystemTime::now() >= floor {
        return;
    }
    let since = floor.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(since)) {
        Ok(()) => tracing::warn!("the clock showed a time before this image was built; it is set to that"),
        Err(error) => tracing::warn!(%error, "clock not set"),
    }
}

fn build_date() -> Option<SystemTime> {
    let seconds = fs::read_to_string("/usr/lib/build-date").ok()?.trim().parse().ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}
