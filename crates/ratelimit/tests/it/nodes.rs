//! How many nodes share the limits.

use std::time::{Duration, Instant};

use russet_ratelimit::{Limiter, Quota};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use crate::support::space;

contract!(nodes_that_go_or_die_are_counted_no_more);
async fn nodes_that_go_or_die_are_counted_no_more(at: Topology) {
    let (redis, space) = space(at, "nodes").await;
    let node = |name: &str| {
        let options = Limiter::options(&redis, &space).budget(Duration::from_secs(10)).node(name);
        options.heartbeat(Duration::from_millis(100)).build().unwrap()
    };
    let (stays, leaves, dies, same) = (node("a"), node("b"), node("c"), node("a"));
    assert_eq!(stays.nodes(), 1);
    for limiter in [&stays, &leaves, &dies, &same] {
        let limit = limiter.limit("l", Quota::bucket()).unwrap();
        limit.check("u").await.unwrap();
    }
    let until = async |nodes: u32| {
        let begun = Instant::now();
        while stays.nodes() != nodes {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} for {nodes}", stays.nodes());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    until(3).await;
    leaves.shutdown().await.unwrap();
    until(2).await;
    // Its task ends with it, and nobody says that it is gone.
    drop(dies);
    until(1).await;
    // The last one is forgotten with its time, too.
    let key = space.global("limit-nodes", ());
    let mut conn = at.conn(key.as_bytes()).await.unwrap();
    let key = std::str::from_utf8(key.as_bytes()).unwrap();
    let left = conn.call(&["PTTL", key]).await.unwrap().int().unwrap();
    assert!((1..=300).contains(&left), "{left}");
}
