//! Named connections: the handles of one program, its health, and its end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::OnceCell;

pub use self::report::{Health, RegistryReport};
use crate::close::{self, CloseReport};
use crate::error::{Error, ErrorKind};
use crate::event::{Broadcast, EntryEvent, Events};
use crate::{Redis, RedisBuilder};

mod health;
mod report;

/// The [`Redis`] handles of one program, by name: what is asked for its health, and closed at its end. Cheap to clone;
/// clones are one registry.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use russet_core_conn::{Redis, Registry};
///
/// let registry = Registry::new();
/// let state = registry.add(Registry::STATE, Redis::builder("redis://state.internal"))?;
/// let cache = registry.add(Registry::CACHE, Redis::builder("redis://cache.internal"))?;
///
/// for (name, health) in registry.health().await.iter() {
///     println!("{name}: {health:?}");
/// }
/// // At SIGTERM or Ctrl-C, all of them.
/// let report = registry.shutdown_on_signal().await?;
/// assert!(report.is_clean());
/// # Ok(()) }
/// ```
///
/// Nothing connects before an entry's first call or the first [`health`](Self::health). Dropping the last clone drops
/// the registry's handles: entries of which nobody else has a handle end at once.
///
/// # State and cache
///
/// What must not be lost (tokens, queues, what waits to be written) and what may be evicted want different policies of
/// their servers. By convention they are the entries [`STATE`](Self::STATE) and [`CACHE`](Self::CACHE). The server of
/// `state` must run with `maxmemory-policy noeviction`; both may be one server only under that policy. Where it does
/// not, [`health`](Self::health) says so in its [report](RegistryReport::state_evicts), and by a warning in the log,
/// once. A server whose `INFO` this user may not read is not judged. A policy that is changed under a living connection
/// is seen with the next one.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    entries: Mutex<Entries>,
    events: Broadcast<EntryEvent>,
    /// That the server of `state` evicts has been told.
    warned: AtomicBool,
    closed: OnceCell<RegistryReport<CloseReport>>,
}

#[derive(Default)]
struct Entries {
    named: BTreeMap<Arc<str>, Entry>,
    /// Removed, and not closed yet.
    leaving: Vec<(Arc<str>, Redis)>,
    /// No further entry is taken.
    closed: bool,
}

struct Entry {
    redis: Redis,
    config: Arc<str>,
}

impl Registry {
    /// The name of the entry for what must not be lost.
    pub const STATE: &str = "state";

    /// The name of the entry for what may be evicted.
    pub const CACHE: &str = "cache";

