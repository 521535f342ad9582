//! What is held of one subject.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::refill::Asking;
use crate::decision::LevelDecision;
use crate::denials::Denied;
use crate::scripts::Receipt;
use crate::ticks::time;

#[derive(Debug)]
pub(super) struct Held {
    /// The oldest first.
    lots: SmallVec<[Lot; 2]>,
    /// What can't be spent any more, and is to be given back.
    over: Vec<(Receipt, u64)>,
    /// Units that were asked for since then, and how many of them a second before.
    pub(super) demand: u64,
    since: Instant,
    rate: f64,
    /// What was leased last.
    last: u64,
    answer: Option<Answer>,
    pub(super) denied: Option<Denied>,
    pub(super) asking: Option<Asking>,
    /// Nobody asks ahead before this.
    pub(super) quiet: Option<Instant>,
    /// Units for which somebody waits.
    pub(super) wanted: Arc<AtomicU64>,
    pub(super) used: Instant,
}

/// Units that were debited, and can be spent until then.
#[derive(Debug)]
pub(super) struct Lot {
    pub(super) units: u64,
    pub(super) ends: Instant,
    pub(super) receipt: Receipt,
}

/// What Redis has said last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// The time that it takes to regain a unit.
    pub(super) each: Duration,
    pub(super) full: Instant,
    pub(super) at: Instant,
}

impl Held {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            lots: SmallVec::new(),
            over: Vec::new(),
            demand: 0,
            since: now,
            rate: 0.0,
            last: 0,
            answer: None,
            denied: None,
            asking: None,
            quiet: None,
            wanted: Arc::default(),
            used: now,
        }
    }

    /// Whether there was as much, and it is spent.
    #[inline]
    pub(super) fn spend(&mut self, units: u64, now: Instant) -> bool {
        self.used = now;
        if self.lots.first().is_some_and(|lot| lot.ends <= now) {
            self.end(now);
        }
        if self.units() < units {
            return false;
        }
        self.demand += units;
        let mut due = units;
        for lot in &mut self.lots {
            let some = due.min(lot.units);
            lot.units -= some;
            due -= some;
        }
        if self.lots[0].units == 0 {
            self.lots.retain(|lot| lot.units > 0);
        }
        true
    }

    #[inline]
    fn units(&self) -> u64 {
        self.lots.iter().map(|lot| lot.units).sum()
    }

    /// Whether it is time to ask for more.
    #[inline]
    pub(super) fn is_low(&self, now: Instant) -> bool {
        // Who takes one at a time, needs it seldom.
        self.last > 1
            && self.units() * 2 < self.last
            && self.asking.is_none()
            && !self.denied.is_some_and(|denied| denied.lasts(now))
            && self.quiet.is_none_or(|quiet| now >= quiet)
    }

    /// Leases that are over.
    pub(super) fn end(&mut self, now: Instant) {
        let over = &mut self.over;
        self.lots.retain(|lot| {
            let lasts = lot.ends > now;
            if !lasts {
                over.push((lot.receipt.clone(), lot.units));
            }
            lasts
        });
    }

    /// The newest first: of several only one is given back to a bucket.
    pub(super) fn give_back(&mut self, all: bool, back: &mut Vec<(Receipt, u64)>) {
        if all {
            back.extend(self.lots.drain(..).rev().map(|lot| (lot.receipt, lot.units)));
        }
        back.extend(self.over.drain(..).rev());
    }

    /// How many to ask for: what is spent in `sync`, and at most half of a share of what is left, or what is waited for.
    pub(super) fn how_many(&mut self, now: Instant, sync: Duration, nodes: u32) -> u64 {
        // A shorter time says too little.
        let elapsed = now.saturating_duration_since(self.since);
        let fresh = self.demand as f64 / elapsed.max(sync / 4).as_secs_f64();
        let rate = if self.rate > 0.0 { f64::midpoint(self.rate, fresh) } else { fresh };
        if elapsed >= sync / 4 {
            (self.rate, self.demand, self.since) = (rate, 0, now);
        }
        let share = self.answer.map_or(1, |answer| answer.remaining(now) / 2 / u64::from(nodes));
        let need = (rate * sync.as_secs_f64()).ceil() as u64;
        need.clamp(1, share.max(1)).max(self.wanted.load(Relaxed))
    }

    /// What was granted.
    pub(super) fn granted(&mut self, lot: Option<Lot>, answer: Answer) {
        if let Some(lot) = lot {
            self.last = lot.units;
            self.lots.push(lot);
        }
        self.answer = Some(answer);
    }

    /// As far as it is known.
    pub(super) fn figures(&self, name: Arc<str>, now: Instant) -> LevelDecision {
        let (mut limit, mut remaining, mut reset_after) = (0, self.units(), Duration::ZERO);
        if let Some(answer) = &self.answer {
            limit = answer.limit;
            remaining = (remaining + answer.remaining).min(limit);
            reset_after = answer.full.saturating_duration_since(now);
        }
        LevelDecision {
            name,
            limit,
            used: limit - remaining.min(limit),
            remaining,
            retry_after: None,
            reset_after,
            denies: false,
            shadow: false,
        }
    }
}

