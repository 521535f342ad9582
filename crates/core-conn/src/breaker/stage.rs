//! What a breaker is between two changes.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Instant;

use super::event::BreakerState;
use super::window::Window;

/// A stay in one state. Each has counts of its own, so that nothing counts in another.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) generation: u64,
    /// How often it has opened since it was last closed for long.
    pub(super) openings: u32,
    pub(super) kind: Kind,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made anew at a change and shared; closed is the one that is read with each call"
)]
pub(super) enum Kind {
    Closed(Counts),
    Open { until: Instant },
    HalfOpen(Probes),
    ForcedOpen,
    ForcedClosed,
}

#[derive(Debug)]
pub(super) struct Counts {
    pub(super) since: Instant,
    /// Failures since the last success.
    pub(super) streak: AtomicU32,
    pub(super) window: Window,
}

#[derive(Debug)]
pub(super) struct Probes {
    /// When it must be decided.
    pub(super) until: Instant,
    places: AtomicU32,
    successes: AtomicU32,
}

impl Stage {
    /// One more than its generation if it is closed, else 0.
    pub(super) fn closed(&self) -> u64 {
        if let Kind::Closed(_) = self.kind { self.generation + 1 } else { 0 }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match &self.kind {
            Kind::Closed(_) => BreakerState::Closed,
            Kind::Open { until } => {
                BreakerState::Open { retry_after: until.saturating_duration_since(now) }
            }
            Kind::HalfOpen(_) => BreakerState::HalfOpen,
            Kind::ForcedOpen => BreakerState::ForcedOpen,
            Kind::ForcedClosed => BreakerState::ForcedClosed,
        }
    }
}

impl Counts {
    pub(super) fn new(since: Instant) -> Self {
        Self { since, streak: AtomicU32::new(0), window: Window::default() }
    }
}

impl Probes {
    pub(super) fn new(places: u32, until: Instant) -> Self {
        Self { until, places: AtomicU32::new(places), successes: AtomicU32::new(0) }
    }

    pub(super) fn take_place(&self) -> bool {
        self.places.fetch_update(AcqRel, Acquire, |free| free.checked_sub(1)).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.places.fetch_add(1, AcqRel);
    }

    /// Answers how many have succeeded.
    pub(super) fn succeeded(&self) -> u32 {
        self.successes.fetch_add(1, AcqRel) + 1
    }
}
