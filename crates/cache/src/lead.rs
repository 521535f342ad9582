//! One load from its beginning to its end: the lease, the loader, the fill.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use russet_core_conn::{Error, Key};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::flight::{Failure, Landed, Pilot};
use crate::load::{Load, LoadContext, Reason};
use crate::lookup::Lookup;
use crate::policy::Policy;
use crate::scripts::{self, Bad, Claimed, Due, Fill, Times, Token};
use crate::seal::Stamp;
use crate::store::Store;
use crate::tracked::{Flaw, Opened};
use crate::wakes::Listening;

/// With what a load begins.
pub(crate) enum Start<V> {
    Leads {
        token: Token,
        stale: Option<Load<V>>,
        reason: Reason,
    },
    /// The lease is to be claimed, and waited for.
    Claims {
        bad: Bad,
        reason: Reason,
    },
    /// There is no lease to be had.
    Without(Reason),
}

impl<V> Start<V> {
    fn unavailable(error: &Error) -> Self {
        if error.is_retryable() {
            tracing::debug!(%error, "the cache does not answer");
        } else {
            tracing::warn!(%error, "the lease on a load is refused: nothing is cached");
        }
        Self::Without(Reason::Unavailable)
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// Carries a load out in a task of its own: whoever asked may go away.
    pub(crate) fn fly<L, E, Fut>(
        &self,
        pilot: Pilot<V>,
        start: Start<V>,
        load: impl FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    ) where
        L: Into<Load<V>>,
        E: Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
    {
        let cache = self.clone();
        tokio::spawn(async move {
            let landed = cache.carry_out(&pilot, start, load).await;
            pilot.land(landed);
        });
    }

    async fn carry_out<L, E, Fut>(
        &self,
        pilot: &Pilot<V>,
        start: Start<V>,
        load: impl FnOnce(LoadContext<V>) -> Fut + Send,
    ) -> Landed<V>
    where
        L: Into<Load<V>>,
        E: Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>> + Send,
    {
        let key = pilot.key();
        let start = match start {
            Start::Claims { bad, reason } => match self.take(key, bad, reason).await {
                Ok(start) => start,
                Err((lookup, began)) => {
                    return Landed { outcome: Ok(lookup), began, sound: false, seal: None };
                }
            },
            other => other,
        };
        let (token, stale, reason) = match start {
            Start::Leads { token, stale, reason } => (Some(token), stale, reason),
            Start::Claims { reason, .. } | Start::Without(reason) => (None, None, reason),
        };
        let place = match &token {
            Some(_) => None,
            None => match self.inner.origin.enter().await {
                Some(place) => Some(place),
                None => return Landed::failed(Failure::Overloaded, Instant::now()),
            },
        };
        let (began, had) = (Instant::now(), stale.is_some());
        let stamp = self.inner.stamp();
        let context = LoadContext::new(reason, stale);
        let leases = token.iter().map(|token| (key, token));
        let loading = self.inner.timed(async { load(context).await.map(Into::into) });
        let loaded = self.guard(loading, leases).await;
        drop(place);
        let took = began.elapsed();
        // What is invalidated from here on may be too late for the fill, and is for those who ask from here on.
        pilot.depart();
        let failure = match loaded {
            Some(Ok(load)) => {
                let (lookup, fill) = self.settle(key, load, took, stamp);
                let seal = fill.as_ref().and_then(|fill| fill.seal.clone());
                let sound = self.finish(key, token.as_ref(), &lookup, fill).await;
                return Landed { outcome: Ok(lookup), began, sound, seal };
            }
            Some(Err(error)) => Failure::Loader(Arc::new(error)),
            None => Failure::Aborted,
        };
        self.give_up(key, token.as_ref(), had).await;
        Landed::failed(failure, began)
    }

    /// Loads, and keeps the leases meanwhile; `None` where the loader panicked.
    pub(crate) async fn guard<'a, T, E>(
        &self,
        load: impl Future<Output = Result<T, E>>,
        leases: impl Iterator<Item = (&'a Key, &'a Token)>,
    ) -> Option<Result<T, E>> {
        let inner = &self.inner;
        let loaded = tokio::select! {
            biased;
            loaded = AssertUnwindSafe(load).catch_unwind() => loaded.ok(),
            never = renewed(&inner.budgeted, &self.policy, leases) => match never {},
        };
        if loaded.is_none() {
            tracing::error!("a loader or writer has panicked");
        }
        loaded
    }

