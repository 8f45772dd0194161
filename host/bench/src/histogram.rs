//! A histogram of latencies: a fixed table, exact to one part in 64.

use std::time::Duration;

/// The number of steps: values below this many nanoseconds have a bucket each, and each power of
/// two above has this many.
const STEPS: u64 = 64;
const STEP_BITS: u32 = 6;
/// The number of buckets. Every value of 64 bits has one: 59 powers of two of 64 steps, 30 KiB in
/// all.
const BUCKETS: usize = 59 * 64;

/// Counts how often each latency was seen.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            max_ns: 0,
        }
    }
}

impl Histogram {
    /// Adds `count` items of one latency.
    pub fn add(&mut self, latency_ns: u64, count: u64) {
        if count == 0 {
            return;
        }
        if let Some(bucket) = self.counts.get_mut(bucket_of(latency_ns)) {
            *bucket += count;
        }
        self.total += count;
        self.max_ns = self.max_ns.max(latency_ns);
    }

    /// Returns the latency that this share of the items (0.0 to 1.0) does not exceed; zero without
    /// items.
    pub fn percentile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a count is a count"
        )]
        let rank = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_nanos(highest_of(bucket).min(self.max_ns));
            }
        }
        Duration::ZERO
    }

    /// Returns the longest latency, exactly.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// Returns the number of items that were added.
    pub fn total(&self) -> u64 {
        self.total
    }
}

fn bucket_of(value: u64) -> usize {
    let power = (64 - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let step = value >> power;
    usize::try_from(u64::from(power) * STEPS + step).unwrap_or(usize::MAX)
}

/// Returns the largest value that falls into a bucket.
fn highest_of(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let power = (bucket / STEPS).saturating_sub(1);
    let step = bucket - power * STEPS;
    ((step + 1) << power).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value is in a bucket that ends at most 1/64 above it.
    #[test]
    fn buckets_are_narrow() {
        for shift in 0..63 {
            for value in [1_u64 << shift, (1 << shift) + 1, (1_u64 << shift) * 2 - 1] {
                let highest = highest_of(bucket_of(value));
                assert!(highest >= value, "{value} {highest}");
                assert!(highest - value <= value / 64, "{value} {highest}");
            }
        }
    }

    /// Percentiles are those of the values that were added.
    #[test]
    fn percentiles_are_true() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.add(micros * 1000, 2);
        }
        assert_eq!(histogram.total(), 2000);
        for (share, micros) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = histogram.percentile(share).as_secs_f64() * 1e6;
            assert!(
                (found / micros - 1.0).abs() < 1.0 / 60.0,
                "{share}: {found}"
            );
        }
        assert_eq!(histogram.percentile(1.0), Duration::from_millis(1));
        assert_eq!(Histogram::default().percentile(0.5), Duration::ZERO);
    }
}
