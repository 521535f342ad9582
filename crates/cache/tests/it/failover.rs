//! Failovers that lose what was acknowledged: whoever said it says it again, and what is kept is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russet_cache::{Cache, Invalid, Invalidation, Tier};
use russet_core_conn::{Durability, Events, Key, KeySpace, Redis};
use russet_testkit::{Builder, Cluster, Sentinel, Server};

use crate::support::journal::{STALE, ask, ms, next};
use crate::support::{ACL, Route, forsake, patient, routes, users};

const SPACE: &str = "failover";

/// The test's own, the user of the crate's file, and one whom nobody tells what is new.
fn server() -> Builder {
    let deaf = ACL.replace("PASSWORD", "secret").replace("PREFIX", SPACE);
    let deaf = deaf.replace("russet-cache", "deaf").replace(" +subscribe", "");
    let users = users(SPACE).replace("-@all", "-@all +wait");
    Server::builder().acl_file(format!("{users}{deaf}"))
}

fn handle(url: &str, user: &str) -> Redis {
    patient(&url.replace("://", &format!("://{user}:secret@")))
}

fn cache(redis: &Redis, max_staleness: Duration) -> Cache<Route> {
    let cache = routes(redis, &KeySpace::new(SPACE).unwrap());
    cache.journal(max_staleness).local(100).budget(ms(300)).build().unwrap()
}

/// All that it has until now is on a replica, too.
async fn replicated(primary: &Server, beside: &Key) {
    let mut conn = primary.conn().await.unwrap();
    let mark = format!("{}:mark", String::from_utf8_lossy(beside.as_bytes()));
    assert!(conn.call(&["SET", &mark, "1"]).await.unwrap().is_ok());
    assert_eq!(conn.call(&["WAIT", "1", "10000"]).await.unwrap().int(), Some(1));
}

/// Until the cache keeps this one.
async fn becomes(cache: &Cache<Route>, key: u64, fare: u32) {
    let begun = Instant::now();
    while ask(cache, key, fare, &[]).await != (fare, Tier::Local) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{key} is out of date for good");
        tokio::time::sleep(ms(5)).await;
    }
}

async fn noticed(cache: &Cache<Route>) {
    let begun = Instant::now();
    while cache.stats().failovers == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody noticed");
        tokio::time::sleep(ms(2)).await;
    }
}

/// One that says, one that hears, one that does not, and one that says and dies.
struct Stage {
    says: Cache<Route>,
    hears: Cache<Route>,
    deaf: Cache<Route>,
    dies: Option<Cache<Route>>,
    /// Of which the second has a tag.
    keys: [u64; 3],
}

impl Stage {
    async fn new(url: &str, keys: [u64; 3]) -> Self {
        let [says, hears, dies] = [(); 3].map(|()| cache(&handle(url, "russet-cache"), STALE));
        let deaf = cache(&handle(url, "deaf"), Duration::from_secs(60));
        let this = Self { says, hears, deaf, dies: Some(dies), keys };
        for cache in [&this.says, &this.hears, &this.deaf] {
            for (key, tags) in keys.into_iter().zip([&[][..], &["t"], &[]]) {
                assert_eq!(ask(cache, key, 1, tags).await.0, 1);
            }
        }
        this
    }

    /// What is acknowledged here, and lost.
    async fn invalidate(&mut self) {
        assert!(self.says.remove(self.keys[0]).await.unwrap());
        self.says.invalidate_tags(["t"]).await.unwrap();
        let dies = self.dies.take().unwrap();
        assert!(dies.remove(self.keys[2]).await.unwrap());
    }

    async fn recovers(self, mut heard: Events<Invalidation>) {
        for cache in [&self.says, &self.hears, &self.deaf] {
            noticed(cache).await;
        }
        // Nobody says again what the one that died had said: it is back until its TTL ends. But whoever was not told
        // does not go on with what it kept.
        assert_eq!(ask(&self.deaf, self.keys[2], 2, &[]).await, (1, Tier::Redis));
        for cache in [&self.says, &self.hears] {
            for key in &self.keys[..2] {
                becomes(cache, *key, 2).await;
            }
        }
        assert_eq!(self.says.stats().owed, 0);
        assert!(self.says.stats().repeated >= 2, "{:?}", self.says.stats());
        assert_eq!(self.hears.stats().repeated, 0);
        while next(&mut heard).await.what != Invalid::Unknown {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_under_sentinel_took_back_is_said_again() {
    let servers = Sentinel::builder().server(server()).start().await.unwrap();
    let mut stage = Stage::new(&servers.url(), [1, 2, 3]).await;
    let primary = servers.primary().await.unwrap();
    replicated(primary, &Key::raw("any")).await;
    forsake(primary).await;
    stage.invalidate().await;
    let heard = stage.hears.invalidations().unwrap();
    // Whoever asks for more than that is told that it is not safe yet. What can be loaded again waits for nobody.
    let safe = handle(&servers.url(), "russet-cache").with_durability(Durability::Replicas(1));
    let safe = cache(&safe.with_deadline(ms(500)), STALE);
    assert!(safe.remove(4_u64).await.unwrap_err().is_retryable());
    assert_eq!(safe.stats().owed, 1);
    assert_eq!(ask(&safe, 5, 1, &[]).await, (1, Tier::Origin));
    assert_eq!((safe.stats().fills, safe.stats().fill_errors), (1, 0));
    primary.kill().await.unwrap();
    servers.promoted().await.unwrap();
    stage.recovers(heard).await;
}

/// It is not the journal's node that dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_in_a_cluster_took_back_is_said_again() {
    let servers = Cluster::builder().server(server()).replicas(1).start().await.unwrap();
    let space = KeySpace::new(SPACE).unwrap();
    let journal = servers.primary_of(space.key("cache-journal", "route").slot()).await.unwrap();
    let mut keys = Vec::new();
    let mut dies: Option<Arc<Server>> = None;
    for key in 0.. {
        let node = servers.primary_of(space.key("cache.route", key).slot()).await.unwrap();
        let port = dies.as_ref().map_or(node.port(), |dies| dies.port());
        if node.port() == port && port != journal.port() {
            keys.push(key);
            dies = Some(node);
        }
        if keys.len() == 3 {
            break;
        }
    }
    let mut stage = Stage::new(&servers.url(), keys.try_into().unwrap()).await;
    let dies = dies.unwrap();
    replicated(&dies, &space.key("cache.route", stage.keys[0])).await;
    forsake(&dies).await;
    stage.invalidate().await;
    let heard = stage.hears.invalidations().unwrap();
    dies.kill().await.unwrap();
    servers.promoted(space.key("cache.route", stage.keys[0]).slot()).await.unwrap();
    stage.recovers(heard).await;
}
