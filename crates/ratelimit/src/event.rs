//! What happens to a limiter, and whether Redis is there.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Mutex, PoisonError};

use russet_core_conn::{Breaker, BreakerState, Broadcast, Error, Events};

/// Something happened to a [`Limiter`](crate::Limiter).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimiterEvent {
    /// Redis does not answer, again and again: decisions are made by what each limit's [`Outage`](crate::Outage) says, and
    /// now and then one asks whether it is back.
    Away {
        /// Why the last call failed.
        error: String,
    },
    /// Redis decides again.
    Back,
}

/// Whether Redis is known to be away.
#[derive(Debug, Default)]
pub(crate) struct Health {
    away: AtomicBool,
    /// One change at a time, so that events come in their order.
    turn: Mutex<()>,
    events: Broadcast<LimiterEvent>,
}

impl Health {
    #[inline]
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Acquire)
    }

    /// A decision was made without it.
    pub(crate) fn failed(&self, error: &Error, breaker: &Breaker) {
        // One slow answer is no outage.
        if !self.is_away() && breaker.state() != BreakerState::Closed {
            self.becomes(true, || LimiterEvent::Away { error: error.to_string() });
        }
    }

    /// A decision was made by it.
    #[inline]
    pub(crate) fn answered(&self, breaker: Option<&Breaker>) {
        if self.is_away() && breaker.is_none_or(|breaker| breaker.state() == BreakerState::Closed) {
            self.becomes(false, || LimiterEvent::Back);
        }
    }

    pub(crate) fn listen(&self) -> Events<LimiterEvent> {
        self.events.listen()
    }

    #[cold]
    fn becomes(&self, away: bool, event: impl FnOnce() -> LimiterEvent) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.away.swap(away, Release) == away {
            return;
        }
        #[cfg(feature = "metrics")]
        metrics::gauge!("russet_ratelimit_away").set(if away { 1.0 } else { 0.0 });
        let event = event();
        match &event {
            LimiterEvent::Away { error } => {
                tracing::warn!(error, "Redis does not answer: limits are decided without it");
            }
            LimiterEvent::Back => tracing::info!("Redis decides on limits again"),
        }
        self.events.send(event);
    }
}
