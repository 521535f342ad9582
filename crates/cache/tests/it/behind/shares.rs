//! Each worker has its share of the lanes, whoever came first, and each lane an owner.

use std::time::Instant;

use russet_cache::{Worker, WriteBehind};
use russet_core_conn::{Cmd, KeySpace, Redis};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use super::{Table, buffer, committed, ms, routes};
use crate::support::{route, space};

/// Until they have so many lanes, the smallest share first.
async fn shared(workers: &[Worker], shares: &[u64]) {
    let begun = Instant::now();
    loop {
        let mut lanes: Vec<u64> = workers.iter().map(|worker| worker.stats().lanes).collect();
        lanes.sort_unstable();
        if lanes == shares {
            return;
        }
        assert!(begun.elapsed() < ms(20_000), "{lanes:?} instead of {shares:?}");
        tokio::time::sleep(ms(5)).await;
    }
}

/// By each lane, the number of its last owner.
async fn owners(redis: &Redis, space: &KeySpace) -> Vec<Option<u64>> {
    let mut owners = Vec::new();
    for lane in 0..16_u64 {
        let lease = space.key("lease", ("cache-behind", "orders", lane));
        owners.push(redis.run(Cmd::read("HGET").key(&lease).arg("fence")).await.unwrap());
    }
    owners
}

contract!(threads, workers_have_their_shares);
async fn workers_have_their_shares(at: Topology) {
    let (redis, space) = space(at, "behind-shares").await;
    let make = || buffer(&redis.duplicate(), &space).build().unwrap();
    let (table, mut workers) = (Table::default(), Vec::new());
    for shares in [&[16][..], &[8, 8], &[5, 5, 6], &[4, 4, 4, 4], &[3, 3, 3, 3, 4]] {
        let buffer = make();
        workers.push(table.work(&routes(&buffer), &buffer).await);
        shared(&workers, shares).await;
    }
    // All are at work, and nothing goes to and fro.
    let (buffer, before) = (make(), owners(&redis, &space).await);
    for key in 0..500 {
        routes(&buffer).put(&key, &route(1)).await.unwrap();
        tokio::time::sleep(ms(5)).await;
    }
    committed(&buffer).await;
    assert!(workers.iter().all(|worker| worker.stats().committed > 0));
    assert_eq!(owners(&redis, &space).await, before);
    // One that ends, and one that is dropped, leave theirs to the others.
    let left = workers.remove(0).shutdown(ms(10_000)).await;
    assert_eq!(left.undrained, 0);
    shared(&workers, &[4, 4, 4, 4]).await;
    drop(workers.remove(0));
    shared(&workers, &[5, 5, 6]).await;
    assert_eq!(workers.iter().map(|worker| worker.stats().deposed).sum::<u64>(), 0);
}

contract!(a_lane_that_is_not_taken_is_anybodys);
async fn a_lane_that_is_not_taken_is_anybodys(at: Topology) {
    let (redis, space) = space(at, "behind-untaken").await;
    let buffer: WriteBehind = buffer(&redis, &space).lease(ms(500)).build().unwrap();
    let (routes, table) = (routes(&buffer), Table::default());
    // One that is there, and never takes anything.
    let workers = space.key("cache-workers", "orders");
    let enlisted = Cmd::write("HSET").key(&workers).arg("0").arg("9000000000000000");
    redis.run::<()>(enlisted).await.unwrap();
    let worker = table.work(&routes, &buffer).await;
    shared(std::slice::from_ref(&worker), &[8]).await;
    for fare in 0..3 {
        for key in 0..100 {
            routes.put(&key, &route(fare)).await.unwrap();
        }
        committed(&buffer).await;
    }
    drop(worker);
}
