//! Refresh-ahead: before its time is over, one loads a value anew.

use std::convert::Infallible;
use std::time::Instant;

use russet_cache::{Cache, Freshness, RefreshAhead};
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
