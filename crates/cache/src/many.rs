//! Many keys at once: one read, one load, one fill.

use std::collections::HashMap;
use std::hash::Hash;

use russet_core_conn::{Key, Segments};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::{Cache, Found};
use crate::error::LoadError;
use crate::load::{Load, LoadContext, Reason};
use crate::lookup::Lookup;

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// [`get_or_load`](Cache::get_or_load) for many keys: one lookup for each, in the order given, also for a key that
    /// was given twice.
    ///
    /// One pipelined round trip reads them all; the loader is called once with all that are missing, and gives pairs of
    /// key and value in any order; one pipelined round trip caches them. A key that the loader does not mention has no
    /// value, which is remembered; a key that it was not asked for is ignored. An entry that can't be read is a miss of
    /// that key alone.
    ///
    /// ```no_run
    /// # use russet_cache::{Cache, LoadError};
    /// # async fn from_database(ids: &[u64]) -> Result<Vec<(u64, String)>, std::io::Error> { Ok(vec![]) }
    /// # async fn example(names: Cache<String>) -> Result<(), LoadError<std::io::Error>> {
    /// let found = names
    ///     .get_or_load_many(vec![3_u64, 1, 2, 3], |missing, _| async move { from_database(&missing).await })
    ///     .await?;
    /// assert_eq!(found.len(), 4);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The loader's. What the cache had is then not returned either: a batch is whole or an error.
    pub async fn get_or_load_many<K, L, E, Fut, Loaded>(
        &self,
        keys: impl IntoIterator<Item = K>,
        load: impl FnOnce(Vec<K>, LoadContext<V>) -> Fut + Send + 'static,
    ) -> Result<Vec<Lookup<V>>, LoadError<E>>
    where
        K: Segments + Clone + Eq + Hash + Send + 'static,
        L: Into<Load<V>>,
        E: Send + 'static,
        Loaded: IntoIterator<Item = (K, L)>,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let inner = &self.inner;
        let mut positions = HashMap::new();
        let mut distinct: Vec<(K, Key)> = Vec::new();
        let order: Vec<usize> = keys
            .into_iter()
            .map(|key| {
                *positions.entry(key.clone()).or_insert_with(|| {
                    let entry = inner.keys.entry(&key);
                    distinct.push((key, entry));
                    distinct.len() - 1
                })
            })
            .collect();

        let mut lookups: Vec<Option<Lookup<V>>> = Vec::with_capacity(distinct.len());
        let mut missing = Vec::new();
        let mut reason = Reason::Missing;
        for (at, found) in self.read_many(&distinct).await.into_iter().enumerate() {
            lookups.push(match found {
                Found::Hit(lookup) => Some(lookup),
                Found::Not(why) => {
                    missing.push((at, why));
                    if why == Reason::Unavailable {
                        reason = why;
                    }
                    None
                }
            });
        }

        if !missing.is_empty() {
            let asked = missing.iter().map(|&(at, _)| distinct[at].0.clone()).collect();
            let loaded = inner.timed(load(asked, LoadContext::new(reason))).await?;
            let mut loaded: HashMap<K, L> = loaded.into_iter().collect();
            let mut fills = Vec::new();
            for (at, why) in missing {
                let (key, entry) = &distinct[at];
                let load = loaded.remove(key).map_or_else(Load::absent, Into::into);
                let (lookup, fill) = inner.settle(entry, load, why);
                lookups[at] = Some(lookup);
                fills.extend(fill);
            }
            for filled in inner.budgeted.pipeline(fills).await {
                inner.filled(filled);
            }
        }
        // Each position was read or loaded above.
        Ok(order.into_iter().filter_map(|at| lookups[at].clone()).collect())
    }

    async fn read_many<K>(&self, keys: &[(K, Key)]) -> Vec<Found<V>> {
        let inner = &self.inner;
        if let Err(error) = inner.agree(&inner.budgeted).await {
            return keys.iter().map(|_| inner.read_or_unavailable(Err(error.clone()))).collect();
        }
        let replies = inner.budgeted.get_many(keys.iter().map(|(_, key)| key)).await;
        replies.into_iter().map(|reply| inner.read_or_unavailable(reply)).collect()
    }
}
