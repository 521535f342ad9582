//! Walking through the keys of a cluster.

use std::collections::HashSet;
use std::pin::pin;

use futures_util::TryStreamExt;
use russet_core_conn::{Cmd, Key, Redis, Scan};
use russet_testkit::Cluster;

use super::connected;

async fn walk(redis: &Redis) -> Vec<Key> {
    redis.scan(Scan::all().count(50)).try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_primaries_are_walked_and_what_moves_is_found() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let keys: HashSet<Key> = (0..3_000).map(|n| Key::raw(format!("s:{n}"))).collect();
    let sets = keys.iter().map(|key| Cmd::idempotent("SET").key(key).arg(1));
    assert!(redis.pipeline(sets).await.iter().all(Result::is_ok));
    let found = walk(&redis).await;
    assert_eq!(found.len(), 3_000);
    assert_eq!(HashSet::from_iter(found), keys);

    // From the one that is walked last to the one that was first, while the walk is between them; and back.
    let nodes = cluster.nodes();
    for (from, to, slots) in [(2, 0, 12_000..12_400), (0, 2, 100..500)] {
        let mut seen = HashSet::new();
        let mut scan = pin!(redis.scan(Scan::all().count(50)));
        while let Some(key) = scan.try_next().await.unwrap() {
            seen.insert(key);
            if seen.len() == 1_200 {
                cluster.reshard(slots.clone(), &nodes[from], &nodes[to]).await.unwrap();
            }
        }
        assert_eq!(seen, keys, "{from} to {to}");
    }
    // Held open, half of the keys moved.
    let open = cluster.open_slots(6_000..6_100, &nodes[1], &nodes[0]).await.unwrap();
    let mut seen = HashSet::new();
    let mut scan = pin!(redis.scan(Scan::all().count(50)));
    while let Some(key) = scan.try_next().await.unwrap() {
        seen.insert(key);
        if seen.len() == 1_200 {
            open.move_keys().await.unwrap();
        }
    }
    assert_eq!(seen, keys);
    open.assign().await.unwrap();

    // To one that has no slot of its own yet, and that nobody has heard of.
    let new = cluster.add_node().await.unwrap();
    let open = cluster.open_slots(100..200, &nodes[2], &new).await.unwrap();
    open.move_keys().await.unwrap();
    assert_eq!(HashSet::from_iter(walk(&redis).await), keys);
    open.assign().await.unwrap();
    assert_eq!(HashSet::from_iter(walk(&redis).await), keys);
}