    /// An empty registry.
    #[expect(clippy::new_without_default, reason = "one made in passing is one that nobody closes")]
    pub fn new() -> Self {
        let inner = Inner {
            entries: Mutex::default(),
            events: Broadcast::new(),
            warned: AtomicBool::new(false),
            closed: OnceCell::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Builds a handle and keeps it under this name, of 1 to 64 bytes without control characters. Nothing connects yet.
    ///
    /// # Errors
    /// [`NameTaken`](ErrorKind::NameTaken); [`RegistryClosed`](ErrorKind::RegistryClosed) from when
    /// [`close_all`](Self::close_all) begins, so that no handle escapes it; [`Config`](ErrorKind::Config) for a name or
    /// an option that can't be.
    pub fn add(&self, name: &str, builder: RedisBuilder) -> Result<Redis, Error> {
        if name.is_empty() || name.len() > 64 || name.contains(char::is_control) {
            let allowed = "1 to 64 bytes without control characters";
            return Err(Error::config("name", format!("{name:?}"), allowed));
        }
        let mut entries = self.inner.lock();
        if entries.closed {
            return Err(Error::not_sent(ErrorKind::RegistryClosed));
        }
        if entries.named.contains_key(name) {
            return Err(Error::not_sent(ErrorKind::NameTaken(name.into())));
        }
        let (name, redis) = (Arc::<str>::from(name), builder.build()?);
        redis.inner.announcer.relay(name.clone(), self.inner.events.clone());
        let config = redis.inner.nodes.description().into();
        entries.named.insert(name, Entry { redis: redis.clone(), config });
        Ok(redis)
    }

    /// The handle of this name.
    pub fn get(&self, name: &str) -> Option<Redis> {
        self.inner.lock().named.get(name).map(|entry| entry.redis.clone())
    }

    /// The handle for what must not be lost: the entry [`STATE`](Self::STATE).
    pub fn state(&self) -> Option<Redis> {
        self.get(Self::STATE)
    }

    /// The handle for what may be evicted: the entry [`CACHE`](Self::CACHE).
    pub fn cache(&self) -> Option<Redis> {
        self.get(Self::CACHE)
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.inner.lock().named.keys().cloned().collect()
    }

    /// Where this entry leads, as whom and with which options: a text for people, without secrets, which may change
    /// with each release.
    pub fn config(&self, name: &str) -> Option<Arc<str>> {
        self.inner.lock().named.get(name).map(|entry| entry.config.clone())
    }

    /// Takes the entry out and [closes](Redis::close) it, also for those who have its handle; answers what closing left
    /// undone, or `None` if there is no such entry. The name is free at once.
    ///
    /// Once begun it goes on within the handle's close deadline, in a task of its own, also if the future is dropped.
    pub async fn remove(&self, name: &str) -> Option<CloseReport> {
        let redis = {
            let mut entries = self.inner.lock();
            let (name, entry) = entries.named.remove_entry(name)?;
            entries.leaving.push((name, entry.redis.clone()));
            entry.redis
        };
        let leaving = (self.inner.clone(), redis.clone());
        let closing = tokio::spawn(async move {
            let (inner, redis) = leaving;
            let report = redis.close().await;
            inner.lock().leaving.retain(|(_, other)| !Arc::ptr_eq(&other.inner, &redis.inner));
            report
        });
        match closing.await {
            Ok(report) => Some(report),
            // The runtime ends.
            Err(_) => Some(redis.close().await),
        }
    }

    /// [`health_within`](Self::health_within) half a second, which leaves a probe with the usual timeout of a second
    /// its answer.
    pub async fn health(&self) -> RegistryReport<Health> {
        self.health_within(Duration::from_millis(500)).await
    }

    /// Asks all entries at once for a sign of life; ends within this time, whatever the servers do: a day, if it is
    /// longer. One `PING` each; two
    /// for an entry that was not connected, and one [`Redis::info`] with each new connection.
    ///
    /// An entry that was never used is connected for the question, so that its first answer is as true as the later
    /// ones. One whose connection is away is unhealthy at once, with the last error: the question waits for no
    /// attempt to reconnect. A breaker that some handle has is not asked.
    pub async fn health_within(&self, time: Duration) -> RegistryReport<Health> {
        let entries: Vec<_> = {
            let entries = self.inner.lock();
            entries.named.iter().map(|(name, entry)| (name.clone(), entry.redis.clone())).collect()
        };
        let asked = entries
            .into_iter()
            .map(|(name, redis)| async move { (name, health::ask(&redis, time).await) });
        let report = RegistryReport::new(join_all(asked).await);
        self.inner.warn_if(report.state_evicts());
        report
    }

    /// Closes all entries at once, each as [`Redis::close`] does within its own close deadline, whatever becomes of the
    /// others; also those that are being removed. From now on none can be added. Answers what each left undone; again,
    /// if called again. Entries keep their names, and their handles say that they are closed.
    pub async fn close_all(&self) -> RegistryReport<CloseReport> {
        self.close_each(None).await
    }

    /// Waits for SIGTERM or Ctrl-C, then [`close_all`](Self::close_all). A second signal cuts what is still in flight.
    ///
    /// # Errors
    /// If the signals can't be listened to.
    pub async fn shutdown_on_signal(&self) -> std::io::Result<RegistryReport<CloseReport>> {
        close::at_signals(self.close_all(), self.close_each(Some(Duration::ZERO))).await
    }

    /// Listens to what happens to the connections of all entries from now on, also of those that are added later. Ends
    /// when all is closed.
    pub fn events(&self) -> Events<EntryEvent> {
        self.inner.events.listen()
    }

    async fn close_each(&self, within: Option<Duration>) -> RegistryReport<CloseReport> {
        let close = async |(name, redis): (Arc<str>, Redis)| match within {
            Some(time) => (name, redis.close_within(time).await),
            None => (name, redis.close().await),
        };
        let all = async || {
            let report =
                RegistryReport::new(join_all(self.inner.seal().into_iter().map(close)).await);
            self.inner.events.end();
            report
        };
        self.inner.closed.get_or_init(all).await.clone()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // No holder leaves it half changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warns once, and again only if it was otherwise in between.
    fn warn_if(&self, state_evicts: Option<bool>) {
        let Some(evicts) = state_evicts else { return };
        if !self.warned.swap(evicts, Relaxed) && evicts {
            tracing::warn!(entry = Registry::STATE, "the server may evict what must not be lost");
        }
    }

    /// Takes no more entries. Answers those that are to be closed.
    fn seal(&self) -> Vec<(Arc<str>, Redis)> {
        let mut entries = self.lock();
        entries.closed = true;
        let named = entries.named.iter().map(|(name, entry)| (name.clone(), entry.redis.clone()));
        named.chain(entries.leaving.iter().cloned()).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("names", &self.names()).finish_non_exhaustive()
    }
}
