//! One key at a time.

use std::convert::Infallible;
use std::time::Duration;

use russet_cache::{Cache, Freshness, Load, LoadError, Reason, Tier};
use russet_core_conn::{Codec, ErrorKind, KeySpace};

use russet_testkit::contract;
use russet_testkit::shared::Topology;
use serde::{Deserialize, Serialize};

use crate::support::{At, Origin, Route, Warnings, caches, entries, route, routes, space};

contract!(a_value_is_loaded_once_and_then_found);
pub(crate) async fn a_value_is_loaded_once_and_then_found(at: impl Into<At>) {
    let (redis, space) = space(at, "single").await;
    let cache = routes(&redis, &space).build().unwrap();
    let origin = Origin::default();
    let load = |fare| {
        let origin = origin.clone();
        move |_| origin.give(route(fare))
    };
    let first = cache.get_or_load(("SEA", "LAX"), load(100)).await.unwrap();
    assert_eq!(
        (first.freshness(), first.tier(), first.is_hit()),
        (Freshness::Loaded, Tier::Origin, false)
    );
    let second = cache.get_or_load(("SEA", "LAX"), load(200)).await.unwrap();
    assert_eq!(
        (second.freshness(), second.tier(), second.is_hit()),
        (Freshness::Fresh, Tier::Redis, true)
    );
    assert_eq!(second.value(), Some(&route(100)));
    assert_eq!(origin.calls(), 1);
    assert_eq!(
        *cache.get(("SEA", "LAX")).await.unwrap().unwrap().into_value().unwrap(),
        route(100)
    );

    assert!(cache.remove(("SEA", "LAX")).await.unwrap());
    assert!(!cache.remove(("SEA", "LAX")).await.unwrap());
    assert!(cache.get(("SEA", "LAX")).await.unwrap().is_none());
    let third = cache.get_or_load(("SEA", "LAX"), load(300)).await.unwrap();
    assert_eq!(third.value(), Some(&route(300)));

    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads, stats.fills), (2, 3, 2, 2));
}

contract!(absence_is_remembered_for_its_own_time);
async fn absence_is_remembered_for_its_own_time(at: Topology) {
    let (redis, space) = space(at, "absent").await;
    let cache =
        routes(&redis, &space).absent_ttl(Duration::from_secs(20)).jitter(0.0).build().unwrap();
    let origin = Origin::default();
    for expected in [Tier::Origin, Tier::Redis] {
        let origin = origin.clone();
        let found = cache.get_or_load("nowhere", move |_| origin.give(None)).await.unwrap();
        assert_eq!(
            (found.value(), found.freshness(), found.tier()),
            (None, Freshness::Absent, expected)
        );
    }
    assert_eq!(origin.calls(), 1);
    let ttl = ttl(at, &space).await;
    assert!((19_000..=20_000).contains(&ttl), "{ttl} ms");

    // What is created later is seen as soon as it is inserted or the absence removed.
    cache.insert("nowhere", route(7)).await.unwrap();
    assert_eq!(cache.get("nowhere").await.unwrap().unwrap().value(), Some(&route(7)));
    cache.insert("nowhere", None).await.unwrap();
    assert_eq!(cache.get("nowhere").await.unwrap().unwrap().freshness(), Freshness::Absent);
}

contract!(a_time_to_live_is_set_in_the_same_step_and_drawn_by_jitter);
async fn a_time_to_live_is_set_in_the_same_step_and_drawn_by_jitter(at: Topology) {
    let (redis, space) = space(at, "ttl").await;
    let cache = routes(&redis, &space).ttl(Duration::from_secs(100)).jitter(0.5).build().unwrap();
    let mut seen = Vec::new();
    for _ in 0..40 {
        cache.insert("k", route(1)).await.unwrap();
        seen.push(ttl(at, &space).await);
    }
    assert!(seen.iter().all(|ttl| (49_000..=100_000).contains(ttl)), "{seen:?}");
    assert!(
        seen.iter().any(|ttl| *ttl < 75_000) && seen.iter().any(|ttl| *ttl > 75_000),
        "{seen:?}"
    );
    // Its own TTL wins over the cache's.
    cache.insert("k", Load::value(route(1)).ttl(Duration::from_secs(10))).await.unwrap();
    assert!((4_000..=10_000).contains(&ttl(at, &space).await));
}

