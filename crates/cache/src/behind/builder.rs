//! Options, validated by `build()`.

use std::time::Duration;

use russet_core_conn::{Backoff, Codec, KeySpace, Leases, Redis};

use super::buffer::WriteBehind;
use super::error::BehindError;
use crate::keys::LANES;

/// The options of a [`WriteBehind`]. See [`WriteBehind::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `build()`"]
pub struct WriteBehindBuilder {
    redis: Redis,
    space: KeySpace,
    name: String,
    options: Options,
    codec: Codec,
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) capacity: u64,
    pub(super) batch: u64,
    pub(super) flush: Duration,
    pub(super) retry: Backoff,
    pub(super) lease: Duration,
    pub(super) commit_timeout: Duration,
    pub(super) allow_eviction: bool,
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

impl WriteBehindBuilder {
    pub(super) fn new(redis: &Redis, space: &KeySpace, name: &str) -> Self {
        Self {
            redis: redis.clone(),
            space: space.clone(),
            name: name.to_owned(),
            options: Options {
                capacity: 10_000,
                batch: 100,
                flush: Duration::from_secs(5),
                retry: Backoff::exponential(Duration::from_secs(1), Duration::from_secs(60))
                    .max_attempts(10),
                lease: Duration::from_secs(10),
                commit_timeout: Duration::from_secs(30),
                allow_eviction: false,
            },
            codec: Codec::default(),
        }
    }

    /// How many entities may be pending, those that are dead among them: from 16 to 100 million, the same for all
    /// programs that write. Each lane holds a sixteenth of it, rounded up, and refuses more ([`BehindError::Full`]); entities
    /// are spread by a hash, so the first refusal comes a little before the whole is full. Default: 10,000: with values of a
    /// kilobyte about 13 MB of Redis.
    pub fn capacity(mut self, entities: u64) -> Self {
        self.options.capacity = entities;
        self
    }

    /// How many entities a sink is given at once at the most, 1 to 1,000. A lane with so many is committed at once;
    /// what has more than 8 MiB together is several batches. Default: 100: few enough for one transaction, enough for its
    /// cost not to matter.
    pub fn batch(mut self, entities: u64) -> Self {
        self.options.batch = entities;
        self
    }

    /// How long an entity waits for more writes to be committed with it, 1 ms to a day. Default: 5 s. What is written more
    /// often than that is committed once in that time.
    pub fn flush_every(mut self, interval: Duration) -> Self {
        self.options.flush = interval;
        self
    }

    /// When what could not be committed is tried again; when that has no more attempts, it is dead. Default: after a second,
    /// then twice as long each time, at most 60 s, half of it chance, ten times: about four minutes in all. The delays are
    /// used, without an end, where a sink is [away](crate::CommitError::Away), too. It can't be
    /// [`custom`](Backoff::custom), and [`max_elapsed`](Backoff::max_elapsed) is not looked at.
    pub fn retry(mut self, backoff: Backoff) -> Self {
        self.options.retry = backoff;
        self
    }

    /// How long a lane is its owner's without being renewed, 50 ms to a day: for so long nobody commits what is in the lanes
    /// of a process that has died. A third of it is how often a worker says that it is there. Default: 10 s.
    pub fn lease(mut self, ttl: Duration) -> Self {
        self.options.lease = ttl;
        self
    }

    /// How long one call of a sink may take, up to a day; then it is dropped, and counts as failed. Default: 30 s.
    pub fn commit_timeout(mut self, timeout: Duration) -> Self {
        self.options.commit_timeout = timeout;
        self
    }

    /// Goes on where the server may throw away what is pending when its memory is full (a `maxmemory-policy` of
    /// `allkeys-…`), or does not tell. Default: no: such a write was never safe. `volatile-…` is: what is pending has no
    /// TTL.
    pub fn allow_eviction(mut self) -> Self {
        self.options.allow_eviction = true;
        self
    }

    /// How values and keys are encoded. Default: [`Codec::default`]. What was written with another one is still read.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Validates, and makes the buffer's handle. Nothing is sent.
    ///
    /// # Errors
    /// [`BehindError::Config`], naming the option, what is wrong with it and what is allowed.
    pub fn build(self) -> Result<WriteBehind, BehindError> {
        let config =
            |field, problem: String, allowed| Err(BehindError::Config { field, problem, allowed });
        let Options { capacity, batch, flush, retry, commit_timeout, .. } = &self.options;
        if self.name.is_empty() || self.name.len() > 64 {
            return config("name", format!("{:?}", self.name), "1 to 64 bytes");
        }
        if !(LANES as u64..=100_000_000).contains(capacity) {
            return config("capacity", capacity.to_string(), "16 to 100 million");
        }
        if !(1..=1_000).contains(batch) {
            return config("batch", batch.to_string(), "1 to 1,000");
        }
        if !(Duration::from_millis(1)..=DAY).contains(flush) {
            return config("flush_every", format!("{flush:?}"), "1 ms to a day");
        }
        if commit_timeout.is_zero() || *commit_timeout > DAY {
            return config("commit_timeout", format!("{commit_timeout:?}"), "above zero, to a day");
        }
        if retry.before(1).is_none_or(|delay| delay.is_zero()) {
            let allowed = "constant, linear or exponential, above zero";
            return config("retry", format!("{retry:?}"), allowed);
        }
        let leases = Leases::builder(&self.redis, &self.space).ttl(self.options.lease).build()?;
        Ok(WriteBehind::assemble(
            self.redis,
            self.space,
            &self.name,
            self.options,
            leases,
            self.codec,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_options_are_named() {
        let redis = Redis::builder("redis://localhost").build().unwrap();
        let space = KeySpace::new("t").unwrap();
        let ok = || WriteBehind::builder(&redis, &space, "b");
        assert!(ok().build().is_ok());
        let custom = Backoff::custom(|_, _| std::ops::ControlFlow::Continue(Duration::ZERO));
        for (builder, field) in [
            (WriteBehind::builder(&redis, &space, ""), "name"),
            (ok().capacity(15), "capacity"),
            (ok().batch(0), "batch"),
            (ok().batch(1_001), "batch"),
            (ok().flush_every(Duration::ZERO), "flush_every"),
            (ok().commit_timeout(Duration::ZERO), "commit_timeout"),
            (ok().retry(custom), "retry"),
            (ok().lease(Duration::ZERO), "redis: ttl"),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
        }
        let buffer = ok().build().unwrap();
        let error = buffer.entities::<u64, u64>("").unwrap_err().to_string();
        assert!(error.starts_with("kind") && error.contains("allowed"), "{error}");
    }
}
