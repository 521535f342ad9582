//! Clusters that are cut in two: by gates that hold up what must not pass, and in a network that loses it.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use russet_core_conn::{Cmd, Key, Redis, Value};
use russet_testkit::{Clients, Cluster, Error, Network, Server};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::key;
use crate::support::{ms, until};

const KEYS: u64 = 60;
const DEADLINE: Duration = Duration::from_millis(300);

/// Calls without end, and what became of them.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    /// Whether all slots serve again, and how many calls failed that began after that.
    healed: AtomicBool,
    failed_healed: AtomicU64,
    slowest_us: AtomicU64,
}

impl Load {
    fn start(redis: &Redis) -> (Arc<Self>, JoinSet<()>) {
        let load = Arc::new(Self::default());
        let mut tasks = JoinSet::new();
        for task in 0..8 {
            let (redis, load) = (redis.clone(), load.clone());
            tasks.spawn(async move {
                for n in (task..).step_by(7) {
                    if load.over.load(SeqCst) {
                        break;
                    }
                    let (begun, healed) = (Instant::now(), load.healed.load(SeqCst));
                    let cmd = Cmd::write("INCR").key(&key(n % KEYS));
                    let done = redis.run::<i64>(cmd).await;
                    let took = u64::try_from(begun.elapsed().as_micros()).unwrap();
                    load.slowest_us.fetch_max(took, SeqCst);
                    let count = if done.is_ok() { &load.answered } else { &load.failed };
                    count.fetch_add(1, SeqCst);
                    if done.is_err() && healed {
                        load.failed_healed.fetch_add(1, SeqCst);
                    }
                    tokio::time::sleep(ms(1)).await;
                }
            });
        }
        (load, tasks)
    }
}

/// Whether every slot serves.
async fn all_serve(redis: &Redis) -> bool {
    let replies = redis.pipeline((0..KEYS).map(|n| Cmd::idempotent("EXISTS").key(&key(n)))).await;
    replies.into_iter().all(|reply| matches!(reply, Ok(Value::Int(_))))
}

async fn check(
    network: Option<Network>,
    clients: Clients,
    far: impl AsyncFn(&Cluster) -> Vec<Arc<Server>>,
    heals_itself: bool,
) {
    let cluster = Cluster::builder().primaries(3).replicas(1).full_coverage(false);
    let cluster = match network {
        Some(network) => cluster.partitions_in(network),
        None => cluster.partitions(),
    };
    let cluster = cluster.start().await.unwrap();
    let redis = Redis::builder(&cluster.url()).deadline(DEADLINE).build().unwrap();
    redis.with_deadline(ms(10_000)).ready().await.unwrap();
    let (load, mut tasks) = Load::start(&redis);
    until("calls are answered", async || load.answered.load(SeqCst) > 100).await;
    let far = far(&cluster).await;
    cluster.cut_off(&far.iter().map(|node| &**node).collect::<Vec<_>>(), clients).unwrap();
    if heals_itself {
        let new = cluster.promoted(key(1).slot()).await.unwrap();
        let promoted = Instant::now();
        let mut conn = new.conn().await.unwrap();
        let probe = Key::raw("{k:1}:probe");
        until("writes reach the new primary", async || {
            let set = Cmd::idempotent("SET").key(&probe).arg("here");
            redis.run::<()>(set).await.is_ok()
                && conn.call(&["GET", "{k:1}:probe"]).await.unwrap().text() == Some("here")
        })
        .await;
        println!("{clients:?}: written to {:?} after its promotion", promoted.elapsed());
        until("the others take over", async || all_serve(&redis).await).await;
    } else {
        until("calls fail", async || load.failed.load(SeqCst) > 50).await;
        assert!(!all_serve(&redis).await);
    }
    cluster.heal().unwrap();
    cluster.ready().await.unwrap();
    until("all serve", async || all_serve(&redis).await).await;
    load.healed.store(true, SeqCst);
    let answered = load.answered.load(SeqCst);
    until("goes on", async || load.answered.load(SeqCst) > answered + 500).await;
    assert_eq!(load.failed_healed.load(SeqCst), 0, "of those that began after it healed");
    load.over.store(true, SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let slowest = Duration::from_micros(load.slowest_us.load(SeqCst));
    println!(
        "{clients:?}: {:?} answered, {:?} failed, the slowest {slowest:?}",
        load.answered, load.failed
    );
    // What is beyond is the machine's.
    assert!(slowest < DEADLINE + ms(200), "{slowest:?}");
    assert!(redis.close().await.is_clean());
}

/// Where this may make one.
fn in_a_network<F: Future>(test: impl FnOnce(Network) -> F) {
    let network = match Network::enter() {
        Ok(network) => network,
        Err(Error::Network(why)) => return eprintln!("{why}"),
        Err(other) => panic!("{other}"),
    };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test(network));
}

async fn larger(cluster: &Cluster) -> Vec<Arc<Server>> {
    let first = cluster.primary_of(0).await.unwrap();
    let near = cluster.replicas_of(0).await.unwrap();
    let stays = |node: &Arc<Server>| node.port() == first.port() || node.port() == near[0].port();
    cluster.nodes().into_iter().filter(|node| !stays(node)).collect()
}

async fn a_primary(cluster: &Cluster) -> Vec<Arc<Server>> {
    vec![cluster.primary_of(key(1).slot()).await.unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_nobody_reaches_is_followed_by_its_replica() {
    check(None, Clients::AreCutOffToo, a_primary, true).await;
}

#[test]
fn packets_to_a_primary_are_lost() {
    in_a_network(|network| check(Some(network), Clients::AreCutOffToo, a_primary, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_only_clients_reach_is_left_for_its_replica() {
    check(None, Clients::Reach, a_primary, true).await;
}

#[test]
fn packets_between_a_primary_and_the_others_are_lost() {
    in_a_network(|network| check(Some(network), Clients::Reach, a_primary, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_the_smaller_side_are_told_so_in_time_and_go_on_when_it_heals() {
    check(None, Clients::AreCutOffToo, larger, false).await;
}

#[test]
fn packets_to_the_larger_side_are_lost() {
    in_a_network(|network| check(Some(network), Clients::AreCutOffToo, larger, false));
}