contract!(a_load_is_kept_for_ten_years_at_most);
async fn a_load_is_kept_for_ten_years_at_most(at: Topology) {
    let (redis, space) = space(at, "years").await;
    let years: i64 = 10 * 365 * 24 * 3_600_000;
    for jitter in [0.0, 0.5] {
        let cache = routes(&redis, &space).jitter(jitter).build().unwrap();
        let longer = Duration::from_millis(4 * years.unsigned_abs());
        for endless in [longer, Duration::from_secs(u64::MAX / 1_000), Duration::MAX] {
            let load = Load::value(route(1)).ttl(endless);
            cache.insert("k", load.clone()).await.unwrap();
            assert!((years / 2 - 60_000..=years).contains(&ttl(at, &space).await));
            cache.remove("k").await.unwrap();
            let load = |_| async { Ok::<_, std::io::Error>(load) };
            assert!(!cache.get_or_load("k", load).await.unwrap().is_hit());
            assert!((years / 2 - 60_000..=years).contains(&ttl(at, &space).await));
        }
    }
}

contract!(an_entry_ends_with_its_time_to_live);
async fn an_entry_ends_with_its_time_to_live(at: Topology) {
    let (redis, space) = space(at, "expiry").await;
    let cache = routes(&redis, &space).build().unwrap();
    cache.insert("k", Load::value(route(1)).ttl(Duration::from_millis(1))).await.unwrap();
    while !entries(at, &space).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(cache.get("k").await.unwrap().is_none());
}

contract!(what_is_not_to_be_kept_is_not);
pub(crate) async fn what_is_not_to_be_kept_is_not(at: impl Into<At>) {
    let (redis, space) = space(at, "skip").await;
    let cache = routes(&redis, &space).build().unwrap();
    let found = cache
        .get_or_load("k", |_| async { Ok::<_, std::io::Error>(Load::value(route(1)).skip_cache()) })
        .await
        .unwrap();
    assert_eq!(found.value(), Some(&route(1)));
    cache.insert("k", Load::value(route(1)).ttl(Duration::ZERO)).await.unwrap();
    assert!(cache.get("k").await.unwrap().is_none());
}

contract!(a_loader_that_fails_is_an_error_and_leaves_nothing);
pub(crate) async fn a_loader_that_fails_is_an_error_and_leaves_nothing(at: impl Into<At>) {
    let (redis, space) = space(at, "error").await;
    let cache = routes(&redis, &space).build().unwrap();
    let failed = cache.get_or_load("k", |_| async { Err::<Route, _>("no database") }).await;
    assert_eq!(failed.unwrap_err(), LoadError::Loader("no database".into()));
    assert!(cache.get("k").await.unwrap().is_none());
    assert_eq!(cache.stats().load_errors, 1);
}

contract!(an_unreadable_entry_is_a_miss_and_is_replaced);
async fn an_unreadable_entry_is_a_miss_and_is_replaced(at: Topology) {
    let (redis, space) = space(at, "corrupt").await;
    let cache = routes(&redis, &space).build().unwrap();
    cache.insert("k", route(1)).await.unwrap();
    let key = entries(at, &space).await.remove(0);
    let mut conn = at.conn(&key).await.unwrap();
    let garbage = [
        &b""[..],
        b"hello",
        b"\x01\xc1\x00\x93\x01",
        b"\x01\xc1\xff\x00",
        b"\x02no lease",
        b"\x03no times of its own",
    ];
    let values = garbage.map(|bytes| (&b"SET"[..], bytes));
    for (command, bytes) in values.into_iter().chain([(&b"RPUSH"[..], &b"another type"[..])]) {
        conn.call(&[b"DEL", key.as_bytes()]).await.unwrap();
        conn.call(&[command, key.as_bytes(), bytes]).await.unwrap();
        assert!(cache.get("k").await.unwrap().is_none());
        let found = cache
            .get_or_load("k", |ctx| async move {
                assert_eq!(ctx.reason(), Reason::Unreadable);
                Ok::<_, std::io::Error>(route(2))
            })
            .await
            .unwrap();
        assert_eq!(found.tier(), Tier::Origin);
        assert_eq!(cache.get("k").await.unwrap().unwrap().value(), Some(&route(2)));
    }
    let stats = cache.stats();
    assert_eq!((stats.unreadable, stats.unavailable), (14, 0));
}

contract!(a_value_that_can_not_be_kept_is_still_served);
pub(crate) async fn a_value_that_can_not_be_kept_is_still_served(at: impl Into<At>) {
    let (redis, space) = space(at, "large").await;
    let codec = Codec::builder().max_decoded(1_024).build().unwrap();
    let cache = routes(&redis, &space).codec(codec).build().unwrap();
    let large = || Route { fare: 1, name: "x".repeat(5_000) };
    let found = cache
        .get_or_load("k", move |_| async move { Ok::<_, std::io::Error>(large()) })
        .await
        .unwrap();
    assert_eq!(found.value(), Some(&large()));
    assert!(cache.get("k").await.unwrap().is_none());
    assert_eq!(cache.stats().fill_errors, 1);
    let refused = cache.insert("k", large()).await.unwrap_err();
    assert!(
        matches!(refused, russet_cache::Error::Codec(_)) && !refused.is_retryable(),
        "{refused}"
    );
}

