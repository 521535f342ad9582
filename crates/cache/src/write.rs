//! Changing the origin, and what is cached of it, so that nothing older than the change stays.

use std::collections::HashSet;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::{join, join_all, join3, try_join_all};
use russet_core_conn::{Canonical, Key, Segments};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::error::{Error, WriteError};
use crate::invalidation::What;
use crate::load::Load;
use crate::lookup::Lookup;
use crate::owed::Debt;
use crate::scripts::{self, Token};

/// What changes with a key: other keys of its cache, and whatever has a tag. See [`Cache::write_with`].
#[derive(Debug, Clone, Default)]
pub struct Related {
    keys: Vec<Canonical>,
    tags: Vec<Bytes>,
}

impl Related {
    /// These keys: those of the old value and of the new one, as a list that it leaves and one that it joins.
    #[must_use]
    pub fn keys<K: Segments>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.keys.extend(keys.into_iter().map(|key| Canonical::of(&key)));
        self
    }

    /// Whatever has one of these tags. Needs a [`journal`](crate::CacheBuilder::journal).
    #[must_use]
    pub fn tags<T: AsRef<[u8]>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(|tag| Bytes::copy_from_slice(tag.as_ref())));
        self
    }

    fn and(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self.tags.extend(other.tags);
        self
    }
}

/// What a write has made of the origin: the value as it is now, or that there is none, and what else has changed with it.
#[derive(Debug)]
pub struct Written<V> {
    pub(crate) load: Load<V>,
    pub(crate) related: Related,
}

impl<V> Written<V> {
    /// Other keys of this cache that are out of date now: those of the old value and of the new one, as a list that it
    /// left and one that it joined.
    #[must_use]
    pub fn related<K: Segments>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.related = self.related.keys(keys);
        self
    }

    /// Whatever has one of these tags is out of date now. Needs a [`journal`](crate::CacheBuilder::journal).
    #[must_use]
    pub fn invalidates<T: AsRef<[u8]>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.related = self.related.tags(tags);
        self
    }
}

impl<V, L: Into<Load<V>>> From<L> for Written<V> {
    fn from(load: L) -> Self {
        Self { load: load.into(), related: Related::default() }
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// Writes through: the origin first, and then what it has now is cached. `write` changes the origin, and gives the
    /// value as it is there now (`V`), `None` for one that was deleted, or a [`Load`] or [`Written`] with more to say. Two
    /// round trips beside it; two more with a journal, and those of what else has changed:
    /// [`remove_many`](Self::remove_many) and [`invalidate_tags`](Self::invalidate_tags), at the same time.
    ///
    /// While the origin is written, the key is nobody's: what was cached is gone (or stale, with
    /// [`grace`](crate::CacheBuilder::grace)), and lookups wait for what comes. So nothing of the key is out of date if
    /// this process dies between the two: the lease ends, and the next lookup loads. Of several who write one key at a time
    /// none leaves the older value: each takes the lease from the one before, and who has lost it does not fill, but
    /// removes. That takes it from the others, too: where one of these then dies, having written the origin, what was
    /// loaded meanwhile may stay until its TTL (and grace) end.
    ///
    /// **What else has changed is removed after the origin was written**, and it is not where this process dies between the
    /// two: it stays until its TTL (and grace) end. [`write_with`](Self::write_with) is for what is known before. Where
    /// Redis did not take the lease before, all of this is so of the key, too: the origin is written all the same.
    ///
    /// **It runs in a task of its own**, and must be `'static` for it: a caller that goes away must not leave the origin
    /// written and the cache not.
    ///
    /// # Errors
    /// [`WriteError::Origin`] with the error of `write`, and nothing is cached; [`WriteError::Cache`] where the origin was
    /// written and something that is out of date may still be cached; [`WriteError::Aborted`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn write<W, E, Fut>(
        &self,
        key: impl Segments,
        write: impl FnOnce() -> Fut + Send + 'static,
    ) -> Result<Lookup<V>, WriteError<E>>
    where
        W: Into<Written<V>>,
        E: Send + 'static,
        Fut: Future<Output = Result<W, E>> + Send + 'static,
    {
        self.write_with(key, Related::default(), write).await
    }

