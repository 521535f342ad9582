//! Options, validated by `build()`.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use russet_core_conn::Broadcast;
use tokio::runtime::Handle;

use super::law::{Bounds, Law, State};
use super::signals::Signals;
use super::{Adaptive, AdaptiveStatus, Calls, MakeQuota, Moving, Shared, start};
use crate::Limit;
use crate::error::Error;

/// The options of an adaptive limit: from [`Adaptive::builder`].
#[must_use = "nothing happens before `build()`"]
pub struct AdaptiveBuilder {
    limit: Limit,
    quota: MakeQuota,
    bounds: Bounds,
    law: Law,
    every: Duration,
    signals: Signals,
}

impl AdaptiveBuilder {
    pub(super) fn new(limit: &Limit, quota: MakeQuota) -> Self {
        Self {
            limit: limit.clone(),
            quota,
            bounds: Bounds { floor: 10, ceiling: 1_000 },
            law: Law::Load { threshold: 0.8, smoothing: 0.3 },
            every: Duration::from_secs(1),
            signals: Signals::default(),
        }
    }

    /// The lowest and the highest that it may be. Default: 10 to 1,000.
    pub fn between(mut self, floor: u64, ceiling: u64) -> Self {
        self.bounds = Bounds { floor, ceiling };
        self
    }

    /// Up to this load it is the ceiling, from 0 to 1. Makes it one by [load](Law::Load). Default: 0.8.
    pub fn threshold(self, threshold: f64) -> Self {
        let smoothing = self.smoothness();
        self.law(Law::Load { threshold, smoothing })
    }

    /// Which share of the way it goes with each sample, above 0 and up to 1. Makes it one by [load](Law::Load). Default:
    /// 0.3: nine tenths of the way in seven samples.
    pub fn smoothing(self, smoothing: f64) -> Self {
        let threshold = match self.law {
            Law::Load { threshold, .. } => threshold,
            _ => 0.8,
        };
        self.law(Law::Load { threshold, smoothing })
    }

    /// By what it moves. Default: by load.
    pub fn law(mut self, law: Law) -> Self {
        self.law = law;
        self
    }

    /// How often it is looked at, from 10 ms to an hour. Default: 1 s.
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// The memory of Redis is a signal: how much of it the fullest primary uses.
    pub fn memory(mut self) -> Self {
        self.signals.memory = true;
        self
    }

    /// How long decisions of this limiter take in Redis is a signal: on average as long as this is a load of 1.
    pub fn latency(mut self, worst: Duration) -> Self {
        let latency = &self.limit.inner.limiter.inner.latency;
        self.signals.latency = Some((worst, latency.so_far()));
        self
    }

    /// What this says is a signal: 0 without load, 1 with as much as there may be, `None` where it is not known. It is called
    /// by the task, and must not block.
    pub fn signal(mut self, load: impl Fn() -> Option<f64> + Send + Sync + 'static) -> Self {
        self.signals.given.push(Box::new(load));
        self
    }

    /// Validates, and starts the task. It begins at the ceiling, or, by a law of the process, at the floor.
    ///
    /// # Errors
    /// [`Error::Config`], naming the option, what is wrong with it and what is allowed, also where there is no runtime; and
    /// what the closure says of the floor or the ceiling.
    pub fn build(self) -> Result<Adaptive, Error> {
        let config = |field, problem, allowed| Err(Error::Config { field, problem, allowed });
        let Bounds { floor, ceiling } = self.bounds;
        if floor == 0 || ceiling < floor {
            return config(
                "between",
                format!("{floor} to {ceiling}"),
                "1 or more, the lower one first",
            );
        }
        if let Law::Load { threshold, smoothing } = self.law {
            if !(0.0..=1.0).contains(&threshold) {
                return config("threshold", threshold.to_string(), "0 to 1");
            }
            if !(smoothing > 0.0 && smoothing <= 1.0) {
                return config("smoothing", smoothing.to_string(), "above 0, up to 1");
            }
        }
        if self.every < Duration::from_millis(10) || self.every > Duration::from_secs(3_600) {
            return config("every", format!("{:?}", self.every), "10 ms to an hour");
        }
        if self.signals.latency.is_some_and(|(worst, _)| worst.is_zero()) {
            return config("latency", "0 s".to_owned(), "more than nothing");
        }
        if Handle::try_current().is_err() {
            return config("runtime", "none".to_owned(), "in a runtime of tokio");
        }
        let by_load = matches!(self.law, Law::Load { .. });
        let (limit, load) = if by_load { (ceiling, super::UNKNOWN) } else { (floor, 0.0) };
        let quotas = [(self.quota)(floor)?, (self.quota)(ceiling)?];
        self.limit.change(quotas[usize::from(by_load)]);
        if self.signals.latency.is_some() {
            self.limit.inner.limiter.inner.latency.wanted.store(true, Relaxed);
        }
        let status = AdaptiveStatus { limit, load };
        let shared = Shared {
            limit: self.limit,
            quota: self.quota,
            law: self.law,
            bounds: self.bounds,
            moving: Mutex::new(Moving { state: State::default(), status }),
            calls: Mutex::new(Calls::default()),
            events: Broadcast::new(),
        };
        Ok(start(shared.into(), self.signals, self.every))
    }

    fn smoothness(&self) -> f64 {
        match self.law {
            Law::Load { smoothing, .. } => smoothing,
            _ => 0.3,
        }
    }
}

impl fmt::Debug for AdaptiveBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveBuilder")
            .field("limit", &self.limit.name())
            .field("bounds", &self.bounds)
            .field("law", &self.law)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
