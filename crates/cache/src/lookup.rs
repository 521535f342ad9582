//! What a lookup finds.

use std::sync::Arc;

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
    value: Option<Arc<V>>,
    freshness: Freshness,
    tier: Tier,
}

impl<V> Lookup<V> {
    /// From Redis: fresh, unless it is said to be stale.
    pub(crate) fn cached(value: Option<V>, stale: bool) -> Self {
        let freshness = match &value {
            Some(_) if stale => Freshness::Stale,
            Some(_) => Freshness::Fresh,
            None => Freshness::Absent,
        };
        Self { value: value.map(Arc::new), freshness, tier: Tier::Redis }
    }

    pub(crate) fn loaded(value: Option<Arc<V>>) -> Self {
        let freshness = if value.is_some() { Freshness::Loaded } else { Freshness::Absent };
        Self { value, freshness, tier: Tier::Origin }
    }

    /// The same from this process's memory.
    pub(crate) fn held(self) -> Self {
        let freshness = if self.value.is_some() { Freshness::Fresh } else { Freshness::Absent };
        Self { freshness, tier: Tier::Local, ..self }
    }

    /// The value; `None` if there is no such value.
    pub fn value(&self) -> Option<&V> {
        self.value.as_deref()
    }

    pub(crate) fn shared(&self) -> Option<Arc<V>> {
        self.value.clone()
    }

    /// The value, shared.
    pub fn into_value(self) -> Option<Arc<V>> {
        self.value
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
        Self { value: self.value.clone(), ..*self }
    }
}
