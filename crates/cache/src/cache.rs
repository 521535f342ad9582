//! The cache: its handle, and what is done without a loader.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use russet_core_conn::{Agreed, Breaker, Canonical, Cmd, Codec, Key, KeySpace, Redis, Segments};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::access::Insight;
use crate::builder::CacheBuilder;
use crate::entry;
use crate::error::Error;
use crate::failover::Recent;
use crate::flight::Flights;
use crate::invalidate::check_tags;
use crate::invalidation::What;
use crate::keys::Keys;
use crate::load::Load;
use crate::local::Local;
use crate::lookup::Lookup;
use crate::origin::Origin;
use crate::owed::{Debt, Owed};
use crate::policy::{Chosen, LONGEST_TTL, Policy};
use crate::scripts::{self, Fill};
use crate::seal::{Seal, Stamp};
use crate::stats::{Counters, Stats};
use crate::store::Store;
use crate::tracked::Tracked;
use crate::wakes::Wakes;

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
    pub(crate) policy: Policy,
}

#[derive(Debug)]
pub(crate) struct Inner<V> {
    /// For what the caller asked Redis for.
    pub(crate) redis: Store,
    /// For lookups that have a loader to fall back to.
    pub(crate) budgeted: Store,
    pub(crate) keys: Keys,
    pub(crate) counters: Counters,
    pub(crate) flights: Arc<Flights<V>>,
    pub(crate) wakes: Wakes,
    pub(crate) codec: Codec,
    pub(crate) tracked: Option<Tracked<V>>,
    pub(crate) owed: Owed,
    pub(crate) recent: Recent,
    pub(crate) origin: Origin,
    pub(crate) insight: Option<Insight>,
    /// What an optimizer was told to make of it.
    pub(crate) ttl: Chosen,
    agreed: Agreed,
    /// It was said that another layout is kept.
    pub(crate) warned: AtomicBool,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// A cache with default options: a TTL of 300 s.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that can't be: it has 1 to 64 bytes.
    pub fn new(redis: &Redis, keys: &KeySpace, name: &str) -> Result<Self, Error> {
        Self::builder(redis, keys, name).build()
    }

    /// Options for a cache: values are kept in this key space under this name, which no cache of another type may have.
    pub fn builder(redis: &Redis, keys: &KeySpace, name: &str) -> CacheBuilder<V> {
        CacheBuilder::on(Store::Redis(redis.clone()), keys, name)
    }

