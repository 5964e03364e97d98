//! What openraft asks of the histogram crate that it names: counts in buckets that grow with the value.
//!
//! The crate of this name on crates.io builds tables for sixteen widths as soon as it is first used, of
//! which openraft needs one: 26 MB in every member, two thirds of an idle kvd. openraft keeps these
//! histograms whether or not anyone reads them, so this crate takes that one's place (`[patch.crates-io]`
//! in the workspace). It has what openraft calls and nothing else; drop it when upstream builds its tables
//! when they are wanted.

use std::fmt;
use std::marker::PhantomData;

/// Each power of two is four buckets: a value is known to a quarter of its power of two.
const SPLIT: u32 = 2;

/// How often values were recorded, by size. `T` is what upstream attaches to a slot; nobody here does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// Counts; buckets behind the last one that counted something are not there.
    buckets: Vec<u64>,
    samples: u64,
    attached: PhantomData<T>,
}

/// Values below which so many of the samples lie: the lower end of the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were recorded.
    pub samples: u64,
    /// 0.1 %.
    pub p0_1: u64,
    /// 1 %.
    pub p1: u64,
    /// 5 %.
    pub p5: u64,
    /// 10 %.
    pub p10: u64,
    /// Half of them.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
}

impl<T> Histogram<T> {
    /// With nothing recorded.
    #[must_use]
    pub const fn new() -> Self {
        Self { buckets: Vec::new(), samples: 0, attached: PhantomData }
    }

    /// Records one value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records one value `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = bucket_of(value);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] = self.buckets[bucket].saturating_add(count);
        self.samples = self.samples.saturating_add(count);
    }

    /// The percentiles of all that was recorded; zeros when nothing was.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.samples,
            p0_1: self.value_at(1),
            p1: self.value_at(10),
            p5: self.value_at(50),
            p10: self.value_at(100),
            p50: self.value_at(500),
            p90: self.value_at(900),
            p99: self.value_at(990),
            p99_9: self.value_at(999),
        }
    }

    /// Where `permille` of a thousand samples are behind.
    fn value_at(&self, permille: u128) -> u64 {
        let wanted = (u128::from(self.samples) * permille).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if *count > 0 && seen >= wanted {
                return lowest_of(bucket);
            }
        }
        0
    }
}

/// Several histograms under their names, as openraft hands them to whoever draws them.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    series: Vec<(String, Histogram)>,
}

impl AsciiChart {
    /// Without any.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And one more.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.series.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p50, p90, p99, p99_9, .. } = self;
        write!(f, "[n={samples} p50={p50} p90={p90} p99={p99} p99.9={p99_9}]")
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.series {
            writeln!(f, "{name}: {}", histogram.percentile_stats())?;
        }
        Ok(())
    }
}

fn bucket_of(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    if bits <= SPLIT {
        return usize::try_from(value).expect("a value of two bits fits");
    }
    let shift = bits - 1 - SPLIT;
    // The top bit and the SPLIT bits below it, counted on from where the power of two before ended.
    let within = (value >> shift) - (1 << SPLIT);
    let index = u64::from(shift + 1) * (1 << SPLIT) + within;
    usize::try_from(index).expect("there are fewer than 256 buckets")
}

fn lowest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let (group, within) = (bucket >> SPLIT, bucket & ((1 << SPLIT) - 1));
    if group == 0 { within } else { ((1 << SPLIT) + within) << (group - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket_and_buckets_follow_each_other() {
        for value in (0..10_000).chain([u64::MAX, u64::MAX / 2, 1 << 40]) {
            let bucket = bucket_of(value);
            assert!(lowest_of(bucket) <= value, "{value}");
            assert!(bucket == bucket_of(u64::MAX) || lowest_of(bucket + 1) > value, "{value}");
            assert_eq!(bucket_of(lowest_of(bucket)), bucket, "{value}");
        }
        assert_eq!(bucket_of(u64::MAX), 251);
    }

    #[test]
    fn percentiles_are_right_to_a_quarter() {
        let mut histogram: Histogram = Histogram::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        for value in 1..=1000 {
            histogram.record(value);
        }
        histogram.record_n(5, 0);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p0_1), (1000, 1));
        for (seen, exact) in [(stats.p50, 500), (stats.p90, 900), (stats.p99, 990)] {
            assert!(seen <= exact && exact - seen <= exact / 4, "{seen} for {exact}");
        }
    }
}