    /// Claims the lease until it is there, or what it is for: that, and when it was read, is the error.
    pub(crate) async fn take(
        &self,
        key: &Key,
        mut bad: Bad,
        mut reason: Reason,
    ) -> Result<Start<V>, (Lookup<V>, Instant)> {
        let (inner, policy, redis) = (&self.inner, &self.policy, &self.inner.budgeted);
        let (token, until) = (Token::draw(), Instant::now() + policy.patience());
        let mut listening: Option<Listening<'_>> = None;
        loop {
            // Before it is asked: what is told while it is on its way is heard.
            let mut woken = listening.as_ref().map(|listening| Box::pin(listening.woken()));
            if let Some(woken) = &mut woken {
                woken.as_mut().enable();
            }
            let (began, ticket) = (Instant::now(), inner.ticket(key));
            let claim = scripts::claim(redis, key, &token, policy.lease, Due::default(), &bad);
            let (payload, times, stale) = match claim.await {
                Ok(Claimed::Leads { stale }) => {
                    let stale = self.stale(redis, stale.as_ref()).await;
                    if stale.is_some() {
                        reason = Reason::Refresh;
                    }
                    return Ok(Start::Leads { token, stale, reason });
                }
                Ok(Claimed::Fresh { payload, times }) => (Some(payload), times, false),
                Ok(Claimed::Due { payload }) => (Some(payload), Times::default(), false),
                Ok(Claimed::Rests { stale }) => (Some(stale), Times::default(), true),
                Ok(Claimed::Waits { left, .. }) => {
                    (None, Times { left, ..Times::default() }, false)
                }
                Err(error) => return Ok(Start::unavailable(&error)),
            };
            if let Some(payload) = payload {
                match inner.open(redis, &payload).await {
                    Ok(_) if stale && policy.grace.is_zero() => {
                        return Ok(Start::Without(Reason::Contended));
                    }
                    Ok(Opened { value, seal, .. }) => {
                        let lookup = Lookup::cached(value, stale);
                        if !stale {
                            inner.keep(key, ticket, &lookup, seal, times);
                        }
                        return Err((lookup, began));
                    }
                    Err(Flaw::Bad(found)) if found == bad => return Ok(Start::Without(reason)),
                    Err(Flaw::Bad(found)) => {
                        (bad, reason) = (found.clone(), found.reason());
                        continue;
                    }
                    Err(Flaw::Away(error)) => return Ok(Start::unavailable(&error)),
                }
            }
            inner.counters.waited();
            if Instant::now() >= until {
                return Ok(Start::Without(Reason::Contended));
            }
            match woken {
                Some(woken) => {
                    // Where nobody tells, it looks by itself.
                    let _ = tokio::time::timeout(Policy::step(times.left), woken).await;
                }
                None => {
                    drop(woken);
                    listening = Some(inner.wakes.listen(key));
                }
            }
        }
    }

    /// What the caller gets, and what is to be cached of it, if anything is and can be.
    pub(crate) fn settle(
        &self,
        key: &Key,
        load: Load<V>,
        took: Duration,
        stamp: Option<Stamp>,
    ) -> (Lookup<V>, Option<Fill>) {
        let fill = if load.cache { self.fill(key, &load, took, stamp) } else { None };
        (Lookup::loaded(load.value), fill)
    }

    fn fill(
        &self,
        key: &Key,
        load: &Load<V>,
        took: Duration,
        stamp: Option<Stamp>,
    ) -> Option<Fill> {
        let fill = self.encoded(key, load, took, stamp);
        let fill = fill.inspect_err(|error| {
            tracing::warn!(%error, "a value can't be cached");
            self.inner.counters.fill(false);
        });
        fill.ok()
    }

    /// Fills under the lease, or gives it back; whether Redis took it.
    pub(crate) async fn finish(
        &self,
        key: &Key,
        token: Option<&Token>,
        lookup: &Lookup<V>,
        fill: Option<Fill>,
    ) -> bool {
        let inner = &self.inner;
        match (token, fill) {
            (Some(token), Some(mut fill)) => {
                let (channel, ticket) = (inner.wakes.channel(), inner.ticket(key));
                let (seal, times) = (fill.seal.take(), fill.times());
                let bytes = fill.payload.len();
                match scripts::fill(&inner.budgeted, key, Some(token), fill, channel).await {
                    Ok(true) => {
                        inner.counters.fill(true);
                        inner.counters.filled_bytes(bytes);
                        inner.keep(key, ticket, lookup, seal, times);
                        true
                    }
                    Ok(false) => {
                        inner.counters.refused();
                        false
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a value could not be cached");
                        inner.counters.fill(false);
                        false
                    }
                }
            }
            (token, _) => {
                self.give_up(key, token, false).await;
                false
            }
        }
    }

    /// Gives the lease back, and lets nobody try again so soon where there is something to use meanwhile.
    pub(crate) async fn give_up(&self, key: &Key, token: Option<&Token>, had: bool) {
        let inner = &self.inner;
        let Some(token) = token else { return };
        let pause = if had { self.policy.backoff } else { Duration::ZERO };
        let channel = inner.wakes.channel();
        if let Err(error) = scripts::release(&inner.budgeted, key, token, pause, channel).await {
            tracing::debug!(%error, "a lease could not be given back: it ends by itself");
        }
    }
}

/// Keeps the leases, for as long as it is polled.
async fn renewed<'a>(
    redis: &Store,
    policy: &Policy,
    leases: impl Iterator<Item = (&'a Key, &'a Token)>,
) -> std::convert::Infallible {
    let mut held: Vec<_> = leases.collect();
    while !held.is_empty() {
        tokio::time::sleep(policy.lease / 3).await;
        let renewals =
            held.iter().map(|(key, token)| scripts::renew(redis, key, token, policy.lease));
        let mut renewals = join_all(renewals).await.into_iter();
        // One that is lost is not to be had again; what could not be asked is asked again.
        held.retain(|_| renewals.next().is_none_or(|kept| kept.unwrap_or(true)));
    }
    std::future::pending().await
}
