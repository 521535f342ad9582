//! Admission to a connection, and the deadline of each call on it: one slab of atomics.
//!
//! A call first takes a permit, first come, first served, and then claims a slot by one compare-and-swap that also
//! writes its deadline there, as a tick of [`TICK`]. A task of the slab's own looks at all slots every tick while any
//! is taken, marks those whose deadline has passed, and wakes their callers. [`Slab::fail_all`] does the same to all
//! of them at once. Only the caller that claimed a slot frees it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};

use crate::striped::{self, Apart};

/// How exact deadlines are.
pub(crate) const TICK: Duration = Duration::from_millis(5);

const FREE: u32 = 0;
const EXPIRED: u32 = u32::MAX;
const LOST: u32 = u32::MAX - 1;

/// Why a call must end without its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Its deadline has passed.
    Deadline,
    /// Its connection is gone.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Slab {
    slots: Box<[Slot]>,
    permits: Apart<Semaphore>,
    lost: AtomicBool,
    start: Instant,
    /// The sweeper sleeps: whoever claims a slot wakes it.
    parked: AtomicBool,
    wake: Notify,
}

thread_local! {
    /// Where a free slot is likely, that this core had last: what this thread freed, or else a beginning of its own.
    static HINT: Cell<usize> = Cell::new(striped::thread() * 64);
}

#[derive(Debug, Default)]
struct Slot {
    /// `FREE`, the tick of its deadline, or one of the two ends.
    state: AtomicU32,
    waker: AtomicWaker,
}

impl Slab {
    /// A slab of `size` places, and its sweeper, which ends after [`fail_all`](Self::fail_all).
    pub(crate) fn start(size: usize) -> Arc<Self> {
        let slab = Arc::new(Self {
            slots: (0..size).map(|_| Slot::default()).collect(),
            permits: Apart(Semaphore::new(size)),
            lost: AtomicBool::new(false),
            start: Instant::now(),
            parked: AtomicBool::new(true),
            wake: Notify::new(),
        });
        tokio::spawn(sweep(slab.clone()));
        slab
    }

    /// A place, if one is free and nobody waits; `None` if this call must wait.
    #[inline]
    pub(crate) fn try_enter(&self, deadline: Instant) -> Option<Result<Place<'_>, Cut>> {
        match self.permits.try_acquire() {
            Ok(permit) => Some(self.admit(permit, deadline)),
            Err(TryAcquireError::Closed) => Some(Err(Cut::Lost)),
            Err(TryAcquireError::NoPermits) => None,
        }
    }

    /// Waits for a place, in turn. Dropping the future gives up its turn and leaves nothing behind.
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<Place<'_>, Cut> {
        match tokio::time::timeout_at(deadline.into(), self.permits.acquire()).await {
            Ok(Ok(permit)) => self.admit(permit, deadline),
            Ok(Err(_)) => Err(Cut::Lost),
            Err(_) => Err(Cut::Deadline),
        }
    }

    #[inline]
    fn admit<'a>(
        &'a self,
        permit: SemaphorePermit<'a>,
        deadline: Instant,
    ) -> Result<Place<'a>, Cut> {
        let at = self.claim(self.tick_of(deadline));
        let slot = &self.slots[at];
        // Claimed first, looked second: `fail_all` sets the flag first and looks at the slots second.
        if self.lost.load(SeqCst) {
            slot.state.store(FREE, SeqCst);
            return Err(Cut::Lost);
        }
        if self.parked.load(SeqCst) && self.parked.swap(false, SeqCst) {
            self.wake.notify_one();
        }
        Ok(Place { slot, at, _permit: permit })
    }

    /// The position of the slot.
    #[inline]
    fn claim(&self, tick: u32) -> usize {
        let size = self.slots.len();
        let mut at = HINT.get() % size;
        loop {
            // There is a free slot for each permit, and this call holds one.
            let slot = &self.slots[at];
            if slot.state.load(SeqCst) == FREE
                && slot.state.compare_exchange(FREE, tick, SeqCst, SeqCst).is_ok()
            {
                return at;
            }
            at = (at + 1) % size;
        }
    }

    /// The connection is gone: ends every call on it, and admits no more.
    pub(crate) fn fail_all(&self) {
        self.lost.store(true, SeqCst);
        self.permits.close();
        for slot in &self.slots {
            slot.cut(LOST, |_| true);
        }
        self.wake.notify_one();
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(SeqCst)
    }

    /// How many calls hold a place.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state.load(SeqCst) != FREE).count()
    }

    /// Waits until no call holds a place, and takes all places; none if the connection is lost, which ends all calls.
    pub(crate) async fn drained(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire_many(u32::try_from(self.slots.len()).unwrap_or(u32::MAX)).await.ok()
    }

    #[inline]
    fn tick_of(&self, at: Instant) -> u32 {
        let ticks = at.saturating_duration_since(self.start).as_micros().div_ceil(TICK.as_micros());
        // 248 days of ticks; a connection that old has its deadlines cut at once, and is opened anew.
        u32::try_from(ticks).unwrap_or(u32::MAX).clamp(1, LOST - 1)
    }

    fn sweep_once(&self) -> bool {
        let now = self.start.elapsed().as_micros() / TICK.as_micros();
        let mut taken = false;
        for slot in &self.slots {
            let state = slot.state.load(SeqCst);
            if state == FREE {
                continue;
            }
            taken = true;
            slot.cut(EXPIRED, |tick| u128::from(tick) <= now);
        }
        taken
    }
}

impl Slot {
    /// Marks the slot with `end` if a call holds it and its tick is `due`, and wakes the call.
    fn cut(&self, end: u32, due: impl Fn(u32) -> bool) {
        let held = |state| !matches!(state, FREE | EXPIRED | LOST) && due(state);
        let marked = self.state.fetch_update(SeqCst, SeqCst, |state| held(state).then_some(end));
        if marked.is_ok() {
            self.waker.wake();
        }
    }
}

/// A call's place on a connection; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    slot: &'a Slot,
    at: usize,
    _permit: SemaphorePermit<'a>,
}

impl Place<'_> {
    /// Whether the call must end; if not yet, `waker` is woken when it must.
    #[inline]
    pub(crate) fn cut(&self, waker: &Waker) -> Option<Cut> {
        self.slot.waker.register(waker);
        match self.slot.state.load(SeqCst) {
            EXPIRED => Some(Cut::Deadline),
            LOST => Some(Cut::Lost),
            _ => None,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // The waker keeps its task in memory. To the next caller's core it is far away, here it is near.
        drop(self.slot.waker.take());
        // The slot is free before the permit is: fields are dropped after this.
        self.slot.state.store(FREE, SeqCst);
        HINT.set(self.at);
    }
}

/// Ends when the connection is lost and the last call has seen it.
async fn sweep(slab: Arc<Slab>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if slab.sweep_once() {
            continue;
        }
        if slab.is_lost() {
            return;
        }
        // Parked first, looked second: a caller claims first and looks at the flag second.
        slab.parked.store(true, SeqCst);
        if slab.sweep_once() {
            slab.parked.store(false, SeqCst);
        } else {
            slab.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;
