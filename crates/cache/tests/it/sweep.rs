//! Removing whatever matches.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use russet_core_conn::KeySpace;
use russet_testkit::contract;
use russet_testkit::shared::{self, Topology};

use crate::support::{ACL, entries, patient, route, routes};

contract!(what_matches_is_removed_and_nothing_else);
async fn what_matches_is_removed_and_nothing_else(at: Topology) {
    let prefix = shared::prefix("sweep");
    let redis = patient(&at.url_as(ACL, &prefix, &["+scan"]).await.unwrap());
    let space = KeySpace::new(prefix).unwrap();
    let cache = routes(&redis, &space).journal(Duration::from_millis(400)).local(5_000).build();
    let cache = cache.unwrap();
    let other = russet_cache::Cache::builder(&redis, &space, "route2").build().unwrap();
    other.insert(("SEA", 1), route(1)).await.unwrap();
    for number in 0..1_200_u32 {
        cache.insert((["SEA", "LAX"][number as usize % 2], number), route(1)).await.unwrap();
    }
    // Also what this process keeps.
    let load = |_| async { Ok::<_, std::convert::Infallible>(route(2)) };
    assert!(cache.get_or_load(("SEA", 0), load).await.unwrap().is_hit());
    let begun = Instant::now();
    let removed: Vec<u64> =
        cache.remove_matching("SEA:*", Some(2_000.0)).try_collect().await.unwrap();
    assert_eq!(removed.last(), Some(&600));
    assert!(removed.is_sorted() && removed.len() > 1, "{removed:?}");
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    assert!(!cache.get_or_load(("SEA", 0), load).await.unwrap().is_hit());
    assert!(cache.get(("LAX", 1)).await.unwrap().is_some());
    let removed: Vec<u64> = cache.clear(None).try_collect().await.unwrap();
    assert_eq!(removed.last(), Some(&601));
    assert_eq!(entries(at, &space).await.len(), 1);
    assert!(other.get(("SEA", 1)).await.unwrap().is_some());
}
