//! Loading what is likely to be asked for next.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use futures_util::future::{BoxFuture, try_join_all};
use moka::sync::Cache as Moka;
use russet_core_conn::Segments;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use self::learnt::Learnt;
use crate::access::CacheKey;
use crate::cache::Cache;
use crate::error::{Error, LoadError};
use crate::load::{Load, LoadContext, Reason};
use crate::lookup::{Lookup, Tier};

mod learnt;

type Loading<V, K, E> = BoxFuture<'static, Result<Vec<(K, Load<V>)>, E>>;
type Loader<V, K, E> = Arc<dyn Fn(Vec<K>, LoadContext<V>) -> Loading<V, K, E> + Send + Sync>;
type Related<K> = Arc<dyn Fn(&K) -> Vec<K> + Send + Sync>;
type KeyOf<K> = Arc<dyn Fn(&CacheKey) -> Option<K> + Send + Sync>;

/// Of so many keys it is remembered that they are cached, so that they are not looked for again.
const THERE: u64 = 10_000;

/// Lookups that have what is likely to be asked for next loaded in the background. Made by [`Cache::prefetch`]. Cheap to
/// clone.
///
/// ```no_run
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Product { name: String }
/// # async fn from_database(ids: Vec<u64>) -> Result<Vec<(u64, Product)>, std::io::Error> { Ok(vec![]) }
/// # async fn example(products: russet_cache::Cache<Product>) -> Result<(), Box<dyn std::error::Error>> {
/// let products = products
///     .prefetch(|ids: Vec<u64>, _| from_database(ids))
///     // The next one on the page.
///     .related(|id| vec![id + 1]);
/// let found = products.get_or_load(42).await?;
/// # Ok(()) }
/// ```
#[must_use]
pub struct Prefetch<V, K, E> {
    cache: Cache<V>,
    load: Loader<V, K, E>,
    related: Option<Related<K>>,
    learnt: Option<Arc<Learnt<K>>>,
    hot: Option<KeyOf<K>>,
    most: usize,
    places: Arc<Semaphore>,
    concurrency: u32,
    there: Moka<K, (), RandomState>,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Lookups with this loader, which is called for one key or several, that have related keys loaded beside.
    ///
    /// Whenever a lookup is answered by Redis or the origin, up to [five](Prefetch::most) related keys are looked up in one
    /// trip in the background, and those that are not cached are loaded by one call, as [`Cache::get_or_load_many`] does:
    /// under their leases, so that nothing is loaded twice and nothing stale is filled. What is stale or due for a refresh is
    /// left to those who ask for it; where entries keep such times, that takes two trips more. First those that
    /// [`related`](Prefetch::related) gives, then those that were asked for [after the same key](Prefetch::learns) before,
    /// then the [hottest](Prefetch::hot). Where the lookup was a hit, keys that were there are not looked for again
    /// for half of the TTL. Where
    /// [so many](Prefetch::concurrency) are under way already, or Redis does not answer, nothing is prefetched. None of it is
    /// counted as a lookup in the statistics or the insight.
    ///
    /// It costs Redis a batch of reads in the background, and pays where what belongs together is asked for in a row and ends
    /// together. Measured over <!--soak replay-prefetch: lookups-->25,000 lookups, each visit one of 200 pages: four keys that belong together and a
    /// fifth of a thousand by chance; before three visits in ten all of a page was removed (`soak_replay_prefetch`). With what
    /// was learnt alone hits rose from <!--soak replay-prefetch: pages_hit_permille_without-->65.4% to <!--soak replay-prefetch: pages_hit_permille_with-->80.7%, and the
    /// origin was called <!--soak replay-prefetch: pages_origin_calls_with-->6,082 times instead of <!--soak replay-prefetch: pages_origin_calls_without-->8,631,
    /// for <!--soak replay-prefetch: pages_keys_loaded_with-->8,631 keys instead of <!--soak replay-prefetch: pages_keys_loaded_without-->8,631. With five keys by chance
    /// (Zipf's law, skew 0.8, 1,000 keys) in the place of a page there was nothing to be
    /// had: <!--soak replay-prefetch: strangers_hit_permille_with-->67.2% of hits instead of <!--soak replay-prefetch: strangers_hit_permille_without-->67.1%,
    /// and <!--soak replay-prefetch: strangers_origin_calls_with-->8,209 calls instead of <!--soak replay-prefetch: strangers_origin_calls_without-->8,209.
    pub fn prefetch<K, L, E, Fut, Loaded>(
        &self,
        load: impl Fn(Vec<K>, LoadContext<V>) -> Fut + Send + Sync + 'static,
    ) -> Prefetch<V, K, E>
    where
        K: Segments + Clone + Eq + Hash + Send + Sync + 'static,
        L: Into<Load<V>> + 'static,
        E: Send + Sync + 'static,
        Loaded: IntoIterator<Item = (K, L)> + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let load: Loader<V, K, E> = Arc::new(move |keys, context| {
            let loading = load(keys, context);
            Box::pin(async move {
                let loaded = loading.await?;
                Ok(loaded.into_iter().map(|(key, load)| (key, load.into())).collect())
            })
        });
        let there = Moka::builder().max_capacity(THERE).time_to_live(self.policy.ttl / 2);
        Prefetch {
            cache: self.clone(),
            load,
            related: None,
            learnt: Some(Arc::new(Learnt::new(1_000))),
            hot: None,
            most: 5,
            places: Arc::new(Semaphore::new(2)),
            concurrency: 2,
            there: there.build_with_hasher(RandomState::default()),
        }
    }
}

