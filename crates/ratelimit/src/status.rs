//! How a subject stands, without changing it.

use std::time::{Duration, SystemTime};

use russet_core_conn::{Canonical, Segments};

use crate::Limit;
use crate::decide::decide;
use crate::error::Error;
use crate::rule::Rule;
use crate::scripts::{self, Mode};
use crate::ticks::time;

/// How a subject stands under a limit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The most that it can have: the capacity of a bucket.
    pub limit: u64,
    /// What it has spent.
    pub used: u64,
    /// What it has: the tokens of a bucket.
    pub remaining: u64,
    /// Whether nothing is spent: whether a bucket is full.
    pub full: bool,
    /// How much is regained in a second.
    pub rate: f64,
    /// In which time all of the limit is regained.
    pub period: Duration,
    /// Until the next unit is there, where none is; zero where one is.
    pub next_in: Duration,
    /// Until nothing is spent: until a bucket is full.
    pub refill_in: Duration,
}

/// What is in a log's window.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// How many units are spent in the window.
    pub count: u64,
    /// How many more could be.
    pub remaining: u64,
    /// When the window began, by the server's clock.
    pub start: SystemTime,
    /// Now, by the same.
    pub end: SystemTime,
    /// The units, the oldest first, as many as were asked for.
    pub requests: Vec<Logged>,
}

/// A unit in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logged {
    /// Which: what was spent together has one number and a place behind it.
    pub id: String,
    /// When, by the server's clock, if the limit's window has not changed since.
    pub at: SystemTime,
}

impl Limit {
    /// How a subject stands. Changes nothing. One round trip.
    ///
    /// # Errors
    /// [`Error::Redis`].
    pub async fn status(&self, subject: impl Segments) -> Result<Status, Error> {
        let level = self.of(subject);
        let decision = decide(&self.inner.limiter, &[level], Mode::Peek, true).await?.decision;
        let (level, period) = (&decision.levels[0], self.quota().period());
        Ok(Status {
            limit: level.limit,
            used: level.used,
            remaining: level.remaining,
            full: level.used == 0,
            rate: level.limit as f64 / period.as_secs_f64(),
            period,
            next_in: level.retry_after.unwrap_or_default(),
            refill_in: level.reset_after,
        })
    }

    /// What is in the window of a [log](crate::Quota::log), or which [permits](crate::Quota::permits) are held: the oldest
    /// of them, at most so many. Changes nothing. One round trip.
    ///
    /// # Errors
    /// [`Error::Unsupported`] of what keeps no units; [`Error::Redis`].
    pub async fn statistics(
        &self,
        subject: impl Segments,
        most: usize,
    ) -> Result<Statistics, Error> {
        let rule = self.rule();
        let (Rule::Log { limit, ticks } | Rule::Permits { limit, ticks }) = rule else {
            return Err(self.unsupported("statistics", &rule));
        };
        let key = self.inner.keys.state(&rule, &Canonical::of(&subject));
        let inner = &*self.inner.limiter.inner;
        inner.agree().await?;
        let asked = scripts::entries(&inner.redis, &key, most.min(10_000), inner.time());
        let (now, count, entries) = asked.await?;
        let requests =
            entries.into_iter().map(|(id, end)| Logged { id, at: at(end.saturating_sub(ticks)) });
        Ok(Statistics {
            count,
            remaining: limit.saturating_sub(count),
            start: at(now.saturating_sub(ticks)),
            end: at(now),
            requests: requests.collect(),
        })
    }
}

/// Ticks count from 2024.
fn at(ticks: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200) + time(ticks)
}
