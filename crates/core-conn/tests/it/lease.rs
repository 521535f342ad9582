//! Leases: what is granted, to whom, for how long, and at what cost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use russet_core_conn::{
    Acquired, Busy, ErrorKind, Extended, Fence, KeySpace, Lease, Leases, Redis, Released,
};
use russet_testkit::shared::{self, Topology};
use russet_testkit::{Conn, Proxy, Reply, Server, contract};

use crate::support::{ACL, ms, patient};

mod clock;
mod loss;
mod model;
mod processes;
mod protocol;
mod unknown;
mod waiting;

/// Servers that other tests use, too, as the user of the ACL file, and a key space that is this test's alone.
async fn shared_space(at: Topology, test: &str) -> (Redis, KeySpace) {
    let prefix = shared::prefix(test);
    let url = at.url_as(ACL, &prefix, &[]).await.unwrap();
    (patient(&url).build().unwrap(), KeySpace::new(prefix).unwrap())
}

async fn shared_leases(at: Topology, test: &str) -> (Leases, KeySpace) {
    let (redis, space) = shared_space(at, test).await;
    (Leases::new(&redis, &space).unwrap(), space)
}

/// Takes a lease that nobody has.
async fn take(leases: &Leases, name: &str) -> Lease {
    match leases.try_acquire(name).await.unwrap() {
        Acquired::Held(lease) => lease,
        other => panic!("{other:?}"),
    }
}

async fn busy(leases: &Leases, name: &str) -> Busy {
    match leases.try_acquire(name).await.unwrap() {
        Acquired::Busy(busy) => busy,
        other => panic!("{other:?}"),
    }
}

/// A connection to the shared server that keeps this lease.
async fn conn_of(at: Topology, space: &KeySpace, name: &str) -> Conn {
    at.conn(space.key("lease", name).as_bytes()).await.unwrap()
}

