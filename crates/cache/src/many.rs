//! Many keys at once: one read, one load, one fill.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use russet_core_conn::{Canonical, Key, Segments};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::error::LoadError;
use crate::lead::Start;
use crate::load::{Load, LoadContext, Reason};
use crate::lookup::Lookup;
use crate::read::Reading;
use crate::scripts::{Bad, Token};

/// A key that is to be loaded: its place among those that were asked for, and the lease, if there was one to be had.
struct Due {
    at: usize,
    token: Option<Token>,
    reason: Reason,
}

/// A batch under way.
struct Batch<V, K> {
    cache: Cache<V>,
    keys: Vec<(K, Key)>,
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// [`get_or_load`](Cache::get_or_load) for many keys: one lookup for each, in the order given, also for a key that
    /// was given twice.
    ///
    /// One round trip reads them all, and one takes the leases on those that are missing (both are one where entries keep
    /// their own times); the loader is called once with all of these, and gives pairs of key and value in any order; one
    /// round trip caches them. A key that the loader does not mention has no value, which is remembered; a key that it was
    /// not asked for is ignored. An entry that can't be read is a miss of that key alone.
    ///
    /// What others are loading already is waited for meanwhile. The loader is called once more only for those of it that
    /// did not come.
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
    /// As for one key. What the cache had is then not returned either: a batch is whole or an error.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn get_or_load_many<K, L, E, Fut, Loaded>(
        &self,
        keys: impl IntoIterator<Item = K>,
        load: impl Fn(Vec<K>, LoadContext<V>) -> Fut + Send + Sync + 'static,
    ) -> Result<Vec<Lookup<V>>, LoadError<E>>
    where
        K: Segments + Clone + Eq + Hash + Send + Sync + 'static,
        L: Into<Load<V>>,
        E: Send + Sync + 'static,
        Loaded: IntoIterator<Item = (K, L)>,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let asked = Instant::now();
        let mut positions = HashMap::new();
        let mut distinct: Vec<(K, Key)> = Vec::new();
        let mut lookups: Vec<Option<Lookup<V>>> = Vec::new();
        let order: Vec<usize> = keys
            .into_iter()
            .map(|key| {
                *positions.entry(key.clone()).or_insert_with(|| {
                    let name = Canonical::of(&key);
                    lookups.push(self.near(&name));
                    distinct.push((key, self.inner.keys.entry(&name)));
                    distinct.len() - 1
                })
            })
            .collect();

        let (mut due, mut waits) = (Vec::new(), Vec::new());
        let far: Vec<usize> = (0..distinct.len()).filter(|at| lookups[*at].is_none()).collect();
        let entries: Vec<&Key> = far.iter().map(|at| &distinct[*at].1).collect();
        for (at, reading) in far.iter().copied().zip(self.read_many(&entries, asked).await) {
            lookups[at] = match reading {
                Reading::Hit(lookup) => Some(lookup),
                Reading::Due(fresh, token) => {
                    self.inner.counters.refreshed();
                    due.push(Due { at, token: Some(token), reason: Reason::Refresh });
                    Some(Lookup::of(fresh.value, false))
                }
                Reading::Leads(token, stale, reason) => {
                    due.push(Due { at, token: Some(token), reason });
                    stale.map(|stale| Lookup::of(stale.value, true))
                }
                Reading::Waits(stale) => {
                    // Somebody refreshes what is good enough meanwhile.
                    if stale.is_none() || !self.policy.soft.is_zero() {
                        waits.push((at, Bad::Nothing, Reason::Missing));
                    }
                    stale
                }
                Reading::Misses(_, reason @ (Reason::Unavailable | Reason::Contended)) => {
                    due.push(Due { at, token: None, reason });
                    None
                }
                Reading::Misses(bad, reason) => {
                    waits.push((at, bad, reason));
                    None
                }
            };
        }

        if !due.is_empty() || !waits.is_empty() {
            let batch = Batch { cache: self.clone(), keys: distinct };
            let task = tokio::spawn(async move { batch.carry_out(due, waits, load).await });
            let all_there = lookups.iter().all(Option::is_some);
            let soft = all_there.then_some(self.policy.soft);
            let loaded = match soft.into_iter().chain(self.policy.hard).min() {
                None => Some(task.await),
                Some(patience) => {
                    tokio::time::timeout_at((asked + patience).into(), task).await.ok()
                }
            };
            match loaded {
                Some(Ok(Ok(loaded))) => {
                    for (at, lookup) in loaded {
                        lookups[at] = Some(lookup);
                    }
                }
                _ if all_there => {}
                Some(Ok(Err(error))) => return Err(error),
                // It panicked, or its runtime has ended.
                Some(Err(_)) => return Err(LoadError::Aborted),
                None => return Err(LoadError::Timeout(asked.elapsed())),
            }
        }
        // Each position was read or loaded above.
        Ok(order.into_iter().filter_map(|at| lookups[at].clone()).collect())
    }
}

