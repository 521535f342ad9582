//! What makes cached values invalid: by key, by tag, all of them.

use std::iter;
use std::time::Instant;

use bytes::Bytes;
use russet_core_conn::{Canonical, Cmd, Events, Key, Segments, Value};

use crate::cache::Cache;
use crate::error::Error;
use crate::invalidation::{Invalidation, What};
use crate::owed::Debt;
use crate::scripts;
use crate::seal::{LONGEST_TAG, MOST_TAGS};
use crate::tracked::Tracked;

impl<V: Send + Sync + 'static> Cache<V> {
    /// Forgets what is cached under the key, value or absence. Answers whether there was anything, be it only a load
    /// under way. One round trip; another with a [`journal`](crate::CacheBuilder::journal), to tell other processes.
    ///
    /// Once it is acknowledged, no load that began before fills the key, in this process or another, and nobody who asks
    /// from then on is given what such a load has read; from the memory of other processes, where that is used, for no
    /// longer than [`max_staleness`](crate::CacheBuilder::journal).
    ///
    /// # Errors
    /// Those of Redis; see their outcome. It may be repeated. Where that may help, this process repeats it by itself until
    /// Redis has taken it, in the order in which such things came up, and uses nothing that is cached under the key before
    /// ([`Stats::owed`](crate::Stats)); a later write of the key makes it needless.
    pub async fn remove(&self, key: impl Segments) -> Result<bool, Error> {
        let key = self.inner.keys.entry(&Canonical::of(&key));
        Ok(self.remove_keys(&[key]).await? > 0)
    }

    /// [`remove`](Self::remove) for several keys: answers how many held anything. As many round trips, pipelined.
    ///
    /// # Errors
    /// The first of Redis; other keys may have been removed. All may be removed again.
    pub async fn remove_many<K: Segments>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, Error> {
        let keys = keys.into_iter().map(|key| self.inner.keys.entry(&Canonical::of(&key)));
        self.remove_keys(&keys.collect::<Vec<Key>>()).await
    }

    pub(crate) async fn remove_keys(&self, keys: &[Key]) -> Result<u64, Error> {
        if keys.is_empty() {
            return Ok(0);
        }
        let result = self.unlink(keys).await;
        let told = self.told(result, keys.iter().cloned().map(Debt::Key));
        keys.iter().for_each(|key| self.inner.forget(key));
        told
    }

    async fn unlink(&self, keys: &[Key]) -> Result<u64, Error> {
        let inner = &self.inner;
        inner.agree(&inner.redis).await?;
        let removals = keys.iter().map(|key| Cmd::idempotent("UNLINK").key(key));
        let replies = inner.redis.pipeline(removals).await;
        let (mut removed, mut gone, mut failed) = (0, Vec::with_capacity(keys.len()), None);
        for (reply, key) in replies.into_iter().zip(keys) {
            match reply {
                Ok(reply) => {
                    removed += u64::from(reply == Value::Int(1));
                    gone.push(key);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // Only now: whoever hears of it must not find the entry any more. Also where others failed: these are gone.
        if !gone.is_empty() {
            inner.tell(What::Removed, &gone).await?;
        }
        failed.map_or(Ok(removed), |error| Err(error.into()))
    }

    /// Marks what is cached under the key as past its time: the next lookup loads it anew, and has the old value as
    /// [stale](crate::Freshness::Stale) until then, within its [`grace`](crate::CacheBuilder::grace). What has no grace
    /// is [removed](Self::remove). Answers whether there was anything. As many round trips.
    ///
    /// # Errors
    /// Those of Redis; see their outcome. It may be repeated.
    pub async fn expire(&self, key: impl Segments) -> Result<bool, Error> {
        let inner = &self.inner;
        let key = inner.keys.entry(&Canonical::of(&key));
        let expired = async {
            inner.agree(&inner.redis).await?;
            let expired = scripts::expire(&inner.redis, &key).await?;
            inner.tell(What::Expired, &[&key]).await?;
            Ok(expired)
        };
        let told = self.told(expired.await, iter::once(Debt::Key(key.clone())));
        inner.forget(&key);
        told
    }

    /// Makes whatever has one of these tags invalid, in Redis and in all processes: what is cached, and what is being
    /// loaded now. Answers the version from which on that is so. One round trip, however many entries that are; up to
    /// 100 tags each. In this process it holds at once, in others within
    /// [`max_staleness`](crate::CacheBuilder::journal).
    ///
    /// # Errors
    /// [`Error::NoJournal`]; [`Error::Tags`], and nothing was sent; those of Redis: it may be repeated.
    pub async fn invalidate_tags<T: AsRef<[u8]>>(
        &self,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<u64, Error> {
        let mut tags: Vec<Bytes> =
            tags.into_iter().map(|tag| Bytes::copy_from_slice(tag.as_ref())).collect();
        tags.iter().try_for_each(check_tag)?;
        tags.sort_unstable();
        tags.dedup();
        if tags.is_empty() {
            return Err(Error::Tags("none was given".into()));
        }
        self.invalidate(What::Tags, &tags).await
    }

    /// Makes all entries of the cache invalid: what is cached, and what is being loaded now. Nothing is scanned or
    /// deleted: entries end by their TTL, or when they are replaced. Answers the version from which on that is so. One
    /// round trip. In this process it holds at once, in others within [`max_staleness`](crate::CacheBuilder::journal).
    ///
    /// # Errors
    /// [`Error::NoJournal`]; those of Redis: it may be repeated.
    pub async fn invalidate_all(&self) -> Result<u64, Error> {
        self.invalidate(What::All, &[]).await
    }

    async fn invalidate(&self, what: What, of: &[Bytes]) -> Result<u64, Error> {
        let inner = &self.inner;
        let tracked = self.tracked("invalidation by tag, or of all")?;
        let written = async {
            self.ready(&inner.redis, Instant::now()).await?;
            Ok(tracked.journal.write(&inner.redis, what, of, &inner.here(tracked)).await?)
        };
        let all = of.is_empty().then_some(Debt::All);
        self.told(written.await, of.iter().cloned().map(Debt::Tag).chain(all))
    }

    /// What becomes invalid from now on, in this process and others, in the order of the journal. Nobody needs to
    /// listen; a slow listener is told how many it missed.
    ///
    /// # Errors
    /// [`Error::NoJournal`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn invalidations(&self) -> Result<Events<Invalidation>, Error> {
        let events = self.tracked("invalidations")?.journal.events();
        self.listen();
        Ok(events)
    }

    fn tracked(&self, needed_for: &'static str) -> Result<&Tracked<V>, Error> {
        self.inner.tracked.as_ref().ok_or(Error::NoJournal(needed_for))
    }
}

/// Whether they can be those of one value.
pub(crate) fn check_tags(tags: &[Bytes]) -> Result<(), Error> {
    if tags.len() > MOST_TAGS {
        return Err(Error::Tags(format!("{} tags; allowed: {MOST_TAGS}", tags.len())));
    }
    tags.iter().try_for_each(check_tag)
}

fn check_tag(tag: &Bytes) -> Result<(), Error> {
    if (1..=LONGEST_TAG).contains(&tag.len()) {
        return Ok(());
    }
    let problem = format!("a tag of {} bytes; allowed: 1 to {LONGEST_TAG}", tag.len());
    Err(Error::Tags(problem))
}
