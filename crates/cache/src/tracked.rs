//! What a cache with a journal knows besides: what is invalid, and what this process keeps.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use russet_core_conn::{Canonical, Error, Key};
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;

use crate::cache::{Cache, Inner};
use crate::entry;
use crate::flight::Flights;
use crate::invalidation::What;
use crate::journal::{Heed, Journal, Verdict};
use crate::keys::Keys;
use crate::load::Load;
use crate::local::{Local, Ticket};
use crate::lookup::Lookup;
use crate::moment::Moment;
use crate::scripts::{Bad, Times};
use crate::seal::{Seal, Stamp};
use crate::stats::Seen;
use crate::store::Store;

/// The journal of a cache, and what it is for.
#[derive(Debug)]
pub(crate) struct Tracked<V> {
    pub(crate) journal: Journal,
    pub(crate) local: Option<Local<V>>,
    /// Hears of what is new as soon as it is told.
    listener: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// After a question in the background that had no answer, the next one may be asked.
const AGAIN: Duration = Duration::from_millis(50);

/// What a payload says.
#[derive(Debug)]
pub(crate) struct Opened<V> {
    pub(crate) value: Option<V>,
    version: Option<u64>,
    pub(crate) seal: Option<Seal>,
}

impl<V> Opened<V> {
    /// As a loader would give it.
    pub(crate) fn into_load(self) -> Load<V> {
        let tags = self.seal.map_or_else(Vec::new, |seal| seal.tags);
        let (value, version) = (self.value.map(Arc::new), self.version);
        Load { value, version, tags, ..Load::absent() }
    }
}

/// Why it is not to be used.
#[derive(Debug)]
pub(crate) enum Flaw {
    Bad(Bad),
    /// Redis did not say whether it is.
    Away(Error),
}

/// Whoever follows the journal, for this process.
pub(crate) struct Here<'a, V> {
    local: Option<&'a Local<V>>,
    flights: &'a Flights<V>,
}

impl<V: Send + Sync + 'static> Heed for Here<'_, V> {
    fn keys(&self, keys: &[Bytes]) {
        for key in keys {
            self.flights.close(&Key::raw(key.clone()));
            if let Some(local) = self.local {
                local.drop_one(&Keys::name_of(key));
            }
        }
    }

    fn everything(&self) {
        if let Some(local) = self.local {
            local.drop_all();
        }
    }
}

impl<V: Send + Sync + 'static> Tracked<V> {
    pub(crate) fn new(journal: Journal, local: Option<Local<V>>) -> Self {
        Self { journal, local, listener: Mutex::default() }
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    pub(crate) fn here<'a>(&'a self, tracked: &'a Tracked<V>) -> Here<'a, V> {
        Here { local: tracked.local.as_ref(), flights: &self.flights }
    }

    /// What is read from here on may be kept, unless it becomes invalid meanwhile.
    pub(crate) fn ticket(&self, key: &Key) -> Option<Ticket> {
        let local = self.tracked.as_ref()?.local.as_ref()?;
        Some(local.ticket(&Keys::name_of(&key.to_bytes())))
    }

    pub(crate) fn keep(
        &self,
        key: &Key,
        ticket: Option<Ticket>,
        lookup: &Lookup<V>,
        seal: Option<Seal>,
        times: Times,
    ) {
        let local = self.tracked.as_ref().and_then(|tracked| tracked.local.as_ref());
        if let (Some(local), Some(ticket), Some(Seal { stamp, tags })) = (local, ticket, seal)
            && !self.owed.holds(key)
        {
            // A name and tags of its own: the whole key, and the value's bytes, would be kept along with a part of them.
            let name = Bytes::copy_from_slice(&Keys::name_of(&key.to_bytes()));
            let tags = tags.iter().map(|tag| Bytes::copy_from_slice(tag)).collect();
            local.put(name, ticket, lookup.shared(), Seal { stamp, tags }, times);
        }
    }

    /// What this process has of a key is invalid.
    pub(crate) fn forget(&self, key: &Key) {
        self.flights.close(key);
        if let Some(local) = self.tracked.as_ref().and_then(|tracked| tracked.local.as_ref()) {
            local.drop_one(&Keys::name_of(&key.to_bytes()));
        }
    }

    /// What has become of these keys in Redis is known here, and told to everybody else, where there is a journal.
    pub(crate) async fn tell(&self, what: What, keys: &[&Key]) -> Result<(), Error> {
        keys.iter().for_each(|key| self.forget(key));
        let Some(tracked) = &self.tracked else { return Ok(()) };
        let keys: Vec<Bytes> = keys.iter().map(|key| key.to_bytes()).collect();
        tracked.journal.write(&self.redis, what, &keys, &self.here(tracked)).await.map(drop)
    }

    /// The key was filled by whoever had told everybody that it was removed: what this process has kept of it since is
    /// that. Whoever is not told misses an event, and nothing else.
    pub(crate) async fn tell_filled(&self, key: &Key) {
        let Some(tracked) = &self.tracked else { return };
        let (keys, here) = ([key.to_bytes()], self.here(tracked));
        let told = tracked.journal.write(&self.redis, What::Written, &keys, &here).await;
        if let Err(error) = told {
            tracing::warn!(%error, "nobody was told that a key was written");
        }
    }

    /// What is loaded from here on is sealed with, and can be cached with.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.tracked.as_ref()?.journal.stamp()
    }

    /// What one of the lookups or loads begun since then may be given with this seal on it.
    pub(crate) fn is_valid(&self, seal: Option<&Seal>) -> bool {
        match (&self.tracked, seal) {
            (Some(tracked), Some(seal)) => tracked.journal.judge(seal) == Verdict::Valid,
            _ => true,
        }
    }
}

