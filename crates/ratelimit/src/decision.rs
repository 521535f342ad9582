//! What was decided, and why.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

/// What was decided: all of it, also where it is a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The limit whose figures these are: the one that denies or, if none does, the one with the least left.
    pub policy: Arc<str>,
    /// The most that can be spent at once.
    pub limit: u64,
    /// How much could be spent right after this decision.
    pub remaining: u64,
    /// How much was admitted: the cost, what of it fits with `at_most`, or nothing.
    pub granted: u64,
    /// Of a denial: the same is admitted then, and not earlier, if nobody else spends. `None` where time does not help.
    pub retry_after: Option<Duration>,
    /// Until all that is spent is regained, if nobody spends more.
    pub reset_after: Duration,
    /// Of a queue: how long to wait before beginning.
    pub delay: Duration,
    /// Every level, in the order in which they were given.
    pub levels: Levels,
    /// Who decided.
    pub source: Source,
    /// Whether a limit in shadow mode would have denied it.
    pub shadow: bool,
    pub(crate) limiting: Option<usize>,
    pub(crate) reason: Reason,
}

/// The levels of a decision: a slice of them. One level, as most decisions have, takes no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels(pub(crate) SmallVec<[LevelDecision; 1]>);

impl Levels {
    #[inline(always)]
    pub(crate) fn one(level: LevelDecision) -> Self {
        Self(SmallVec::from_buf([level]))
    }
}

impl Deref for Levels {
    type Target = [LevelDecision];

    #[inline]
    fn deref(&self) -> &[LevelDecision] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Levels {
    type Item = &'a LevelDecision;
    type IntoIter = std::slice::Iter<'a, LevelDecision>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// One level of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelDecision {
    /// The limit's name.
    pub name: Arc<str>,
    /// The most that can be spent at once.
    pub limit: u64,
    /// What is spent, this decision included.
    pub used: u64,
    /// How much more could be.
    pub remaining: u64,
    /// Until this level admits the same, if it denies it.
    pub retry_after: Option<Duration>,
    /// Until all that is spent is regained.
    pub reset_after: Duration,
    /// Whether it denies: also true of one in shadow mode, which stops nobody.
    pub denies: bool,
    /// Whether it is in shadow mode.
    pub shadow: bool,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// Redis, in one round trip.
    Redis,
    /// This process: the subject is on a list of those that are always admitted, or never.
    List,
    /// This process: Redis has denied the same, and said for how long. See
    /// [`LimitBuilder::cache_denials`](crate::LimitBuilder::cache_denials).
    DenyCache,
    /// This process, of what it took from Redis ahead, or because there was nothing more. See [`Leasing`](crate::Leasing).
    Lease,
    /// This process, in the place of Redis, which did not answer: for at least one of the levels. See
    /// [`Outage`](crate::Outage).
    Fallback,
    /// This process: a [breaker](crate::FleetBreaker) of what would be called is open.
    Breaker,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It fits.
    Fits,
    /// A limit denies it.
    OverLimit,
    /// The subject is blocked for a while.
    Blocked,
    /// It would fit its own limit, but classes of a higher priority need the room.
    Shed,
    /// The subject is on the list of those that are always admitted.
    Allowed,
    /// The subject is on the list of those that never are.
    Denied,
    /// Redis does not answer, and the limit is [`Closed`](crate::Outage::Closed) then. Nobody knows until when.
    Outage,
    /// A breaker of what would be called is open.
    Open,
}

impl Decision {
    /// Whether to go on: a limit in shadow mode stops nobody.
    pub fn is_allowed(&self) -> bool {
        matches!(self.reason, Reason::Fits | Reason::Allowed)
    }

    /// The level that denies; of several the one that does so longest.
    pub fn limiting(&self) -> Option<&LevelDecision> {
        self.limiting.and_then(|level| self.levels.get(level))
    }

    /// Why it was so decided.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}
