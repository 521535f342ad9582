//! Caches with a journal: what is said to be invalid is so everywhere.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use russet_cache::{Error, Invalid, Invalidation, Load, Tier};
use russet_core_conn::{KeySpace, Notice};
use russet_testkit::contract;
use russet_testkit::shared::Topology;
use tokio::sync::oneshot;

use crate::support::journal::{STALE, ask, local, ms, next, private, tracked, until};
use crate::support::{At, patient, route, routes, space, url};

contract!(tags_make_what_has_them_invalid_and_nothing_else);
pub(crate) async fn tags_make_what_has_them_invalid_and_nothing_else(at: impl Into<At>) {
    let (redis, space) = space(at, "tags").await;
    for cache in [tracked(&redis, &space), local(&redis, &space)] {
        cache.invalidate_all().await.unwrap();
        for (key, tags) in [(1, &["a"][..]), (2, &["a", "b"]), (3, &["b"]), (4, &[])] {
            assert_eq!(ask(&cache, key, 1, tags).await, (1, Tier::Origin));
        }
        let mut versions = vec![cache.invalidate_tags(["a"]).await.unwrap()];
        for (key, tags, fare) in [(1, &["a"][..], 2), (2, &["b"], 2), (3, &["b"], 1), (4, &[], 1)] {
            assert_eq!(ask(&cache, key, 2, tags).await.0, fare, "{key}");
        }
        // Its tags are those of its last load.
        versions.push(cache.invalidate_tags(["a"]).await.unwrap());
        assert_eq!(ask(&cache, 2, 3, &[]).await.0, 2);
        versions.push(cache.invalidate_tags(["b", "c", "b"]).await.unwrap());
        assert_eq!(ask(&cache, 2, 4, &[]).await.0, 4);
        assert_eq!(ask(&cache, 3, 4, &["b"]).await.0, 4);
        assert_eq!(ask(&cache, 4, 4, &[]).await.0, 1);
        versions.push(cache.invalidate_all().await.unwrap());
        assert_eq!(ask(&cache, 4, 5, &[]).await.0, 5);
        assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
        // What was loaded since is there to stay.
        for key in 2..5 {
            let now = ask(&cache, key, 6, &[]).await;
            assert_eq!(ask(&cache, key, 7, &[]).await.0, now.0);
            assert_ne!(ask(&cache, key, 7, &[]).await.1, Tier::Origin);
        }
    }
}

contract!(absence_and_batches_are_invalid_with_the_rest);
pub(crate) async fn absence_and_batches_are_invalid_with_the_rest(at: impl Into<At>) {
    let (redis, space) = space(at, "tags-batch").await;
    for cache in [tracked(&redis, &space), local(&redis, &space)] {
        cache.invalidate_all().await.unwrap();
        let ask = async |fare: Option<u32>| {
            let load = move |missing: Vec<u64>, _| async move {
                let tag = |key: u64| if key.is_multiple_of(2) { "even" } else { "odd" };
                let load = |key| {
                    fare.map_or(Load::absent(), |fare| Load::value(route(fare))).tags([tag(key)])
                };
                Ok::<_, Infallible>(
                    missing.into_iter().map(|key| (key, load(key))).collect::<Vec<_>>(),
                )
            };
            let found = cache.get_or_load_many(0..20_u64, load).await.unwrap();
            Vec::from_iter(found.iter().map(|lookup| lookup.value().map(|route| route.fare)))
        };
        assert_eq!(ask(None).await, [None; 20]);
        assert_eq!(ask(Some(1)).await, [None; 20]);
        cache.invalidate_tags(["even"]).await.unwrap();
        let mixed: Vec<_> = (0..20).map(|key| (key % 2 == 0).then_some(2)).collect();
        assert_eq!(ask(Some(2)).await, mixed);
        assert_eq!(ask(Some(3)).await, mixed);
        cache.invalidate_all().await.unwrap();
        assert_eq!(ask(Some(4)).await, [Some(4); 20]);
    }
}

