//! What is asked for, told to the whole fleet.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use russet_cache::{Access, Accessed, Cache, Error};
use russet_core_conn::{KeySpace, Redis};
use russet_testkit::shared::Topology;
use russet_testkit::{Server, contract};

use crate::support::{Origin, Route, patient, route, routes, space};

/// One that merges only when it is asked.
fn watched(redis: &Redis, space: &KeySpace) -> Cache<Route> {
    let access = Access::default().every(Duration::from_secs(3_600));
    routes(redis, space).access(access).build().unwrap()
}

async fn ask(cache: &Cache<Route>, key: u64, times: usize) {
    for _ in 0..times {
        let load = |_| Origin::default().give(route(1));
        cache.get_or_load(("of", key), load).await.unwrap();
    }
}

fn counts(accessed: &[Accessed]) -> Vec<(u64, u64)> {
    accessed.iter().map(|found| (found.key.segment(1).unwrap(), found.count)).collect()
}

contract!(what_all_processes_ask_for_is_told_by_each);
async fn what_all_processes_ask_for_is_told_by_each(at: Topology) {
    let (redis, space) = space(at, "access").await;
    let [one, other] = [(); 2].map(|()| watched(&redis, &space));
    ask(&one, 1, 5).await;
    ask(&one, 2, 3).await;
    assert_eq!(counts(&one.hot(10).await.unwrap()), [(1, 5), (2, 3)]);
    ask(&other, 2, 4).await;
    ask(&other, 3, 1).await;
    assert!(other.get(("of", 4_u64)).await.unwrap().is_none());
    assert_eq!(counts(&one.hot(10).await.unwrap()), [(1, 5), (2, 3)]);
    assert_eq!(counts(&other.hot(10).await.unwrap())[..2], [(2, 7), (1, 5)]);
    assert_eq!(counts(&one.hot(1).await.unwrap()), [(2, 7)]);
    let mut missed = counts(&one.missed(10).await.unwrap());
    missed.sort_unstable();
    assert_eq!(missed, [(1, 1), (2, 1), (3, 1), (4, 1)]);
    let recent: Vec<u64> =
        one.recent(2).await.unwrap().iter().map(|key| key.segment(1).unwrap()).collect();
    assert_eq!(recent, [4, 3]);
    // What is told is the same key again.
    let hot = one.hot(2).await.unwrap();
    assert!(one.remove(&hot[0].key).await.unwrap());
    assert!(one.hot(0).await.unwrap().is_empty());

    // Once each, however often it is asked, and however many processes there are.
    let fleet = other.fleet_stats().await.unwrap();
    let (mine, others) = (one.stats(), other.stats());
    for (sum, [mine, others]) in [
        (fleet.hits, [mine.hits, others.hits]),
        (fleet.misses, [mine.misses, others.misses]),
        (fleet.loads, [mine.loads, others.loads]),
        (fleet.bytes_read, [mine.bytes_read, others.bytes_read]),
        (fleet.bytes_filled, [mine.bytes_filled, others.bytes_filled]),
        (fleet.load_times.count(), [mine.loads, others.loads]),
    ] {
        assert_eq!(sum, mine + others, "{fleet:?}");
    }
    assert!(fleet.bytes_read > 0 && fleet.bytes_filled > 0, "{fleet:?}");
    assert_eq!(fleet.hit_rate(), Some(10.0 / 14.0));
    assert!(one.get(("of", 2_u64)).await.unwrap().is_none());
    assert_eq!(one.fleet_stats().await.unwrap().misses, fleet.misses + 1);
}

