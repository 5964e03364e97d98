//! When to ask again: doubling pauses with jitter, or what the server asks for. Only values.

use std::time::{Duration, SystemTime};

/// A server that asks for a longer pause is not waited for so long.
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses between tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Backoff {
    /// The pause after the n-th try. `jitter` is between 0 and 1: clients that failed together do not
    /// come back together.
    pub(crate) fn pause(self, attempt: u32, jitter: f64) -> Duration {
        let whole = self.first.saturating_mul(1 << attempt.min(16)).min(self.most);
        whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// What `Retry-After` asks for: seconds, or a date.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let asked = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value.trim()).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(asked.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_differ() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) };
        assert_eq!(backoff.pause(0, 1.0), Duration::from_millis(100));
        assert_eq!(backoff.pause(0, 0.0), Duration::from_millis(50));
        assert_eq!(backoff.pause(2, 1.0), Duration::from_millis(400));
        assert_eq!(backoff.pause(40, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn a_server_says_when_in_two_ways() {
        let now = SystemTime::now();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        let date = httpdate::fmt_http_date(now + Duration::from_secs(30));
        let asked = retry_after(&date, now).expect("a date");
        assert!((28..=30).contains(&asked.as_secs()), "{asked:?}");
        assert_eq!(retry_after("86400", now), Some(LONGEST));
        assert_eq!(retry_after("soon", now), None);
    }
}
