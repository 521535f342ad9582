//! Refresh-ahead: before its time is over, one loads a value anew.

use std::convert::Infallible;
use std::time::Instant;

use russet_cache::{Cache, Freshness, Load, RefreshAhead, Tier};
use russet_testkit::contract;

use crate::grace::{fare, ms, until};
use crate::support::{At, Origin, Route, route, routes, space};

contract!(before_its_time_is_over_one_lookup_refreshes_it);
pub(crate) async fn before_its_time_is_over_one_lookup_refreshes_it(at: impl Into<At>) {
    let (redis, space) = space(at, "ahead").await;
    let build = || {
        let ahead = RefreshAhead::at(0.5);
        routes(&redis, &space).ttl(ms(2_000)).jitter(0.0).refresh_ahead(ahead).build().unwrap()
    };
    let caches = [build(), build()];
    let origin = Origin::default();
    assert_eq!(fare(&caches[0], &origin, 1).await, (1, Freshness::Loaded));
    let begun = Instant::now();
    assert_eq!(fare(&caches[0], &origin, 2).await, (1, Freshness::Fresh));
    tokio::time::sleep(ms(1_100)).await;
    let (send, wait) = tokio::sync::broadcast::channel::<()>(1);
    let refresh = async |cache: &Cache<Route>| {
        let (origin, mut wait) = (origin.clone(), wait.resubscribe());
        let load = move |_| async move {
            let _ = wait.recv().await;
            origin.give(route(3)).await
        };
        let found = cache.get_or_load("k", load).await.unwrap();
        (found.value().unwrap().fare, found.freshness())
    };
    for cache in caches.iter().cycle().take(40) {
        let found = refresh(cache).await;
        if begun.elapsed() < ms(1_900) {
            assert_eq!(found, (1, Freshness::Fresh));
        }
    }
    drop(send);
    drop(wait);
    let refreshed = async || {
        let found = caches[1].get("k").await.unwrap();
        found.is_some_and(|found| found.value() == Some(&route(3)))
    };
    until("it is not refreshed", refreshed).await;
    assert_eq!(origin.calls(), 2);
    assert_eq!(caches.each_ref().map(|cache| cache.stats().refreshes).iter().sum::<u64>(), 1);
}

contract!(what_a_refresh_finds_gone_is_removed);
pub(crate) async fn what_a_refresh_finds_gone_is_removed(at: impl Into<At>) {
    let (redis, space) = space(at, "ahead-gone").await;
    let cache = routes(&redis, &space).ttl(ms(20_000)).jitter(0.0);
    let cache = cache.refresh_ahead(RefreshAhead::at(0.01)).build().unwrap();
    cache.insert("k", route(1)).await.unwrap();
    let begun = Instant::now();
    let absent = async || {
        let load = |_| async { Ok::<_, Infallible>(None::<Route>) };
        cache.get_or_load("k", load).await.unwrap().freshness() == Freshness::Absent
    };
    until("it is still there", absent).await;
    // Long before its time was over.
    assert!(begun.elapsed() < ms(15_000), "{:?}", begun.elapsed());
    assert_eq!((cache.stats().refreshes, cache.stats().misses), (1, 0));
}

contract!(what_took_long_to_load_is_refreshed_early);
pub(crate) async fn what_took_long_to_load_is_refreshed_early(at: impl Into<At>) {
    let (redis, space) = space(at, "xfetch").await;
    let build = |beta| {
        let ahead = RefreshAhead::xfetch(beta);
        routes(&redis, &space).refresh_ahead(ahead).build().unwrap()
    };
    // A load of 20 ms and 300 s left: at 1 not in a lifetime, at a million nearly always.
    let (seldom, often) = (build(1.0), build(1e6));
    let load = |_| async {
        tokio::time::sleep(ms(20)).await;
        Ok::<_, Infallible>(route(1))
    };
    seldom.get_or_load("k", load).await.unwrap();
    for _ in 0..20 {
        seldom.get_or_load("k", load).await.unwrap();
    }
    assert_eq!(seldom.stats().refreshes, 0);
    until("it is never refreshed", async || {
        often.get_or_load("k", load).await.unwrap();
        often.stats().refreshes > 0
    })
    .await;
}

contract!(memory_gives_way_to_the_refresh_of_a_value_by_its_own_time);
pub(crate) async fn memory_gives_way_to_the_refresh_of_a_value_by_its_own_time(at: impl Into<At>) {
    let (redis, space) = space(at, "ahead-own").await;
    let build = |ttl| {
        let builder = routes(&redis, &space).ttl(ttl).jitter(0.0).local(10).local_ttl(ms(60_000));
        builder.refresh_ahead(RefreshAhead::at(0.5)).build().unwrap()
    };
    let ask = async |cache: &Cache<Route>, key: &str, load: Load<Route>| {
        let load = move |_| Origin::default().give(load);
        cache.get_or_load(key, load).await.unwrap().tier()
    };
    // Longer than the others', and due in a second.
    let brief = build(ms(100));
    let (begun, long) = (Instant::now(), Load::value(route(1)).ttl(ms(2_000)));
    ask(&brief, "long", long.clone()).await;
    assert_eq!(ask(&brief, "long", long.clone()).await, Tier::Local);
    tokio::time::sleep(ms(1_100)).await;
    let found = ask(&brief, "long", long).await;
    if begun.elapsed() < ms(1_900) {
        assert_eq!((found, brief.stats().refreshes), (Tier::Redis, 1));
    }
    // Shorter ones and absences are kept, too, for their part.
    let slow = build(ms(300_000));
    for load in [Load::value(route(2)).ttl(ms(60_000)), Load::absent()] {
        let key = if load == Load::absent() { "absent" } else { "short" };
        ask(&slow, key, load.clone()).await;
        assert_eq!(ask(&slow, key, load).await, Tier::Local, "{key}");
    }
}

contract!(what_memory_answers_is_refreshed_early_too);
pub(crate) async fn what_memory_answers_is_refreshed_early_too(at: impl Into<At>) {
    let (redis, space) = space(at, "xfetch-near").await;
    let build = |beta| {
        let ahead = RefreshAhead::xfetch(beta);
        let builder = routes(&redis, &space).journal(ms(60_000)).local(10).local_ttl(ms(300_000));
        builder.refresh_ahead(ahead).build().unwrap()
    };
    let load = |_| async {
        tokio::time::sleep(ms(200)).await;
        Ok::<_, Infallible>(route(1))
    };
    // 300 s left are ten times what a load takes by these: one lookup in 22,000 or so.
    let (seldom, often) = (build(1.0), build(150.0));
    often.get_or_load("often", load).await.unwrap();
    let mut near = 0;
    while often.stats().refreshes == 0 {
        let found = often.get_or_load("often", load).await.unwrap();
        near += usize::from(found.tier() == Tier::Local);
        assert!(near < 1_000_000, "it is never refreshed");
    }
    assert!(near > 0, "memory answered nothing");
    seldom.get_or_load("seldom", load).await.unwrap();
    for _ in 0..100 {
        assert_eq!(seldom.get_or_load("seldom", load).await.unwrap().tier(), Tier::Local);
    }
    assert_eq!(seldom.stats().refreshes, 0);
}