contract!(an_invalidation_wins_over_a_load_that_began_before_it);
pub(crate) async fn an_invalidation_wins_over_a_load_that_began_before_it(at: impl Into<At>) {
    let (redis, space) = space(at, "tags-load").await;
    for make in [tracked, local] {
        let caches = [make(&redis, &space), make(&redis, &space)];
        // By the process that loads, and by another.
        for by in &caches {
            for all in [false, true] {
                let (cache, (begun, begins), (go, goes)) =
                    (caches[0].clone(), oneshot::channel(), oneshot::channel::<()>());
                cache.remove(1_u64).await.unwrap();
                let loads = tokio::spawn(async move {
                    let load = |_| async move {
                        begun.send(()).unwrap();
                        goes.await.unwrap();
                        Ok::<_, Infallible>(Load::value(route(1)).tags(["t"]))
                    };
                    cache.get_or_load(1_u64, load).await.unwrap()
                });
                begins.await.unwrap();
                match all {
                    false => by.invalidate_tags(["t"]).await.unwrap(),
                    true => by.invalidate_all().await.unwrap(),
                };
                // Whoever asks from here on does not get what is being loaded, though it may wait for it.
                let asks = tokio::spawn({
                    let by = by.clone();
                    async move { ask(&by, 1, 2, &["t"]).await.0 }
                });
                tokio::time::sleep(ms(20)).await;
                go.send(()).unwrap();
                assert_eq!(loads.await.unwrap().value(), Some(&route(1)));
                assert_eq!(asks.await.unwrap(), 2);
                assert_eq!(ask(by, 1, 3, &["t"]).await.0, 2);
                until(&caches[0], 1, 2, &["t"]).await;
            }
        }
    }
}

contract!(what_was_done_is_what_is_told_and_by_whom);
pub(crate) async fn what_was_done_is_what_is_told_and_by_whom(at: impl Into<At>) {
    let (redis, space) = space(at, "told").await;
    let caches = [(); 2].map(|()| tracked(&redis, &space));
    let mut heard = caches[0].invalidations().unwrap();
    caches[0].get("k").await.unwrap();
    let key = space.key("cache.route", "k").to_bytes();
    let mut by = Vec::new();
    for cache in &caches {
        cache.write("k", || async { Ok::<_, Infallible>(route(1)) }).await.unwrap();
        assert!(cache.update("k", 5, route(5)).await.unwrap());
        assert!(!cache.update("k", 4, route(4)).await.unwrap());
        cache.remove("k").await.unwrap();
        assert!(!cache.update("k", 6, route(6)).await.unwrap());
        let mut who = HashSet::new();
        for written in [false, true, true, false, false, false] {
            let told = next(&mut heard).await;
            let keys = vec![key.clone()];
            let what = if written { Invalid::Written(keys) } else { Invalid::Removed(keys) };
            assert_eq!((told.what, told.own), (what, by.is_empty()));
            who.insert(told.by.unwrap());
        }
        assert_eq!(who.len(), 1);
        by.extend(who);
    }
    assert_ne!(by[0], by[1]);
}

contract!(whoever_listens_hears_what_is_invalid_in_order);
pub(crate) async fn whoever_listens_hears_what_is_invalid_in_order(at: impl Into<At>) {
    let (redis, space) = space(at, "heard").await;
    let [here, there] = [(); 2].map(|()| tracked(&redis, &space));
    let (mut own, mut heard) = (here.invalidations().unwrap(), there.invalidations().unwrap());
    // What was before it listened is nobody's news.
    tokio::time::sleep(ms(50)).await;
    here.get(1_u64).await.unwrap();
    there.get(1_u64).await.unwrap();
    here.insert(1_u64, route(1)).await.unwrap();
    here.remove_many([1_u64, 2]).await.unwrap();
    here.expire(3_u64).await.unwrap();
    here.invalidate_tags(["b", "a"]).await.unwrap();
    here.invalidate_all().await.unwrap();
    let mut versions = Vec::new();
    for number in 0..5 {
        let (mine, other) = (next(&mut own).await, next(&mut heard).await);
        assert_eq!((mine.own, other.own), (true, false));
        assert_eq!((mine.version, &mine.what), (other.version, &other.what));
        assert_eq!(mine.by, other.by);
        versions.push(mine.version);
        match (number, mine.what) {
            (0, Invalid::Written(keys)) | (2, Invalid::Expired(keys)) => assert_eq!(keys.len(), 1),
            (1, Invalid::Removed(keys)) => assert_eq!(keys.len(), 2),
            (3, Invalid::Tags(tags)) => assert_eq!(tags, ["a", "b"]),
            (4, Invalid::All) => {}
            (number, other) => panic!("{number}: {other:?}"),
        }
    }
    assert!(versions.is_sorted_by(|one, next| one < next));
}

