//! What an answer does to the clock, and when to ask again. Pure.

use std::time::Duration;

use crate::ask::Sample;

/// More than this, and waiting for the clock to drift right would take too long.
const STEP_FROM: Duration = Duration::from_millis(400);

const SHORTEST: Duration = Duration::from_secs(32);
const LONGEST: Duration = Duration::from_secs(2048);
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What to do to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set it.
    Step,
    /// Let it drift right.
    Slew,
}

/// Remembers how it went so far.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    pause: Option<Duration>,
    failures: u32,
}

impl Follower {
    /// What to do about an answer.
    pub fn answered(&mut self, sample: &Sample) -> Action {
        self.failures = 0;
        // An error within half the delay is no error that could be known.
        let steps = sample.offset > STEP_FROM.max(sample.delay / 2);
        self.pause = Some(match self.pause {
            None => SHORTEST,
            Some(_) if steps => SHORTEST,
            Some(_) if sample.offset > Duration::from_millis(50) => SHORTEST,
            Some(pause) => (pause * 2).min(LONGEST),
        });
        if steps { Action::Step } else { Action::Slew }
    }

    /// No server had an answer.
    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// How long to wait before the next question.
    #[must_use]
    pub fn pause(&self) -> Duration {
        if self.failures > 0 {
            let doubled = AFTER_FAILURE * 2u32.saturating_pow(self.failures.min(10) - 1);
            return doubled.min(LONGEST);
        }
        self.pause.unwrap_or(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn sample(offset: u64, delay: u64) -> Sample {
        Sample {
            server: ([127, 0, 0, 1], 123).into(),
            offset: Duration::from_millis(offset),
            ahead: false,
            delay: Duration::from_millis(delay),
            time: UNIX_EPOCH,
        }
    }

    #[test]
    fn far_off_steps_and_near_slews() {
        let mut follower = Follower::default();
        assert_eq!(follower.answered(&sample(3_600_000, 10)), Action::Step);
        assert_eq!(follower.answered(&sample(100, 10)), Action::Slew);
        assert_eq!(follower.answered(&sample(900, 2_000)), Action::Slew, "a slow line explains it");
    }

    #[test]
    fn a_good_clock_is_asked_about_ever_less_and_a_silent_server_too() {
        let mut follower = Follower::default();
        follower.answered(&sample(1, 1));
        assert_eq!(follower.pause(), Duration::from_secs(32));
        for _ in 0..9 {
            follower.answered(&sample(1, 1));
        }
        assert_eq!(follower.pause(), LONGEST);
        follower.failed();
        assert_eq!(follower.pause(), Duration::from_secs(5));
        for _ in 0..100 {
            follower.failed();
        }
        assert_eq!(follower.pause(), LONGEST);
        follower.answered(&sample(900, 1));
        assert_eq!(follower.pause(), Duration::from_secs(32));
    }
}