impl<V: DeserializeOwned + Send + Sync + 'static> Inner<V> {
    /// What a payload says, if that may be used.
    pub(crate) async fn open(&self, redis: &Store, payload: &Bytes) -> Result<Opened<V>, Flaw> {
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "an entry can't be read: a miss");
            Flaw::Bad(Bad::Unreadable(payload.clone()))
        };
        self.counters.read(payload.len());
        let Some(tracked) = &self.tracked else {
            let decoded = entry::decode(&self.codec, payload);
            let (value, version) = decoded.map_err(|error| unreadable(&error))?;
            return Ok(Opened { value, version, seal: None });
        };
        let Some((seal, rest)) = Seal::split(payload) else {
            return Err(unreadable(&"it was written without a journal"));
        };
        let mut verdict = tracked.journal.judge(&seal);
        if let Verdict::Unknown(tags) = &verdict {
            tracked.journal.learn(redis, tags).await.map_err(Flaw::Away)?;
            verdict = tracked.journal.judge(&seal);
        }
        if verdict != Verdict::Valid {
            return Err(Flaw::Bad(Bad::Invalid(payload.slice(..payload.len() - rest.len()))));
        }
        let decoded = entry::decode(&self.codec, &rest);
        let (value, version) = decoded.map_err(|error| unreadable(&error))?;
        Ok(Opened { value, version, seal: Some(seal) })
    }
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Before the first key, is the key space laid out as we think; and is what is known of invalidations good enough?
    #[inline]
    pub(crate) async fn ready(&self, redis: &Store, asked: Instant) -> Result<(), Error> {
        self.inner.agree(redis).await?;
        match &self.inner.tracked {
            Some(tracked)
                if !tracked.journal.is_young(Moment::of(asked))
                    && !self.is_good_still(tracked, asked) =>
            {
                Box::pin(self.catch_up(tracked, redis, asked)).await
            }
            _ => Ok(()),
        }
    }

    async fn catch_up(
        &self,
        tracked: &Tracked<V>,
        redis: &Store,
        asked: Instant,
    ) -> Result<(), Error> {
        self.listen_if_it_keeps(tracked);
        tracked.journal.current(redis, asked, &self.inner.here(tracked)).await
    }

    /// What this process keeps, if that is vouched for.
    #[inline]
    pub(crate) fn near(&self, name: &Canonical) -> Option<Lookup<V>> {
        let tracked = self.inner.tracked.as_ref()?;
        let local = tracked.local.as_ref()?;
        // Half of the bound is left where this says young: that is more than it can be wrong by.
        let now = Moment::roughly();
        let current = tracked.journal.is_young(now) || self.is_good_still(tracked, Instant::now());
        if !current || self.inner.owed.is_wide() {
            self.bypass(tracked);
            return None;
        }
        let lookup = local.find(name.as_bytes(), &tracked.journal, now)?;
        if self.policy.counts {
            self.inner.counters.lookup(Seen::Local);
            self.note_near(name.as_bytes(), now);
        }
        Some(lookup)
    }

    /// Whether what is known is good enough still; what is new is asked for in the background.
    #[cold]
    fn is_good_still(&self, tracked: &Tracked<V>, now: Instant) -> bool {
        let current = tracked.journal.is_current(now);
        if current && !tracked.journal.is_asking() {
            self.follow(tracked);
        }
        current
    }

    /// What this process keeps is not used, because nobody vouches for it. Before the first answer there is nothing.
    #[cold]
    fn bypass(&self, tracked: &Tracked<V>) {
        if self.policy.counts && tracked.journal.stamp().is_some() {
            self.inner.counters.bypassed();
        }
    }

    fn follow(&self, tracked: &Tracked<V>) {
        self.listen_if_it_keeps(tracked);
        let inner = self.inner.clone();
        tokio::spawn(async move {
            if let Err(error) = inner.follow(&inner.budgeted, None).await {
                tracing::debug!(%error, "nobody says what is invalid: this process's values rest");
                tokio::time::sleep(AGAIN).await;
            }
            if let Some(tracked) = &inner.tracked {
                tracked.journal.may_ask();
            }
        });
    }

    fn listen_if_it_keeps(&self, tracked: &Tracked<V>) {
        if tracked.local.is_some() {
            self.listen();
        }
    }

    /// Hears of what is new as soon as it is told, also where the listener before has ended. Without it, that is known as
    /// late as `max_staleness` allows.
    pub(crate) fn listen(&self) {
        let Some(tracked) = &self.inner.tracked else { return };
        self.watch();
        let mut listener = tracked.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (redis, inner) = (self.inner.redis.clone(), Arc::downgrade(&self.inner));
        let channel = tracked.journal.keys().channel.clone();
        *listener = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut heard = match redis.subscribe(&channel).await {
                Ok(heard) => heard,
                Err(error) => {
                    tracing::debug!(%error, "nobody tells what is invalid: it is asked for");
                    return;
                }
            };
            let mut version = None;
            loop {
                let Some(inner) = inner.upgrade() else { return };
                if let Err(error) = inner.follow(&inner.redis, version).await {
                    tracing::debug!(%error, "nobody says what is invalid");
                }
                drop(inner);
                version = match heard.next().await {
                    Some(message) => {
                        message.and_then(|message| std::str::from_utf8(&message).ok()?.parse().ok())
                    }
                    None => return,
                };
            }
        })));
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    async fn follow(&self, redis: &Store, version: Option<u64>) -> Result<(), Error> {
        let Some(tracked) = &self.tracked else { return Ok(()) };
        tracked.journal.follow(redis, version, &self.here(tracked)).await
    }
}

#[cfg(test)]
mod tests {
    use russet_core_conn::{KeySpace, Redis};

    use super::*;
    use crate::owed::Debt;

    #[tokio::test]
    async fn what_is_owed_is_not_kept() {
        let redis = Redis::builder("redis://localhost").build().unwrap();
        let cache = Cache::<u8>::builder(&redis, &KeySpace::new("t").unwrap(), "c");
        let inner = cache.local(10).build().unwrap().inner;
        let [owed, other] = ["a", "b"].map(|name| inner.keys.entry(&Canonical::of(name)));
        inner.owed.add(std::iter::once(Debt::Key(owed.clone())), true);
        let keep = |key: &Key| {
            let seal = Seal { stamp: Stamp::NEVER, tags: Vec::new() };
            let lookup = Lookup::cached(Some(1), false);
            let times = Times { left: Duration::from_secs(60), ..Times::default() };
            inner.keep(key, inner.ticket(key), &lookup, Some(seal), times);
            inner.tracked.as_ref().unwrap().local.as_ref().unwrap().entries()
        };
        assert_eq!((keep(&owed), keep(&other)), (0, 1));
    }
}
