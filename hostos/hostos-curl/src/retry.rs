//! Whether and when a transfer that failed is tried again.

use std::io;
use std::time::{Duration, Instant};

use crate::error::CurlError;
use crate::options::Options;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Counts the tries of one URL.
pub(crate) struct Retry {
    left: u32,
    pause: Duration,
    start: Instant,
}

impl Retry {
    pub(crate) fn new(options: &Options) -> Self {
        Self { left: options.retry, pause: FIRST_PAUSE, start: Instant::now() }
    }

    /// How long to wait before the next try; nothing if this outcome stands. `after` is what the
    /// server asked for.
    pub(crate) fn next(
        &mut self,
        options: &Options,
        outcome: &Result<(), CurlError>,
        status: u16,
        after: Option<Duration>,
    ) -> Option<Duration> {
        if self.left == 0 || !is_passing(options, outcome, status) {
            return None;
        }
        let pause = options.retry_delay.filter(|delay| !delay.is_zero()).unwrap_or(self.pause);
        let pause = pause.max(after.unwrap_or_default().min(LONGEST_PAUSE));
        let limit = options.retry_max_time.filter(|limit| !limit.is_zero());
        if limit.is_some_and(|limit| self.start.elapsed() + pause > limit) {
            return None;
        }
        if options.shows_errors() {
            let what = match outcome {
                Err(CurlError::Timeout(_)) => "timeout".to_owned(),
                Ok(()) | Err(CurlError::Status(_)) => "HTTP error".to_owned(),
                Err(error) => error.to_string(),
            };
            eprintln!(
                "Warning: Problem: {what}. Will retry in {} seconds. {} retries left.",
                pause.as_secs(),
                self.left
            );
        }
        self.left -= 1;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

fn is_passing(options: &Options, outcome: &Result<(), CurlError>, status: u16) -> bool {
    match outcome {
        Ok(()) | Err(CurlError::Status(_)) => {
            matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
                || options.retry_all_errors && matches!(outcome, Err(CurlError::Status(_)))
        }
        Err(CurlError::Timeout(_) | CurlError::Resolve(_)) => true,
        Err(CurlError::Connect { source, .. }) if source.kind() == io::ErrorKind::ConnectionRefused => {
            options.retry_connrefused || options.retry_all_errors
        }
        Err(_) => options.retry_all_errors,
    }
}
