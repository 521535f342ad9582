//! What a process keeps in its own memory, for as long as its journal vouches for it.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::RandomState;
use moka::sync::Cache as Moka;

use crate::journal::{Journal, Verdict};
use crate::lookup::Lookup;
use crate::moment::Moment;
use crate::policy::RefreshAhead;
use crate::scripts::Times;
use crate::seal::Seal;

/// The decoded values of one process, by name: no copy and no decoding for a hit.
pub(crate) struct Local<V> {
    held: Moka<Bytes, Arc<Held<V>>, RandomState>,
    ttl: Duration,
    ahead: Option<RefreshAhead>,
    /// Counts what was dropped, so that nothing that was read before is put in behind it.
    gates: Box<[Mutex<u64>]>,
    /// Changes when everything is dropped.
    generation: AtomicU64,
}

const GATES: usize = 64;

/// What is kept of one key.
#[derive(Debug)]
pub(crate) struct Held<V> {
    pub(crate) value: Option<Arc<V>>,
    until: Moment,
    /// When it is fresh no longer, and how long it took to load.
    ends: Moment,
    took: Duration,
    /// A refresh was drawn: it is Redis that answers until there is another.
    due: AtomicBool,
    seal: Seal,
    generation: u64,
    /// In which the seal was last looked at.
    era: AtomicU64,
}

/// Before something is read that may be put in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    drops: u64,
    generation: u64,
    pub(crate) begun: Instant,
}

impl<V: Send + Sync + 'static> Local<V> {
    pub(crate) fn new(entries: u64, ttl: Duration, ahead: Option<RefreshAhead>) -> Self {
        let held = Moka::builder().max_capacity(entries);
        Self {
            held: held.build_with_hasher(RandomState::default()),
            ttl,
            ahead,
            gates: (0..GATES).map(|_| Mutex::new(0)).collect(),
            generation: AtomicU64::new(0),
        }
    }

    /// What is there, and good by what the journal knows, at about this time.
    #[inline]
    pub(crate) fn find(&self, name: &[u8], journal: &Journal, now: Moment) -> Option<Lookup<V>> {
        let held = self.there(name)?;
        let lives = now < held.until || Moment::now() < held.until;
        let good = lives && held.stands(journal) && !self.draws(&held, now);
        good.then(|| Lookup::held(held))
    }

    /// Whether Redis is to be asked, for the sake of a refresh.
    #[inline]
    fn draws(&self, held: &Held<V>, now: Moment) -> bool {
        let Some(ahead) = self.ahead else { return false };
        let left = Duration::from_nanos(held.ends.since(now));
        if held.due.load(Relaxed) {
            return true;
        }
        // Written only where it was drawn: else each hit would write, and one could undo what another has drawn.
        let drawn = ahead.is_drawn(left, held.took);
        if drawn {
            held.due.store(true, Relaxed);
        }
        drawn
    }

    /// Whether a refresh was drawn for what is kept.
    pub(crate) fn is_due(&self, name: &[u8]) -> bool {
        self.ahead.is_some() && self.there(name).is_some_and(|held| held.due.load(Relaxed))
    }

    #[inline]
    fn there(&self, name: &[u8]) -> Option<Arc<Held<V>>> {
        let held = self.held.get(name)?;
        (held.generation == self.generation.load(Acquire)).then_some(held)
    }

    pub(crate) fn ticket(&self, name: &[u8]) -> Ticket {
        let generation = self.generation.load(Acquire);
        Ticket { drops: *self.gate(name), generation, begun: Instant::now() }
    }

    /// Puts in what was read, unless something was dropped since; it is good for so long from when it was asked for.
    pub(crate) fn put(
        &self,
        name: Bytes,
        ticket: Ticket,
        value: Option<Arc<V>>,
        seal: Seal,
        times: Times,
    ) {
        let begun = Moment::of(ticket.begun);
        let kept = self.ahead.map_or(times.left, |ahead| ahead.kept(times));
        let (until, ends) = (begun.plus(kept.min(self.ttl)), begun.plus(times.left));
        let gate = self.gate(&name);
        if *gate == ticket.drops {
            // It was judged before it was put in, and is again with the first hit.
            let (generation, era) = (ticket.generation, AtomicU64::new(u64::MAX));
            let (took, due) = (times.took, AtomicBool::new(false));
            let held = Held { value, until, ends, took, due, seal, generation, era };
            self.held.insert(name, Arc::new(held));
        }
    }

    pub(crate) fn drop_one(&self, name: &[u8]) {
        let mut gate = self.gate(name);
        *gate += 1;
        self.held.invalidate(name);
    }

    pub(crate) fn drop_all(&self) {
        self.generation.fetch_add(1, Release);
        self.held.invalidate_all();
    }

    pub(crate) fn entries(&self) -> u64 {
        self.held.run_pending_tasks();
        self.held.entry_count()
    }

    fn gate(&self, name: &[u8]) -> MutexGuard<'_, u64> {
        // Not the map's hash: that is drawn anew in each process, and this needs none.
        let at =
            name.iter().fold(0_usize, |at, byte| at.wrapping_mul(31).wrapping_add((*byte).into()));
        self.gates[at % GATES].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Held<V> {
    #[inline]
    fn stands(&self, journal: &Journal) -> bool {
        let era = journal.era();
        if self.era.load(Relaxed) == era {
            return true;
        }
        // The era was read before: what changes meanwhile is looked at again.
        let stands = journal.judge(&self.seal) == Verdict::Valid;
        if stands {
            self.era.store(era, Relaxed);
        }
        stands
    }
}

impl<V> std::fmt::Debug for Local<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Local")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Stamp;

    const NAME: &[u8] = b":k";

    fn keep(local: &Local<u8>, ticket: Ticket) {
        let seal = Seal { stamp: Stamp::NEVER, tags: Vec::new() };
        let value = Some(Arc::new(1));
        let times = Times { left: Duration::from_secs(60), ..Times::default() };
        local.put(Bytes::from_static(NAME), ticket, value, seal, times);
    }

    fn kept(local: &Local<u8>) -> bool {
        local.there(NAME).is_some()
    }

    #[test]
    fn what_was_read_before_it_was_dropped_is_not_put_in() {
        let local = Local::new(10, Duration::from_secs(60), None);
        keep(&local, local.ticket(NAME));
        assert!(kept(&local));
        let ticket = local.ticket(NAME);
        local.drop_one(NAME);
        assert!(!kept(&local));
        keep(&local, ticket);
        assert!(!kept(&local));
        keep(&local, local.ticket(NAME));
        assert!(kept(&local));
    }

    #[test]
    fn all_that_is_dropped_is_gone() {
        let local = Local::new(10, Duration::from_secs(60), None);
        keep(&local, local.ticket(NAME));
        let ticket = local.ticket(NAME);
        local.drop_all();
        assert!(!kept(&local));
        keep(&local, ticket);
        assert!(!kept(&local));
        keep(&local, local.ticket(NAME));
        assert!(kept(&local));
    }
}
