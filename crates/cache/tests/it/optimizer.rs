//! What would help a cache, and what is done about it.

use std::time::Duration;

use russet_cache::{Access, Cache, Error, Remedy};
use russet_core_conn::KeySpace;
use russet_testkit::shared::{self, Topology};
use russet_testkit::{Eviction, Server, contract};

use crate::support::{ACL, patient, route, routes};

fn access() -> Access {
    Access::default().every(Duration::from_secs(3_600))
}

contract!(few_hits_are_told_and_nothing_is_changed_unasked);
async fn few_hits_are_told_and_nothing_is_changed_unasked(at: Topology) {
    let prefix = shared::prefix("optimizer");
    let url = at.url_as(ACL, &prefix, &["+randomkey", "+dbsize", "+memory|usage"]).await.unwrap();
    let (redis, space) = (patient(&url), KeySpace::new(prefix).unwrap());
    let cache = routes(&redis, &space).access(access()).jitter(0.0).build().unwrap();
    let ttl = async |key: u64| {
        cache.insert(key, route(1)).await.unwrap();
        let name = space.key("cache.route", key);
        let mut conn = at.conn(&name).await.unwrap();
        let name = std::str::from_utf8(name.as_bytes()).unwrap().to_owned();
        let millis = conn.call(&["PTTL", &name]).await.unwrap().int().unwrap();
        (millis.unsigned_abs() + 5_000) / 10_000 * 10
    };
    let ask = async |from: u64, to: u64| {
        for key in from..to {
            let load = |_| async { Ok::<_, Error>(route(1)) };
            cache.get_or_load(key % 1_000, load).await.unwrap();
        }
    };
    let mut optimizer = cache.optimizer();
    ask(0, 50).await;
    let report = optimizer.report().await.unwrap();
    assert!(report.advice.is_empty(), "too few to say: {report:?}");
    assert_eq!((report.interval, report.evicted), (None, None));
    // Of 200 lookups 80 are hits.
    ask(50, 170).await;
    ask(1_000, 1_080).await;
    let report = optimizer.report().await.unwrap();
    assert_eq!((report.stats.lookups(), report.stats.hits), (200, 80));
    assert!(report.interval.unwrap() < Duration::from_secs(60));
    let [advice] = &report.advice[..] else { panic!("{report:?}") };
    assert!(advice.reason.starts_with("40.0% of 200 lookups were hits, fewer than 70.0%"));
    assert_eq!(advice.change, Some(Remedy::Ttl(Duration::from_secs(600))));
    // Only when it is told to, and not where the user says otherwise.
    assert_eq!(ttl(1).await, 300);
    optimizer.apply(advice.change.unwrap());
    assert_eq!(ttl(1).await, 600);
    let own = cache.with_ttl(Duration::from_secs(50));
    own.insert(2_u64, route(1)).await.unwrap();
    // The rates are those of the interval.
    ask(1_000, 1_150).await;
    let report = optimizer.report().await.unwrap();
    assert_eq!((report.stats.hit_rate(), report.stats.loads), (Some(1.0), 0));
    assert!(report.advice.is_empty(), "{report:?}");
    // Of an interval, which the first report has none of, however many there were.
    let mut strict = cache.optimizer().least_hits(0.99).most_evicted(0.0);
    let first = strict.report().await.unwrap();
    assert!(first.stats.lookups() > 200 && first.advice.is_empty(), "{first:?}");
    cache.remove_many(0..100_u64).await.unwrap();
    ask(0, 100).await;
    assert_eq!(strict.report().await.unwrap().advice.len(), 1);
}

#[tokio::test]
async fn evictions_of_this_cache_are_told() {
    let server = Server::builder().maxmemory(100_000_000, Eviction::VolatileTtl);
    let server = server.start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let redis = patient(&server.url());
    let cache: Cache<String> = Cache::builder(&redis, &KeySpace::new("shop").unwrap(), "full")
        .access(access())
        .budget(Duration::from_secs(10))
        .build()
        .unwrap();
    let mut optimizer = cache.optimizer();
    optimizer.report().await.unwrap();
    let info = conn.call(&["INFO", "memory"]).await.unwrap();
    let used = info.text().unwrap().lines().find_map(|line| line.strip_prefix("used_memory:"));
    let most = used.unwrap().parse::<u64>().unwrap() + 2_000_000;
    conn.call(&["CONFIG", "SET", "maxmemory", &most.to_string()]).await.unwrap();
    for key in 0..600_u64 {
        let load = |_| async { Ok::<_, Error>("v".repeat(10_000)) };
        cache.get_or_load(key, load).await.unwrap();
    }
    let report = optimizer.report().await.unwrap();
    let rate = report.eviction_rate().unwrap();
    assert!((0.3..=1.0).contains(&rate), "{report:?}");
    let [evicted, hits] = &report.advice[..] else { panic!("{report:?}") };
    assert!(evicted.reason.contains("were evicted, more than 10.0%"), "{evicted:?}");
    assert_eq!(evicted.change, Some(Remedy::Ttl(Duration::from_secs(150))));
    assert!(hits.reason.contains("can't be hit") && hits.change.is_none(), "{hits:?}");
    let kept = conn.call(&["CONFIG", "GET", "maxmemory"]).await.unwrap();
    assert!(kept.items().unwrap()[1].text().unwrap() == most.to_string(), "its own affair");
}
