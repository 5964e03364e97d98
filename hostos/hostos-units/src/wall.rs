//! Hearing of jumps of the time of day, after which calendars are looked at again.

use std::os::fd::OwnedFd;

use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};

/// A descriptor that is ready once the clock was set.
pub(crate) fn watch_changes() -> Option<OwnedFd> {
    let timer =
        TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK).ok()?;
    let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
    let never = TimeSpec::new(i64::MAX / 4_000_000_000, 0);
    timer.set(Expiration::OneShot(never), flags).ok()?;
    Some(timer.into())
}
