//! Limits that move with load.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use russet_core_conn::{Broadcast, Events};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::builder::AdaptiveBuilder;
pub use self::law::{Bounds, Law, Sample, UNKNOWN};

pub(crate) use self::signals::Latency;

use self::law::State;
use crate::error::Error;
use crate::{Limit, Quota};

mod builder;
mod law;
mod signals;

#[doc = include_str!("adaptive.md")]
#[derive(Clone)]
pub struct Adaptive(Arc<Inner>);

type MakeQuota = Box<dyn Fn(u64) -> Result<Quota, Error> + Send + Sync>;

struct Inner {
    shared: Arc<Shared>,
    _end: DropGuard,
}

struct Shared {
    limit: Limit,
    quota: MakeQuota,
    law: Law,
    bounds: Bounds,
    moving: Mutex<Moving>,
    calls: Mutex<Calls>,
    events: Broadcast<AdaptiveEvent>,
}

struct Moving {
    state: State,
    status: AdaptiveStatus,
}

/// Of the calls since the last sample.
#[derive(Debug, Default)]
struct Calls {
    inflight: u64,
    most: u64,
    ended: u32,
    took: Duration,
    shortest: Option<Duration>,
    dropped: bool,
}

/// Where an adaptive limit is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct AdaptiveStatus {
    /// What it is.
    pub limit: u64,
    /// The load at the last sample. Of a law of the process, how much of the limit was in use.
    pub load: f64,
}

/// A limit was moved.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AdaptiveEvent {
    /// The limit's name.
    pub policy: Arc<str>,
    /// What it was.
    pub from: u64,
    /// What it is.
    pub to: u64,
    /// The load for which it was moved.
    pub load: f64,
}

impl Adaptive {
    /// Options; `quota` makes of a number what the limit then allows.
    pub fn builder(
        limit: &Limit,
        quota: impl Fn(u64) -> Result<Quota, Error> + Send + Sync + 'static,
    ) -> AdaptiveBuilder {
        AdaptiveBuilder::new(limit, Box::new(quota))
    }

    /// Where it is. Asks nobody.
    pub fn status(&self) -> AdaptiveStatus {
        lock(&self.0.shared.moving).status
    }

    /// Listens to its changes from now on.
    pub fn events(&self) -> Events<AdaptiveEvent> {
        self.0.shared.events.listen()
    }

    /// A call of the process begins, of which a [`Law`] of the process learns. Dropped, it has ended well.
    pub fn begin(&self) -> Call {
        let shared = self.0.shared.clone();
        let mut calls = lock(&shared.calls);
        calls.inflight += 1;
        calls.most = calls.most.max(calls.inflight);
        drop(calls);
        Call { shared, began: Instant::now(), dropped: false }
    }
}

/// A call that is under way: from [`Adaptive::begin`].
#[must_use = "dropped, the call has ended"]
pub struct Call {
    shared: Arc<Shared>,
    began: Instant,
    dropped: bool,
}

impl Call {
    /// It was refused for want of room, or has run out of time.
    pub fn dropped(mut self) {
        self.dropped = true;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let mut calls = lock(&self.shared.calls);
        calls.inflight = calls.inflight.saturating_sub(1);
        calls.ended = calls.ended.saturating_add(1);
        calls.took += took;
        calls.shortest = Some(calls.shortest.map_or(took, |shortest| shortest.min(took)));
        calls.dropped |= self.dropped;
    }
}

impl Shared {
    /// Where it goes by this load.
    fn step(&self, load: f64) {
        let sample = {
            let mut calls = lock(&self.calls);
            let inflight = calls.inflight;
            let Calls { most, ended, took, shortest, dropped, .. } = std::mem::replace(
                &mut *calls,
                Calls { inflight, most: inflight, ..Calls::default() },
            );
            Sample { load, inflight: most, took: took.checked_div(ended), shortest, dropped }
        };
        let mut moving = lock(&self.moving);
        let from = moving.status.limit;
        let (to, load) = self.law.next(&mut moving.state, &self.bounds, from, &sample);
        moving.status.load = load;
        self.gauge(to, load);
        if to == from {
            return;
        }
        match (self.quota)(to) {
            Ok(quota) => self.limit.change(quota),
            Err(error) => {
                tracing::warn!(policy = self.limit.name(), to, %error, "an adaptive limit can't be that");
                return;
            }
        }
        moving.status.limit = to;
        let policy = self.limit.inner.name.clone();
        tracing::info!(%policy, from, to, load, "an adaptive limit moves");
        self.events.send(AdaptiveEvent { policy, from, to, load });
    }

    #[cfg(feature = "metrics")]
    fn gauge(&self, limit: u64, load: f64) {
        let policy = &self.limit.inner.name;
        metrics::gauge!("russet_ratelimit_adaptive_limit", "policy" => policy.clone())
            .set(limit as f64);
        metrics::gauge!("russet_ratelimit_adaptive_load", "policy" => policy.clone()).set(load);
    }

    #[cfg(not(feature = "metrics"))]
    #[expect(clippy::unused_self, reason = "only metrics show it")]
    fn gauge(&self, _: u64, _: f64) {}
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.0.shared.limit.name();
        f.debug_struct("Adaptive").field("limit", &limit).field("status", &self.status()).finish()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("began", &self.began).finish_non_exhaustive()
    }
}

fn start(shared: Arc<Shared>, mut signals: signals::Signals, every: Duration) -> Adaptive {
    let over = CancellationToken::new();
    let inner = Inner { shared: shared.clone(), _end: over.clone().drop_guard() };
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let load = tokio::select! {
                biased;
                () = over.cancelled() => return,
                load = async { tick.tick().await; signals.load(&shared.limit).await } => load,
            };
            shared.step(load);
        }
    });
    Adaptive(Arc::new(inner))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
