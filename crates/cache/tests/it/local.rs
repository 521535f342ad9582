//! What a process keeps in its own memory is not stale for longer than it may be.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use russet_cache::{Freshness, Load, Tier};
use russet_core_conn::{KeySpace, Redis};
use russet_testkit::shared::Topology;
use russet_testkit::{Proxy, Server, contract, soak};

use crate::support::journal::{STALE, ask, local, ms, private, tracked, until};
use crate::support::{
    At, Backend, Origin, Route, is_quiet, patient, route, routes, space, unprobed, url, users,
};

contract!(other_processes_know_in_time);
pub(crate) async fn other_processes_know_in_time(at: impl Into<At>) {
    let quick = heard(at, 20).await;
    assert!(quick >= 15, "only {quick} of 20 heard of it");
}

#[tokio::test]
#[ignore = "soak"]
async fn soak_invalidations_heard() {
    let (server, rounds) = (Server::start().await.unwrap(), 1_000);
    let quick = heard(Topology::Server, rounds).await;
    let version = server.version().to_string();
    let figures = [("heard_in_50_ms_permille", quick * 1_000 / u64::from(rounds))];
    soak::record("invalidations-heard", &version, &[("rounds", rounds.into())], &[], &figures);
}

/// Of so many invalidations, how many another process has heard of within 50 ms.
async fn heard(at: impl Into<At>, rounds: u32) -> u64 {
    let (redis, space) = space(at, "others").await;
    let [here, there] = [(); 2].map(|()| local(&redis, &space));
    let mut quick = 0;
    for round in 0..rounds {
        ask(&here, 1, round, &["t"]).await;
        assert_eq!(ask(&there, 1, 99, &["t"]).await.0, round);
        assert_eq!(ask(&there, 1, 99, &["t"]).await, (round, Tier::Local));
        let next = round + 1;
        match round % 5 {
            0 => drop(here.remove(1_u64).await.unwrap()),
            1 => drop(here.invalidate_tags(["t"]).await.unwrap()),
            2 => drop(here.invalidate_all().await.unwrap()),
            3 => drop(here.expire(1_u64).await.unwrap()),
            _ => here.insert(1_u64, Load::value(route(next)).tags(["t"])).await.unwrap(),
        }
        // Here at once.
        assert_eq!(ask(&here, 1, next, &["t"]).await.0, next);
        quick += u64::from(until(&there, 1, next, &["t"]).await < ms(50));
    }
    quick
}

contract!(a_hit_in_memory_asks_redis_nothing);
async fn a_hit_in_memory_asks_redis_nothing(at: Topology) {
    let (redis, space) = space(at, "silent").await;
    let cache =
        routes(&redis, &space).journal(Duration::from_secs(60)).local(1_000).build().unwrap();
    let origin = Origin::default();
    let asks = async |key: u64| {
        let origin = origin.clone();
        cache.get_or_load(key, move |_| origin.give(route(1))).await.unwrap()
    };
    asks(1).await;
    assert_eq!(asks(1).await.tier(), Tier::Local);
    assert_eq!(cache.get(1_u64).await.unwrap().unwrap().tier(), Tier::Local);
    let batch = cache.get_or_load_many([1_u64, 1], |_, _| async {
        Ok::<_, Infallible>(Vec::<(u64, Route)>::new())
    });
    assert!(batch.await.unwrap().iter().all(|lookup| lookup.tier() == Tier::Local));
    // With the handle closed nothing can be asked.
    redis.close().await;
    for _ in 0..1_000 {
        let found = asks(1).await;
        assert_eq!((found.tier(), found.freshness()), (Tier::Local, Freshness::Fresh));
    }
    assert_eq!(origin.calls(), 1);
    assert_eq!(cache.stats().local, 1_003);
}

/// The proxy counts the trips.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_in_redis_is_one_trip_and_what_is_new_is_asked_for_beside_it() {
    let server = Server::builder().acl_file(users("trips")).start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let space = KeySpace::new("trips").unwrap();
    let through = || unprobed(Redis::builder(&url(proxy.addr())));
    let past = patient(&url(server.addr()));
    let writer = routes(&past, &space).journal(STALE).build().unwrap();
    for key in 0..3_u64 {
        writer.insert(key, route(1)).await.unwrap();
    }
    let minute = |redis: &Redis| routes(redis, &space).journal(Duration::from_secs(60));
    for (local, command) in [(false, "GET"), (true, "EVALSHA")] {
        let redis = through();
        let cache = if local { minute(&redis).local(10) } else { minute(&redis) };
        let cache = cache.build().unwrap();
        // The layout is agreed upon, the journal begun, and whoever listens listens.
        assert_eq!(ask(&cache, 1, 9, &[]).await, (1, Tier::Redis));
        tokio::time::sleep(ms(200)).await;
        proxy.until(is_quiet).await.unwrap();
        proxy.reset_counters();
        assert_eq!(ask(&cache, 2, 9, &[]).await, (1, Tier::Redis));
        let counters = proxy.counters();
        let requests = (counters.requests(command), counters.all_requests(), counters.trips);
        assert_eq!(requests, (1, 1, 1), "{counters:?}");
        redis.close().await;
    }
    // Whoever asks when half of the bound is over does not wait for the answer either.
    let cache = routes(&through(), &space).journal(ms(4_000)).build().unwrap();
    ask(&cache, 1, 9, &[]).await;
    tokio::time::sleep(ms(2_100)).await;
    proxy.until(is_quiet).await.unwrap();
    proxy.reset_counters();
    proxy.delay_replies(ms(500));
    let begun = Instant::now();
    assert_eq!(ask(&cache, 1, 9, &[]).await, (1, Tier::Redis));
    assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
    proxy.until(|counters| counters.requests("EVALSHA") == 1).await.unwrap();
}

