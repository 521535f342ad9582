//! Sequences of lookups, the same each time, with which caches are compared.

/// Numbers from 0 on, by chance and as often as Zipf's law says: the n-th in proportion to 1 / n^skew.
///
/// ```
/// use russet_testkit::trace::Zipf;
///
/// let lookups: Vec<u64> = Zipf::new(1_000, 1.0, 7).take(100).collect();
/// assert!(lookups.iter().all(|key| *key < 1_000));
/// assert_eq!(lookups, Zipf::new(1_000, 1.0, 7).take(100).collect::<Vec<_>>());
/// ```
#[derive(Clone, Debug)]
pub struct Zipf {
    /// How likely a number up to this one is.
    up_to: Vec<f64>,
    chance: Chance,
}

impl Zipf {
    /// So many different numbers; the same sequence for the same seed.
    #[must_use]
    pub fn new(keys: u64, skew: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        #[expect(clippy::cast_precision_loss, reason = "no trace has that many")]
        let weight = |key: u64| ((key + 1) as f64).powf(-skew);
        let sums = (0..keys).map(|key| {
            sum += weight(key);
            sum
        });
        let sums: Vec<f64> = sums.collect();
        Self { up_to: sums.iter().map(|up_to| up_to / sum).collect(), chance: Chance(seed) }
    }
}

impl Iterator for Zipf {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let chance = self.chance.share();
        let at = self.up_to.partition_point(|up_to| *up_to < chance);
        Some(at.min(self.up_to.len().saturating_sub(1)) as u64)
    }
}

/// Chance that comes out the same each time: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    pub fn share(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let share = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_the_most_frequent() {
        let mut counts = [0_u32; 10];
        for key in Zipf::new(10, 1.0, 7).take(100_000) {
            counts[usize::try_from(key).unwrap()] += 1;
        }
        // 1 / (1 + 1/2 + … + 1/10) is 0.3414.
        assert!((33_500..=34_800).contains(&counts[0]), "{counts:?}");
        assert!((16_500..=17_700).contains(&counts[1]), "{counts:?}");
        assert!((3_100..=3_750).contains(&counts[9]), "{counts:?}");
    }
}