impl Answer {
    pub(super) fn new(level: &LevelDecision, each: u64, at: Instant) -> Self {
        Self {
            limit: level.limit,
            remaining: level.remaining,
            each: time(each),
            full: at + level.reset_after,
            at,
        }
    }

    /// What is left by now, if nobody has spent anything.
    fn remaining(&self, now: Instant) -> u64 {
        let regained =
            now.saturating_duration_since(self.at).as_nanos() / self.each.as_nanos().max(1);
        let regained = u64::try_from(regained).unwrap_or(u64::MAX);
        self.remaining.saturating_add(regained).min(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use russet_core_conn::KeySpace;

    use super::*;
    use crate::rule::{Facts, Rule};

    const SYNC: Duration = Duration::from_secs(1);

    fn lot(units: u64, ends: Instant) -> Lot {
        let rule = Rule::Bucket { capacity: 100, each: 8_000 };
        let key = KeySpace::new("shop").unwrap().key("limit-bucket.l", "u");
        let facts = Facts::default();
        Lot { units, ends, receipt: Receipt { key, rule, spent: units, id: 0, now: 0, facts } }
    }

    fn answer(remaining: u64, at: Instant) -> Answer {
        Answer { limit: 1_000, remaining, each: Duration::from_millis(1), full: at, at }
    }

    #[test]
    fn the_oldest_is_spent_first_and_nothing_that_is_over() {
        let now = Instant::now();
        let mut held = Held::new(now);
        held.granted(Some(lot(5, now + SYNC)), answer(10, now));
        held.granted(Some(lot(7, now + 2 * SYNC)), answer(10, now));
        assert!(!held.spend(13, now) && held.spend(2, now));
        assert_eq!((held.lots[0].units, held.lots[1].units), (3, 7));
        assert!(held.spend(4, now));
        assert_eq!((held.lots.len(), held.lots[0].units), (1, 6));
        assert!(!held.is_low(now) && held.spend(3, now) && held.is_low(now));
        assert!(!held.spend(1, now + 2 * SYNC));
        let mut back = Vec::new();
        held.give_back(false, &mut back);
        assert_eq!(back.iter().map(|(_, units)| *units).collect::<Vec<_>>(), [3]);
        held.granted(Some(lot(1, now + SYNC)), answer(10, now));
        held.granted(Some(lot(2, now + SYNC)), answer(10, now));
        back.clear();
        held.give_back(true, &mut back);
        assert_eq!(back.iter().map(|(_, units)| *units).collect::<Vec<_>>(), [2, 1]);
    }

    proptest! {
        #[test]
        fn a_lease_is_what_is_spent_and_half_of_a_share_at_most(
            spent in 0..10_000_u64,
            ms in 1..5_000_u64,
            remaining in 0..1_000_u64,
            nodes in 1..20_u32,
            waiting in 0..50_u64,
        ) {
            let now = Instant::now();
            let mut held = Held::new(now);
            held.granted(None, answer(remaining, now));
            held.demand = spent;
            held.wanted.store(waiting, Relaxed);
            let later = now + Duration::from_millis(ms);
            let asked = held.how_many(later, SYNC, nodes);
            let share = (remaining + ms).min(1_000) / 2 / u64::from(nodes);
            let need = (spent as f64 / Duration::from_millis(ms.max(250)).as_secs_f64()).ceil() as u64;
            prop_assert!(asked >= 1 && asked >= waiting);
            prop_assert!(asked <= share.max(1).max(waiting));
            prop_assert!(asked <= need.max(1).max(waiting));
            prop_assert!(asked >= share.max(1).min(need.max(1)));
        }
    }
}
