//! What may be spent at once beside what may be spent for long.

use std::time::Duration;

use russet_core_conn::Segments;

use crate::error::Error;
use crate::{Decision, Limit, Limiter, Quota};

/// A sustained limit with a burst: both must admit, or nothing is spent. The limiting level of a decision says which
/// one refused, `<name>.sustained` or `<name>.burst`; the burst regains by itself.
#[derive(Debug, Clone)]
pub struct SustainedBurst {
    limiter: Limiter,
    sustained: Limit,
    burst: Limit,
}

impl SustainedBurst {
    /// Both of them. By default, 100 a minute in any minute, and no more than 20 at once, regained by 10 a second:
    /// `Quota::strict(100, minute)?` and `Quota::gcra(10, second, 20)?`.
    ///
    /// # Errors
    /// Those of [`Limiter::limit`].
    pub fn new(
        limiter: &Limiter,
        name: &str,
        sustained: Quota,
        burst: Quota,
    ) -> Result<Self, Error> {
        Ok(Self {
            limiter: limiter.clone(),
            sustained: limiter.limit(&format!("{name}.sustained"), sustained)?,
            burst: limiter.limit(&format!("{name}.burst"), burst)?,
        })
    }

    /// Spends so many units on both, or nothing. One round trip, one on a cluster, too.
    ///
    /// # Errors
    /// Those of [`Limiter::check`].
    pub async fn check_n(&self, subject: impl Segments, units: u64) -> Result<Decision, Error> {
        let sustained = self.sustained.of(&subject).cost(units);
        self.limiter.check(&[sustained, self.burst.of(&subject).cost(units)]).await
    }

    /// Spends one unit on both, or nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn check(&self, subject: impl Segments) -> Result<Decision, Error> {
        self.check_n(subject, 1).await
    }
}

/// A bucket for costs, with a pool for those that are larger than what it holds: one bucket of both sizes, whose last
/// units are the pool. It is spent last and regained first.
#[derive(Debug, Clone)]
pub struct CostWithBurst {
    limit: Limit,
    burst: u64,
}

/// A decision, and what is left of the bucket and of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CostDecision {
    /// The decision; `retry_after` is the wait.
    pub decision: Decision,
    /// What the bucket holds.
    pub tokens: u64,
    /// What is spent of the pool.
    pub burst_used: u64,
    /// What the pool holds.
    pub burst_left: u64,
}

impl CostWithBurst {
    /// A bucket of `capacity`, with a pool of `burst`, refilled by `limit` in each `per`. By default 100, 50, and 10 a
    /// second: [`standard`](Self::standard).
    ///
    /// # Errors
    /// Those of [`Quota::gcra`] and [`Limiter::limit`].
    pub fn new(
        limiter: &Limiter,
        name: &str,
        (capacity, burst): (u64, u64),
        limit: u64,
        per: Duration,
    ) -> Result<Self, Error> {
        let quota = Quota::gcra(limit, per, capacity.saturating_add(burst))?;
        Ok(Self { limit: limiter.limit(name, quota)?, burst })
    }

    /// A bucket of 100 with a pool of 50, refilled by 10 a second.
    ///
    /// # Errors
    /// Those of [`Limiter::limit`].
    pub fn standard(limiter: &Limiter, name: &str) -> Result<Self, Error> {
        Self::new(limiter, name, (100, 50), 10, Duration::from_secs(1))
    }

    /// Spends so many units, or nothing. One round trip.
    ///
    /// # Errors
    /// Those of [`Limit::check_n`].
    pub async fn check_n(&self, subject: impl Segments, units: u64) -> Result<CostDecision, Error> {
        let decision = self.limit.check_n(subject, units).await?;
        let remaining = decision.levels.first().map_or(0, |level| level.remaining);
        let burst_left = remaining.min(self.burst);
        Ok(CostDecision {
            tokens: remaining - burst_left,
            burst_used: self.burst - burst_left,
            burst_left,
            decision,
        })
    }
}
