//! Slots that are moved under load.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use bytes::Bytes;
use russet_core_conn::{Cmd, Error, ErrorKind, Key, Redis, Script, SendOutcome};
use russet_testkit::{Cluster, Flavor, Server};
use tokio::task::JoinSet;

use super::{conns, count};
use crate::support::{ms, record_figures, until};

mod rival;

const KEYS: u64 = 2_000;
const TASKS: usize = 32;
const SLOTS: u16 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_mistaken_or_lost_while_slots_are_moved() {
    check(Moving::Open(ms(500)), 1, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_mistaken_or_lost_while_slots_are_moved_as_a_whole() {
    check(Moving::AtOnce, 1, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_cluster_reshard() {
    check(Moving::Open(ms(3_000)), 10, 1).await;
    check(Moving::AtOnce, 10, 1).await;
}

#[derive(Debug, Clone, Copy)]
enum Moving {
    /// Key by key, and held open for so long.
    Open(Duration),
    /// By the servers themselves, where they can.
    AtOnce,
}

impl Moving {
    async fn step(self, cluster: &Cluster, slots: &[u16], from: &Server, to: &Server) {
        match self {
            Self::Open(held) => {
                let open = cluster.open_slots(slots.iter().copied(), from, to).await.unwrap();
                open.move_keys().await.unwrap();
                tokio::time::sleep(held).await;
                open.move_keys().await.unwrap();
                open.assign().await.unwrap();
            }
            Self::AtOnce => {
                cluster.migrate_atomically(slots.iter().copied(), from, to).await.unwrap();
            }
        }
        cluster.ready().await.unwrap();
    }
}

/// Nobody serves it for a while.
const ORPHAN: u16 = 16_000;

/// Half of them live in the slots that are moved, and none in the orphan.
fn names(slots: &[u16]) -> Vec<Key> {
    let served = |key: &Key| key.slot() != ORPHAN;
    let all = || (0_u64..).map(|number| Key::raw(format!("r:{number}"))).filter(served);
    let half = KEYS as usize / 2;
    let near = all().filter(|key| slots.contains(&key.slot())).take(half);
    let far = all().filter(|key| !slots.contains(&key.slot())).take(half);
    near.chain(far).collect()
}

/// A key, and what is known of its counter.
struct Counter {
    key: Key,
    /// Beside it, with its name in it.
    own: Key,
    confirmed: AtomicU64,
    perhaps: AtomicU64,
}

impl Counter {
    fn new(key: Key) -> Self {
        let own = Key::raw(format!("{{{}}}:own", String::from_utf8_lossy(key.as_ref())));
        Self { key, own, confirmed: AtomicU64::new(0), perhaps: AtomicU64::new(0) }
    }
}

#[derive(Default)]
struct Found {
    over: AtomicBool,
    calls: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
}

impl Found {
    fn failed(&self, failed: &Failed) {
        eprintln!("{}", failed.why);
        self.failed.fetch_add(1, SeqCst);
    }
}

struct Failed {
    why: String,
    /// Whether it may have been applied all the same.
    perhaps: bool,
}

/// What the load calls, of one client or another.
trait Calls: Send + Sync + 'static {
    fn get(&self, key: &Key) -> impl Future<Output = Result<Bytes, Failed>> + Send;
    fn add(&self, key: &Key) -> impl Future<Output = Result<u64, Failed>> + Send;
    fn add_by_script(&self, key: &Key) -> impl Future<Output = Result<u64, Failed>> + Send;
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { why: error.to_string(), perhaps: error.outcome() == SendOutcome::Unknown }
    }
}

impl Calls for Redis {
    async fn get(&self, key: &Key) -> Result<Bytes, Failed> {
        Ok(self.run(Cmd::read("GET").key(key)).await?)
    }

    async fn add(&self, key: &Key) -> Result<u64, Failed> {
        Ok(self.run(Cmd::write("INCR").key(key)).await?)
    }

    async fn add_by_script(&self, key: &Key) -> Result<u64, Failed> {
        let add = Script::new("add", "return redis.call('INCR', KEYS[1])");
        Ok(self.script(add.key(key)).await?)
    }
}

/// Reads and adds until it is over, by commands and by scripts.
async fn load(client: impl Calls, counters: Arc<Vec<Counter>>, found: Arc<Found>, task: usize) {
    let mut place = task * 61;
    while !found.over.load(SeqCst) {
        place = (place + 7) % counters.len();
        let Counter { key, own, confirmed, perhaps } = &counters[place];
        found.calls.fetch_add(2, SeqCst);
        match client.get(own).await {
            Ok(value) if value == key.as_ref() => {}
            Ok(_) => drop(found.wrong.fetch_add(1, SeqCst)),
            Err(error) => found.failed(&error),
        }
        let added = match place.is_multiple_of(2) {
            true => client.add(key).await,
            false => client.add_by_script(key).await,
        };
        match added {
            Ok(_) => drop(confirmed.fetch_add(1, SeqCst)),
            Err(error) => {
                found.failed(&error);
                if error.perhaps {
                    perhaps.fetch_add(1, SeqCst);
                }
            }
        }
    }
}

/// Calls to a slot that nobody serves: each is answered by us, and costs the others nothing. Answers how many they were.
async fn call_nobody(cluster: &Cluster, redis: &Redis) -> u64 {
    let owner = cluster.primary_of(ORPHAN).await.unwrap();
    let slot = ORPHAN.to_string();
    for node in [owner.clone()].into_iter().chain(cluster.nodes()) {
        // The second time the owner has nothing to give up.
        node.conn().await.unwrap().call(&["CLUSTER", "DELSLOTS", &slot]).await.unwrap();
    }
    // A server that were asked would say that the cluster is down, and that ends the link on fred.
    let is_served = async || {
        let nodes = redis.nodes(None).await.unwrap();
        nodes.iter().any(|node| node.slots.iter().any(|slots| slots.contains(&ORPHAN)))
    };
    until("it is nobody's", async || !is_served().await).await;
    let is_there = |key: &Key| key.slot() == ORPHAN;
    let key = (0_u64..).map(|number| Key::raw(format!("o:{number}"))).find(is_there).unwrap();
    let brief = redis.with_deadline(ms(50));
    let mut calls = 0;
    let begun = Instant::now();
    while begun.elapsed() < ms(500) {
        let error = brief.run::<u64>(Cmd::write("INCR").key(&key)).await.unwrap_err();
        let ours =
            matches!(error.kind(), ErrorKind::Unserved { slot: Some(slot) } if *slot == ORPHAN);
        assert!(ours && error.outcome() == SendOutcome::NotSent, "{error}");
        calls += 1;
    }
    let taken = owner.conn().await.unwrap().call(&["CLUSTER", "ADDSLOTS", &slot]).await.unwrap();
    assert!(taken.is_ok(), "{taken:?}");
    cluster.ready().await.unwrap();
    until("it is served", async || is_served().await).await;
    calls
}

/// Each round moves the slots there and back. `share`: of the redirections that the soak is to meet, one in so many.
async fn check(moving: Moving, rounds: u64, share: u64) {
    // With full coverage a slot that nobody serves takes all down.
    let cluster = Cluster::builder().primaries(3).full_coverage(false).start().await.unwrap();
    let nodes = cluster.nodes();
    let version = nodes[0].version();
    let able = match version.flavor {
        Flavor::Valkey => version.at_least(9, 0),
        _ => version.at_least(8, 4),
    };
    if matches!(moving, Moving::AtOnce) && !able {
        println!("{version} does not move slots by itself");
        return;
    }
    let slots: Vec<u16> = (0..SLOTS).collect();
    let redis = Redis::builder(&cluster.url()).deadline(Duration::from_secs(5)).build().unwrap();
    redis.ready().await.unwrap();
    let counters: Arc<Vec<_>> = Arc::new(names(&slots).into_iter().map(Counter::new).collect());
    for Counter { key, own, .. } in counters.iter() {
        let () = redis.run(Cmd::idempotent("SET").key(own).arg(key.as_ref())).await.unwrap();
    }
    let found = Arc::new(Found::default());
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(load(redis.clone(), counters.clone(), found.clone(), task));
    }
    let mut conns = conns(&cluster).await;
    let mut seen = async || {
        [
            count(&mut conns, "commandstats", "cmdstat_cluster|shards:calls=").await,
            count(&mut conns, "errorstats", "errorstat_MOVED:count=").await,
            count(&mut conns, "errorstats", "errorstat_ASK:count=").await,
        ]
    };
    let (mut met, mut unserved) = ([0; 3], 0);
    for round in 0..rounds {
        let before = seen().await;
        for (from, to) in [(0, 1), (1, 0)] {
            moving.step(&cluster, &slots, &nodes[from], &nodes[to]).await;
            // Whoever is behind by then is told.
            tokio::time::sleep(ms(300)).await;
        }
        let now = seen().await;
        let own = [0, 1, 2].map(|place| now[place] - before[place]);
        let [refreshes, moved, asked] = own;
        met = [0, 1, 2].map(|place| met[place] + own[place]);
        let calls = found.calls.load(SeqCst);
        println!("round {round}: {refreshes} refreshes, {moved} MOVED, {asked} ASK, {calls} calls");
        assert!(refreshes <= 20, "{refreshes} refreshes");
        assert!(moved >= 100 / share, "{moved} MOVED");
        match moving {
            Moving::Open(_) => assert!(asked >= 1_000 / share, "{asked} ASK"),
            Moving::AtOnce => assert_eq!(asked, 0),
        }
        // The map is asked for again and again meanwhile, so it is no part of what was counted.
        unserved += call_nobody(&cluster, &redis).await;
    }
    found.over.store(true, SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(found.wrong.load(SeqCst), 0, "wrong values");
    for Counter { key, confirmed, perhaps, .. } in counters.iter() {
        let count = redis.run::<Option<u64>>(Cmd::read("GET").key(key)).await.unwrap().unwrap_or(0);
        let (least, most) = (confirmed.load(SeqCst), perhaps.load(SeqCst));
        assert!((least..=least + most).contains(&count), "{key:?}: {count}, {least} + {most}");
    }
    assert_eq!(found.failed.load(SeqCst), 0, "calls failed");
    let calls = found.calls.load(SeqCst);
    let name = match moving {
        Moving::Open(_) => "cluster_reshard",
        Moving::AtOnce => "cluster_reshard_at_once",
    };
    let [refreshes, moved, asked] = met;
    record_figures(
        name,
        &version.to_string(),
        &[("rounds", rounds), ("calls", calls)],
        &[("moved", moved), ("ask", asked), ("unserved", unserved)],
        &[("refreshes", refreshes)],
    );
}
