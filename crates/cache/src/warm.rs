//! Filling a cache before it is asked.

use std::fmt::Display;
use std::future::{Future, IntoFuture};
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use russet_core_conn::Segments;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::cache::Cache;
use crate::error::LoadError;
use crate::load::{Load, LoadContext};
use crate::lookup::Tier;
use crate::pace::Pace;

/// How a cache is filled before it is asked. Made by [`Cache::warmer`]. Several run side by side, each with a handle of its
/// own: one that fails stops no other.
///
/// ```no_run
/// # use std::time::Duration;
/// # use russet_cache::Cache;
/// # async fn top_by_views(_: u32) -> Vec<u64> { vec![] }
/// # async fn active_since(_: Duration) -> Vec<u64> { vec![] }
/// # async fn from_database(ids: Vec<u64>) -> Result<Vec<(u64, String)>, std::io::Error> { Ok(vec![]) }
/// # async fn example(pages: Cache<String>, users: Cache<String>) {
/// use futures_util::stream;
///
/// let popular = stream::iter(top_by_views(100).await);
/// let popular = pages.warmer("popular").run(popular, |ids, _| from_database(ids));
/// let day = Duration::from_secs(24 * 3_600);
/// let active = stream::iter(active_since(day).await);
/// let users = users.with_ttl(day).warmer("active").rate(500.0).run(active, |ids, _| from_database(ids));
/// for warmed in [popular.await, users.await] {
///     println!("{}: {} loaded, {} failed", warmed.name, warmed.progress.loaded, warmed.progress.failed);
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `run`"]
pub struct Warmer<V> {
    cache: Cache<V>,
    name: String,
    batch: usize,
    concurrency: usize,
    rate: Option<f64>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many keys there are, where the stream says so.
    pub total: Option<u64>,
    /// Keys that are cached now, for having been loaded.
    pub loaded: u64,
    /// Keys that were cached already.
    pub cached: u64,
    /// Keys that could not be loaded.
    pub failed: u64,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warmed {
    /// The warmer's.
    pub name: String,
    /// What was done.
    pub progress: Progress,
    /// Not all keys were asked for: it was cancelled, or its runtime has ended.
    pub cancelled: bool,
    /// The last error of the loader.
    pub error: Option<String>,
}

/// One that runs. Wait for it to have its result; dropped, it ends after what is being loaded.
#[derive(Debug)]
pub struct Warming {
    name: String,
    progress: watch::Receiver<Progress>,
    cancel: CancellationToken,
    task: AbortOnDropHandle<Warmed>,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Fills this cache before it is asked, under a name for its results. Its lookups are counted neither in the statistics
    /// nor in the [insight](crate::CacheBuilder::access): nobody asked.
    pub fn warmer(&self, name: impl Into<String>) -> Warmer<V> {
        let cache = self.uncounted();
        Warmer { cache, name: name.into(), batch: 100, concurrency: 2, rate: None }
    }
}

impl<V: Send + Sync + 'static> Warmer<V> {
    /// What is filled is kept for so long, where its handle has no time to live of its own.
    pub(crate) fn usually_for(mut self, ttl: Duration) -> Self {
        if !self.cache.policy.own_ttl {
            self.cache = self.cache.with_ttl(ttl);
        }
        self
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Warmer<V> {
    /// How many keys one call of the loader is asked for. Default: 100.
    pub fn batch(mut self, keys: NonZeroUsize) -> Self {
        self.batch = keys.get();
        self
    }

    /// How many batches are under way at a time. Default: 2, so that the origin has time for others.
    pub fn concurrency(mut self, batches: NonZeroUsize) -> Self {
        self.concurrency = batches.get();
        self
    }

    /// At most so many keys a second; what is not above zero is no bound. Default: as many as the origin gives.
    pub fn rate(mut self, keys: f64) -> Self {
        self.rate = Some(keys);
        self
    }

    /// Looks the keys up, and loads those that are missing, as [`Cache::get_or_load_many`] does: what somebody else loads
    /// is not loaded twice, and nothing stale is filled. A batch that fails is counted, and the others go on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn run<K, L, E, Fut, Loaded>(
        self,
        keys: impl Stream<Item = K> + Send + 'static,
        load: impl Fn(Vec<K>, LoadContext<V>) -> Fut + Clone + Send + Sync + 'static,
    ) -> Warming
    where
        K: Segments + Clone + Eq + Hash + Send + Sync + 'static,
        L: Into<Load<V>> + 'static,
        E: Display + Send + Sync + 'static,
        Loaded: IntoIterator<Item = (K, L)> + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let total = match keys.size_hint() {
            (least, Some(most)) if least == most => u64::try_from(least).ok(),
            _ => None,
        };
        let (tell, progress) = watch::channel(Progress { total, ..Progress::default() });
        let (name, cancel) = (self.name.clone(), CancellationToken::new());
        let cancelled = cancel.clone();
        let task = tokio::spawn(async move {
            let Self { cache, name, batch, concurrency, rate } = self;
            let mut pace = Pace::new(rate);
            let waits = keys.chunks(batch).map(|keys| (pace.turn(keys.len()), keys));
            let batches = waits.map(|(wait, keys)| {
                let (cache, load) = (cache.clone(), load.clone());
                async move {
                    tokio::time::sleep_until(wait).await;
                    let count = keys.len() as u64;
                    (count, cache.get_or_load_many(keys, load).await)
                }
            });
            let mut done = std::pin::pin!(
                batches.buffer_unordered(concurrency).take_until(cancel.cancelled())
            );
            let mut error = None;
            while let Some((count, found)) = done.next().await {
                let loaded = found.map(|found| {
                    found.iter().filter(|found| found.tier() == Tier::Origin).count() as u64
                });
                tell.send_modify(|progress| match &loaded {
                    Ok(loaded) => {
                        progress.loaded += loaded;
                        progress.cached += count - loaded;
                    }
                    Err(_) => progress.failed += count,
                });
                error = loaded.err().map(|error: LoadError<E>| error.to_string()).or(error);
            }
            let (progress, cancelled) = (*tell.borrow(), cancel.is_cancelled());
            tracing::info!(%name, ?progress, cancelled, "a cache was warmed");
            Warmed { name, progress, cancelled, error }
        });
        Warming { name, progress, cancel: cancelled, task: AbortOnDropHandle::new(task) }
    }
}

impl Warming {
    /// How far it is now.
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// The next time that it is further, and how far; `None` once it has ended.
    pub async fn next(&mut self) -> Option<Progress> {
        self.progress.changed().await.ok()?;
        Some(*self.progress.borrow_and_update())
    }

    /// Asks for no more keys. What is being loaded goes on, and is cached.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl IntoFuture for Warming {
    type Output = Warmed;
    type IntoFuture = Pin<Box<dyn Future<Output = Warmed> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { name, progress, task, .. } = self;
            task.await.unwrap_or_else(|_| Warmed {
                name,
                progress: *progress.borrow(),
                cancelled: true,
                error: None,
            })
        })
    }
}
