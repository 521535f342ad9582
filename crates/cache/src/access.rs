//! Which keys are asked for: most, last, and in vain.

use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::{Cmd, Key};

use crate::cache::Cache;
use crate::error::Error;

pub use self::key::CacheKey;

pub(crate) use self::insight::Insight;

mod insight;
mod key;
mod merge;
mod table;

/// How a cache finds out which of its keys are asked for: see [`CacheBuilder::access`](crate::CacheBuilder::access).
///
/// ```
/// use std::time::Duration;
/// use russet_cache::Access;
///
/// let access = Access::default().keys(200).half_life(Duration::from_secs(3_600));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Access {
    pub(crate) keys: usize,
    pub(crate) every: Duration,
    pub(crate) half_life: Duration,
}

/// 1,000 keys of each sort, merged every 10 s; counts halve in a day.
impl Default for Access {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3_600);
        Self { keys: 1_000, every: Duration::from_secs(10), half_life: day }
    }
}

impl Access {
    /// How many keys of each sort can be told, 1 to 10,000. So that these are the right ones, four times as many are kept
    /// (in a process at least 1,024), each of about 100 bytes and its name of up to 512.
    pub fn keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// How often what this process has seen is merged into Redis, 10 ms to an hour. It is not while nobody asks.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// In which time a count halves, a second to a year: so what was popular last week gives way.
    pub fn half_life(mut self, half_life: Duration) -> Self {
        self.half_life = half_life;
        self
    }

    pub(crate) fn problem(&self) -> Option<(String, &'static str)> {
        let second = Duration::from_secs(1);
        let Self { keys, every, half_life } = *self;
        if !(1..=10_000).contains(&keys) {
            Some((format!("{keys} keys"), "1 to 10,000 keys"))
        } else if every < second / 100 || every > second * 3_600 {
            Some((format!("every {every:?}"), "every 10 ms to an hour"))
        } else if half_life < second || half_life > second * 365 * 24 * 3_600 {
            Some((format!("a half-life of {half_life:?}"), "a second to a year"))
        } else {
            None
        }
    }
}

/// A key, and how often it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accessed {
    /// The key.
    pub key: CacheKey,
    /// About how often, decayed: what was counted a [half-life](Access::half_life) ago counts for half.
    pub count: u64,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// The keys that all processes ask for most, most of all first; up to `n`, and no more than
    /// [`Access::keys`]. Two round trips: what this process has seen is merged first; what others have seen is as old as
    /// their last merge.
    ///
    /// # Errors
    /// [`Error::NoAccess`]; those of Redis.
    pub async fn hot(&self, n: usize) -> Result<Vec<Accessed>, Error> {
        let [hot, ..] = self.inner.keys.access();
        self.merged().await?;
        self.most(hot, n).await
    }

    /// The keys that were asked for most and not cached, as [`hot`](Self::hot) tells them.
    ///
    /// # Errors
    /// As for `hot`.
    pub async fn missed(&self, n: usize) -> Result<Vec<Accessed>, Error> {
        let [_, missed, ..] = self.inner.keys.access();
        self.merged().await?;
        self.most(missed, n).await
    }

    /// The keys that were asked for last, the last first, as [`hot`](Self::hot) tells them.
    ///
    /// # Errors
    /// As for `hot`.
    pub async fn recent(&self, n: usize) -> Result<Vec<CacheKey>, Error> {
        let [_, _, recent, _] = self.inner.keys.access();
        self.merged().await?;
        let most = self.most(recent, n).await?;
        Ok(most.into_iter().map(|accessed| accessed.key).collect())
    }

    /// So many of the hottest, and of those that were missed most, of one moment.
    pub(crate) async fn hot_and_missed(
        &self,
        hot: usize,
        missed: usize,
    ) -> Result<[Vec<Accessed>; 2], Error> {
        let [hottest, missed_most, ..] = self.inner.keys.access();
        self.merged().await?;
        let (hot, missed) =
            tokio::try_join!(self.most(hottest, hot), self.most(missed_most, missed))?;
        Ok([hot, missed])
    }

    /// What this process has seen is in Redis.
    async fn merged(&self) -> Result<(), Error> {
        self.insight("access insight")?;
        Ok(self.inner.merge().await?)
    }

    async fn most(&self, from: Key, n: usize) -> Result<Vec<Accessed>, Error> {
        let (inner, insight) = (&self.inner, self.insight("access insight")?);
        let n = n.min(insight.options.keys);
        if n == 0 {
            return Ok(Vec::new());
        }
        let range = Cmd::read("ZRANGE").key(&from).arg(0).arg(n - 1).arg("REV").arg("WITHSCORES");
        let found: Vec<Bytes> = inner.redis.run(range).await?;
        let pairs = found.as_chunks::<2>().0.iter().map(|[name, score]| {
            let score = std::str::from_utf8(score).ok().and_then(|score| score.parse().ok());
            Accessed { key: CacheKey::of(name.clone()), count: whole(score.unwrap_or(0.0)) }
        });
        Ok(pairs.filter(|accessed| accessed.count > 0).collect())
    }

    pub(crate) fn insight(&self, needed_for: &'static str) -> Result<&Insight, Error> {
        self.inner.insight.as_ref().ok_or(Error::NoAccess(needed_for))
    }
}

/// To the nearest.
pub(crate) fn whole(count: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count is neither negative nor that large, and a cast does not overflow"
    )]
    let whole = count.round() as u64;
    whole
}
