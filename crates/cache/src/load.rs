//! What a loader is told, and what it gives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// Why the loader is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing is cached.
    Missing,
    /// What is cached is past its time, or soon will be: it is [`stale`](LoadContext::stale).
    Refresh,
    /// What is cached can't be read as this type: another program's, an older release's, or damaged.
    Unreadable,
    /// Somebody else has been loading it for too long to wait any longer. What is loaded will not be cached.
    Contended,
    /// Redis gave no answer in time. What is loaded will not be cached.
    Unavailable,
}

/// What a loader is told.
#[derive(Debug)]
pub struct LoadContext<V> {
    reason: Reason,
    stale: Option<Load<V>>,
}

impl<V> LoadContext<V> {
    pub(crate) fn new(reason: Reason, stale: Option<Load<V>>) -> Self {
        Self { reason, stale }
    }

    /// Why it is asked.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The value that is to be replaced, if there is one that can still be used. None in a load of many keys.
    pub fn stale(&self) -> Option<&V> {
        self.stale.as_ref()?.value.as_deref()
    }

    /// The [version](Load::version) that [`stale`](Self::stale) was cached with, if it had one: it tells the origin what
    /// is known already.
    pub fn version(&self) -> Option<u64> {
        self.stale.as_ref()?.version
    }

    /// The same value with its version and its tags for another time to live, where the origin says that it has not
    /// changed; `None` if there is none. A [version](Load::version) that is set takes the place of its own,
    /// [tags](Load::tags) are added to its own.
    pub fn not_modified(&self) -> Option<Load<V>> {
        self.stale.clone()
    }
}

/// What a loader gives: a value or its absence, and how it is to be cached.
///
/// A loader may return `V` or `Option<V>` for the common case.
///
/// ```
/// use std::time::Duration;
/// use russet_cache::Load;
///
/// let brief = Load::value("a rate that changes").ttl(Duration::from_secs(1));
/// let not_kept: Load<&str> = Load::value("partial").skip_cache();
/// let gone: Load<&str> = None.into();
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Load<V> {
    pub(crate) value: Option<Arc<V>>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) cache: bool,
    pub(crate) tags: Vec<Bytes>,
    pub(crate) version: Option<u64>,
}

impl<V> Load<V> {
    /// A value.
    pub fn value(value: V) -> Self {
        Self { value: Some(Arc::new(value)), ..Self::absent() }
    }

    /// There is no such value; that is remembered, too.
    pub fn absent() -> Self {
        Self { value: None, ttl: None, cache: true, tags: Vec::new(), version: None }
    }

    /// Its own time to live instead of the cache's, rounded up to a millisecond. Zero is [`skip_cache`](Self::skip_cache);
    /// a longer one than ten years is ten years.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self.cache = self.cache && !ttl.is_zero();
        self
    }

    /// What it is invalid with: [`Cache::invalidate_tags`](crate::Cache::invalidate_tags). In addition to those it has,
    /// none twice; up to 64 of 1 to 128 bytes, and only in a cache with a [`journal`](crate::CacheBuilder::journal):
    /// anywhere else it is not cached, and that is logged.
    #[must_use]
    pub fn tags<T: AsRef<[u8]>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        for tag in tags {
            let tag = Bytes::copy_from_slice(tag.as_ref());
            if !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
        self
    }

    /// Its version in the origin, by which [`Cache::update`](crate::Cache::update) tells what is newer.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// Hands it to the caller and does not cache it.
    #[must_use]
    pub fn skip_cache(mut self) -> Self {
        self.cache = false;
        self
    }
}

impl<V> Clone for Load<V> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), tags: self.tags.clone(), ..*self }
    }
}

impl<V> From<V> for Load<V> {
    fn from(value: V) -> Self {
        Self::value(value)
    }
}

impl<V> From<Option<V>> for Load<V> {
    fn from(value: Option<V>) -> Self {
        value.map_or_else(Self::absent, Self::value)
    }
}
