//! Denials that this process knows to last.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use russet_core_conn::Canonical;

use crate::decision::{Decision, LevelDecision, Levels, Reason, Source};

/// So many locks.
const SHARDS: usize = 16;
/// The most subjects of a limit.
const MOST: usize = 65_536;

/// Of one limit: who was denied what, and for how long. Bounded; what has no room is asked for.
#[derive(Debug)]
pub(crate) struct Denials {
    longest: Duration,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    /// How often something was forgotten: what was asked for before must not be kept after it.
    forgotten: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    /// By the hash of the subject: of two that have one, the last is known.
    known: HashMap<u64, Known, BuildHasherDefault<Hashed>>,
    /// Before this none of them ends.
    ends: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    subject: Box<[u8]>,
    of: Of,
    denied: Denied,
}

/// A hash is its own.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The cost, and what is left to others.
pub(crate) type Of = (u64, u64);

/// A denial.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Denied {
    pub(crate) reason: Reason,
    limit: u64,
    used: u64,
    remaining: u64,
    /// It lasts until then for sure.
    until: Instant,
    /// The same is admitted then for sure, if nobody else spends.
    pub(crate) told: Instant,
    full: Instant,
}

impl Denied {
    /// What was said to a question of this time, with so long to wait.
    pub(crate) fn new(
        level: &LevelDecision,
        reason: Reason,
        sent: Instant,
        wait: Duration,
    ) -> Self {
        let now = Instant::now();
        // The server has counted from some time in between.
        Self {
            reason,
            limit: level.limit,
            used: level.used,
            remaining: level.remaining,
            until: sent + wait,
            told: now + wait,
            full: now + level.reset_after,
        }
    }

    /// Nobody is asked again before this.
    pub(crate) fn at_least(self, until: Instant) -> Self {
        Self { until: self.until.max(until), told: self.told.max(until), ..self }
    }

    #[inline]
    pub(crate) fn lasts(&self, now: Instant) -> bool {
        now < self.until
    }

    #[inline(always)]
    pub(crate) fn level(&self, name: Arc<str>, now: Instant) -> LevelDecision {
        LevelDecision {
            name,
            limit: self.limit,
            used: self.used,
            remaining: self.remaining,
            retry_after: Some(self.told.saturating_duration_since(now)),
            reset_after: self.full.saturating_duration_since(now),
            denies: true,
            shadow: false,
        }
    }

    /// A decision of this level alone.
    #[inline(always)]
    pub(crate) fn decision(&self, name: &Arc<str>, source: Source, now: Instant) -> Decision {
        let level = self.level(name.clone(), now);
        Decision {
            policy: name.clone(),
            limit: level.limit,
            remaining: level.remaining,
            granted: 0,
            retry_after: level.retry_after,
            reset_after: level.reset_after,
            delay: Duration::ZERO,
            source,
            shadow: false,
            limiting: Some(0),
            reason: self.reason,
            levels: Levels::one(level),
        }
    }
}

impl Denials {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            longest,
            hasher: RandomState::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Whether the subject is known to be denied this.
    #[inline]
    pub(crate) fn find(&self, subject: &Canonical, of: Of, now: Instant) -> Option<Denied> {
        let (hash, shard) = self.shard(subject);
        let Known { subject: known, of: found, denied } = shard.known.get(&hash)?;
        (*found == of && denied.lasts(now) && **known == *subject.as_bytes()).then_some(*denied)
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Acquire)
    }

    /// Keeps it, unless something was forgotten since it was asked for.
    pub(crate) fn put(&self, subject: &Canonical, of: Of, denied: Denied, forgotten: u64) {
        let now = Instant::now();
        let denied = Denied { until: denied.until.min(now + self.longest), ..denied };
        let (hash, mut shard) = self.shard(subject);
        if !matches!(denied.reason, Reason::OverLimit | Reason::Blocked)
            || !denied.lasts(now)
            || self.forgotten() != forgotten
        {
            return;
        }
        if shard.known.contains_key(&hash) || shard.has_room(now) {
            let known = Known { subject: subject.as_bytes().into(), of, denied };
            shard.known.insert(hash, known);
        }
        shard.ends = Some(shard.ends.map_or(denied.until, |ends| ends.min(denied.until)));
    }

    /// Others may be admitted now.
    pub(crate) fn forget(&self, subject: &Canonical) {
        let (hash, mut shard) = self.shard(subject);
        self.forgotten.fetch_add(1, AcqRel);
        shard.known.remove(&hash);
    }

    pub(crate) fn forget_all(&self) {
        self.forgotten.fetch_add(1, AcqRel);
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
    }

    #[inline]
    fn shard(&self, subject: &Canonical) -> (u64, MutexGuard<'_, Shard>) {
        let hash = self.hasher.hash_one(subject.as_bytes());
        // A map goes by the lowest bits and the seven highest.
        let shard = &self.shards[(hash >> 48) as usize % SHARDS];
        (hash, shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    /// Also by throwing out what has ended.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.known.len() < MOST / SHARDS {
            return true;
        }
        if self.ends.is_some_and(|ends| ends > now) {
            return false;
        }
        self.known.retain(|_, known| known.denied.lasts(now));
        self.ends = self.known.values().map(|known| known.denied.until).min();
        self.known.len() < MOST / SHARDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn denied(wait: Duration) -> Denied {
        let level = LevelDecision {
            name: "l".into(),
            limit: 5,
            used: 5,
            remaining: 0,
            retry_after: Some(wait),
            reset_after: wait,
            denies: true,
            shadow: false,
        };
        Denied::new(&level, Reason::OverLimit, Instant::now(), wait)
    }

    #[test]
    fn what_was_asked_for_before_something_was_forgotten_is_not_kept() {
        let denials = Denials::new(HOUR);
        let [one, other] = ["one", "other"].map(Canonical::of);
        for forget in
            [Denials::forget_all, |denials: &Denials| denials.forget(&Canonical::of("one"))]
        {
            let before = denials.forgotten();
            forget(&denials);
            denials.put(&one, (1, 0), denied(HOUR), before);
            assert!(denials.find(&one, (1, 0), Instant::now()).is_none());
            denials.put(&one, (1, 0), denied(HOUR), denials.forgotten());
            assert!(denials.find(&one, (1, 0), Instant::now()).is_some());
            assert!(denials.find(&other, (1, 0), Instant::now()).is_none());
        }
    }

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        let denials = Denials::new(HOUR);
        let put = |subject: usize, wait| {
            denials.put(&Canonical::of(&subject), (1, 0), denied(wait), denials.forgotten());
        };
        (0..MOST + MOST / 4).for_each(|subject| put(subject, HOUR));
        let known = || {
            let shards = denials.shards.iter().map(|shard| shard.lock().unwrap().known.len());
            shards.sum::<usize>()
        };
        assert_eq!(known(), MOST);
        // What has ended makes room.
        denials.forget_all();
        (0..MOST + MOST / 4).for_each(|subject| put(subject, Duration::from_millis(1)));
        std::thread::sleep(Duration::from_millis(2));
        (0..MOST + MOST / 4).for_each(|subject| put(subject, HOUR));
        assert_eq!(known(), MOST);
        assert!(denials.find(&Canonical::of(&0_usize), (1, 0), Instant::now()).is_some());
    }
}