contract!(names_and_keys_do_not_run_into_each_other);
async fn names_and_keys_do_not_run_into_each_other(at: Topology) {
    let (redis, space) = space(at, "names").await;
    let (one, two) = (
        Cache::<String>::new(&redis, &space, "a").unwrap(),
        Cache::<String>::new(&redis, &space, "a:b").unwrap(),
    );
    one.insert("b:c", "one".to_owned()).await.unwrap();
    two.insert("c", "two".to_owned()).await.unwrap();
    one.insert(("b", "c"), "three".to_owned()).await.unwrap();
    for (cache, key, value) in
        [(&one, &["b:c"][..], "one"), (&two, &["c"], "two"), (&one, &["b", "c"], "three")]
    {
        assert_eq!(cache.get(key).await.unwrap().unwrap().value().map(String::as_str), Some(value));
    }
}

contract!(another_layout_in_redis_is_refused_and_the_loader_serves);
async fn another_layout_in_redis_is_refused_and_the_loader_serves(at: Topology) {
    let (redis, space) = space(at, "layout").await;
    routes(&redis, &space).build().unwrap().insert("k", route(1)).await.unwrap();
    let other = KeySpace::new(space.prefix()).unwrap().partitions(16.try_into().unwrap());
    let cache = routes(&redis, &other).build().unwrap();
    let russet_cache::Error::Redis(refused) = cache.insert("k", route(2)).await.unwrap_err() else {
        panic!("not Redis's")
    };
    assert!(matches!(refused.kind(), ErrorKind::Layout { .. }), "{refused}");
    assert!(refused.to_string().contains("128") && refused.to_string().contains("16"), "{refused}");
    let warnings = Warnings::default();
    let _heard = tracing::subscriber::set_default(warnings.clone());
    for _ in 0..3 {
        let found =
            cache.get_or_load("k", |_| async { Ok::<_, std::io::Error>(route(3)) }).await.unwrap();
        assert_eq!(found.value(), Some(&route(3)));
    }
    assert_eq!(warnings.count(), 1, "what no waiting mends is said, and not each time");
}

/// Before it had a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Yesterdays {
    fare: u32,
}

contract!(what_yesterdays_release_wrote_is_a_miss);
pub(crate) async fn what_yesterdays_release_wrote_is_a_miss(at: impl Into<At>) {
    let (redis, space) = space(at, "yesterday").await;
    let old: Cache<Yesterdays> = caches(&redis, &space, "route").build().unwrap();
    let new = routes(&redis, &space).build().unwrap();
    for key in 0..3_u64 {
        old.insert(key, Yesterdays { fare: 7 }).await.unwrap();
    }
    assert!(new.get(0_u64).await.unwrap().is_none());
    let found = new
        .get_or_load(0_u64, |context| async move {
            assert_eq!((context.reason(), context.stale()), (Reason::Unreadable, None));
            Ok::<_, Infallible>(route(1))
        })
        .await
        .unwrap();
    assert_eq!((found.value(), found.tier()), (Some(&route(1)), Tier::Origin));
    let found = new
        .get_or_load_many([0_u64, 1], |missing, _| async move {
            assert_eq!(missing, [1]);
            Ok::<_, Infallible>([(1_u64, route(2))])
        })
        .await
        .unwrap();
    let fares: Vec<_> = found.iter().map(|found| found.value().unwrap().fare).collect();
    assert_eq!((fares, new.stats().unreadable), (vec![1, 2], 3));
    // It is replaced, and the other release, which still runs, reads what it knows of it.
    assert_eq!(new.get(1_u64).await.unwrap().unwrap().value(), Some(&route(2)));
    assert_eq!(old.get(1_u64).await.unwrap().unwrap().value(), Some(&Yesterdays { fare: 2 }));
    assert_eq!(old.get(2_u64).await.unwrap().unwrap().value(), Some(&Yesterdays { fare: 7 }));
}

/// The time to live, in ms, of the only entry.
async fn ttl(at: Topology, space: &KeySpace) -> i64 {
    let keys = entries(at, space).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let mut conn = at.conn(&keys[0]).await.unwrap();
    conn.call(&["PTTL", &keys[0]]).await.unwrap().int().unwrap()
}

/// Checked by the compiler alone.
#[expect(dead_code, reason = "it is never called")]
fn calls_can_be_made_in_tasks(cache: &Cache<Route>) {
    fn can(_: impl Send) {}
    let load = |_| async { Ok::<_, std::io::Error>(route(1)) };
    can((cache.get("k"), cache.get_or_load("k", load), cache.insert("k", route(1))));
    can((cache.remove("k"), cache.remove_many(["k"]), cache.expire("k")));
    can((cache.invalidate_tags(["t"]), cache.invalidate_all()));
}