contract!(memory_keeps_nothing_for_longer_than_redis);
pub(crate) async fn memory_keeps_nothing_for_longer_than_redis(at: impl Into<At>) {
    let (redis, space) = space(at, "local-ttl").await;
    let cache = routes(&redis, &space).local(10).jitter(0.0);
    let long = cache.clone().ttl(ms(300)).local_ttl(ms(60_000)).build().unwrap();
    let begun = Instant::now();
    ask(&long, 1, 1, &[]).await;
    // From another one's fill, too.
    let other = cache.local_ttl(ms(60_000)).build().unwrap();
    tokio::time::sleep(ms(100)).await;
    assert_eq!(ask(&other, 1, 2, &[]).await.1, Tier::Redis);
    let mut near = 0;
    for cache in [&long, &other].into_iter().cycle() {
        let (fare, tier) = ask(cache, 1, 2, &[]).await;
        if fare == 2 {
            break;
        }
        near += usize::from(tier == Tier::Local);
        assert!(begun.elapsed() < ms(400), "kept for {:?}", begun.elapsed());
    }
    assert!(near > 10, "{near}");
    let brief = routes(&redis, &space).local(10).local_ttl(ms(20)).build().unwrap();
    ask(&brief, 2, 1, &[]).await;
    assert_eq!(ask(&brief, 2, 2, &[]).await, (1, Tier::Local));
    tokio::time::sleep(ms(25)).await;
    assert_eq!(ask(&brief, 2, 2, &[]).await, (1, Tier::Redis));
}

#[tokio::test]
async fn everything_deleted_at_once_is_noticed_in_time() {
    let (_server, mut conn, cache) = private().await;
    ask(&cache, 1, 1, &[]).await;
    assert_eq!(ask(&cache, 1, 2, &[]).await, (1, Tier::Local));
    conn.call(&["FLUSHALL"]).await.unwrap();
    until(&cache, 1, 2, &[]).await;
}

#[tokio::test]
async fn messages_that_are_lost_make_it_no_staler_than_it_may_be() {
    let (server, mut conn, cache) = private().await;
    let writer = Backend::from(&patient(&url(server.addr())));
    let writer = tracked(&writer, &KeySpace::new("own").unwrap());
    let mut slow = 0;
    for round in 0..6_u32 {
        ask(&cache, 1, round, &[]).await;
        assert_eq!(ask(&cache, 1, 99, &[]).await, (round, Tier::Local));
        // Nobody may subscribe any more, and who has is cut off.
        let kept = conn.call(&["ACL", "SETUSER", "russet-cache", "resetchannels"]).await.unwrap();
        assert!(kept.is_ok());
        conn.call(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
        conn.call(&["ACL", "SETUSER", "russet-cache", "&own:none"]).await.unwrap();
        conn.call(&["DEL", "{own:0}:nothing"]).await.unwrap();
        let removed = writer.remove(1_u64).await;
        // It may not publish either, and says so; what it removed is removed.
        assert!(removed.is_err());
        conn.call(&["ACL", "SETUSER", "russet-cache", "allchannels"]).await.unwrap();
        writer.remove(1_u64).await.unwrap();
        slow += usize::from(until(&cache, 1, round + 1, &[]).await > ms(20));
    }
    assert!(slow > 0, "no message was lost");
}

#[tokio::test]
async fn without_redis_memory_serves_for_no_longer_than_it_may_be_stale() {
    let (server, _conn, cache) = private().await;
    ask(&cache, 1, 1, &[]).await;
    assert_eq!(cache.stats().bypassed, 0);
    server.pause().await.unwrap();
    let begun = Instant::now();
    let mut near = 0;
    loop {
        let asked = begun.elapsed();
        let (_, tier) = ask(&cache, 1, 1, &[]).await;
        if tier == Tier::Origin {
            break;
        }
        assert_eq!(tier, Tier::Local);
        assert!(asked <= STALE, "{asked:?}");
        near += 1;
        tokio::time::sleep(ms(1)).await;
    }
    assert!(near > 10, "{near}");
    assert_eq!(cache.stats().bypassed, 1);
    server.resume().await.unwrap();
    // Nothing that was loaded meanwhile was cached.
    let begun = Instant::now();
    while ask(&cache, 1, 2, &[]).await != (1, Tier::Local) {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
