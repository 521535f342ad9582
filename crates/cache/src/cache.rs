//! The cache: look up, load what is missing, fill.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use russet_core_conn::{
    Agreed, Breaker, Cmd, Codec, ErrorKind, Key, KeySpace, Redis, Segments, ServerError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::{CacheBuilder, LONGEST_TTL};
use crate::entry;
use crate::error::{Error, LoadError};
use crate::keys::Keys;
use crate::load::{Load, LoadContext, Reason};
use crate::lookup::Lookup;
use crate::stats::{Counters, Seen, Stats};

/// A cache of values of one type under one name, in Redis. Cheap to clone.
///
/// ```no_run
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Route { seats: u32 }
/// # async fn from_database(_: &str, _: &str) -> Result<Option<Route>, std::io::Error> { Ok(None) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use russet_cache::Cache;
/// use russet_core_conn::{KeySpace, Redis};
///
/// let redis = Redis::connect("redis://localhost").await?;
/// let routes: Cache<Route> = Cache::builder(&redis, &KeySpace::new("shop")?, "route")
///     .ttl(Duration::from_secs(3_600))
///     .build()?;
/// let found = routes.get_or_load(("SEA", "LAX"), |_| from_database("SEA", "LAX")).await?;
/// if let Some(route) = found.value() {
///     println!("{} seats, from {:?}", route.seats, found.tier());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Cache<V> {
    pub(crate) inner: Arc<Inner<V>>,
}

#[derive(Debug)]
pub(crate) struct Inner<V> {
    /// For what the caller asked Redis for.
    pub(crate) redis: Redis,
    /// For lookups that have a loader to fall back to.
    pub(crate) budgeted: Redis,
    pub(crate) keys: Keys,
    pub(crate) counters: Counters,
    policy: Policy,
    codec: Codec,
    agreed: Agreed,
    /// It was said that another layout is kept.
    warned: AtomicBool,
    value: std::marker::PhantomData<fn() -> V>,
}

/// How long entries live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) ttl: Duration,
    pub(crate) absent_ttl: Duration,
    pub(crate) jitter: f64,
}

impl Policy {
    /// A load's time to live in whole milliseconds, from one to ten years.
    fn millis<V>(&self, load: &Load<V>) -> u64 {
        let ttl = load.ttl.unwrap_or(if load.value.is_some() { self.ttl } else { self.absent_ttl });
        let chance: f64 = rand::rng().random();
        let ttl = ttl.min(LONGEST_TTL).mul_f64(1.0 - self.jitter * chance);
        u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
    }
}

/// What Redis said of one key.
pub(crate) enum Found<V> {
    Hit(Lookup<V>),
    Not(Reason),
}

impl<V> Cache<V> {
    /// A cache with default options: a TTL of 300 s.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that can't be: it has 1 to 64 bytes.
    pub fn new(redis: &Redis, keys: &KeySpace, name: &str) -> Result<Self, Error> {
        Self::builder(redis, keys, name).build()
    }

    /// Options for a cache: values are kept in this key space under this name, which no cache of another type may have.
    pub fn builder(redis: &Redis, keys: &KeySpace, name: &str) -> CacheBuilder<V> {
        CacheBuilder::new(redis, keys, name)
    }

