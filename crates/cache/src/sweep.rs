//! Removing whatever matches, for administration.

use futures_util::{Stream, StreamExt, stream};
use russet_core_conn::Scan;

use crate::cache::Cache;
use crate::error::Error;
use crate::pace::Pace;
use crate::store::Found;

/// How many keys are removed at once.
const BATCH: usize = 500;

/// One that goes on as it is polled.
struct Sweep<V> {
    cache: Cache<V>,
    found: Option<Found>,
    pace: Pace,
    removed: u64,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Removes all entries whose segments match a glob of Redis (`*`, `?`, `[a-z]`; segments are joined by `:`), as
    /// [`remove_many`](Self::remove_many) does: a stream of how many were removed so far, one item a batch, that goes on as
    /// it is polled and stops where it is dropped. For administration: it looks at every key of every primary, a page at a
    /// time, removes up to `rate` entries a second (`None`: as fast as Redis is), and needs the right to `SCAN`. Entries
    /// that are made meanwhile may stay. For everything else there are [tags](crate::Load::tags) and
    /// [`invalidate_all`](Self::invalidate_all).
    ///
    /// Segments that are longer than 128 bytes are hashed in their keys: nothing but `*` matches them.
    ///
    /// ```no_run
    /// # async fn example(routes: russet_cache::Cache<String>) -> Result<(), russet_cache::Error> {
    /// use std::pin::pin;
    /// use futures_util::TryStreamExt;
    ///
    /// let mut from_seattle = pin!(routes.remove_matching("SEA:*", Some(10_000.0)));
    /// while let Some(removed) = from_seattle.try_next().await? {
    ///     println!("{removed} removed");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of Redis, with which the stream ends: what was counted before is removed.
    pub fn remove_matching(
        &self,
        pattern: &str,
        rate: Option<f64>,
    ) -> impl Stream<Item = Result<u64, Error>> + Send + use<V> {
        let scan = Scan::matching(self.inner.keys.pattern(pattern)).of_type("string").count(1_000);
        let found = Some(self.inner.redis.scan(scan));
        let sweep = Sweep { cache: self.clone(), found, pace: Pace::new(rate), removed: 0 };
        stream::try_unfold(sweep, |mut sweep| async move {
            Ok(sweep.batch().await?.map(|removed| (removed, sweep)))
        })
    }

    /// Removes all entries, as [`remove_matching`](Self::remove_matching) does.
    pub fn clear(
        &self,
        rate: Option<f64>,
    ) -> impl Stream<Item = Result<u64, Error>> + Send + use<V> {
        self.remove_matching("*", rate)
    }
}

impl<V: Send + Sync + 'static> Sweep<V> {
    async fn batch(&mut self) -> Result<Option<u64>, Error> {
        let Some(found) = &mut self.found else { return Ok(None) };
        let mut keys = Vec::with_capacity(BATCH);
        while keys.len() < BATCH {
            match found.next().await.transpose()? {
                Some(key) => keys.push(key),
                None => {
                    self.found = None;
                    break;
                }
            }
        }
        // A walk may find one twice.
        keys.sort_unstable();
        keys.dedup();
        tokio::time::sleep_until(self.pace.turn(keys.len())).await;
        self.removed += self.cache.remove_keys(&keys).await?;
        Ok(Some(self.removed))
    }
}
