//! What a process has taken from Redis ahead, and spends.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;
use futures_util::future::join_all;
use russet_core_conn::Canonical;

use crate::Leasing;
use crate::decision::{Decision, LevelDecision, Levels, Reason, Source};
use crate::denials::Denied;
use crate::scripts::Receipt;

use self::held::Held;
use self::refill::Asking;

mod held;
mod refill;

/// So many locks.
const SHARDS: usize = 16;

type Shard = HashMap<Box<[u8]>, Held, RandomState>;

/// Of one limit.
#[derive(Debug)]
pub(crate) struct Leases {
    leasing: Leasing,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    /// Nothing is leased any more.
    over: AtomicBool,
    /// How often a denial was forgotten.
    forgotten: AtomicU64,
}

/// What there is for a decision.
enum Found {
    Spent { figures: LevelDecision, low: bool },
    Denied(Denied),
}

impl Leases {
    pub(crate) fn new(leasing: Leasing) -> Self {
        Self {
            leasing,
            hasher: RandomState::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
            over: AtomicBool::new(false),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Others may be admitted now.
    pub(crate) fn forget(&self, subject: &Canonical) {
        let mut shard = self.shard(subject);
        self.forgotten.fetch_add(1, AcqRel);
        if let Some(held) = shard.get_mut(subject.as_bytes()) {
            held.denied = None;
        }
    }

    pub(crate) fn forget_all(&self) {
        self.forgotten.fetch_add(1, AcqRel);
        for shard in &self.shards {
            lock(shard).values_mut().for_each(|held| held.denied = None);
        }
    }

    /// What was not used, of those for whom nobody has asked for a while, and of leases that are over.
    pub(crate) fn idle(&self, now: Instant) -> Vec<(Receipt, u64)> {
        let mut back = Vec::new();
        let lasts = self.leasing.sync * 2;
        for shard in &self.shards {
            lock(shard).retain(|_, held| {
                held.end(now);
                let idle = held.used + lasts <= now && held.asking.is_none();
                held.give_back(idle, &mut back);
                !idle
            });
        }
        back
    }

    /// Leases nothing more. What is not used, when all questions that are under way have been answered.
    pub(crate) async fn end(&self) -> Vec<(Receipt, u64)> {
        self.over.store(true, Release);
        let asked: Vec<Asking> = self
            .shards
            .iter()
            .flat_map(|shard| {
                lock(shard).values().filter_map(|held| held.asking.clone()).collect::<Vec<_>>()
            })
            .collect();
        join_all(asked).await;
        let mut back = Vec::new();
        for shard in &self.shards {
            lock(shard).drain().for_each(|(_, mut held)| held.give_back(true, &mut back));
        }
        back
    }

    #[inline]
    fn take(
        &self,
        subject: &Canonical,
        units: u64,
        name: &Arc<str>,
        now: Instant,
    ) -> Option<Found> {
        let mut shard = self.shard(subject);
        let held = shard.get_mut(subject.as_bytes())?;
        if !held.spend(units, now) {
            let denied = held.denied.filter(|denied| units == 1 && denied.lasts(now))?;
            held.demand += units;
            return Some(Found::Denied(denied));
        }
        let low = held.is_low(now) && !self.over.load(Relaxed);
        Some(Found::Spent { figures: held.figures(name.clone(), now), low })
    }

    #[inline]
    fn shard(&self, subject: &Canonical) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(subject.as_bytes());
        lock(&self.shards[(hash >> 57) as usize % SHARDS])
    }
}

impl crate::Limit {
    /// What can be decided without asking. Has asked for more, where there is little left.
    #[inline]
    pub(crate) fn leased(&self, subject: &Canonical, units: u64, now: Instant) -> Option<Decision> {
        let inner = &*self.inner;
        let leases = inner.leases.as_ref()?;
        match leases.take(subject, units, &inner.name, now)? {
            Found::Denied(denied) => Some(denied.decision(&inner.name, Source::Lease, now)),
            Found::Spent { figures, low } => {
                if low && !inner.limiter.inner.health.is_away() {
                    drop(self.ask_ahead(subject, 0, now));
                }
                Some(Decision {
                    policy: inner.name.clone(),
                    limit: figures.limit,
                    remaining: figures.remaining,
                    granted: units,
                    retry_after: None,
                    reset_after: figures.reset_after,
                    delay: std::time::Duration::ZERO,
                    source: Source::Lease,
                    shadow: false,
                    limiting: None,
                    reason: Reason::Fits,
                    levels: Levels::one(figures),
                })
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
