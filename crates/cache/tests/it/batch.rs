//! Many keys at once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use russet_cache::{Cache, Freshness, LoadError, Tier};
use russet_core_conn::{KeySpace, Redis, RedisBuilder};
use russet_testkit::shared::Topology;
use russet_testkit::{Cluster, Counters, Proxy, Server, contract};

use crate::support::{
    At, Held, Origin, entries, is_quiet, patient, refuses_what_was_removed, route, routes, space,
    unprobed, url, users,
};

contract!(one_result_a_key_in_the_order_asked_duplicates_too);
pub(crate) async fn one_result_a_key_in_the_order_asked_duplicates_too(at: impl Into<At>) {
    let at = at.into();
    let (redis, space) = space(at.clone(), "many").await;
    let cache = routes(&redis, &space).build().unwrap();
    cache.insert(2_u64, route(2)).await.unwrap();
    cache.insert(9_u64, None).await.unwrap();
    let origin = Origin::default();
    let asked = origin.clone();
    let found = cache
        .get_or_load_many(vec![3_u64, 2, 3, 9, 4, 2], move |missing, _| {
            assert_eq!(missing, [3, 4]);
            // In any order, with one that nobody asked for, and none for 4.
            asked.clone().give(vec![(77, route(77)), (3, route(3))])
        })
        .await
        .unwrap();
    let fares: Vec<_> = found.iter().map(|lookup| lookup.value().map(|route| route.fare)).collect();
    assert_eq!(fares, [Some(3), Some(2), Some(3), None, None, Some(2)]);
    let tiers: Vec<_> = found.iter().map(russet_cache::Lookup::tier).collect();
    use Tier::{Origin as O, Redis as R};
    assert_eq!(tiers, [O, R, O, R, O, R]);
    assert_eq!(found[4].freshness(), Freshness::Absent);
    assert_eq!(origin.calls(), 1);

    // All of it is remembered now, the absence too, and nothing that was not asked for.
    let again = cache
        .get_or_load_many([3_u64, 2, 9, 4], |missing, _| async move {
            Err::<HashMap<u64, crate::support::Route>, _>(missing)
        })
        .await
        .unwrap();
    assert!(again.iter().all(russet_cache::Lookup::is_hit));
    if let Some(at) = at.servers() {
        assert_eq!(entries(at, &space).await.len(), 4);
    }
}

contract!(threads, a_thousand_keys_in_any_slots_are_read_filled_and_removed);
/// More keys than there are partitions, and than one command reads.
pub(crate) async fn a_thousand_keys_in_any_slots_are_read_filled_and_removed(at: impl Into<At>) {
    let at = at.into();
    let (redis, space) = space(at.clone(), "thousand").await;
    let cache = routes(&redis, &space).build().unwrap();
    let keys = || (0..1_000_u32).map(|n| n * 7);
    for loaded in [1_000, 0] {
        let origin = Origin::default();
        let asked = origin.clone();
        let found = cache
            .get_or_load_many(keys(), move |missing, _| {
                assert_eq!(missing.len(), loaded);
                asked
                    .clone()
                    .give(missing.into_iter().map(|key| (key, route(key))).collect::<Vec<_>>())
            })
            .await
            .unwrap();
        let fares = found.iter().map(|lookup| lookup.value().unwrap().fare);
        assert!(fares.eq(keys()));
        assert_eq!(origin.calls(), usize::from(loaded > 0));
    }
    assert_eq!(cache.remove_many(keys()).await.unwrap(), 1_000);
    if let Some(at) = at.servers() {
        assert_eq!(entries(at, &space).await.len(), 0);
    }
}

contract!(one_unreadable_entry_is_one_miss);
async fn one_unreadable_entry_is_one_miss(at: Topology) {
    let (redis, space) = space(at, "many-corrupt").await;
    let cache = routes(&redis, &space).build().unwrap();
    cache.insert(1_u64, route(1)).await.unwrap();
    let key = entries(at, &space).await.remove(0);
    let mut conn = at.conn(&key).await.unwrap();
    cache.insert(2_u64, route(2)).await.unwrap();
    for garbage in [["SET", "garbage"], ["RPUSH", "another type"]] {
        conn.call(&["DEL", &key]).await.unwrap();
        conn.call(&[garbage[0], &key, garbage[1]]).await.unwrap();
        let found = cache
            .get_or_load_many([1_u64, 2], |missing, _| async move {
                assert_eq!(missing, [1]);
                Ok::<_, std::io::Error>([(1, route(10))])
            })
            .await
            .unwrap();
        let fares: Vec<_> =
            found.iter().filter_map(|lookup| lookup.value()).map(|route| route.fare).collect();
        assert_eq!(fares, [10, 2]);
        assert_eq!(cache.get(1_u64).await.unwrap().unwrap().value(), Some(&route(10)));
    }
}

contract!(one_key_has_one_shape_whichever_way_filled_it);
async fn one_key_has_one_shape_whichever_way_filled_it(at: Topology) {
    let (redis, space) = space(at, "shape").await;
    let cache = routes(&redis, &space).build().unwrap();
    cache
        .get_or_load_many([1_u64], |_, _| async { Ok::<_, std::io::Error>([(1, route(1))]) })
        .await
        .unwrap();
    cache.get_or_load(2_u64, |_| async { Ok::<_, std::io::Error>(route(1)) }).await.unwrap();
    cache.insert(3_u64, route(1)).await.unwrap();
    let mut shapes = Vec::new();
    for key in entries(at, &space).await {
        shapes.push(at.conn(&key).await.unwrap().call(&["GET", &key]).await.unwrap());
    }
    assert_eq!(shapes.len(), 3);
    assert!(shapes.iter().all(|shape| *shape == shapes[0]), "{shapes:?}");
}