impl<V, K> Batch<V, K>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    K: Segments + Clone + Eq + Hash + Send + Sync + 'static,
{
    async fn carry_out<L, E, Fut, Loaded>(
        &self,
        due: Vec<Due>,
        waits: Vec<(usize, Bad, Reason)>,
        load: impl Fn(Vec<K>, LoadContext<V>) -> Fut + Send + Sync,
    ) -> Result<Vec<(usize, Lookup<V>)>, LoadError<E>>
    where
        L: Into<Load<V>>,
        E: Send + Sync + 'static,
        Loaded: IntoIterator<Item = (K, L)>,
        Fut: Future<Output = Result<Loaded, E>> + Send,
    {
        let taken = join_all(waits.into_iter().map(async |(at, bad, reason)| {
            (at, self.cache.take(&self.keys[at].1, bad, reason).await)
        }));
        let (loaded, taken) = tokio::join!(self.load(due, &load), taken);
        let (mut all, mut left) = (loaded?, Vec::new());
        for (at, taken) in taken {
            match taken {
                Err((lookup, _)) => all.push((at, lookup)),
                Ok(Start::Leads { token, reason, .. }) => {
                    left.push(Due { at, token: Some(token), reason });
                }
                Ok(Start::Claims { reason, .. } | Start::Without(reason)) => {
                    left.push(Due { at, token: None, reason });
                }
            }
        }
        all.extend(self.load(left, &load).await?);
        Ok(all)
    }

    /// One call of the loader, and one fill.
    async fn load<L, E, Fut, Loaded>(
        &self,
        due: Vec<Due>,
        load: &(impl Fn(Vec<K>, LoadContext<V>) -> Fut + Sync),
    ) -> Result<Vec<(usize, Lookup<V>)>, LoadError<E>>
    where
        L: Into<Load<V>>,
        E: Send + Sync + 'static,
        Loaded: IntoIterator<Item = (K, L)>,
        Fut: Future<Output = Result<Loaded, E>> + Send,
    {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let cache = &self.cache;
        let asked = due.iter().map(|due| self.keys[due.at].0.clone()).collect();
        let unavailable = due.iter().any(|due| due.reason == Reason::Unavailable);
        let reason = if unavailable { Reason::Unavailable } else { due[0].reason };
        let held = due.iter().filter_map(|due| Some((&self.keys[due.at].1, due.token.as_ref()?)));
        let place = match due.iter().all(|due| due.token.is_some()) {
            true => None,
            false => match cache.inner.origin.enter().await {
                Some(place) => Some(place),
                None => {
                    self.give_up(&due).await;
                    return Err(LoadError::Overloaded);
                }
            },
        };
        let (begun, stamp) = (Instant::now(), cache.inner.stamp());
        let loading = async {
            let loaded = load(asked, LoadContext::new(reason, None)).await?;
            let loads = loaded.into_iter().map(|(key, load)| (key, load.into()));
            Ok(loads.collect::<HashMap<K, Load<V>>>())
        };
        let loaded = cache.guard(cache.inner.timed(loading), held).await;
        drop(place);
        let took = begun.elapsed();
        let failed = match loaded {
            Some(Ok(mut loaded)) => {
                let settled = due.into_iter().map(|due| {
                    let (key, entry) = &self.keys[due.at];
                    let load = loaded.remove(key).unwrap_or_else(Load::absent);
                    let (lookup, fill) = cache.settle(entry, load, took, stamp);
                    (due, entry, lookup, fill)
                });
                let filled = settled.map(async |(due, entry, lookup, fill)| {
                    cache.finish(entry, due.token.as_ref(), &lookup, fill).await;
                    (due.at, lookup)
                });
                return Ok(join_all(filled).await);
            }
            Some(Err(error)) => LoadError::Loader(Arc::new(error)),
            None => LoadError::Aborted,
        };
        self.give_up(&due).await;
        Err(failed)
    }

    async fn give_up(&self, due: &[Due]) {
        join_all(due.iter().map(|due| {
            let had = due.reason == Reason::Refresh;
            self.cache.give_up(&self.keys[due.at].1, due.token.as_ref(), had)
        }))
        .await;
    }
}