    /// [`write`](Self::write) of what is known to change other keys, too, or what has a tag: that is out of date before
    /// the origin is written as well as after it. As many round trips, one after the other.
    ///
    /// The lease on each of these keys is taken with that on the key itself, so that they are as safe where this process
    /// dies in between: what was cached of them is gone (or stale), lookups wait, and load once the lease has ended. On what
    /// has a tag there is none: what was cached before the origin is written is gone, but what others load while it is
    /// written may be from before, and stays until its TTL (and grace) end where this process dies before it has
    /// invalidated the tags once more.
    ///
    /// ```no_run
    /// # use russet_cache::{Cache, Related, WriteError};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Product { name: String }
    /// # async fn to_database(_: u64) -> Result<Product, std::io::Error> { Ok(Product { name: String::new() }) }
    /// # async fn example(products: Cache<Product>) -> Result<(), WriteError<std::io::Error>> {
    /// let related = Related::default().keys([("newest", 1), ("newest", 2)]).tags(["front page"]);
    /// products.write_with(42, related, || to_database(42)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn write_with<W, E, Fut>(
        &self,
        key: impl Segments,
        related: Related,
        write: impl FnOnce() -> Fut + Send + 'static,
    ) -> Result<Lookup<V>, WriteError<E>>
    where
        W: Into<Written<V>>,
        E: Send + 'static,
        Fut: Future<Output = Result<W, E>> + Send + 'static,
    {
        let (cache, key) = (self.clone(), self.inner.keys.entry(&Canonical::of(&key)));
        let task = tokio::spawn(async move { cache.write_through(key, related, write).await });
        task.await.unwrap_or(Err(WriteError::Aborted))
    }

    async fn write_through<W, E, Fut>(
        &self,
        key: Key,
        before: Related,
        write: impl FnOnce() -> Fut,
    ) -> Result<Lookup<V>, WriteError<E>>
    where
        W: Into<Written<V>>,
        Fut: Future<Output = Result<W, E>>,
    {
        let inner = &self.inner;
        let mut keys = self.keys_of(&before);
        keys.retain(|other| *other != key);
        keys.insert(0, key.clone());
        let (tokens, marked) = join(self.seize(&keys), self.invalidate_tags_of(&before)).await;
        if let Err(error) = marked {
            tracing::warn!(%error, "tags could not be invalidated before the origin is written");
        }
        let stamp = inner.stamp();
        let begun = Instant::now();
        let leases = keys.iter().zip(&tokens);
        let written = match self.guard(async { write().await.map(Into::into) }, leases).await {
            Some(Ok(written)) => written,
            failed => {
                let leases = keys.iter().zip(&tokens);
                join_all(leases.map(|(key, token)| self.give_up(key, Some(token), false))).await;
                let error = failed.and_then(Result::err);
                return Err(error.map_or(WriteError::Aborted, WriteError::Origin));
            }
        };
        let Written { load, related } = written;
        let (lookup, fill) = self.settle(&key, load, begun.elapsed(), stamp);
        let filled = self.finish(&key, tokens.first(), &lookup, fill).await;
        let related = before.and(related);
        let mut gone = self.keys_of(&related);
        if filled {
            self.watch();
            inner.recent.note(std::iter::once(Debt::Key(key.clone())));
            gone.retain(|other| *other != key);
        } else if !gone.contains(&key) {
            // What another has done to the key since may be older.
            gone.push(key.clone());
        }
        let (removed, invalidated, ()) =
            join3(self.remove_keys(&gone), self.invalidate_tags_of(&related), async {
                if filled {
                    inner.tell_filled(&key).await;
                }
            })
            .await;
        removed.map(drop).and(invalidated).map_err(WriteError::Cache)?;
        Ok(lookup)
    }

    /// The leases on the keys, whoever has them; nobody's memory has their values any more. All of them, or none.
    async fn seize(&self, keys: &[Key]) -> Vec<Token> {
        let inner = &self.inner;
        let seized = async {
            self.ready(&inner.redis, Instant::now()).await?;
            let taken = keys.iter().map(async |key| {
                let token = Token::draw();
                scripts::seize(&inner.redis, key, &token, self.policy.lease).await.map(|_| token)
            });
            let tokens = try_join_all(taken).await?;
            inner.tell(What::Removed, &Vec::from_iter(keys)).await?;
            Ok(tokens)
        };
        seized.await.unwrap_or_else(|error: russet_core_conn::Error| {
            tracing::warn!(%error, "keys could not be taken before their origin is written");
            keys.iter().for_each(|key| inner.forget(key));
            Vec::new()
        })
    }
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// None of what changes with a key is used from here on.
    pub(crate) async fn outdate(&self, related: &Related) -> Result<(), Error> {
        let keys = self.keys_of(related);
        let (removed, invalidated) =
            join(self.remove_keys(&keys), self.invalidate_tags_of(related)).await;
        removed.map(drop).and(invalidated)
    }

    /// Whatever has one of its tags.
    async fn invalidate_tags_of(&self, related: &Related) -> Result<(), Error> {
        match &related.tags[..] {
            [] => Ok(()),
            tags => self.invalidate_tags(tags).await.map(drop),
        }
    }

    /// Each once.
    fn keys_of(&self, related: &Related) -> Vec<Key> {
        let mut seen = HashSet::new();
        let keys = related.keys.iter().map(|name| self.inner.keys.entry(name));
        keys.filter(|key| seen.insert(key.clone())).collect()
    }
}
