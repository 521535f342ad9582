//! Changing the origin, and what is cached of it, so that nothing older than the change stays.

use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join;
use russet_core_conn::{Canonical, Key, Segments};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::error::WriteError;
use crate::invalidation::What;
use crate::load::Load;
use crate::lookup::Lookup;
use crate::owed::Debt;
use crate::scripts::{self, Token};

/// What a write has made of the origin: the value as it is now, or that there is none, and what else has changed with it.
#[derive(Debug)]
pub struct Written<V> {
    load: Load<V>,
    related: Vec<Canonical>,
    tags: Vec<Bytes>,
}

impl<V> Written<V> {
    /// Other keys of this cache that are out of date now: those of the old value and of the new one, as a list that it
    /// left and one that it joined.
    #[must_use]
    pub fn related<K: Segments>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.related.extend(keys.into_iter().map(|key| Canonical::of(&key)));
        self
    }

    /// Whatever has one of these tags is out of date now. Needs a [`journal`](crate::CacheBuilder::journal).
    #[must_use]
    pub fn invalidates<T: AsRef<[u8]>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(|tag| Bytes::copy_from_slice(tag.as_ref())));
        self
    }
}

impl<V, L: Into<Load<V>>> From<L> for Written<V> {
    fn from(load: L) -> Self {
        Self { load: load.into(), related: Vec::new(), tags: Vec::new() }
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// Writes through: the origin first, and then what it has now is cached. `write` changes the origin, and gives the
    /// value as it is there now (`V`), `None` for one that was deleted, or a [`Load`] or [`Written`] with more to say. Two
    /// round trips beside it; two more with a journal, and one for each sort of what else has changed.
    ///
    /// While the origin is written, the key is nobody's: what was cached is gone (or stale, with
    /// [`grace`](crate::CacheBuilder::grace)), and lookups wait for what comes. So nothing is out of date if this process
    /// dies between the two: the lease ends, and the next lookup loads. Of several who write one key at a time none leaves
    /// the older value: each takes the lease from the one before, and who has lost it does not fill, but removes.
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
        let (cache, key) = (self.clone(), self.inner.keys.entry(&Canonical::of(&key)));
        let task = tokio::spawn(async move { cache.write_through(key, write).await });
        task.await.unwrap_or(Err(WriteError::Aborted))
    }

    async fn write_through<W, E, Fut>(
        &self,
        key: Key,
        write: impl FnOnce() -> Fut,
    ) -> Result<Lookup<V>, WriteError<E>>
    where
        W: Into<Written<V>>,
        Fut: Future<Output = Result<W, E>>,
    {
        let inner = &self.inner;
        let token = self.seize(&key).await;
        let stamp = inner.stamp();
        let begun = Instant::now();
        let leases = token.iter().map(|token| (&key, token));
        let written = match self.guard(async { write().await.map(Into::into) }, leases).await {
            Some(Ok(written)) => written,
            failed => {
                self.give_up(&key, token.as_ref(), false).await;
                let error = failed.and_then(Result::err);
                return Err(error.map_or(WriteError::Aborted, WriteError::Origin));
            }
        };
        let Written { load, related, tags } = written;
        let (lookup, fill) = self.settle(&key, load, begun.elapsed(), stamp);
        let filled = self.finish(&key, token.as_ref(), &lookup, fill).await;
        // What another has done to the key since may be older.
        let mut gone: Vec<Key> = related.iter().map(|name| inner.keys.entry(name)).collect();
        if filled {
            self.watch();
            inner.recent.note(std::iter::once(Debt::Key(key)));
        } else {
            gone.push(key);
        }
        let (removed, invalidated) = join(self.remove_keys(&gone), async {
            if tags.is_empty() { Ok(()) } else { self.invalidate_tags(&tags).await.map(drop) }
        })
        .await;
        removed.map(drop).and(invalidated).map_err(WriteError::Cache)?;
        Ok(lookup)
    }

    /// The lease on the key, whoever has it; nobody's memory has its value any more.
    async fn seize(&self, key: &Key) -> Option<Token> {
        let (inner, token) = (&self.inner, Token::draw());
        let seized = async {
            self.ready(&inner.redis, Instant::now()).await?;
            scripts::seize(&inner.redis, key, &token, self.policy.lease).await?;
            inner.tell(What::Removed, &[key]).await
        };
        match seized.await {
            Ok(()) => Some(token),
            Err(error) => {
                tracing::warn!(%error, "a key could not be taken before its origin is written");
                inner.forget(key);
                None
            }
        }
    }
}