    pub(crate) fn assemble(
        redis: Redis,
        budgeted: Redis,
        space: &KeySpace,
        name: &str,
        policy: Policy,
        codec: Codec,
    ) -> Self {
        let inner = Inner {
            redis,
            budgeted,
            keys: Keys::new(space, name),
            counters: Counters::new(name),
            policy,
            codec,
            agreed: Agreed::default(),
            warned: AtomicBool::new(false),
            value: std::marker::PhantomData,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What this cache has done in this process.
    pub fn stats(&self) -> Stats {
        self.inner.counters.snapshot()
    }

    /// The breaker that lookups with a loader go through: for its state and events.
    pub fn breaker(&self) -> Option<&Breaker> {
        self.inner.budgeted.breaker()
    }

    /// Forgets what is cached under the key, value or absence. Answers whether there was anything. One round trip.
    ///
    /// A load that began before may still fill with what it read before: the entry's TTL bounds that.
    ///
    /// # Errors
    /// Those of Redis; see their outcome. The command may be repeated.
    pub async fn remove(&self, key: impl Segments) -> Result<bool, Error> {
        self.inner.agree(&self.inner.redis).await?;
        let key = self.inner.keys.entry(key);
        Ok(self.inner.redis.run(Cmd::idempotent("UNLINK").key(&key)).await?)
    }

    /// [`remove`](Self::remove) for several keys: answers how many held anything. One pipelined round trip.
    ///
    /// # Errors
    /// The first of Redis; other keys may have been removed. All may be removed again.
    pub async fn remove_many<K: Segments>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, Error> {
        let keys: Vec<Key> = keys.into_iter().map(|key| self.inner.keys.entry(key)).collect();
        self.inner.agree(&self.inner.redis).await?;
        let removals = keys.iter().map(|key| Cmd::idempotent("UNLINK").key(key));
        let mut removed = 0;
        for reply in self.inner.redis.pipeline(removals).await {
            removed += u64::from(reply? == russet_core_conn::Value::Int(1));
        }
        Ok(removed)
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// What is cached under the key: `None` if nothing is (or nothing that can be read as `V`); a lookup without a
    /// value if its absence is remembered. One round trip.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn get(&self, key: impl Segments) -> Result<Option<Lookup<V>>, Error> {
        let key = self.inner.keys.entry(key);
        self.inner.agree(&self.inner.redis).await?;
        match self.inner.read(self.inner.redis.run(Cmd::read("GET").key(&key)).await)? {
            Found::Hit(lookup) => Ok(Some(lookup)),
            Found::Not(_) => Ok(None),
        }
    }

    /// What is cached under the key, or else what the loader gives, which is then cached. One round trip for a hit, two
    /// for a miss.
    ///
    /// The loader gives `V`, `Option<V>` (`None`: there is no such value, which is remembered for its own time), or a
    /// [`Load`] with more to say. It is asked, too, when what is cached can't be read, and when Redis does not answer
    /// within the budget or the breaker is open: the caller is served without Redis, and nothing is cached then. That a
    /// value could not be cached is counted and logged, not an error.
    ///
    /// Concurrent misses of one key each ask their loader.
    ///
    /// # Errors
    /// The loader's.
    pub async fn get_or_load<L, E, Fut>(
        &self,
        key: impl Segments,
        load: impl FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    ) -> Result<Lookup<V>, LoadError<E>>
    where
        L: Into<Load<V>>,
        E: Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
    {
        let key = self.inner.keys.entry(key);
        let reason = match self.inner.lookup(&key).await {
            Found::Hit(lookup) => return Ok(lookup),
            Found::Not(reason) => reason,
        };
        let load: Load<V> = self.inner.timed(load(LoadContext::new(reason))).await?.into();
        let (lookup, fill) = self.inner.settle(&key, load, reason);
        if let Some(fill) = fill {
            self.inner.filled(self.inner.budgeted.run::<()>(fill).await);
        }
        Ok(lookup)
    }

    /// Caches a value (`V`), an absence (`None`) or a [`Load`] under the key, whatever was there. One round trip.
    ///
    /// # Errors
    /// A value that can't be encoded, in which case nothing was sent; those of Redis.
    pub async fn insert(&self, key: impl Segments, value: impl Into<Load<V>>) -> Result<(), Error> {
        let (key, load) = (self.inner.keys.entry(key), value.into());
        if !load.cache {
            return Ok(());
        }
        let fill = self.inner.fill(&key, load.value.as_ref(), self.inner.policy.millis(&load))?;
        self.inner.agree(&self.inner.redis).await?;
        let filled = self.inner.redis.run::<()>(fill).await;
        self.inner.counters.fill(filled.is_ok());
        Ok(filled?)
    }
}

impl<V> Inner<V> {
    /// Before the first key: is the key space laid out as we think?
    #[inline]
    pub(crate) fn agree(
        &self,
        redis: &Redis,
    ) -> impl Future<Output = Result<(), russet_core_conn::Error>> + Send {
        self.agreed.check(redis, self.keys.space())
    }
}

impl<V: Serialize + DeserializeOwned> Inner<V> {
    async fn lookup(&self, key: &Key) -> Found<V> {
        let reply = match self.agree(&self.budgeted).await {
            Ok(()) => self.budgeted.run(Cmd::read("GET").key(key)).await,
            Err(error) => Err(error),
        };
        self.read_or_unavailable(reply)
    }

    pub(crate) fn read_or_unavailable(
        &self,
        reply: Result<Option<Bytes>, russet_core_conn::Error>,
    ) -> Found<V> {
        self.read(reply).unwrap_or_else(|error| {
            // No waiting mends another layout: that is said aloud, once.
            let lasts = matches!(error.kind(), ErrorKind::Layout { .. });
            if lasts && !self.warned.swap(true, Relaxed) {
                tracing::warn!(%error, "the cache can't be used: the loader serves");
            } else {
                tracing::debug!(%error, "the cache does not answer");
            }
            Found::Not(Reason::Unavailable)
        })
    }

    /// What a reply says, counted. A key that holds another type is an entry that can't be read: a fill replaces it.
    fn read(
        &self,
        reply: Result<Option<Bytes>, russet_core_conn::Error>,
    ) -> Result<Found<V>, russet_core_conn::Error> {
        let (seen, found) = match reply {
            Ok(None) => (Seen::Miss, Found::Not(Reason::Missing)),
            Ok(Some(bytes)) => match entry::decode(&self.codec, &bytes) {
                Ok(Some(value)) => (Seen::Hit, Found::Hit(Lookup::cached(Some(value)))),
                Ok(None) => (Seen::Absent, Found::Hit(Lookup::cached(None))),
                Err(error) => {
                    tracing::warn!(%error, "an entry can't be read: a miss");
                    (Seen::Unreadable, Found::Not(Reason::Unreadable))
                }
            },
            Err(error) if matches!(error.kind(), ErrorKind::Server(ServerError::WrongType)) => {
                tracing::warn!(%error, "an entry is of another type: a miss");
                (Seen::Unreadable, Found::Not(Reason::Unreadable))
            }
            Err(error) => {
                self.counters.lookup(Seen::Unavailable);
                return Err(error);
            }
        };
        self.counters.lookup(seen);
        Ok(found)
    }

    pub(crate) async fn timed<T, E>(
        &self,
        load: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LoadError<E>> {
        let started = Instant::now();
        let loaded = load.await;
        self.counters.load(loaded.is_ok(), started.elapsed());
        loaded.map_err(LoadError::Loader)
    }

    /// What the caller gets, and the command that caches it, if it is to be cached and can be.
    pub(crate) fn settle(
        &self,
        key: &Key,
        load: Load<V>,
        reason: Reason,
    ) -> (Lookup<V>, Option<Cmd>) {
        let wanted = load.cache && reason != Reason::Unavailable;
        let millis = self.policy.millis(&load);
        let value = load.value.map(Arc::new);
        let fill = wanted.then(|| self.fill(key, value.as_deref(), millis));
        let fill = fill.and_then(|fill| {
            fill.inspect_err(|error| {
                tracing::warn!(%error, "a value can't be cached");
                self.counters.fill(false);
            })
            .ok()
        });
        (Lookup::loaded(value), fill)
    }

    fn fill(&self, key: &Key, value: Option<&V>, millis: u64) -> Result<Cmd, Error> {
        let bytes = entry::encode(&self.codec, value)?;
        Ok(Cmd::idempotent("SET").key(key).arg(bytes).arg("PX").arg(millis))
    }

    pub(crate) fn filled<T>(&self, result: Result<T, russet_core_conn::Error>) {
        self.counters.fill(result.is_ok());
        if let Err(error) = result {
            tracing::warn!(%error, "a value could not be cached");
        }
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}
