//! Values past their time: used while better ones are loaded, and where none can be.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use russet_cache::{Cache, CacheBuilder, Freshness, Load, LoadContext, LoadError, Reason};
use russet_core_conn::KeySpace;
use russet_testkit::shared::Topology;
use russet_testkit::{Server, contract, soak};

use crate::support::{At, Backend, Origin, Route, patient, route, routes, space};

const DAY: Duration = Duration::from_secs(24 * 3_600);

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn graced(redis: &Backend, space: &KeySpace) -> CacheBuilder<Route> {
    routes(redis, space).grace(DAY)
}

pub(crate) async fn until(what: &str, mut there: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !there().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(ms(2)).await;
    }
}

/// The fare and how current it is, of a lookup whose loader gives the second.
pub(crate) async fn fare(cache: &Cache<Route>, origin: &Origin, loads: u32) -> (u32, Freshness) {
    let origin = origin.clone();
    let found = cache.get_or_load("k", move |_| origin.give(route(loads))).await.unwrap();
    (found.value().unwrap().fare, found.freshness())
}

contract!(a_value_past_its_time_is_given_while_one_loads);
pub(crate) async fn a_value_past_its_time_is_given_while_one_loads(at: impl Into<At>) {
    let (redis, space) = space(at, "stale").await;
    let caches = [(); 2].map(|()| graced(&redis, &space).build().unwrap());
    let origin = Origin::default();
    assert_eq!(fare(&caches[0], &origin, 1).await, (1, Freshness::Loaded));
    assert_eq!(fare(&caches[0], &origin, 9).await, (1, Freshness::Fresh));
    assert!(caches[1].expire("k").await.unwrap());
    let found = caches[1].get("k").await.unwrap().unwrap();
    assert_eq!((found.value(), found.freshness()), (Some(&route(1)), Freshness::Stale));
    let (send, wait) = tokio::sync::oneshot::channel::<()>();
    let slow = origin.clone();
    let load = move |ctx: LoadContext<Route>| async move {
        assert_eq!((ctx.reason(), ctx.stale()), (Reason::Refresh, Some(&route(1))));
        let _ = wait.await;
        slow.give(route(2)).await
    };
    let found = caches[0].get_or_load("k", load).await.unwrap();
    assert_eq!((found.value(), found.freshness()), (Some(&route(1)), Freshness::Stale));
    for cache in caches.iter().cycle().take(20) {
        assert_eq!(fare(cache, &origin, 9).await, (1, Freshness::Stale));
    }
    send.send(()).unwrap();
    let there = async || fare(&caches[1], &origin, 9).await == (2, Freshness::Fresh);
    until("the load does not fill", there).await;
    assert_eq!(origin.calls(), 2);
    assert!(caches[0].stats().stale >= 11, "{:?}", caches[0].stats());
}

contract!(a_handle_with_another_time_to_live_fills_for_that);
pub(crate) async fn a_handle_with_another_time_to_live_fills_for_that(at: impl Into<At>) {
    let (redis, space) = space(at, "own-ttl").await;
    let cache = graced(&redis, &space).ttl(DAY).build().unwrap();
    let origin = Origin::default();
    assert_eq!(fare(&cache.with_ttl(ms(1)), &origin, 1).await, (1, Freshness::Loaded));
    let stale = async || cache.get("k").await.unwrap().unwrap().freshness() == Freshness::Stale;
    until("it is fresh for longer", stale).await;
    cache.remove("k").await.unwrap();
    assert_eq!(fare(&cache, &origin, 2).await, (2, Freshness::Loaded));
    assert!(!stale().await);
}

