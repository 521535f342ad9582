//! What a lookup finds.

use std::sync::Arc;

use crate::local::Held;

/// How current the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Freshness {
    /// From the cache, within its time to live.
    Fresh,
    /// From the cache, past its time to live.
    Stale,
    /// From the loader, just now.
    Loaded,
    /// There is no such value: the loader said so, now or within the time that absence is remembered.
    Absent,
}

/// Where the answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// This process's memory.
    Local,
    /// Redis.
    Redis,
    /// The loader.
    Origin,
}

/// A value or its absence, how current that is, and where it came from.
#[derive(Debug)]
pub struct Lookup<V> {
    answer: Answer<V>,
    freshness: Freshness,
    tier: Tier,
}

#[derive(Debug)]
enum Answer<V> {
    Own(Option<Arc<V>>),
    /// As this process keeps it: a hit counts one more owner of that, and of nothing else. All threads count there.
    Held(Arc<Held<V>>),
}

impl<V> Lookup<V> {
    /// From Redis: fresh, unless it is said to be stale.
    pub(crate) fn cached(value: Option<V>, stale: bool) -> Self {
        Self::of(value.map(Arc::new), stale)
    }

    /// What is given to the loader, too.
    pub(crate) fn of(value: Option<Arc<V>>, stale: bool) -> Self {
        let freshness = match &value {
            Some(_) if stale => Freshness::Stale,
            Some(_) => Freshness::Fresh,
            None => Freshness::Absent,
        };
        Self { answer: Answer::Own(value), freshness, tier: Tier::Redis }
    }

    pub(crate) fn loaded(value: Option<Arc<V>>) -> Self {
        let freshness = if value.is_some() { Freshness::Loaded } else { Freshness::Absent };
        Self { answer: Answer::Own(value), freshness, tier: Tier::Origin }
    }

    /// From this process's memory.
    #[inline]
    pub(crate) fn held(held: Arc<Held<V>>) -> Self {
        let there = held.value.is_some();
        let freshness = if there { Freshness::Fresh } else { Freshness::Absent };
        Self { answer: Answer::Held(held), freshness, tier: Tier::Local }
    }

    #[inline]
    fn owned(&self) -> &Option<Arc<V>> {
        match &self.answer {
            Answer::Own(value) => value,
            Answer::Held(held) => &held.value,
        }
    }

    /// The value; `None` if there is no such value.
    #[inline]
    pub fn value(&self) -> Option<&V> {
        self.owned().as_deref()
    }

    pub(crate) fn shared(&self) -> Option<Arc<V>> {
        self.owned().clone()
    }

    /// The value, shared.
    pub fn into_value(self) -> Option<Arc<V>> {
        match self.answer {
            Answer::Own(value) => value,
            Answer::Held(held) => held.value.clone(),
        }
    }

    /// How current it is.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Where it came from.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Whether the cache answered: no loader was asked.
    pub fn is_hit(&self) -> bool {
        self.tier != Tier::Origin
    }
}

impl<V> Clone for Lookup<V> {
    fn clone(&self) -> Self {
        let answer = match &self.answer {
            Answer::Own(value) => Answer::Own(value.clone()),
            Answer::Held(held) => Answer::Held(held.clone()),
        };
        Self { answer, ..*self }
    }
}