    #[expect(clippy::too_many_arguments, reason = "the builder's, each once")]
    pub(crate) fn assemble(
        redis: Store,
        budgeted: Store,
        keys: Keys,
        policy: Policy,
        codec: Codec,
        tracked: Option<Tracked<V>>,
        origin: Origin,
        insight: Option<Insight>,
    ) -> Self {
        let inner = Inner {
            wakes: Wakes::new(redis.clone(), keys.channel()),
            redis,
            budgeted,
            counters: Counters::new(keys.name()),
            keys,
            flights: Arc::default(),
            codec,
            tracked,
            owed: Owed::default(),
            recent: Recent::default(),
            origin,
            insight,
            ttl: Chosen::default(),
            agreed: Agreed::default(),
            warned: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), policy }
    }

    /// The same cache with another time to live for what this handle fills, from 1 ms to ten years.
    #[must_use]
    pub fn with_ttl(&self, ttl: Duration) -> Self {
        self.with(|policy| {
            policy.ttl = ttl.clamp(Duration::from_millis(1), LONGEST_TTL);
            policy.adaptive = None;
            policy.own_ttl = true;
        })
    }

    /// The same cache with another [`grace`](CacheBuilder::grace) for what this handle finds and fills.
    #[must_use]
    pub fn with_grace(&self, grace: Duration) -> Self {
        self.with(|policy| policy.grace = grace.min(LONGEST_TTL))
    }

    /// The same cache with another [`soft_timeout`](CacheBuilder::soft_timeout).
    #[must_use]
    pub fn with_soft_timeout(&self, timeout: Duration) -> Self {
        self.with(|policy| policy.soft = timeout)
    }

    /// The same cache with another [`hard_timeout`](CacheBuilder::hard_timeout).
    #[must_use]
    pub fn with_hard_timeout(&self, timeout: Duration) -> Self {
        self.with(|policy| policy.hard = Some(timeout))
    }

    /// The same cache for lookups that nobody asked for.
    pub(crate) fn uncounted(&self) -> Self {
        self.with(|policy| policy.counts = false)
    }

    fn with(&self, change: impl FnOnce(&mut Policy)) -> Self {
        let mut other = self.clone();
        change(&mut other.policy);
        other
    }

    /// What this cache has done in this process.
    pub fn stats(&self) -> Stats {
        let local = self.inner.tracked.as_ref().and_then(|tracked| tracked.local.as_ref());
        let local_entries = local.map_or(0, Local::entries);
        let owed = u64::try_from(self.inner.owed.count()).unwrap_or(u64::MAX);
        Stats { local_entries, owed, ..self.inner.counters.snapshot() }
    }

    /// The breaker that lookups with a loader go through: for its state and events.
    pub fn breaker(&self) -> Option<&Breaker> {
        self.inner.budgeted.breaker()
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// What is cached under the key: `None` if nothing is (or nothing that can be read as `V`); a lookup without a
    /// value if its absence is remembered. One round trip; two for an entry that keeps its own times.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn get(&self, key: impl Segments) -> Result<Option<Lookup<V>>, Error> {
        let key = {
            let name = Canonical::of(&key);
            if let Some(lookup) = self.near(&name) {
                return Ok(Some(lookup));
            }
            self.inner.keys.entry(&name)
        };
        Ok(self.stands(&key, Instant::now()).await?)
    }

    /// Caches a value (`V`), an absence (`None`) or a [`Load`] under the key, whatever was there. One round trip. A load
    /// that is under way will not fill the key.
    ///
    /// # Errors
    /// A value that can't be encoded, in which case nothing was sent; those of Redis.
    pub async fn insert(&self, key: impl Segments, value: impl Into<Load<V>>) -> Result<(), Error> {
        let (inner, load) = (&self.inner, value.into());
        if !load.cache {
            return Ok(());
        }
        let key = inner.keys.entry(&Canonical::of(&key));
        let told = self.told(self.put(&key, &load).await, iter::once(Debt::Key(key.clone())));
        inner.forget(&key);
        told
    }

    async fn put(&self, key: &Key, load: &Load<V>) -> Result<(), Error> {
        let inner = &self.inner;
        self.ready(&inner.redis, Instant::now()).await?;
        let fill = self.encoded(key, load, Duration::ZERO, inner.stamp());
        let fill = fill.inspect_err(|_| inner.counters.fill(false))?;
        let filled = if fill.timed {
            scripts::fill(&inner.redis, key, None, fill, inner.wakes.channel()).await.map(drop)
        } else {
            let millis = u64::try_from(fill.ttl.as_millis()).unwrap_or(u64::MAX);
            let set = Cmd::idempotent("SET").key(key).arg(fill.payload).arg("PX").arg(millis);
            inner.redis.run::<()>(set).await
        };
        inner.counters.fill(filled.is_ok());
        filled?;
        Ok(inner.tell(What::Written, &[key]).await?)
    }

    pub(crate) fn encoded(
        &self,
        key: &Key,
        load: &Load<V>,
        took: Duration,
        stamp: Option<Stamp>,
    ) -> Result<Fill, Error> {
        let inner = &self.inner;
        let tags = &load.tags;
        check_tags(tags)?;
        let seal = match (&inner.tracked, stamp) {
            (None, _) if !tags.is_empty() => return Err(Error::NoJournal("tags")),
            (None, _) => None,
            (Some(_), stamp) => {
                Some(Seal { stamp: stamp.unwrap_or(Stamp::NEVER), tags: tags.clone() })
            }
        };
        let payload =
            entry::encode(&inner.codec, load.value.as_deref(), load.version, seal.as_ref())?;
        // An absence is not used after its time: what is created should be seen.
        let timed = load.value.is_some() && self.policy.is_timed();
        let grace = if timed { self.policy.grace } else { Duration::ZERO };
        let ttl = self.policy.ttl_of(load, self.adapted(key, load));
        Ok(Fill { payload, seal, ttl, grace, timed, took })
    }
}

impl<V> Inner<V> {
    /// Before the first key: is the key space laid out as we think?
    #[inline]
    pub(crate) async fn agree(&self, redis: &Store) -> Result<(), russet_core_conn::Error> {
        match redis.server() {
            Some(server) => self.agreed.check(server, self.keys.space()).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn timed<T, E>(
        &self,
        load: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let started = Instant::now();
        let loaded = load.await;
        self.counters.load(loaded.is_ok(), started.elapsed());
        loaded
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), policy: self.policy }
    }
}