contract!(who_falls_too_far_behind_begins_anew);
pub(crate) async fn who_falls_too_far_behind_begins_anew(at: impl Into<At>) {
    let (redis, space) = space(at, "behind").await;
    // It asks when it must, and is not told.
    let strict = routes(&redis, &space).journal(Duration::ZERO).local(10).build().unwrap();
    let writer = tracked(&redis, &space);
    ask(&strict, 1, 1, &["t"]).await;
    let mut heard = strict.invalidations().unwrap();
    writer.remove(1_u64).await.unwrap();
    assert!(matches!(next(&mut heard).await.what, Invalid::Removed(_)));
    // More than the log holds, a key each.
    drop(strict);
    let slow = routes(&redis, &space).journal(Duration::from_secs(3_600)).build().unwrap();
    ask(&slow, 2, 1, &["t"]).await;
    assert_eq!(ask(&slow, 2, 2, &["t"]).await.0, 1);
    for _ in 0..60 {
        let all = (0..200_u64).map(|key| writer.remove(1_000 + key));
        futures_util::future::try_join_all(all).await.unwrap();
    }
    writer.invalidate_tags(["t"]).await.unwrap();
    let mut heard = slow.invalidations().unwrap();
    assert_eq!(next(&mut heard).await.what, Invalid::Unknown);
    assert_eq!(ask(&slow, 2, 3, &["t"]).await.0, 3);
}

contract!(tags_from_before_one_began_to_follow_are_asked_for);
pub(crate) async fn tags_from_before_one_began_to_follow_are_asked_for(at: impl Into<At>) {
    let (redis, space) = space(at, "earlier").await;
    let writer = tracked(&redis, &space);
    for key in 0..4 {
        ask(&writer, key, 1, &[["a", "b"][(key % 2) as usize]]).await;
    }
    writer.invalidate_tags(["a"]).await.unwrap();
    writer.invalidate_tags(["other"]).await.unwrap();
    for cache in [tracked(&redis, &space), local(&redis, &space)] {
        assert!(cache.get(0_u64).await.unwrap().is_none());
        assert_eq!(ask(&cache, 1, 2, &["b"]).await.0, 1);
        assert!(cache.get(2_u64).await.unwrap().is_none());
        assert_eq!(ask(&cache, 3, 2, &["b"]).await.0, 1);
    }
}

contract!(more_tags_than_are_remembered_are_invalid_rather_than_forgotten);
pub(crate) async fn more_tags_than_are_remembered_are_invalid_rather_than_forgotten(
    at: impl Into<At>,
) {
    let (redis, space) = space(at, "forgotten").await;
    let cache = tracked(&redis, &space);
    ask(&cache, 1, 1, &["first"]).await;
    ask(&cache, 2, 1, &[]).await;
    cache.invalidate_tags(["first"]).await.unwrap();
    for piece in 0..202_u32 {
        let tags = (0..500).map(|tag| format!("t{}", piece * 500 + tag));
        cache.invalidate_tags(tags).await.unwrap();
    }
    ask(&cache, 3, 1, &["t1"]).await;
    for cache in [&cache, &tracked(&redis, &space)] {
        assert!(cache.get(1_u64).await.unwrap().is_none());
        assert!(cache.get(2_u64).await.unwrap().is_some());
        assert!(cache.get(3_u64).await.unwrap().is_some());
    }
}

