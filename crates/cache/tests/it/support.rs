//! What the tests share.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

#[cfg(feature = "test-util")]
use russet_cache::Memory;
use russet_cache::{Cache, CacheBuilder};
use russet_core_conn::{KeySpace, Redis, RedisBuilder};
use russet_testkit::shared::{self, Topology};
use russet_testkit::{Conn, Counters, Server};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub(crate) mod journal;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) fare: u32,
    pub(crate) name: String,
}

pub(crate) fn route(fare: u32) -> Route {
    Route { fare, name: format!("route at {fare}") }
}

/// A handle whose deadlines a busy machine does not miss.
pub(crate) fn patient(url: &str) -> Redis {
    Redis::builder(url).deadline(Duration::from_secs(10)).build().unwrap()
}

/// A handle that sends little of its own but a probe with the opening of the connection: what a proxy counts is what was
/// asked for.
pub(crate) fn unprobed(builder: RedisBuilder) -> Redis {
    let long = Duration::from_secs(10);
    let builder = builder.deadline(long).ready_check(false);
    builder.probe(Duration::from_secs(3_600), long).build().unwrap()
}

/// The probes are done, and nothing is under way.
pub(crate) fn is_quiet(counters: &Counters) -> bool {
    // Lost is what a busy machine had the map of the cluster asked for twice.
    let answered = counters.replies + counters.lost;
    counters.requests("PING") >= counters.open && counters.all_requests() == answered
}

/// The rights that this crate asks for.
pub(crate) const ACL: &str = include_str!("../../acl/cache.acl");

/// Where a test runs: on the servers that the suite shares, or without.
#[derive(Clone)]
pub(crate) enum At {
    Servers(Topology),
    #[cfg(feature = "test-util")]
    Memory(Memory),
}

impl At {
    /// Where there are servers to look into.
    pub(crate) fn servers(self) -> Option<Topology> {
        match self {
            Self::Servers(topology) => Some(topology),
            #[cfg(feature = "test-util")]
            Self::Memory(_) => None,
        }
    }
}

impl From<Topology> for At {
    fn from(topology: Topology) -> Self {
        Self::Servers(topology)
    }
}

/// What caches are built on there.
#[derive(Clone)]
pub(crate) enum Backend {
    Redis(Redis),
    #[cfg(feature = "test-util")]
    Memory(Memory),
}

impl From<&Redis> for Backend {
    fn from(redis: &Redis) -> Self {
        Self::Redis(redis.clone())
    }
}

impl From<&Self> for Backend {
    fn from(backend: &Self) -> Self {
        backend.clone()
    }
}

/// For tests that run on servers alone.
impl Deref for Backend {
    type Target = Redis;

    fn deref(&self) -> &Redis {
        match self {
            Self::Redis(redis) => redis,
            #[cfg(feature = "test-util")]
            Self::Memory(_) => panic!("there is no server in memory"),
        }
    }
}

/// A key space that is this test's alone, and a handle of the user of the crate's ACL file.
pub(crate) async fn space(at: impl Into<At>, test: &str) -> (Backend, KeySpace) {
    let prefix = shared::prefix(test);
    let backend = match at.into() {
        At::Servers(at) => Backend::Redis(patient(&at.url_as(ACL, &prefix, &[]).await.unwrap())),
        #[cfg(feature = "test-util")]
        At::Memory(memory) => Backend::Memory(memory),
    };
    (backend, KeySpace::new(prefix).unwrap())
}

/// An ACL file for a private server: its default user is the test's own, and the user of the crate's file has this
/// prefix.
pub(crate) fn users(prefix: &str) -> String {
    let user = ACL.replace("PASSWORD", "secret").replace("PREFIX", prefix);
    format!("user default on nopass ~* &* +@all\n{user}")
}

/// The URL for that user.
pub(crate) fn url(addr: SocketAddr) -> String {
    format!("redis://russet-cache:secret@{addr}")
}

/// The replicas of this server, whose users may do anything, have nothing of what comes from here on.
pub(crate) async fn forsake(primary: &Server) {
    let mut conn = primary.conn().await.unwrap();
    let refused = conn.call(&["ACL", "SETUSER", "default", "-psync", "-sync"]).await.unwrap();
    assert!(refused.is_ok());
    conn.call(&["CLIENT", "KILL", "TYPE", "replica"]).await.unwrap();
}

pub(crate) fn routes(on: impl Into<Backend>, space: &KeySpace) -> CacheBuilder<Route> {
    caches(on, space, "route")
}

pub(crate) fn caches<V: Send + Sync + 'static>(
    on: impl Into<Backend>,
    space: &KeySpace,
    name: &str,
) -> CacheBuilder<V> {
    let builder = match on.into() {
        Backend::Redis(redis) => Cache::builder(&redis, space, name),
        #[cfg(feature = "test-util")]
        Backend::Memory(memory) => Cache::in_memory(&memory, space, name),
    };
    builder.budget(Duration::from_secs(10))
}

/// A loader that counts its calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin(Arc<AtomicUsize>);

impl Origin {
    pub(crate) fn calls(&self) -> usize {
        self.0.load(SeqCst)
    }

    pub(crate) async fn give<T>(self, value: T) -> Result<T, Infallible> {
        self.0.fetch_add(1, SeqCst);
        Ok(value)
    }
}

/// A loader of many that says when it has begun, and ends when it may.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    begun: Arc<Semaphore>,
    may_end: Arc<Semaphore>,
}

impl Held {
    pub(crate) fn new() -> Self {
        let [begun, may_end] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        Self { begun, may_end }
    }

    pub(crate) async fn load(self, keys: Vec<u64>) -> Result<Vec<(u64, Route)>, Infallible> {
        self.begun.add_permits(1);
        self.may_end.acquire().await.unwrap().forget();
        Ok(keys.into_iter().map(|key| (key, route(1))).collect())
    }
}

/// Of the keys 1 and 2, which are loaded by this loader in one call, the first is removed meanwhile: it is not filled.
pub(crate) async fn refuses_what_was_removed(
    cache: &Cache<Route>,
    loader: &Held,
    loads: impl Future,
) {
    tokio::join!(loads, async {
        loader.begun.acquire().await.unwrap().forget();
        cache.remove(1_u64).await.unwrap();
        loader.may_end.add_permits(1);
    });
    assert!(cache.get(1_u64).await.unwrap().is_none());
    assert_eq!(cache.get(2_u64).await.unwrap().unwrap().value(), Some(&route(1)));
    assert_eq!(cache.stats().fills_refused, 1);
}

/// The keys of this space that hold an entry, by an independent client of each primary.
pub(crate) async fn entries(at: Topology, space: &KeySpace) -> Vec<String> {
    let mut found = Vec::new();
    for mut primary in at.primaries().await.unwrap() {
        found.extend(entries_of(&mut primary, space).await);
    }
    found.sort();
    found
}

async fn entries_of(conn: &mut Conn, space: &KeySpace) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let pattern = format!("{{{}:*}}:cache.*", space.prefix());
        let reply =
            conn.call(&["SCAN", &cursor, "MATCH", &pattern, "COUNT", "10000"]).await.unwrap();
        let parts = reply.items().unwrap();
        found.extend(parts[1].items().unwrap().iter().map(|key| key.text().unwrap().to_owned()));
        cursor = parts[0].text().unwrap().to_owned();
        if cursor == "0" {
            return found;
        }
    }
}

/// Counts the warnings of this thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Warnings(Arc<AtomicUsize>);

impl Warnings {
    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, SeqCst);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