contract!(its_time_is_the_servers);
pub(crate) async fn its_time_is_the_servers(at: impl Into<At>) {
    let (redis, space) = space(at, "times").await;
    let cache = graced(&redis, &space).ttl(ms(300)).jitter(0.0).grace(ms(1_200)).build().unwrap();
    let begun = Instant::now();
    cache.insert("k", route(1)).await.unwrap();
    let after_insert = Instant::now();
    let mut seen = Vec::new();
    while begun.elapsed() < ms(2_000) {
        let asked = Instant::now();
        let found = cache.get("k").await.unwrap().map(|found| found.freshness());
        let (least, most) = (asked - after_insert, begun.elapsed());
        let slack = ms(30);
        match found {
            Some(Freshness::Fresh) => assert!(least < ms(300) + slack, "fresh after {least:?}"),
            Some(Freshness::Stale) => {
                assert!(most + slack > ms(300) && least < ms(1_500) + slack, "{least:?} {most:?}");
            }
            None => assert!(most + slack > ms(1_500), "gone after {most:?}"),
            other => panic!("{other:?}"),
        }
        seen.push(found);
        tokio::time::sleep(ms(10)).await;
    }
    seen.dedup();
    assert_eq!(seen, [Some(Freshness::Fresh), Some(Freshness::Stale), None]);
}

contract!(where_the_loader_fails_the_old_value_serves_and_it_is_not_asked_by_everybody);
pub(crate) async fn where_the_loader_fails_the_old_value_serves_and_it_is_not_asked_by_everybody(
    at: impl Into<At>,
) {
    let (redis, space) = space(at, "fails").await;
    let patient = Duration::from_secs(20);
    let build = || graced(&redis, &space).soft_timeout(patient).grace_backoff(ms(1_500)).build();
    let caches = [(); 2].map(|()| build().unwrap());
    caches[0].insert("k", route(1)).await.unwrap();
    caches[0].expire("k").await.unwrap();
    let origin = Origin::default();
    let failing = async |cache: &Cache<Route>| {
        let origin = origin.clone();
        let load = move |_| async move {
            origin.give(()).await.unwrap();
            Err::<Route, _>("no database")
        };
        let found = cache.get_or_load("k", load).await.unwrap();
        assert_eq!((found.value(), found.freshness()), (Some(&route(1)), Freshness::Stale));
    };
    let begun = Instant::now();
    for cache in caches.iter().cycle().take(40) {
        failing(cache).await;
    }
    if begun.elapsed() < ms(1_400) {
        assert_eq!(origin.calls(), 1);
    }
    let asked = origin.calls();
    let again = async || {
        failing(&caches[1]).await;
        origin.calls() > asked
    };
    until("it is never tried again", again).await;
    assert!(begun.elapsed() >= ms(1_500), "{:?}", begun.elapsed());
    // Without grace the same is an error.
    let strict = caches[0].with_grace(Duration::ZERO);
    let load = |_| async { Err::<Route, _>("no database") };
    let failed = strict.get_or_load("k", load).await.unwrap_err();
    assert_eq!(failed, LoadError::Loader("no database".into()));
}

/// What the guide says of it.
#[tokio::test]
#[ignore = "soak"]
async fn soak_origin_down() {
    const LOOKUPS: u64 = 1_000;
    let server = Server::start().await.unwrap();
    let (redis, space) = (patient(&server.url()), KeySpace::new("down").unwrap());
    let caches = [(); 2].map(|()| graced(&Backend::from(&redis), &space).build().unwrap());
    let failing = async |cache: &Cache<Route>, key: &str, origin: &Origin| {
        let origin = origin.clone();
        let load = move |_| async move {
            tokio::time::sleep(ms(500)).await;
            origin.give(()).await.unwrap();
            Err::<Route, _>("no database")
        };
        cache.get_or_load(key, load).await
    };
    caches[0].insert("old", route(1)).await.unwrap();
    caches[0].expire("old").await.unwrap();
    let (with, without) = (Origin::default(), Origin::default());
    let turns = || caches.iter().cycle().take(usize::try_from(LOOKUPS).unwrap());
    for found in join_all(turns().map(|cache| failing(cache, "old", &with))).await {
        assert_eq!(found.unwrap().value(), Some(&route(1)));
    }
    let all = join_all(turns().map(|_| failing(&caches[0], "none", &without))).await;
    assert!(all.iter().all(Result::is_err));
    until("the load does not end", async || with.calls() > 0).await;
    let calls =
        [("calls", with.calls() as u64), ("calls without an old value", without.calls() as u64)];
    assert_eq!(calls.map(|(_, calls)| calls), [1, 1]);
    let sizes = [("caches", 2), ("lookups", LOOKUPS)];
    soak::record("origin-down", &server.version().to_string(), &sizes, &[], &calls);
}