contract!(a_journal_that_is_lost_revives_nothing);
async fn a_journal_that_is_lost_revives_nothing(at: Topology) {
    let (redis, space) = space(at, "lost").await;
    for make in [tracked, local] {
        let cache = make(&redis, &space);
        ask(&cache, 1, 1, &["t"]).await;
        cache.invalidate_tags(["t"]).await.unwrap();
        ask(&cache, 2, 1, &["u"]).await;
        let mut heard = cache.invalidations().unwrap();
        // As an eviction would: the entries are still there.
        for mut primary in at.primaries().await.unwrap() {
            let name = format!("{{{}:*}}:cache-*", space.prefix());
            let found = primary.call(&["KEYS", &name]).await.unwrap();
            for key in found.items().unwrap() {
                primary.call(&["DEL", key.text().unwrap()]).await.unwrap();
            }
        }
        let begun = Instant::now();
        loop {
            let asked = begun.elapsed();
            if cache.get(2_u64).await.unwrap().is_none() {
                break;
            }
            assert!(asked <= STALE, "{asked:?}");
            tokio::time::sleep(ms(5)).await;
        }
        assert_eq!(next(&mut heard).await.what, Invalid::Unknown);
        assert!(cache.get(1_u64).await.unwrap().is_none());
        assert_eq!(ask(&cache, 1, 2, &["t"]).await.0, 2);
        assert_eq!(ask(&cache, 1, 3, &["t"]).await.0, 2);
    }
}

#[tokio::test]
async fn a_journal_that_went_back_is_noticed() {
    let (_server, mut conn, cache) = private().await;
    ask(&cache, 1, 1, &["t"]).await;
    let keys = conn.call(&["KEYS", "{own:*}:cache-journal:route"]).await.unwrap();
    let key = keys.items().unwrap()[0].text().unwrap().to_owned();
    let version = cache.invalidate_tags(["t"]).await.unwrap();
    let mut heard = cache.invalidations().unwrap();
    // As a failover that loses the last writes.
    conn.call(&["HSET", &key, "clock", &(version - 1).to_string()]).await.unwrap();
    // Whoever uses it asks.
    while cache.get(1_u64).await.is_ok() {
        if let Ok(heard) = tokio::time::timeout(ms(10), heard.next()).await {
            assert!(matches!(
                heard,
                Some(Notice::Event(Invalidation { what: Invalid::Unknown, .. }))
            ));
            break;
        }
    }
}

#[tokio::test]
async fn caches_with_and_without_a_journal_are_misses_to_each_other() {
    let (server, _conn, with) = private().await;
    let without =
        routes(&patient(&url(server.addr())), &KeySpace::new("own").unwrap()).build().unwrap();
    ask(&with, 1, 1, &[]).await;
    assert_eq!(ask(&without, 1, 2, &[]).await, (2, Tier::Origin));
    assert_eq!(without.stats().unreadable, 1);
    with.remove(2_u64).await.unwrap();
    ask(&without, 2, 1, &[]).await;
    assert_eq!(ask(&with, 2, 2, &[]).await, (2, Tier::Origin));
    assert_eq!(with.stats().unreadable, 1);
    let error = without.invalidate_all().await.unwrap_err();
    assert!(matches!(error, Error::NoJournal(_)), "{error}");
    assert!(matches!(without.invalidations(), Err(Error::NoJournal(_))));
    let tagged = without.insert(3_u64, Load::value(route(1)).tags(["t"])).await.unwrap_err();
    assert!(matches!(tagged, Error::NoJournal(_)), "{tagged}");
}

#[tokio::test]
async fn tags_that_can_not_be_are_refused() {
    let (_server, _conn, cache) = private().await;
    let long = "x".repeat(129);
    for tags in [vec![""], vec![long.as_str()]] {
        let error = cache.invalidate_tags(&tags).await.unwrap_err();
        assert!(matches!(error, Error::Tags(_)), "{error}");
        let load = Load::value(route(1)).tags(&tags);
        let error = cache.insert(1_u64, load).await.unwrap_err();
        assert!(matches!(error, Error::Tags(_)), "{error}");
    }
    let error = cache.invalidate_tags(Vec::<String>::new()).await.unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    let many = (0..65).map(|tag| tag.to_string());
    let load = Load::value(route(1)).tags(many);
    assert!(matches!(cache.insert(1_u64, load).await.unwrap_err(), Error::Tags(_)));
    assert!(cache.get(1_u64).await.unwrap().is_none());
}
