//! A time to live by how often a key is asked for.

use std::time::Duration;

use russet_cache::{Access, AdaptiveTtl, Cache, Load};
use russet_core_conn::KeySpace;
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use crate::support::{Route, entries, route, routes, space};

const BASE: Duration = Duration::from_secs(100);

/// The time to live, in ms, of the only entry.
async fn ttl(at: Topology, space: &KeySpace) -> u64 {
    let keys = entries(at, space).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let mut conn = at.conn(&keys[0]).await.unwrap();
    conn.call(&["PTTL", &keys[0]]).await.unwrap().int().unwrap().unsigned_abs()
}

/// Whether it is the one of a key that was asked for so often.
fn of(ttl: u64, asked: u32) -> bool {
    let full = 100_000.0 * (1.0 + f64::from(asked + 1).ln());
    (full - 5_000.0..=full + 1.0).contains(&(ttl as f64))
}

contract!(what_is_asked_for_often_is_kept_longer);
async fn what_is_asked_for_often_is_kept_longer(at: Topology) {
    let (redis, space) = space(at, "adaptive").await;
    let access = Access::default().every(Duration::from_secs(3_600));
    let build = || {
        let adaptive = AdaptiveTtl::default().base(BASE).max(Duration::from_secs(600));
        routes(&redis, &space).jitter(0.0).access(access).adaptive_ttl(adaptive).build().unwrap()
    };
    let [cache, other]: [Cache<Route>; 2] = [(); 2].map(|()| build());
    let ask = async |cache: &Cache<Route>, times: usize| {
        for _ in 0..times {
            let load = |_| async { Ok::<_, std::io::Error>(route(1)) };
            cache.get_or_load("k", load).await.unwrap();
        }
    };
    ask(&cache, 1).await;
    assert!(of(ttl(at, &space).await, 1), "{}", ttl(at, &space).await);
    // Neither a miss nor a removal sets it back.
    ask(&cache, 28).await;
    cache.remove("k").await.unwrap();
    ask(&cache, 1).await;
    assert!(of(ttl(at, &space).await, 30), "{}", ttl(at, &space).await);
    // What another process knows of it is known, too, once both have merged.
    cache.hot(1).await.unwrap();
    ask(&other, 20).await;
    other.hot(1).await.unwrap();
    other.insert("k", route(2)).await.unwrap();
    assert!(of(ttl(at, &space).await, 50), "{}", ttl(at, &space).await);
    // There is an end to it.
    ask(&other, 200).await;
    other.insert("k", route(2)).await.unwrap();
    assert!((595_000..=600_000).contains(&ttl(at, &space).await));
    // What the user says is never exceeded.
    other.insert("k", Load::value(route(2)).ttl(Duration::from_secs(7))).await.unwrap();
    assert!((1..=7_000).contains(&ttl(at, &space).await));
    other.with_ttl(Duration::from_secs(9)).insert("k", route(2)).await.unwrap();
    assert!((1..=9_000).contains(&ttl(at, &space).await));
    other.insert("k", None).await.unwrap();
    assert!((1..=30_000).contains(&ttl(at, &space).await));
    // Nor is a time to live that is set for all.
    let adaptive = AdaptiveTtl::default().base(BASE).max(Duration::from_secs(600));
    let all = routes(&redis, &space).jitter(0.0).access(access).adaptive_ttl(adaptive);
    let all = all.ttl(Duration::from_secs(150)).build().unwrap();
    ask(&all, 200).await;
    all.insert("k", route(2)).await.unwrap();
    assert!((145_000..=150_000).contains(&ttl(at, &space).await));
}
