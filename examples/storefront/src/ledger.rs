//! What every fare was, and when: the judge of what the shop serves.
//!
//! A request that began after a fare change was acknowledged should see the new fare. It may see
//! the old one for two reasons only:
//! - **The memory of another instance** than the one that changed it, for as long as that may be
//!   stale and no longer.
//! - **An outage**, for no longer than a cached fare lives. What was sent before the connection was
//!   lost may be applied after the removal, and a server that lost its memory may have taken the
//!   removal back.
//!
//! An old fare without such a reason is wrong at once; so is one that the product never had.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::origin::ProductId;

/// How long what was sent before the connection was lost may still be on its way: twice the
/// deadline of a Redis call, and some.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// How a served fare compares with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was the product's fare at some moment of the request.
    Right,
    /// It was replaced before the request began, but may be served: see [`crate::ledger`].
    Late {
        /// How long it had been replaced.
        age: Duration,
    },
    /// It must not have been served.
    Wrong {
        /// How long it had been replaced; `None` if the product never had this fare.
        age: Option<Duration>,
    },
}

impl Verdict {
    /// Whether it may be served without a reason.
    #[must_use]
    pub fn is_right(self) -> bool {
        self == Self::Right
    }
}

/// The history of all fares.
#[derive(Debug)]
pub struct Ledger {
    first: Vec<u32>,
    offsets: Vec<usize>,
    allowed_age: Duration,
    staleness: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    changes: HashMap<ProductId, Vec<Change>>,
    outage: Option<Instant>,
}

#[derive(Debug)]
struct Change {
    fare: u32,
    by: usize,
    began: Instant,
    written: Option<Instant>,
    settled: Option<Settled>,
}

#[derive(Debug, Clone, Copy)]
struct Settled {
    at: Instant,
    raced: bool,
}

impl Ledger {
    /// A ledger that begins with the fares of the database: `fares` by route and number (4 bytes
    /// each), `departures` by route. `allowed_age` is the longest that an entry lives in the cache,
    /// `staleness` that an instance's memory may be behind.
    #[must_use]
    pub fn new(
        fares: Vec<u32>,
        departures: &[u32],
        allowed_age: Duration,
        staleness: Duration,
    ) -> Self {
        let offsets = departures
            .iter()
            .scan(0, |next, count| {
                let offset = *next;
                *next += *count as usize;
                Some(offset)
            })
            .collect();
        Self { first: fares, offsets, allowed_age, staleness, state: Mutex::default() }
    }

    /// The longest that a replaced fare may be served.
    #[must_use]
    pub fn allowed_age(&self) -> Duration {
        self.allowed_age
    }

    /// A change begins in the instance `by`, before it is written. Changes of one product begin in
    /// the order in which they are written.
    pub fn changing(&self, id: ProductId, fare: u32, by: usize, now: Instant) {
        let mut state = self.state();
        let changes = state.changes.entry(id).or_default();
        // What was replaced so long ago may not be served any more, so it need not be known.
        while changes
            .get(1)
            .and_then(|c| c.settled)
            .is_some_and(|s| now - s.at > self.allowed_age * 2)
        {
            changes.remove(0);
        }
        changes.push(Change { fare, by, began: now, written: None, settled: None });
    }

    /// The change that began last is in the database.
    pub fn written(&self, id: ProductId, now: Instant) {
        if let Some(change) =
            self.state().changes.get_mut(&id).and_then(|changes| changes.last_mut())
        {
            change.written = Some(now);
        }
    }

    /// The change that began last could not be written.
    pub fn abandoned(&self, id: ProductId) {
        if let Some(changes) = self.state().changes.get_mut(&id) {
            changes.pop();
        }
    }

    /// A removal that began at `since` is acknowledged: it settles what was written before that.
    /// Gives whether no change is left that is written and not settled.
    pub fn settled(&self, id: ProductId, since: Instant, now: Instant) -> bool {
        let mut state = self.state();
        let State { changes, outage } = &mut *state;
        let Some(changes) = changes.get_mut(&id) else { return true };
        let before = |change: &&mut Change| change.written.is_some_and(|at| at <= since);
        for change in changes.iter_mut().filter(|c| c.settled.is_none()).filter(before) {
            let since = change.began.checked_sub(ON_ITS_WAY).unwrap_or(change.began);
            let raced = outage.is_some_and(|at| at >= since);
            change.settled = Some(Settled { at: now, raced });
        }
        !changes.iter().any(|change| change.written.is_some() && change.settled.is_none())
    }

    /// The connection was lost, or came back: removals before this moment may not have lasted.
    pub fn outage(&self, now: Instant) {
        self.state().outage = Some(now);
    }

    /// The fare that the product has by now.
    #[must_use]
    pub fn current(&self, id: ProductId) -> Option<u32> {
        let state = self.state();
        let last = state.changes.get(&id).and_then(|changes| changes.last());
        last.map(|change| change.fare).or_else(|| self.first(id))
    }

    /// The fares of all products that were changed.
    #[must_use]
    pub fn changed(&self) -> Vec<(ProductId, u32)> {
        let state = self.state();
        state.changes.iter().filter_map(|(id, c)| Some((*id, c.last()?.fare))).collect()
    }

    /// Judges a fare that the instance `at` served to a request.
    #[must_use]
    pub fn check(
        &self,
        id: ProductId,
        fare: u32,
        at: usize,
        began: Instant,
        ended: Instant,
    ) -> Verdict {
        let state = self.state();
        let Some(changes) = state.changes.get(&id).filter(|changes| !changes.is_empty()) else {
            let right = self.first(id) == Some(fare);
            return if right { Verdict::Right } else { Verdict::Wrong { age: None } };
        };
        let replaced = |by: usize| changes.get(by).and_then(|change| change.settled).map(|s| s.at);
        let mut latest: Option<(usize, Instant)> = None;
        for (index, held) in
            std::iter::once(self.first(id)).chain(changes.iter().map(|c| Some(c.fare))).enumerate()
        {
            let started = index == 0 || changes[index - 1].began <= ended;
            if held != Some(fare) || !started {
                continue;
            }
            match replaced(index) {
                Some(when) if when < began => latest = Some((index, when)),
                _ => return Verdict::Right,
            }
        }
        let Some((by, replaced)) = latest else { return Verdict::Wrong { age: None } };
        let age = began - replaced;
        // Its own changes an instance sees at once.
        let remembered = age <= self.staleness
            && changes[by..]
                .iter()
                .filter(|change| change.settled.is_some_and(|s| s.at < began))
                .all(|change| change.by != at);
        let last = changes.iter().filter_map(|c| c.settled).rfind(|s| s.at < began);
        let excused =
            last.is_some_and(|s| s.raced || state.outage.is_some_and(|outage| outage > s.at));
        if remembered || excused && age <= self.allowed_age {
            Verdict::Late { age }
        } else {
            Verdict::Wrong { age: Some(age) }
        }
    }

    fn first(&self, id: ProductId) -> Option<u32> {
        let offset = self.offsets.get(id.route as usize)?;
        let end = self.offsets.get(id.route as usize + 1).copied().unwrap_or(self.first.len());
        let at = offset + id.number.checked_sub(1)? as usize;
        self.first.get(at).filter(|_| at < end).copied()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