/// What the server keeps of a lease.
async fn kept(conn: &mut Conn, space: &KeySpace, name: &str) -> HashMap<String, String> {
    let key = space.key("lease", name);
    let reply = conn.call(&[b"HGETALL".as_slice(), key.as_bytes()]).await.unwrap();
    let text = |reply: &Reply| reply.text().unwrap().to_owned();
    reply.items().unwrap().chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

contract!(threads, one_has_it_and_the_next_gets_a_higher_fence);
async fn one_has_it_and_the_next_gets_a_higher_fence(at: Topology) {
    let (leases, space) = shared_leases(at, "fence").await;
    let mut conn = conn_of(at, &space, "report").await;
    let mut last: Option<Fence> = None;
    for _ in 0..20 {
        let lease = take(&leases, "report").await;
        assert!(Some(lease.fence()) > last, "{last:?} {:?}", lease.fence());
        let busy = busy(&leases, "report").await;
        assert_eq!(busy.fence, lease.fence());
        assert!(busy.retry_after <= ms(10_000) && busy.retry_after > ms(5_000), "{busy:?}");
        // Another name is another lease.
        assert_eq!(take(&leases, "other").await.release().await.unwrap(), Released::Yes);
        last = Some(lease.fence());
        assert!(lease.remaining() <= ms(9_000) && lease.remaining() > ms(5_000));
        let lost = lease.lost();
        assert!(!lost.is_cancelled());
        assert_eq!(lease.release().await.unwrap(), Released::Yes);
        assert!(lost.is_cancelled());
    }
    let kept = kept(&mut conn, &space, "report").await;
    assert_eq!(kept["until"], "0");
    assert_eq!(kept["fence"], last.unwrap().to_string());
    assert_eq!(kept["owner"].len(), 32);
    // Microseconds of this year: no digit was lost.
    assert_eq!(kept["fence"].len(), 16);
}

contract!(threads, the_key_outlives_the_lease_by_a_day_and_no_more);
async fn the_key_outlives_the_lease_by_a_day_and_no_more(at: Topology) {
    let (leases, space) = shared_leases(at, "memory").await;
    let mut conn = conn_of(at, &space, "report").await;
    let key = space.key("lease", "report");
    let mut pttl = async || {
        let reply = conn.call(&[b"PTTL".as_slice(), key.as_bytes()]).await.unwrap();
        reply.int().unwrap() - 24 * 3_600_000
    };
    let lease = take(&leases, "report").await;
    let left = pttl().await;
    assert!(left <= 10_000 && left > 5_000, "{left}");
    assert!(matches!(lease.extend(ms(60_000)).await.unwrap(), Extended::Until(_)));
    let left = pttl().await;
    assert!(left <= 60_000 && left > 50_000, "{left}");
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
    assert!(pttl().await > 0);
}

contract!(threads, extending_never_shortens);
async fn extending_never_shortens(at: Topology) {
    let (leases, _) = shared_leases(at, "extend").await;
    let lease = take(&leases, "report").await;
    let Extended::Until(long) = lease.extend(ms(60_000)).await.unwrap() else { panic!("lost") };
    assert!(long > ms(50_000) && long <= ms(59_000), "{long:?}");
    let Extended::Until(still) = lease.extend(ms(1_000)).await.unwrap() else { panic!("lost") };
    assert!(still > ms(50_000) && still <= ms(59_000), "{still:?}");
    assert!(busy(&leases, "report").await.retry_after > ms(50_000));
    assert!(lease.extend(ms(1)).await.unwrap_err().to_string().starts_with("ttl"));
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
}

contract!(threads, names_are_segments);
async fn names_are_segments(at: Topology) {
    let (leases, _) = shared_leases(at, "names").await;
    let mut held = Vec::new();
    for name in [("a", "b"), ("a:b", ""), ("", "a:b"), ("a", "b:"), ("{x}", "*"), ("a", "B")] {
        held.push(leases.try_acquire(name).await.unwrap().held().unwrap());
    }
    held.push(leases.try_acquire(7).await.unwrap().held().unwrap());
    assert!(leases.try_acquire("7").await.unwrap().held().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquire_and_release_are_one_trip_each() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url()).build().unwrap();
    let leases = Leases::new(&redis, &KeySpace::new("t").unwrap()).unwrap();
    let mut conn = server.conn().await.unwrap();
    // The layout is agreed upon, and the scripts are loaded.
    let warm = take(&leases, "warm").await;
    assert!(matches!(warm.extend(ms(10_000)).await.unwrap(), Extended::Until(_)));
    assert_eq!(warm.release().await.unwrap(), Released::Yes);
    conn.call(&["CONFIG", "RESETSTAT"]).await.unwrap();
    proxy.reset_counters();
    let mut trips = Vec::new();
    let lease = take(&leases, "report").await;
    trips.push(proxy.counters().all_requests());
    busy(&leases, "report").await;
    trips.push(proxy.counters().all_requests());
    assert!(matches!(lease.extend(ms(20_000)).await.unwrap(), Extended::Until(_)));
    trips.push(proxy.counters().all_requests());
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
    trips.push(proxy.counters().all_requests());
    assert_eq!(trips, [1, 2, 3, 4]);
    assert_eq!((proxy.requests("EVALSHA"), proxy.trips()), (4, 4));
    let stats = conn.call(&["INFO", "commandstats"]).await.unwrap();
    let stats = stats.text().unwrap();
    assert!(stats.contains("cmdstat_evalsha:calls=4,"), "{stats}");
    assert!(!stats.contains("cmdstat_eval:"), "{stats}");
}

contract!(threads, another_layout_is_refused);
/// Two programs that lay out the same key space otherwise would both get the same lease.
async fn another_layout_is_refused(at: Topology) {
    let (redis, space) = shared_space(at, "layout").await;
    drop(take(&Leases::new(&redis, &space).unwrap(), "report").await);
    let other = space.partitions(64.try_into().unwrap());
    let error = Leases::new(&redis, &other).unwrap().try_acquire("report").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Layout { .. }), "{error}");
}

/// Nobody's time depends on another's, also before the layout is agreed upon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_acquires_while_redis_hangs_do_not_wait_for_one_another() {
    let server = Server::start().await.unwrap();
    let never = Duration::from_secs(3_600);
    let redis = patient(&server.url()).probe(never, never).build().unwrap();
    redis.ready().await.unwrap();
    let budget = ms(200);
    let space = KeySpace::new("t").unwrap();
    let leases = Leases::new(&redis.with_deadline(budget), &space).unwrap();
    server.pause().await.unwrap();
    let begun = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let leases = leases.clone();
        asking.spawn(async move { leases.try_acquire("report").await.unwrap_err() });
    }
    for error in asking.join_all().await {
        assert!(matches!(error.kind(), ErrorKind::Deadline(_)), "{error}");
    }
    let took = begun.elapsed();
    assert!(took >= budget && took < 20 * budget, "{took:?}");
}

contract!(threads, no_token_and_no_name_is_shown);
async fn no_token_and_no_name_is_shown(at: Topology) {
    let (leases, space) = shared_leases(at, "secret").await;
    let lease = take(&leases, "hunter2").await;
    let mut conn = conn_of(at, &space, "hunter2").await;
    let owner = kept(&mut conn, &space, "hunter2").await["owner"].clone();
    let shown = format!("{leases:?} {lease:?} {:?}", leases.try_acquire("hunter2").await);
    assert!(!shown.contains(&owner) && !shown.contains("hunter2"), "{shown}");
}

fn quick(redis: &Redis, space: &KeySpace, ttl: u64) -> Leases {
    Leases::builder(redis, space).ttl(ms(ttl)).build().unwrap()
}
