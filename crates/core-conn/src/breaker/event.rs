//! What a breaker is, and what it became and why.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a breaker does with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerState {
    /// Lets it through, and counts how it ends.
    Closed,
    /// Refuses it. The first one after this time will be a probe.
    Open {
        /// Zero once the time is over, and no call has come yet.
        retry_after: Duration,
    },
    /// Lets it through as a probe while there is a place, and refuses it otherwise.
    HalfOpen,
    /// Refuses it, until [`Breaker::reset`](crate::Breaker::reset).
    ForcedOpen,
    /// Lets it through and counts nothing, until [`Breaker::reset`](crate::Breaker::reset).
    ForcedClosed,
}

impl BreakerState {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced-open",
            Self::ForcedClosed => "forced-closed",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A breaker became something else.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerEvent {
    /// The breaker's name.
    pub breaker: Arc<str>,
    /// What it was.
    pub from: BreakerState,
    /// What it is.
    pub to: BreakerState,
    /// Why.
    pub reason: BreakerReason,
}

/// Why a breaker became something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerReason {
    /// By [`Trip::Consecutive`](crate::Trip::Consecutive).
    Consecutive {
        /// Failures without a success between them.
        failures: u32,
    },
    /// By [`Trip::Failures`](crate::Trip::Failures).
    Failures {
        /// Failures in the window.
        failures: u32,
    },
    /// By [`Trip::FailureRate`](crate::Trip::FailureRate).
    FailureRate {
        /// Failures in the window.
        failures: u32,
        /// Calls in the window.
        calls: u32,
    },
    /// By [`Trip::SlowRate`](crate::Trip::SlowRate).
    SlowRate {
        /// Slow calls in the window.
        slow: u32,
        /// Calls in the window.
        calls: u32,
    },
    /// By [`Breaker::trip`](crate::Breaker::trip).
    Told,
    /// A call came after the time for which it was to be open.
    DelayOver,
    /// A probe failed, or was slow.
    ProbeFailed,
    /// Too few probes ended in the time that they have.
    ProbesUndecided,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// Somebody said so.
    Forced,
    /// Somebody ended what was forced, or what had been counted.
    Reset,
}
