//! What came out of a load.

use std::time::Duration;

use serde_json::json;

/// Counts and times of one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub done: usize,
    pub errors: usize,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Figures {
    pub(crate) fn new(mut times: Vec<Duration>, errors: usize, took: Duration) -> Self {
        times.sort_unstable();
        let at = |part: f64| {
            let index = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Self {
            done: times.len(),
            errors,
            per_second: times.len() as f64 / took.as_secs_f64(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }

    /// One JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        json!({
            "done": self.done,
            "errors": self.errors,
            "per_second": round(self.per_second),
            "p50_ms": round(self.p50_ms),
            "p99_ms": round(self.p99_ms),
            "max_ms": round(self.max_ms),
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        let figures = Figures::new(times, 2, Duration::from_secs(10));
        assert_eq!((figures.done, figures.errors, figures.per_second), (100, 2, 10.0));
        assert_eq!((figures.p50_ms, figures.p99_ms, figures.max_ms), (51.0, 100.0, 100.0));
    }
}
