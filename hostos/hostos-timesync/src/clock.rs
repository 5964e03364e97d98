//! A clock that can be set, and the kernel's.
#![allow(unsafe_code, reason = "adjtimex(2), for which there is no wrapper")]

use std::io;
use std::time::{Duration, SystemTime};

/// A clock of the day that can be changed.
pub trait Clock {
    /// What it shows.
    fn now(&self) -> SystemTime;

    /// Moves it at once, by so much forward, or back if `back`.
    ///
    /// # Errors
    /// It cannot be moved.
    fn step(&mut self, by: Duration, back: bool) -> io::Result<()>;

    /// Moves it bit by bit, without a jump that others could see.
    ///
    /// # Errors
    /// It cannot be moved.
    fn slew(&mut self, by: Duration, back: bool) -> io::Result<()>;
}

/// The clock that every program of the machine reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn step(&mut self, by: Duration, back: bool) -> io::Result<()> {
        let mut change = blank();
        change.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
        let (mut seconds, mut nanos) = (signed(by.as_secs()), i64::from(by.subsec_nanos()));
        if back {
            // The part below a second must not be negative.
            seconds = -seconds;
            if nanos > 0 {
                (seconds, nanos) = (seconds - 1, 1_000_000_000 - nanos);
            }
        }
        change.time.tv_sec = seconds;
        change.time.tv_usec = nanos;
        adjust(&mut change)?;
        // It is right now: the kernel may write it to the hardware.
        let mut change = blank();
        change.modes = libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
        change.status = libc::STA_PLL;
        adjust(&mut change)
    }

    fn slew(&mut self, by: Duration, back: bool) -> io::Result<()> {
        let nanos = signed(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX));
        let mut change = blank();
        change.modes = libc::ADJ_OFFSET
            | libc::ADJ_NANO
            | libc::ADJ_STATUS
            | libc::ADJ_TIMECONST
            | libc::ADJ_MAXERROR
            | libc::ADJ_ESTERROR;
        change.status = libc::STA_PLL;
        change.offset = if back { -nanos } else { nanos };
        change.constant = 4;
        adjust(&mut change)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn blank() -> libc::timex {
    // SAFETY: the structure is made of integers only, for which all zeros are a value.
    unsafe { std::mem::zeroed() }
}

fn adjust(change: &mut libc::timex) -> io::Result<()> {
    // SAFETY: the pointer is to a whole structure that outlives the call.
    if unsafe { libc::adjtimex(change) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
