//! What one process has seen.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use russet_core_conn::Striped;

use super::table::{Counts, Times};
use super::{Access, CacheKey};
use crate::stats::Stats;

/// Of those that this process answers from its own memory, one lookup in so many is looked at, and counts for all.
const SAMPLED: u32 = 16;

/// Keys are spread over so many locks.
const SHARDS: usize = 16;

/// So many times as many keys are kept as can be told.
pub(crate) const KEPT: usize = 4;

/// With fewer places in a shard what is hot would not be told from what is not.
const LEAST: usize = 64;

/// How many of the hottest keys are at hand.
const AT_HAND: usize = 32;

/// What a process has seen of its lookups.
#[derive(Debug)]
pub(crate) struct Insight {
    pub(crate) options: Access,
    shards: [Mutex<Shard>; SHARDS],
    /// How many lookups are passed over.
    skips: Striped<AtomicU32>,
    /// A merge is to come.
    waits: AtomicBool,
    /// What was merged already, and when what is kept was decayed last.
    pub(crate) merged: tokio::sync::Mutex<Merged>,
    hottest: Mutex<Arc<[CacheKey]>>,
}

#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) stats: Stats,
    pub(crate) decayed: Instant,
}

#[derive(Debug)]
struct Shard {
    hot: Counts,
    missed: Counts,
    recent: Times,
}

/// What nobody else knows of yet.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) hot: Vec<(Bytes, f64)>,
    pub(crate) missed: Vec<(Bytes, f64)>,
    pub(crate) recent: Vec<(Bytes, Instant)>,
}

impl Insight {
    pub(crate) fn new(options: Access) -> Self {
        let places = (options.keys * KEPT).div_ceil(SHARDS).max(LEAST);
        let shard = || Shard {
            hot: Counts::new(places),
            missed: Counts::new(places),
            recent: Times::new(places),
        };
        Self {
            options,
            shards: std::array::from_fn(|_| Mutex::new(shard())),
            skips: Striped::default(),
            waits: AtomicBool::new(false),
            merged: tokio::sync::Mutex::new(Merged {
                stats: Stats::default(),
                decayed: Instant::now(),
            }),
            hottest: Mutex::new(Arc::new([])),
        }
    }

    /// A lookup that this process answered from its own memory. Whether something was noted.
    #[inline]
    pub(crate) fn near(&self, name: &[u8], now: Instant) -> bool {
        let skips = self.skips.mine();
        // Threads that share it may lose a step: that is chance, too.
        match skips.load(Relaxed) {
            0 => {
                // From none to twice as many: what comes in a rhythm is seen like everything else.
                skips.store(rand::rng().random_range(0..SAMPLED * 2 - 1), Relaxed);
                self.note_sampled(name, now)
            }
            left => {
                skips.store(left - 1, Relaxed);
                false
            }
        }
    }

    fn note_sampled(&self, name: &[u8], now: Instant) -> bool {
        if !CacheKey::can_tell(name) {
            return false;
        }
        // Where many want the same, one sample is not worth the wait.
        let mut shard = match self.shards[shard(name)].try_lock() {
            Ok(shard) => shard,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        shard.hot.add(name, SAMPLED.into());
        shard.recent.note(name, now);
        true
    }

    /// Any other lookup.
    pub(crate) fn far(&self, name: &[u8], missed: bool, now: Instant) {
        if !CacheKey::can_tell(name) {
            return;
        }
        let mut shard = self.shard_of(name);
        shard.hot.add(name, 1.0);
        shard.recent.note(name, now);
        if missed {
            shard.missed.add(name, 1.0);
        }
    }

    /// How often it was asked for, as far as this process knows.
    pub(crate) fn count(&self, name: &[u8]) -> f64 {
        self.shard_of(name).hot.of(name)
    }

    /// Whether a merge is to be begun for what was noted.
    pub(crate) fn calls_for_merge(&self) -> bool {
        !self.waits.load(Relaxed) && !self.waits.swap(true, Relaxed)
    }

    /// What is noted from here on calls for another.
    pub(crate) fn merges(&self) {
        self.waits.store(false, Relaxed);
    }

    /// For the time that has passed.
    pub(crate) fn decay(&self, passed: Duration) {
        let share = (-passed.as_secs_f64() / self.options.half_life.as_secs_f64()).exp2();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.hot.decay(share);
            shard.missed.decay(share);
        }
    }

