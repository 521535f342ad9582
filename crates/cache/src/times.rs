//! How long loads took.

use std::fmt;
use std::time::Duration;

pub(crate) const BUCKETS: usize = 32;

/// How long loader calls took, in classes of twice the time each: up to 1 µs, 2 µs, 4 µs and so on, and whatever took
/// more than 18 minutes in the last.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadTimes(pub(crate) [u64; BUCKETS]);

impl LoadTimes {
    /// How many loads there were.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Within which time this share of them had ended, 0 to 1: the end of its class, so up to twice as long; `None`
    /// before the first load.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "a rank needs no more")]
        let rank = self.count() as f64 * share.clamp(0.0, 1.0);
        let mut sum = 0;
        let found = self.classes().find(|(_, count)| {
            sum += count;
            #[expect(clippy::cast_precision_loss, reason = "a rank needs no more")]
            let reached = sum > 0 && sum as f64 >= rank;
            reached
        });
        found.map(|(until, _)| until)
    }

    /// Each class: the longest time that belongs to it, and how many loads.
    pub fn classes(&self) -> impl Iterator<Item = (Duration, u64)> {
        (0..).zip(self.0).map(|(class, count)| (Duration::from_micros(1 << class), count))
    }

    /// The class of a time.
    pub(crate) fn class(took: Duration) -> usize {
        let micros = u64::try_from(took.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        // The exponent of the power of two that is not less.
        let class = u64::BITS - micros.saturating_sub(1).leading_zeros();
        usize::try_from(class).unwrap_or(BUCKETS).min(BUCKETS - 1)
    }
}

impl fmt::Debug for LoadTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.classes().filter(|(_, count)| *count > 0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_class_that_ends_next() {
        for (nanos, class) in
            [(0, 0), (1, 0), (1_000, 0), (1_001, 1), (2_000, 1), (2_001, 2), (4_000, 2), (5_000, 3)]
        {
            assert_eq!(LoadTimes::class(Duration::from_nanos(nanos)), class, "{nanos}");
        }
        assert_eq!(LoadTimes::class(Duration::MAX), BUCKETS - 1);
        assert_eq!(LoadTimes::class(Duration::from_secs(1_000)), 30);
    }

    #[test]
    fn a_quantile_is_the_end_of_its_class() {
        let mut times = LoadTimes::default();
        assert_eq!((times.quantile(0.5), times.count()), (None, 0));
        for millis in 1..=100 {
            times.0[LoadTimes::class(Duration::from_millis(millis))] += 1;
        }
        assert_eq!(times.count(), 100);
        let quantile = |share| times.quantile(share).unwrap();
        assert_eq!(quantile(0.0), Duration::from_micros(1_024));
        assert_eq!(quantile(0.5), Duration::from_micros(65_536));
        assert_eq!(quantile(1.0), Duration::from_micros(131_072));
    }
}
