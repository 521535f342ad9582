//! What stands in for Redis in unit tests.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use russet_core_conn::{Cmd, Error, ErrorKind, Key, KeySpace, ScriptCall, SendOutcome, Value};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::builder::CacheBuilder;
use crate::cache::Cache;
use crate::model::{Model, Time};
use crate::store::Store;

mod answer;

/// Stands in for Redis in unit tests of what is built on a cache (feature `test-util`): the caches on it keep their
/// entries, leases, journals and messages in this process. Clones are the same one, as handles of one Redis are.
///
/// It does what the scripts of this crate do: a property test compares them with it, and the crate's own contract tests
/// run on it as they do on servers. Nothing fails here, and nothing is slow: for what happens when Redis is away, have a
/// server, and take it away.
///
/// | here | not here |
/// |---|---|
/// | lookups of one key and of many, lists, [warmers](Cache::warmer), [prefetching](Cache::prefetch) of what is given or learnt | [access insight](CacheBuilder::access) and what stands on it: hot keys, [`Cache::predictive_warmer`], [`Cache::fleet_stats`], [`Cache::optimizer`] |
/// | leases, grace, refreshes ahead, [writes](Cache::write) through | [`WriteBehind`](crate::WriteBehind), which takes a [`Redis`](russet_core_conn::Redis) |
/// | [journals](CacheBuilder::journal), tags, [`Cache::invalidations`], [memory of its own](CacheBuilder::local) | [`Cache::remove_matching`], [`Cache::clear`], [`Cache::size`] |
///
/// What is not here is an error, or needs a handle that cannot be had here.
///
/// Its time is tokio's, so that a test with paused time need not wait, and can be moved ahead by
/// [`advance`](Self::advance). What a cache keeps in memory of its own ([`CacheBuilder::local`]) goes by the process's
/// clock, which neither moves.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use russet_cache::{Cache, Memory, Tier};
/// use russet_core_conn::KeySpace;
///
/// let redis = Memory::new();
/// let names: Cache<String> = Cache::in_memory(&redis, &KeySpace::new("test")?, "name")
///     .ttl(Duration::from_secs(3_600))
///     .build()?;
/// let load = |_| async { Ok::<_, std::io::Error>("Ada".to_owned()) };
/// assert_eq!(names.get_or_load(1, load).await?.tier(), Tier::Origin);
/// assert_eq!(names.get_or_load(1, load).await?.tier(), Tier::Redis);
/// redis.advance(Duration::from_secs(3_601));
/// assert_eq!(names.get_or_load(1, load).await?.tier(), Tier::Origin);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    told: broadcast::Sender<(Key, Bytes)>,
}

struct State {
    model: Model,
    /// Since the epoch, and when that was.
    time: Duration,
    at: Instant,
}

/// So many messages may be behind before some are missed.
const QUEUE: usize = 1_024;

impl<V> Cache<V> {
    /// Options for a cache without Redis, for unit tests (feature `test-util`). All that a
    /// [`builder`](Self::builder) has is there; the breaker and the budget have nothing to do.
    pub fn in_memory(memory: &Memory, keys: &KeySpace, name: &str) -> CacheBuilder<V> {
        CacheBuilder::on(Store::Memory(memory.clone()), keys, name)
    }
}

impl Memory {
    /// One with nothing in it, and the time of day.
    #[expect(clippy::new_without_default, reason = "one made in passing is one that nobody shares")]
    pub fn new() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state = State { model: Model::default(), time, at: Instant::now() };
        let told = broadcast::Sender::new(QUEUE);
        Self(Arc::new(Inner { state: Mutex::new(state), told }))
    }

    /// Moves its time ahead, as if so much of it had passed.
    pub fn advance(&self, by: Duration) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.time = state.time.saturating_add(by);
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Bytes> {
        self.with(|model, now| model.get(now, key))
    }

    pub(crate) fn run(&self, cmd: &Cmd) -> Result<Value, Error> {
        let answer = self.with(|model, now| answer::command(model, now, cmd.name(), cmd.told()));
        answer.ok_or_else(|| unknown(cmd.name()))
    }

    pub(crate) fn script(&self, call: &ScriptCall<'_>) -> Result<Value, Error> {
        let (name, keys, args) = call.told();
        let answer = self.with(|model, now| answer::script(model, now, name, &keys, &args));
        answer.ok_or_else(|| unknown(name))
    }

    pub(crate) fn listen(&self) -> Told {
        Told(self.0.told.subscribe())
    }

    fn with<T>(&self, does: impl FnOnce(&mut Model, Time) -> T) -> T {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.time.saturating_add(state.at.elapsed()).as_micros();
        let done = does(&mut state.model, Time(u64::try_from(now).unwrap_or(u64::MAX)));
        for message in state.model.told.drain(..) {
            // Nobody needs to listen.
            let _ = self.0.told.send(message);
        }
        done
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

/// What is published.
#[derive(Debug)]
pub(crate) struct Told(broadcast::Receiver<(Key, Bytes)>);

impl Told {
    /// The next message of a channel, or that some were missed.
    pub(crate) async fn next(&mut self, channel: &Key) -> Option<Option<Bytes>> {
        loop {
            match self.0.recv().await {
                Ok((to, message)) if to == *channel => return Some(Some(message)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(None),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

pub(crate) fn unknown(what: &str) -> Error {
    let problem = format!("a cache in memory has no {what}: it needs a server");
    Error::fake(ErrorKind::Unsupported(problem), SendOutcome::Rejected)
}
