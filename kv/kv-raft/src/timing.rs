//! How long things on the disk took, counted in buckets. Measures nothing by itself.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets in seconds, those of etcd's disk metrics.
pub const BOUNDS: [f64; 14] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192];

/// Durations of one kind.
#[derive(Debug, Default)]
pub struct Timing {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Timing {
    pub(crate) fn add(&self, took: Duration) {
        if let Some(bucket) = BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound) {
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

    /// How many took no longer than each of [`BOUNDS`].
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut total = 0;
        BOUNDS.iter().zip(&self.buckets).map(move |(bound, bucket)| {
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