impl<V, K, E> Prefetch<V, K, E>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    K: Segments + Clone + Eq + Hash + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Which keys are likely to be asked for after one, the likeliest first.
    pub fn related(mut self, related: impl Fn(&K) -> Vec<K> + Send + Sync + 'static) -> Self {
        self.related = Some(Arc::new(related));
        self
    }

    /// Of how many keys it is learnt what is asked for next. Default: 1,000; with 0 nothing is learnt.
    ///
    /// A key is taken for the next one where the same task has asked for it among its next five lookups at least twice, and
    /// in a quarter of the cases. Up to eight are remembered of each key.
    pub fn learns(mut self, keys: u64) -> Self {
        self.learnt = (keys > 0).then(|| Arc::new(Learnt::new(keys)));
        self
    }

    /// Takes from the hottest keys of this process, where there are not enough others: those that this makes a key of. Needs
    /// [`access`](crate::CacheBuilder::access); they are as of its last merge.
    pub fn hot(mut self, key: impl Fn(&CacheKey) -> Option<K> + Send + Sync + 'static) -> Self {
        self.hot = Some(Arc::new(key));
        self
    }

    /// How many keys are prefetched for one lookup. Default: 5.
    pub fn most(mut self, keys: usize) -> Self {
        self.most = keys;
        self
    }

    /// How many batches are under way at a time, at least one. Default: 2.
    pub fn concurrency(mut self, batches: u16) -> Self {
        self.concurrency = u32::from(batches.max(1));
        self.places = Arc::new(Semaphore::new(usize::from(batches.max(1))));
        self
    }

    /// As [`Cache::get_or_load`] does, and then in the background related keys, if the answer did not come from this
    /// process's memory.
    ///
    /// # Errors
    /// Those of [`Cache::get_or_load`]. That something could not be prefetched is none.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn get_or_load(&self, key: K) -> Result<Lookup<V>, LoadError<E>> {
        let (load, one) = (self.load.clone(), key.clone());
        let lookup = self.cache.get_or_load(&key, move |context| async move {
            let loaded = load(vec![one.clone()], context).await?;
            let found = loaded.into_iter().find(|(key, _)| *key == one);
            Ok(found.map_or_else(Load::absent, |(_, load)| load))
        });
        let lookup = lookup.await?;
        if lookup.tier() != Tier::Local {
            self.there.insert(key.clone(), ());
            if let Some(learnt) = &self.learnt {
                learnt.note(&key);
            }
            self.begin(&key, lookup.is_hit());
        }
        Ok(lookup)
    }

    /// Waits until nothing is being prefetched.
    pub async fn settled(&self) {
        // It is never closed.
        let _ = self.places.acquire_many(self.concurrency).await;
    }

    fn begin(&self, after: &K, hit: bool) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        let wanted = self.wanted(after, hit);
        if wanted.is_empty() {
            return;
        }
        let (cache, load, there) = (self.cache.uncounted(), self.load.clone(), self.there.clone());
        tokio::spawn(async move {
            let absent = match cache.absent_of(&wanted).await {
                Ok(absent) => absent,
                Err(error) => {
                    tracing::debug!(%error, "it is not known what is to be prefetched");
                    return;
                }
            };
            let prefetched = cache.get_or_load_many(absent, move |keys, context| {
                // Without a lease it would not be cached.
                let leased = !matches!(context.reason(), Reason::Unavailable | Reason::Contended);
                let loading = leased.then(|| load(keys, context));
                async move {
                    match loading {
                        Some(loading) => loading.await.map_err(Some),
                        None => Err(None),
                    }
                }
            });
            match prefetched.await {
                Ok(_) => wanted.into_iter().for_each(|key| there.insert(key, ())),
                Err(_) => tracing::debug!("what was to be prefetched could not be loaded"),
            }
            drop(place);
        });
    }

    /// What is not known to be cached, the likeliest first. What belongs to one that is gone may be gone with it.
    fn wanted(&self, after: &K, hit: bool) -> Vec<K> {
        let mut wanted: Vec<K> = Vec::with_capacity(self.most);
        let mut add = |keys: &mut dyn Iterator<Item = K>| {
            for key in keys {
                if wanted.len() >= self.most {
                    return;
                }
                let known = hit && self.there.contains_key(&key);
                if key != *after && !wanted.contains(&key) && !known {
                    wanted.push(key);
                }
            }
        };
        if let Some(related) = &self.related {
            add(&mut related(after).into_iter());
        }
        if let Some(learnt) = &self.learnt {
            add(&mut learnt.after(after).into_iter());
        }
        if let (Some(key), Some(insight)) = (&self.hot, &self.cache.inner.insight) {
            add(&mut insight.hottest().iter().filter_map(|hot| key(hot)));
        }
        wanted
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// Those to ask for, so that what is there is not loaded: neither stale nor due are they where entries keep no times of
    /// their own, and then all are.
    async fn absent_of<K: Segments + Clone>(&self, keys: &[K]) -> Result<Vec<K>, Error> {
        if !self.policy.is_timed() {
            return Ok(keys.to_vec());
        }
        let found = try_join_all(keys.iter().map(|key| self.get(key))).await?;
        let absent = keys.iter().zip(found).filter(|(_, found)| found.is_none());
        Ok(absent.map(|(key, _)| key.clone()).collect())
    }
}

impl<V, K, E> Clone for Prefetch<V, K, E> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            load: self.load.clone(),
            related: self.related.clone(),
            learnt: self.learnt.clone(),
            hot: self.hot.clone(),
            places: self.places.clone(),
            there: self.there.clone(),
            ..*self
        }
    }
}

impl<V, K, E> fmt::Debug for Prefetch<V, K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch").field("most", &self.most).finish_non_exhaustive()
    }
}
