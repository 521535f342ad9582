//! What happened lately, counted without a lock.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use crate::Striped;

/// The parts of a window, by one of which it moves on. A power of two, so that the parts go on where the ticks wrap.
pub(super) const PARTS: u32 = 16;

/// Ticks by which somebody may be late and no more. What lies further ahead was counted before the ticks wrapped.
const LATE: u32 = 1 << 16;

/// Calls, failures and slow calls of the last [`PARTS`] ticks.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Written by every call.
    calls: Striped<Count>,
    pub(super) failures: Count,
    pub(super) slow: Count,
}

impl Window {
    #[inline]
    pub(super) fn add_call(&self, tick: u32) {
        self.calls.mine().add(tick);
    }

    pub(super) fn calls(&self, tick: u32) -> u32 {
        self.calls.all().fold(0, |sum, calls| sum.saturating_add(calls.sum(tick)))
    }
}

/// One word for each part: the tick it counts, and the count; so that a part is never emptied under an addition.
#[derive(Debug, Default)]
pub(super) struct Count([AtomicU64; PARTS as usize]);

impl Count {
    /// Adds one. Whoever was held up for a whole window has nothing to add any more.
    #[inline]
    pub(super) fn add(&self, tick: u32) {
        let word = &self.0[(tick % PARTS) as usize];
        let mut seen = word.load(Acquire);
        loop {
            let (of, count) = unpack(seen);
            let next = match of.wrapping_sub(tick) {
                0 => pack(tick, count.saturating_add(1)),
                // Not where nothing was ever counted.
                ahead if ahead < LATE && count > 0 => return,
                _ => pack(tick, 1),
            };
            match word.compare_exchange_weak(seen, next, AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// All that was added in the window that ends with this tick.
    pub(super) fn sum(&self, tick: u32) -> u32 {
        let parts = self.0.iter().map(|word| unpack(word.load(Acquire)));
        let recent = parts.filter(|(of, _)| tick.wrapping_sub(*of) < PARTS);
        recent.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

fn pack(tick: u32, count: u32) -> u64 {
    u64::from(tick) << 32 | u64::from(count)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_thread_is_counted() {
        let count = Count::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                // Each goes over the edge of a part many times, together with the others.
                scope.spawn(|| (0..40_000_u32).for_each(|n| count.add(5 + n / 10_000)));
            }
        });
        assert_eq!(count.sum(8), 160_000);
        assert_eq!(count.sum(22), 80_000);
        assert_eq!(count.sum(24), 0);
    }

    proptest! {
        /// Also where the ticks wrap.
        #[test]
        fn a_window_holds_its_last_parts(start in prop_oneof![Just(0), Just(u32::MAX - 20)],
            steps in proptest::collection::vec(0_u32..20, 1..80)) {
            let (count, mut all, mut tick) = (Count::default(), BTreeMap::new(), 0_u32);
            for step in steps {
                tick += step;
                count.add(start.wrapping_add(tick));
                *all.entry(tick).or_insert(0) += 1;
                let recent = all.iter().filter(|(at, _)| tick - **at < PARTS).map(|(_, n)| n);
                prop_assert_eq!(count.sum(start.wrapping_add(tick)), recent.sum::<u32>());
            }
        }
    }

    #[test]
    fn what_comes_a_window_late_is_not_counted_as_new() {
        let count = Count::default();
        count.add(21);
        count.add(5);
        assert_eq!(count.sum(21), 1);
        // As many ticks again as there are, and nobody called meanwhile.
        count.add(21_u32.wrapping_sub(1 << 20));
        assert_eq!(count.sum(21_u32.wrapping_sub(1 << 20)), 1);
    }
}