contract!(it_is_merged_now_and_then_by_itself);
async fn it_is_merged_now_and_then_by_itself(at: Topology) {
    let (redis, space) = space(at, "access-merge").await;
    let access = Access::default().every(Duration::from_millis(50));
    let cache: Cache<Route> = routes(&redis, &space).access(access).build().unwrap();
    let reader = watched(&redis, &space);
    for round in 1..=2 {
        ask(&cache, 1, 50).await;
        while counts(&reader.hot(1).await.unwrap()) != [(1, round * 50)] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let stats = reader.fleet_stats().await.unwrap();
    assert_eq!((stats.hits, stats.misses), (99, 1));
}

#[tokio::test]
async fn no_lookup_costs_a_command_more() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let redis = patient(&server.url());
    let space = KeySpace::new("shop").unwrap();
    let cache = watched(&redis, &space);
    ask(&cache, 1, 1).await;
    conn.call(&["CONFIG", "RESETSTAT"]).await.unwrap();
    for key in 0..400 {
        ask(&cache, 1, 5).await;
        assert!(cache.get(("not", key)).await.unwrap().is_none());
    }
    cache.hot(10).await.unwrap();
    let stats = conn.call(&["INFO", "commandstats"]).await.unwrap();
    let calls = |name: &str| -> u64 {
        let lines = stats.text().unwrap().lines();
        let head = format!("cmdstat_{name}:calls=");
        let mut found = lines.filter_map(|line| line.strip_prefix(&head));
        found.next().map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    assert_eq!(calls("get"), 2_400);
    // 401 keys in three sorts are four pieces; one more reads.
    assert!(calls("evalsha") + calls("eval") <= 8, "{}", stats.text().unwrap());
}

contract!(what_one_process_answers_itself_counts_too);
async fn what_one_process_answers_itself_counts_too(at: Topology) {
    let (redis, space) = space(at, "access-near").await;
    let access = Access::default().every(Duration::from_secs(3_600));
    let cache: Cache<Route> = routes(&redis, &space)
        .journal(Duration::from_secs(60))
        .local(100)
        .access(access)
        .build()
        .unwrap();
    ask(&cache, 1, 20_000).await;
    ask(&cache, 2, 5_000).await;
    let stats = cache.fleet_stats().await.unwrap();
    assert_eq!((stats.local, stats.misses), (cache.stats().local, 2));
    assert!(stats.local > 24_900, "{stats:?}");
    let hot = counts(&cache.hot(5).await.unwrap());
    let [(1, first), (2, second)] = hot[..] else { panic!("{hot:?}") };
    // One in 16 was looked at.
    assert!((18_000..=22_000).contains(&first), "{first}");
    assert!((4_000..=6_000).contains(&second), "{second}");
}

contract!(counts_decay_and_there_is_an_end_to_how_many);
async fn counts_decay_and_there_is_an_end_to_how_many(at: Topology) {
    let (redis, space) = space(at, "access-decay").await;
    let access = Access::default().every(Duration::from_secs(3_600)).keys(5);
    let access = access.half_life(Duration::from_secs(1));
    let cache: Cache<Route> = routes(&redis, &space).access(access).build().unwrap();
    ask(&cache, 1, 64).await;
    let before = cache.hot(1).await.unwrap()[0].count;
    assert!(before > 32, "{before}");
    // By the server's clock, which it halves with.
    while cache.hot(1).await.unwrap().first().is_none_or(|hot| hot.count > before / 2) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // No more than can be told are merged at a time.
    for first in (10..100).step_by(5) {
        join_all((first..first + 5).map(|key| ask(&cache, key, 1))).await;
        cache.hot(1).await.unwrap();
    }
    ask(&cache, 2, 100).await;
    let hot = cache.hot(1_000).await.unwrap();
    assert!((1..=5).contains(&hot.len()), "{hot:?}");
    assert_eq!(hot[0].key.segment(1), Some(2));
    let [kept, end] = in_redis(at, &space).await;
    assert!((1..=20).contains(&kept) && (1..=60_000).contains(&end), "{kept} {end}");
}

/// How many hot keys there are, and when they end, in ms.
async fn in_redis(at: Topology, space: &KeySpace) -> [i64; 2] {
    let key = space.key("cache-hot", "route");
    let key = std::str::from_utf8(key.as_bytes()).unwrap();
    let mut conn = at.conn(key).await.unwrap();
    let card = conn.call(&["ZCARD", key]).await.unwrap().int().unwrap();
    [card, conn.call(&["PTTL", key]).await.unwrap().int().unwrap()]
}

contract!(without_it_nobody_is_told_and_nothing_is_kept);
async fn without_it_nobody_is_told_and_nothing_is_kept(at: Topology) {
    let (redis, space) = space(at, "access-off").await;
    let cache = routes(&redis, &space).build().unwrap();
    ask(&cache, 1, 3).await;
    for refused in [
        cache.hot(1).await.unwrap_err(),
        cache.missed(1).await.unwrap_err(),
        cache.recent(1).await.unwrap_err(),
        cache.fleet_stats().await.unwrap_err(),
    ] {
        assert!(matches!(refused, Error::NoAccess(_)), "{refused}");
        assert!(refused.to_string().contains("CacheBuilder::access"), "{refused}");
    }
    assert_eq!(in_redis(at, &space).await, [0, -2]);
}

/// Loads, as many as there are of each length.
#[tokio::test]
async fn how_long_loads_took_is_known() {
    let (redis, space) = space(Topology::Server, "access-times").await;
    let cache = routes(&redis, &space).build().unwrap();
    for key in 0..4_u64 {
        let load = move |_| async move {
            tokio::time::sleep(Duration::from_millis(if key == 3 { 40 } else { 2 })).await;
            Ok::<_, std::io::Error>(route(1))
        };
        cache.get_or_load(key, load).await.unwrap();
    }
    let times = cache.stats().load_times;
    assert_eq!(times.count(), 4);
    let classes: HashMap<Duration, u64> = times.classes().collect();
    assert_eq!(classes.values().sum::<u64>(), 4);
    assert!(times.quantile(1.0).unwrap() >= Duration::from_millis(40), "{times:?}");
    assert!(times.quantile(0.0).unwrap() >= Duration::from_millis(2), "{times:?}");
}