contract!(a_batch_of_nothing_asks_nobody);
pub(crate) async fn a_batch_of_nothing_asks_nobody(at: impl Into<At>) {
    let (redis, space) = space(at, "nothing").await;
    let cache = routes(&redis, &space).build().unwrap();
    let found = cache
        .get_or_load_many(Vec::<u64>::new(), |_, _| async {
            Err::<Vec<(u64, crate::support::Route)>, _>("asked")
        })
        .await;
    assert!(found.unwrap().is_empty());
    assert_eq!(cache.remove_many(Vec::<u64>::new()).await.unwrap(), 0);
}

contract!(a_loader_that_fails_fails_the_batch);
pub(crate) async fn a_loader_that_fails_fails_the_batch(at: impl Into<At>) {
    let (redis, space) = space(at, "many-error").await;
    let cache = routes(&redis, &space).build().unwrap();
    let failed = cache
        .get_or_load_many([1_u64, 2], |_, _| async {
            Err::<Vec<(u64, crate::support::Route)>, _>("no database")
        })
        .await;
    assert_eq!(failed.unwrap_err(), LoadError::Loader("no database".into()));
}

contract!(what_is_removed_while_a_batch_loads_it_is_not_filled);
pub(crate) async fn what_is_removed_while_a_batch_loads_it_is_not_filled(at: impl Into<At>) {
    let (redis, space) = space(at, "many-removed").await;
    let (cache, loader) = (routes(&redis, &space).build().unwrap(), Held::new());
    let load = {
        let loader = loader.clone();
        move |missing, _| loader.clone().load(missing)
    };
    let loads = cache.get_or_load_many([1_u64, 2], load);
    refuses_what_was_removed(&cache, &loader, loads).await;
}

/// A hundred keys at 0, 50 and 100% hits: the proxies count the trips, the loader its calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trip_to_read_one_load_one_trip_to_fill() {
    let server = Server::builder().acl_file(users("trips")).start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let through = Redis::builder(&url(proxy.addr()));
    trips(through, &[proxy], &url(server.addr()), ("MGET", 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_so_from_each_node_of_a_cluster() {
    let server = Server::builder().acl_file(users("trips"));
    let cluster = Cluster::builder().server(server).start().await.unwrap();
    let (mut proxies, mut pairs) = (Vec::new(), Vec::new());
    for node in cluster.nodes() {
        let proxy = Proxy::start(node.addr()).await.unwrap();
        pairs.push((node.addr().to_string(), proxy.addr().to_string()));
        proxies.push(proxy);
    }
    let url = cluster.url().replacen("://", "://russet-cache:secret@", 1);
    trips(Redis::builder(&url).nat(pairs), &proxies, &url, ("GET", KEYS)).await;
}

const KEYS: u64 = 100;

/// With so many commands of this name it reads.
async fn trips(
    through: RedisBuilder,
    proxies: &[Proxy],
    past: &str,
    (command, reads): (&str, u64),
) {
    // Replies that take their time keep one trip's requests apart from the next trip's.
    proxies.iter().for_each(|proxy| proxy.delay_replies(Duration::from_millis(100)));
    let redis = unprobed(through);
    let space = KeySpace::new("trips").unwrap();
    let cache: Cache<u64> =
        Cache::builder(&redis, &space, "n").budget(Duration::from_secs(10)).build().unwrap();
    let load = |missing: Vec<u64>, _| async {
        Ok::<_, Infallible>(missing.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
    };
    // The layout is agreed upon with the first call, and no server knows a script before it.
    cache.get_or_load_many(1_000..1_000 + KEYS, load).await.unwrap();
    while !proxies.iter().all(|proxy| is_quiet(&proxy.counters())) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What is there before is put there past the proxies, which would delay each insert.
    let near: Cache<u64> = Cache::new(&patient(past), &space, "n").unwrap();
    for (cached, trips, loads) in [(0, 3, 1), (50, 3, 1), (100, 1, 0)] {
        near.remove_many(0..KEYS).await.unwrap();
        for key in 0..cached {
            near.insert(key, key).await.unwrap();
        }
        let origin = Origin::default();
        let asked = origin.clone();
        proxies.iter().for_each(Proxy::reset_counters);
        let found = cache
            .get_or_load_many(0..KEYS, move |missing, _| {
                assert_eq!(missing.len() as u64, KEYS - cached);
                asked.clone().give(missing.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
            })
            .await
            .unwrap();
        assert!(found.iter().enumerate().all(|(at, lookup)| lookup.value() == Some(&(at as u64))));
        assert_eq!(origin.calls(), loads);
        let counters: Vec<Counters> = proxies.iter().map(Proxy::counters).collect();
        let sum = |of: &dyn Fn(&Counters) -> u64| counters.iter().map(of).sum::<u64>();
        // The lease and the fill of each that is missing.
        let scripts = 2 * (KEYS - cached);
        assert_eq!(sum(&|counters| counters.requests(command)), reads);
        assert_eq!(sum(&|counters| counters.requests("EVALSHA")), scripts);
        assert_eq!(sum(&|counters| counters.all_requests()), reads + scripts);
        assert!(counters.iter().all(|counters| counters.trips == trips), "{counters:?}");
    }
}
