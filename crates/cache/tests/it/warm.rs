//! Filling before it is asked.

use std::future::IntoFuture;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use futures_util::stream;
use russet_cache::{Access, Cache, Tier};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use crate::support::{At, Held, Route, refuses_what_was_removed, route, routes, space};

fn some(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// Loads all keys below 1,000, and says how many batches it loads at a time.
#[derive(Clone, Default)]
struct Table {
    calls: Arc<AtomicUsize>,
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Table {
    async fn load(self, keys: Vec<u64>) -> Result<Vec<(u64, Route)>, String> {
        self.calls.fetch_add(1, SeqCst);
        self.most.fetch_max(self.inside.fetch_add(1, SeqCst) + 1, SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.inside.fetch_sub(1, SeqCst);
        if keys.iter().any(|key| *key >= 1_000) {
            return Err("no such route".into());
        }
        Ok(keys.into_iter().map(|key| (key, route(1))).collect())
    }
}

contract!(warmers_load_what_is_missing_and_say_how_far_they_are);
async fn warmers_load_what_is_missing_and_say_how_far_they_are(at: Topology) {
    let (redis, space) = space(at, "warm").await;
    let access = Access::default().every(Duration::from_secs(3_600));
    let cache: Cache<Route> = routes(&redis, &space).access(access).build().unwrap();
    for key in 0..20_u64 {
        cache.insert(key, route(7)).await.unwrap();
    }
    let (table, bad) = (Table::default(), Table::default());
    let warmer = cache.warmer("routes").batch(some(10)).concurrency(some(3));
    let (one, two) = (table.clone(), bad.clone());
    let mut warming = warmer.run(stream::iter(0..95), move |keys, _| one.clone().load(keys));
    // Beside one that fails for a part of its keys.
    let other = cache.warmer("bad").batch(some(10));
    let other = other.run(stream::iter(980..1_020), move |keys, _| two.clone().load(keys));
    let mut seen = vec![warming.progress()];
    while let Some(progress) = warming.next().await {
        seen.push(progress);
    }
    assert_eq!(seen[0].total, Some(95));
    let done = |at: usize| seen[at].loaded + seen[at].cached;
    assert!((1..seen.len()).all(|at| done(at) >= done(at - 1)) && seen.len() > 3, "{seen:?}");
    let warmed = warming.await;
    assert_eq!((warmed.name.as_str(), warmed.cancelled, warmed.error), ("routes", false, None));
    let progress = warmed.progress;
    assert_eq!((progress.loaded, progress.cached, progress.failed), (75, 20, 0));
    assert_eq!(table.calls.load(SeqCst), 8);
    assert!((2..=3).contains(&table.most.load(SeqCst)), "{:?}", table.most);
    let failed = other.await;
    assert_eq!((failed.progress.loaded, failed.progress.failed), (20, 20));
    assert_eq!(failed.error.as_deref(), Some("no such route"));
    // Nobody asked for any of it.
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (0, 0, 12), "{stats:?}");
    assert!(cache.hot(5).await.unwrap().is_empty() && cache.missed(5).await.unwrap().is_empty());
    for key in [0_u64, 94, 999] {
        assert_eq!(cache.get(key).await.unwrap().unwrap().tier(), Tier::Redis, "{key}");
    }
    assert!(cache.get(1_005_u64).await.unwrap().is_none());
}

contract!(a_warmer_goes_no_faster_than_it_may_and_ends_when_it_is_told);
pub(crate) async fn a_warmer_goes_no_faster_than_it_may_and_ends_when_it_is_told(
    at: impl Into<At>,
) {
    let (redis, space) = space(at, "warm-rate").await;
    let cache: Cache<Route> = routes(&redis, &space).build().unwrap();
    let table = Table::default();
    let warm = |name: &str, keys| {
        let table = table.clone();
        let warmer = cache.warmer(name).batch(some(10)).concurrency(some(5)).rate(200.0);
        warmer.run(stream::iter(keys), move |keys, _| table.clone().load(keys))
    };
    let begun = Instant::now();
    let warmed = warm("paced", 0..100).await;
    // The first of ten batches goes at once.
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    assert_eq!(warmed.progress.loaded, 100);
    let mut warming = warm("cancelled", 100..1_000);
    while warming.next().await.unwrap().loaded < 30 {}
    warming.cancel();
    let warmed = warming.await;
    assert!(warmed.cancelled);
    assert!((30..200).contains(&warmed.progress.loaded), "{warmed:?}");
    assert_eq!(warmed.progress.total, Some(900));
}

contract!(what_is_removed_while_it_is_warmed_is_not_filled);
async fn what_is_removed_while_it_is_warmed_is_not_filled(at: Topology) {
    let (redis, space) = space(at, "warm-removed").await;
    let (cache, loader) = (routes(&redis, &space).build().unwrap(), Held::new());
    let load = {
        let loader = loader.clone();
        move |keys, _| loader.clone().load(keys)
    };
    let warming = cache.warmer("removed").run(stream::iter([1_u64, 2]), load);
    refuses_what_was_removed(&cache, &loader, warming.into_future()).await;
}

contract!(what_was_hot_and_what_was_missed_is_warmed_each_by_its_share);
async fn what_was_hot_and_what_was_missed_is_warmed_each_by_its_share(at: Topology) {
    let (redis, space) = space(at, "warm-predicted").await;
    let access = Access::default().every(Duration::from_secs(3_600));
    let cache: Cache<Route> = routes(&redis, &space).access(access).jitter(0.0).build().unwrap();
    // Of ten that are hot only the last five were missed often; ten others were missed, the first five more often.
    for key in 0..10_u64 {
        cache.insert(key, route(1)).await.unwrap();
        for _ in 0..20 {
            cache.get(key).await.unwrap();
        }
        cache.remove(key).await.unwrap();
        for _ in 0..if key < 5 { 0 } else { 9 } {
            cache.get(key).await.unwrap();
        }
        for _ in 0..if key < 5 { 5 } else { 2 } {
            cache.get(100 + key).await.unwrap();
        }
    }
    let before = cache.stats();
    let table = Table::default();
    let asked = table.clone();
    let warmer = cache.predictive_warmer("predicted").hot(10).missed(5);
    let warming = warmer.run(|key| key.segment(0), move |keys, _| asked.clone().load(keys));
    let warmed = warming.await.unwrap().await;
    assert_eq!((warmed.name.as_str(), warmed.error), ("predicted", None));
    assert_eq!((warmed.progress.total, warmed.progress.loaded), (Some(15), 15));
    assert_eq!(table.calls.load(SeqCst), 1);
    let after = cache.stats();
    assert_eq!((after.misses, after.hits), (before.misses, before.hits), "nobody asked");
    let ttl = async |key: u64| {
        let name = space.key("cache.route", key);
        let mut conn = at.conn(&name).await.unwrap();
        let name = std::str::from_utf8(name.as_bytes()).unwrap();
        conn.call(&["PTTL", name]).await.unwrap().int().unwrap()
    };
    for key in (0..10_u64).chain(100..105) {
        assert!(cache.get(key).await.unwrap().is_some(), "{key}");
        let ttl = ttl(key).await;
        assert!((7_100_000..=7_200_000).contains(&ttl), "{ttl}");
    }
    assert!(cache.get(105_u64).await.unwrap().is_none());
    // By a warmer of the user's for as long, unless its handle has a time of its own; neither of them asks.
    let own = cache.with_ttl(Duration::from_secs(60));
    for (by, kept) in [(&cache, 7_200_000), (&own, 60_000)] {
        cache.remove(0_u64).await.unwrap();
        let (before, asked) = (cache.stats(), table.clone());
        let warmer =
            cache.predictive_warmer("by").hot(10).missed(0).by(by.warmer("other").rate(1e6));
        let warming = warmer.run(|key| key.segment(0), move |keys, _| asked.clone().load(keys));
        let warmed = warming.await.unwrap().await;
        assert_eq!((warmed.name.as_str(), warmed.progress.loaded), ("other", 1));
        let (after, ttl) = (cache.stats(), ttl(0).await);
        assert_eq!((after.misses, after.hits), (before.misses, before.hits), "nobody asked");
        assert!((kept - 50_000..=kept).contains(&ttl), "{ttl}");
    }
}
