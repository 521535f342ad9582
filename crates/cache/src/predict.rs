//! Filling a cache with what was asked for before.

use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use futures_util::stream;
use russet_core_conn::Segments;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::access::CacheKey;
use crate::cache::Cache;
use crate::error::Error;
use crate::load::{Load, LoadContext};
use crate::warm::{Warmer, Warming};

/// For how long what was warmed is kept.
const TTL: Duration = Duration::from_secs(7_200);

/// A warmer of what all processes ask for. Made by [`Cache::predictive_warmer`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `run`"]
pub struct Predictive<V> {
    cache: Cache<V>,
    warmer: Warmer<V>,
    hot: usize,
    missed: usize,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Fills this cache with the keys that all processes ask for [most](Self::hot), and with those that were
    /// [not cached](Self::missed) most often: 50 of each, none twice, for 7,200 s. Before a peak, after a deployment or a
    /// loss of Redis's data; not all the time. It needs [`access`](crate::CacheBuilder::access). Its own lookups are not
    /// counted.
    ///
    /// ```no_run
    /// # async fn from_database(ids: Vec<u64>) -> Result<Vec<(u64, String)>, std::io::Error> { Ok(vec![]) }
    /// # async fn example(pages: russet_cache::Cache<String>) -> Result<(), russet_cache::Error> {
    /// let warming = pages
    ///     .predictive_warmer("before the peak")
    ///     .run(|key| key.segment::<u64>(0), |ids, _| from_database(ids))
    ///     .await?;
    /// println!("{:?}", warming.await);
    /// # Ok(()) }
    /// ```
    ///
    /// It bridges the first moments. Measured on lookups by Zipf's law (skew 1) over 10,000 keys, all of which were removed at
    /// half time, with 100 keys warmed then: of the first <!--soak replay-warming-first: lookups-->1,000 lookups after
    /// that <!--soak replay-warming-first: hit_permille_with-->55.8% were hits instead
    /// of <!--soak replay-warming-first: hit_permille_without-->50.2%, with <!--soak replay-warming-first: origin_calls_with-->443 calls of the origin instead
    /// of <!--soak replay-warming-first: origin_calls_without-->498;
    /// of the first <!--soak replay-warming: lookups-->20,000 <!--soak replay-warming: hit_permille_with-->78.8% were hits instead
    /// of <!--soak replay-warming: hit_permille_without-->78.4%, with <!--soak replay-warming: origin_calls_with-->4,235 calls of the origin instead
    /// of <!--soak replay-warming: origin_calls_without-->4,306
    /// (`soak_replay_warming`). Some of what is warmed is never asked for: <!--soak replay-warming: keys_loaded_with-->4,334 keys were loaded
    /// instead of <!--soak replay-warming: keys_loaded_without-->4,306.
    pub fn predictive_warmer(&self, name: impl Into<String>) -> Predictive<V> {
        Predictive { cache: self.clone(), warmer: self.warmer(name), hot: 50, missed: 50 }
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Predictive<V> {
    /// How many of the hottest keys are taken. Default: 50.
    pub fn hot(mut self, keys: usize) -> Self {
        self.hot = keys;
        self
    }

    /// How many of those that were missed most, and are not taken already. Default: 50.
    pub fn missed(mut self, keys: usize) -> Self {
        self.missed = keys;
        self
    }

    /// Which handle of the cache fills, and how: at another rate or concurrency, and for another TTL than 7,200 s where the
    /// handle has [one of its own](Cache::with_ttl).
    pub fn by(mut self, warmer: Warmer<V>) -> Self {
        self.warmer = warmer;
        self
    }

    /// Asks for the keys, and warms those that `key` makes a key of, as [`Warmer::run`] does. Two round trips
    /// before it begins: what this process has seen is merged, then both lists are read at once.
    ///
    /// # Errors
    /// [`Error::NoAccess`]; those of Redis while it asks for the keys.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn run<K, L, E, Fut, Loaded>(
        self,
        key: impl Fn(&CacheKey) -> Option<K>,
        load: impl Fn(Vec<K>, LoadContext<V>) -> Fut + Clone + Send + Sync + 'static,
    ) -> Result<Warming, Error>
    where
        K: Segments + Clone + Eq + Hash + Send + Sync + 'static,
        L: Into<Load<V>> + 'static,
        E: Display + Send + Sync + 'static,
        Loaded: IntoIterator<Item = (K, L)> + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let Self { cache, warmer, hot, missed } = self;
        // As many more as may be among the hot ones already.
        let [hot, more] = cache.hot_and_missed(hot, hot.saturating_add(missed)).await?;
        let mut keys: Vec<CacheKey> = hot.into_iter().map(|accessed| accessed.key).collect();
        let more = more.into_iter().map(|accessed| accessed.key).filter(|key| !keys.contains(key));
        let more: Vec<CacheKey> = more.take(missed).collect();
        keys.extend(more);
        let keys: Vec<K> = keys.iter().filter_map(key).collect();
        Ok(warmer.usually_for(TTL).run(stream::iter(keys), load))
    }
}