contract!(a_lookup_waits_as_long_as_it_is_told_to);
pub(crate) async fn a_lookup_waits_as_long_as_it_is_told_to(at: impl Into<At>) {
    let (redis, space) = space(at, "timeouts").await;
    let cache = graced(&redis, &space).soft_timeout(ms(300)).build().unwrap();
    cache.insert("k", route(1)).await.unwrap();
    let takes = |millis, fare| {
        move |_| async move {
            tokio::time::sleep(ms(millis)).await;
            Ok::<_, Infallible>(route(fare))
        }
    };
    // Soon enough: the new value, and not the old one.
    cache.expire("k").await.unwrap();
    let found = cache.get_or_load("k", takes(10, 2)).await.unwrap();
    assert_eq!((found.value(), found.freshness()), (Some(&route(2)), Freshness::Loaded));
    // Too late: the old one, in time, and the load goes on.
    cache.expire("k").await.unwrap();
    let begun = Instant::now();
    let found = cache.get_or_load("k", takes(900, 3)).await.unwrap();
    assert_eq!((found.value(), found.freshness()), (Some(&route(2)), Freshness::Stale));
    assert!((ms(300)..ms(850)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let filled = async || cache.get("k").await.unwrap().unwrap().value() == Some(&route(3));
    until("the load does not fill", filled).await;
    // Nothing to give: an error, in time.
    cache.remove("k").await.unwrap();
    let brief = cache.with_hard_timeout(ms(200));
    let failed = brief.get_or_load("k", takes(600, 4)).await.unwrap_err();
    assert!(matches!(failed, LoadError::Timeout(after) if after >= ms(200)), "{failed}");
    let many = |_: Vec<&str>, _| async {
        tokio::time::sleep(ms(600)).await;
        Ok::<_, Infallible>([("other", route(5))])
    };
    let failed = brief.get_or_load_many(["other"], many).await.unwrap_err();
    assert!(matches!(failed, LoadError::Timeout(_)), "{failed}");
    let filled = async || cache.get("k").await.unwrap().is_some();
    until("the load does not fill", filled).await;
}

contract!(what_has_not_changed_is_kept_for_another_time);
pub(crate) async fn what_has_not_changed_is_kept_for_another_time(at: impl Into<At>) {
    let (redis, space) = space(at, "unmodified").await;
    let cache = graced(&redis, &space).soft_timeout(DAY).build().unwrap();
    cache.insert("k", route(1)).await.unwrap();
    cache.expire("k").await.unwrap();
    let load = |ctx: LoadContext<Route>| async move {
        Ok::<_, Infallible>(ctx.not_modified().unwrap_or_else(Load::absent))
    };
    assert_eq!(cache.get_or_load("k", load).await.unwrap().value(), Some(&route(1)));
    let found = cache.get("k").await.unwrap().unwrap();
    assert_eq!((found.value(), found.freshness()), (Some(&route(1)), Freshness::Fresh));
}

contract!(what_has_not_changed_keeps_its_version_and_its_tags);
pub(crate) async fn what_has_not_changed_keeps_its_version_and_its_tags(at: impl Into<At>) {
    let (redis, space) = space(at, "unmodified-tags").await;
    let graced = || graced(&redis, &space).soft_timeout(DAY);
    for (cache, tags) in [(graced(), &[][..]), (graced().journal(ms(400)), &["t"])] {
        let cache = cache.build().unwrap();
        cache.remove("k").await.unwrap();
        cache.insert("k", Load::value(route(1)).version(5).tags(tags)).await.unwrap();
        let fresh = async || cache.get("k").await.unwrap().map(|found| found.freshness());
        // What is said again and again it has once, and what is not said it keeps.
        for round in 0..=70 {
            let again = if round < 70 { tags } else { &[] };
            cache.expire("k").await.unwrap();
            let load = move |ctx: LoadContext<Route>| async move {
                assert_eq!((ctx.stale(), ctx.version()), (Some(&route(1)), Some(5)));
                Ok::<_, Infallible>(ctx.not_modified().unwrap().tags(again))
            };
            let found = cache.get_or_load("k", load).await.unwrap();
            assert_eq!(found.freshness(), Freshness::Loaded);
            assert_eq!(fresh().await, Some(Freshness::Fresh), "{round}");
        }
        assert!(!cache.update("k", 5, route(2)).await.unwrap());
        if !tags.is_empty() {
            cache.invalidate_tags(tags).await.unwrap();
            assert_eq!(fresh().await, None);
            cache.insert("k", route(1)).await.unwrap();
        }
        // One that the loader gives takes its place.
        cache.expire("k").await.unwrap();
        let load = |ctx: LoadContext<Route>| async move {
            Ok::<_, Infallible>(ctx.not_modified().unwrap().version(7))
        };
        cache.get_or_load("k", load).await.unwrap();
        assert!(!cache.update("k", 7, route(2)).await.unwrap());
        assert!(cache.update("k", 8, route(2)).await.unwrap());
    }
}

contract!(what_is_gone_at_the_origin_goes_here_too);
pub(crate) async fn what_is_gone_at_the_origin_goes_here_too(at: impl Into<At>) {
    let (redis, space) = space(at, "gone").await;
    let cache = graced(&redis, &space).soft_timeout(DAY).build().unwrap();
    cache.insert("k", route(1)).await.unwrap();
    cache.expire("k").await.unwrap();
    let load = |_| async { Ok::<Option<Route>, Infallible>(None) };
    assert_eq!(cache.get_or_load("k", load).await.unwrap().freshness(), Freshness::Absent);
    assert_eq!(cache.get("k").await.unwrap().unwrap().freshness(), Freshness::Absent);
}

contract!(what_is_marked_or_removed_while_it_is_refreshed_is_not_filled);
pub(crate) async fn what_is_marked_or_removed_while_it_is_refreshed_is_not_filled(
    at: impl Into<At>,
) {
    let (redis, space) = space(at, "revoked").await;
    let cache = graced(&redis, &space).build().unwrap();
    for remove in [false, true] {
        cache.insert("k", route(1)).await.unwrap();
        cache.expire("k").await.unwrap();
        let (send, wait) = tokio::sync::oneshot::channel::<()>();
        let load = move |_| async move {
            let _ = wait.await;
            Ok::<_, Infallible>(route(2))
        };
        let refused = cache.stats().fills_refused;
        assert_eq!(cache.get_or_load("k", load).await.unwrap().value(), Some(&route(1)));
        assert!(if remove { cache.remove("k").await } else { cache.expire("k").await }.unwrap());
        send.send(()).unwrap();
        until("it is not refused", async || cache.stats().fills_refused > refused).await;
        let found = cache.get("k").await.unwrap();
        let found = found.map(|found| (found.value().cloned(), found.freshness()));
        assert_eq!(found, (!remove).then_some((Some(route(1)), Freshness::Stale)));
    }
}

contract!(a_batch_gives_what_is_stale_and_refreshes_it_in_one_load);
async fn a_batch_gives_what_is_stale_and_refreshes_it_in_one_load(at: Topology) {
    let (redis, space) = space(at, "batch-stale").await;
    let cache = graced(&redis, &space).build().unwrap();
    let keys = || 0..20_u32;
    for key in keys() {
        cache.insert(key, route(1)).await.unwrap();
        cache.expire(key).await.unwrap();
    }
    let origin = Origin::default();
    let asked = origin.clone();
    let load = move |missing: Vec<u32>, _| {
        asked.clone().give(missing.into_iter().map(|key| (key, route(2))).collect::<Vec<_>>())
    };
    let found = cache.get_or_load_many(keys(), load).await.unwrap();
    assert!(found.iter().all(|found| found.freshness() == Freshness::Stale), "{found:?}");
    for key in keys() {
        let fresh = async || cache.get(key).await.unwrap().unwrap().value() == Some(&route(2));
        until("it is not refreshed", fresh).await;
    }
    assert_eq!(origin.calls(), 1);
    // Where the loader fails, and one of them is missing, it is an error; else the old ones serve.
    cache.expire(1_u32).await.unwrap();
    let fails = |_: Vec<u32>, _| async { Err::<Vec<(u32, Route)>, _>("no database") };
    let waits = cache.with_soft_timeout(DAY);
    let found = waits.get_or_load_many([1_u32, 2], fails).await.unwrap();
    assert_eq!(found[0].freshness(), Freshness::Stale);
    assert!(waits.get_or_load_many([1_u32, 77], fails).await.is_err());
}
