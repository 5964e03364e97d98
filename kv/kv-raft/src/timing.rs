//! How long things took, counted in buckets. Measures nothing by itself.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets in seconds, those of etcd's disk metrics.
pub const BOUNDS: [f64; 14] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192];

/// Durations of one kind.
#[derive(Debug)]
pub struct Timing {
    bounds: &'static [f64],
    buckets: Box<[AtomicU64]>,
    count: AtomicU64,
    micros: AtomicU64,
}

impl Default for Timing {
    fn default() -> Self {
        Self::new(&BOUNDS)
    }
}

impl Timing {
    /// Nothing yet, to be counted in buckets with these upper bounds in seconds, in order.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        let buckets = bounds.iter().map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, count: AtomicU64::new(0), micros: AtomicU64::new(0) }
    }

    /// One more.
    pub fn add(&self, took: Duration) {
        if let Some(bucket) = self.bounds.iter().position(|bound| took.as_secs_f64() <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Their sum in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.micros.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// How many took no longer than each of the bounds.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut total = 0;
        self.bounds.iter().zip(&self.buckets).map(move |(bound, bucket)| {
            total += bucket.load(Ordering::Relaxed);
            (*bound, total)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let timing = Timing::default();
        for millis in [1, 3, 100, 20_000] {
            timing.add(Duration::from_millis(millis));
        }
        let counts: Vec<u64> = timing.cumulative().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[2], counts[13], timing.count()), (1, 2, 3, 4));
    }
}
