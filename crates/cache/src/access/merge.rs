//! What this process has seen becomes what the fleet has seen, now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use russet_core_conn::{Error, Key, SendOutcome};

use super::insight::{Insight, KEPT};
use super::whole;
use crate::cache::{Cache, Inner};
use crate::keys::Keys;
use crate::moment::Moment;
use crate::scripts::access::{self, Kept, Merge};

/// How many keys one call merges, so that none holds the server up.
const PIECE: usize = 250;

/// What nobody has merged for so many half-lives is gone.
const KEPT_FOR: u32 = 7;

impl<V: Send + Sync + 'static> Cache<V> {
    /// A lookup that this process answered from its own memory.
    #[inline]
    pub(crate) fn note_near(&self, name: &[u8], now: Moment) {
        if let Some(insight) = &self.inner.insight
            && insight.near(name, now.instant())
        {
            self.merge_later(insight);
        }
    }

    /// Any other lookup.
    #[inline]
    pub(crate) fn note_far(&self, key: &Key, missed: bool) {
        if let Some(insight) = &self.inner.insight {
            insight.far(&Keys::name_of(&key.to_bytes()), missed, Instant::now());
            self.merge_later(insight);
        }
    }

    fn merge_later(&self, insight: &Insight) {
        if insight.calls_for_merge() {
            self.begin_merge(insight);
        }
    }

    /// There is no timer while nobody asks.
    #[cold]
    fn begin_merge(&self, insight: &Insight) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return insight.merges() };
        let (every, inner) = (insight.options.every, Arc::downgrade(&self.inner));
        runtime.spawn(async move {
            tokio::time::sleep(every).await;
            let Some(inner) = inner.upgrade() else { return };
            if let Some(insight) = &inner.insight {
                insight.merges();
            }
            if let Err(error) = inner.merge().await {
                tracing::debug!(%error, "what was asked for could not be merged");
            }
        });
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// In as many round trips as there are pieces: one, as a rule. What Redis did not take is not counted there, but for
    /// statistics that were surely not added.
    pub(crate) async fn merge(&self) -> Result<(), Error> {
        let Some(insight) = &self.insight else { return Ok(()) };
        let mut merged = insight.merged.lock().await;
        self.agree(&self.redis).await?;
        let now = Instant::now();
        insight.decay(now.duration_since(merged.decayed));
        merged.decayed = now;
        let stats = self.counters.snapshot();
        let seen = insight.take();
        let ago = |then: Instant| {
            u64::try_from(now.saturating_duration_since(then).as_micros()).unwrap_or(u64::MAX)
        };
        let all = Merge {
            stats: stats.grown_since(merged.stats),
            hot: seen.hot.into_iter().map(|(name, count)| (name, whole(count))).collect(),
            missed: seen.missed.into_iter().map(|(name, count)| (name, whole(count))).collect(),
            recent: seen.recent.into_iter().map(|(name, then)| (name, ago(then))).collect(),
        };
        let kept = Kept {
            most: insight.options.keys * KEPT,
            ttl: insight.options.half_life.saturating_mul(KEPT_FOR).max(Duration::from_secs(60)),
            half_life: insight.options.half_life,
        };
        let (keys, mut first) = (self.keys.access(), true);
        for piece in pieces(all) {
            let names: Vec<Bytes> = piece.hot.iter().map(|(name, _)| name.clone()).collect();
            let counts = access::merge(&self.redis, &keys, kept, piece).await;
            // Statistics are in the first.
            let not_taken =
                counts.as_ref().is_err_and(|error| error.outcome() != SendOutcome::Unknown);
            if std::mem::take(&mut first) && !not_taken {
                merged.stats = stats;
            }
            for (name, count) in names.iter().zip(counts?) {
                #[expect(clippy::cast_precision_loss, reason = "a count is not that large")]
                insight.learn(name, count as f64);
            }
        }
        insight.rank();
        Ok(())
    }
}

fn pieces(all: Merge) -> impl Iterator<Item = Merge> {
    let Merge { stats, hot, missed, recent } = all;
    let mut lists = [hot, missed, recent].map(|list| list.into_iter().peekable());
    // Also where there is nothing to add: counts decay.
    let mut stats = Some(stats);
    std::iter::from_fn(move || {
        let stats = stats.take();
        if stats.is_none() && lists.iter_mut().all(|list| list.peek().is_none()) {
            return None;
        }
        let mut left = PIECE;
        let [hot, missed, recent] = lists.each_mut().map(|list| {
            let piece: Vec<_> = list.by_ref().take(left).collect();
            left -= piece.len();
            piece
        });
        Some(Merge { stats: stats.unwrap_or_default(), hot, missed, recent })
    })
}
