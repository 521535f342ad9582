//! One key: found, or loaded once for all who ask.

use std::time::Instant;

use russet_core_conn::{Canonical, Key, Segments};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::error::LoadError;
use crate::flight::{Failure, Flight, Landed};
use crate::lead::Start;
use crate::load::{Load, LoadContext, Reason};
use crate::lookup::Lookup;
use crate::read::Reading;
use crate::scripts::Bad;

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// What is cached under the key, or else what the loader gives, which is then cached. One round trip for a hit;
    /// three for a miss, two where entries keep their own times ([`grace`](crate::CacheBuilder::grace),
    /// [`refresh_ahead`](crate::CacheBuilder::refresh_ahead)).
    ///
    /// The loader gives `V`, `Option<V>` (`None`: there is no such value, which is remembered for its own time), or a
    /// [`Load`] with more to say. It is asked, too, when what is cached can't be read, and when Redis does not answer
    /// within the budget or the breaker is open: the caller is served without Redis, and nothing is cached then. That a
    /// value could not be cached is counted and logged, not an error.
    ///
    /// **One load a key, over all processes.** Whoever misses takes a lease on the key, and only its holder fills it.
    /// Others wait for the fill: those in this process for the same load, those elsewhere for a message, and look by
    /// themselves now and then. A holder that dies is followed by another when its lease ends; whoever has waited for
    /// two leases loads for itself, and does not fill.
    ///
    /// **The loader runs in a task of its own**, and must be `'static` for it: if this future is dropped, others may
    /// wait for the load, which goes on and fills. It should read the primary of the origin: one that lags behind would
    /// give what is out of date already.
    ///
    /// # Errors
    /// The loader's, also where it was another caller's loader; [`LoadError::Timeout`]. Neither where there is a stale
    /// value to give.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn get_or_load<L, E, Fut>(
        &self,
        key: impl Segments,
        load: impl FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    ) -> Result<Lookup<V>, LoadError<E>>
    where
        L: Into<Load<V>>,
        E: Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
    {
        let key = {
            let name = Canonical::of(&key);
            if let Some(lookup) = self.near(&name) {
                return Ok(lookup);
            }
            self.inner.keys.entry(&name)
        };
        let asked = Instant::now();
        match self.read(&key, asked).await {
            Reading::Hit(lookup) => Ok(lookup),
            other => Box::pin(self.load(&key, asked, other, load)).await,
        }
    }

    /// What is no hit.
    async fn load<L, E, Fut>(
        &self,
        key: &Key,
        asked: Instant,
        mut reading: Reading<V>,
        load: impl FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    ) -> Result<Lookup<V>, LoadError<E>>
    where
        L: Into<Load<V>>,
        E: Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
    {
        let (inner, mut load) = (&self.inner, Some(load));
        loop {
            let (stale, start) = match reading {
                Reading::Hit(lookup) => return Ok(lookup),
                Reading::Due(fresh, token) => {
                    inner.counters.refreshed();
                    let lookup = Lookup::of(fresh.value.clone(), false);
                    let (stale, reason) = (Some(fresh), Reason::Refresh);
                    if let Some(load) = load.take() {
                        self.fly(
                            inner.flights.begin(key),
                            Start::Leads { token, stale, reason },
                            load,
                        );
                    }
                    return Ok(lookup);
                }
                Reading::Leads(token, stale, reason) => {
                    let lookup = stale.as_ref().map(|stale| Lookup::of(stale.value.clone(), true));
                    (lookup, Start::Leads { token, stale, reason })
                }
                // Somebody refreshes what is good enough meanwhile.
                Reading::Waits(Some(stale)) if self.policy.soft.is_zero() => return Ok(stale),
                Reading::Waits(stale) => {
                    (stale, Start::Claims { bad: Bad::Nothing, reason: Reason::Missing })
                }
                Reading::Misses(_, reason @ (Reason::Unavailable | Reason::Contended)) => {
                    (None, Start::Without(reason))
                }
                Reading::Misses(bad, reason) => (None, Start::Claims { bad, reason }),
            };
            let flight = match start {
                Start::Leads { .. } => Err(inner.flights.begin(key)),
                _ => inner.flights.join(key),
            };
            let (flight, own) = match (flight, load.take()) {
                (Err(pilot), Some(load)) => {
                    let flight = pilot.flight().clone();
                    self.fly(pilot, start, load);
                    (flight, true)
                }
                (Err(pilot), None) => (pilot.flight().clone(), true),
                (Ok(flight), unused) => {
                    inner.counters.joined();
                    load = unused;
                    (flight, false)
                }
            };
            let Some(landed) = self.landed(&flight, asked, stale.is_some()).await else {
                return stale.ok_or(LoadError::Timeout(asked.elapsed()));
            };
            if own || landed.answers(asked) && inner.is_valid(landed.seal.as_ref()) {
                match (&landed.outcome, stale) {
                    (Ok(lookup), _) => return Ok(lookup.clone()),
                    (Err(_), Some(stale)) => return Ok(stale),
                    (Err(Failure::Aborted), None) => return Err(LoadError::Aborted),
                    (Err(Failure::Overloaded), None) => return Err(LoadError::Overloaded),
                    (Err(Failure::Loader(error)), None) => {
                        // One of another type is of another kind of call: this one has a loader of its own.
                        if let Ok(error) = error.clone().downcast::<E>() {
                            return Err(LoadError::Loader(error));
                        }
                    }
                }
            }
            reading = self.read(key, asked).await;
        }
    }

    /// How the flight ended; `None` where the caller does not wait for so long.
    async fn landed<'a>(
        &self,
        flight: &'a Flight<V>,
        asked: Instant,
        has_stale: bool,
    ) -> Option<&'a Landed<V>> {
        let soft = has_stale.then_some(self.policy.soft);
        let Some(patience) = soft.into_iter().chain(self.policy.hard).min() else {
            return Some(flight.landed().await);
        };
        tokio::time::timeout_at((asked + patience).into(), flight.landed()).await.ok()
    }
}