    /// Of each sort no more than can be told: those that were asked for most.
    pub(crate) fn take(&self) -> Seen {
        let mut seen = Seen::default();
        for shard in &self.shards {
            let mut shard = lock(shard);
            seen.hot.extend(shard.hot.take());
            seen.missed.extend(shard.missed.take());
            seen.recent.extend(shard.recent.take());
        }
        for counts in [&mut seen.hot, &mut seen.missed] {
            cut(counts, self.options.keys, |a, b| f64::total_cmp(b, a));
        }
        cut(&mut seen.recent, self.options.keys, |a, b| b.cmp(a));
        seen
    }

    /// What the fleet knows of a key.
    pub(crate) fn learn(&self, name: &[u8], all: f64) {
        self.shard_of(name).hot.learn(name, all);
    }

    /// Looks which are the hottest now.
    pub(crate) fn rank(&self) {
        let mut most: Vec<(Bytes, f64)> = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            most.extend(shard.hot.all().map(|(name, count)| (name.clone(), count)));
            cut(&mut most, AT_HAND, |a, b| f64::total_cmp(b, a));
        }
        most.sort_unstable_by(|a, b| f64::total_cmp(&b.1, &a.1));
        let hottest = most.into_iter().map(|(name, _)| CacheKey::of(name)).collect();
        *lock(&self.hottest) = hottest;
    }

    /// As they were when it was looked last.
    pub(crate) fn hottest(&self) -> Arc<[CacheKey]> {
        lock(&self.hottest).clone()
    }

    fn shard_of(&self, name: &[u8]) -> MutexGuard<'_, Shard> {
        lock(&self.shards[shard(name)])
    }
}

/// Keeps the first so many by this order.
fn cut<T>(all: &mut Vec<(Bytes, T)>, most: usize, order: impl Fn(&T, &T) -> std::cmp::Ordering) {
    if all.len() > most {
        all.select_nth_unstable_by(most, |a, b| order(&a.1, &b.1));
        all.truncate(most);
    }
}

fn shard(name: &[u8]) -> usize {
    let at = name.iter().fold(0_usize, |at, byte| at.wrapping_mul(31).wrapping_add((*byte).into()));
    at % SHARDS
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_count_for_all_and_only_so_many_are_told() {
        let (insight, now) = (Insight::new(Access::default().keys(10)), Instant::now());
        let mut noted = 0;
        for round in 0..160_000_u32 {
            noted +=
                u32::from(insight.near(if round % 4 == 0 { b":rare" } else { b":often" }, now));
        }
        assert!((9_000..=11_000).contains(&noted), "{noted}");
        let (often, rare) = (insight.count(b":often"), insight.count(b":rare"));
        assert!((108_000.0..=132_000.0).contains(&often), "{often}");
        assert!((34_000.0..=46_000.0).contains(&rare), "{rare}");
        for key in 0..1_000_u32 {
            let name = format!(":{key}");
            (0..key).for_each(|_| insight.far(name.as_bytes(), key % 2 == 0, now));
        }
        insight.rank();
        assert_eq!(insight.hottest()[0].to_string(), "often");
        assert_eq!(insight.hottest().len(), AT_HAND);
        let seen = insight.take();
        assert_eq!((seen.hot.len(), seen.missed.len(), seen.recent.len()), (10, 10, 10));
        assert!(seen.hot.iter().any(|(name, _)| name == ":often"));
        let missed = |name: &Bytes| name[1..].last().is_some_and(|digit| digit % 2 == 0);
        assert!(seen.missed.iter().all(|(name, _)| missed(name)), "{:?}", seen.missed);
        let often = insight.count(b":often");
        insight.decay(Duration::from_secs(24 * 3_600));
        assert!((insight.count(b":often") - often / 2.0).abs() < 0.001 * often);
    }

    #[test]
    fn what_calls_for_a_merge_calls_once() {
        let insight = Insight::new(Access::default());
        assert!(insight.calls_for_merge() && !insight.calls_for_merge());
        insight.merges();
        assert!(insight.calls_for_merge());
    }
}
