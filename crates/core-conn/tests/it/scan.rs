//! Every key that stays is found.

use std::collections::HashSet;
use std::pin::pin;

use futures_util::TryStreamExt;
use russet_core_conn::{Cmd, ErrorKind, Key, KeySpace, Redis, Scan};
use russet_testkit::shared::Topology;
use russet_testkit::{Fsync, Server, contract};

use crate::support::{key, patient, shared};

async fn fill(redis: &Redis, prefix: &str, count: u32) {
    let sets = (0..count).map(|n| Cmd::idempotent("SET").key(&key(prefix, n)).arg(n));
    assert!(redis.pipeline(sets).await.iter().all(Result::is_ok));
}

async fn found(redis: &Redis, scan: Scan) -> HashSet<Key> {
    redis.scan(scan).try_collect().await.unwrap()
}

contract!(all_that_match_are_found_by_pattern_and_type);
async fn all_that_match_are_found_by_pattern_and_type(at: Topology) {
    let (redis, prefix) = shared(at, "scan").await;
    fill(&redis, &prefix, 2_000).await;
    let hash = key(&prefix, "hash");
    redis.run::<()>(Cmd::idempotent("HSET").key(&hash).arg("f").arg("v")).await.unwrap();
    // Neither braces nor colons mean anything in a pattern.
    let pattern = format!("{prefix}:*");
    let all = found(&redis, Scan::matching(pattern.clone()).count(100)).await;
    assert_eq!(all.len(), 2_001);
    assert_eq!(found(&redis, Scan::matching(pattern).of_type("hash")).await, HashSet::from([hash]));
    assert_eq!(found(&redis, Scan::from(format!("{prefix}:19?").as_str())).await.len(), 10);
    assert!(found(&redis, Scan::all()).await.is_superset(&all));
}

#[tokio::test]
async fn what_a_user_typed_is_matched_as_itself() {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    let space = KeySpace::new("shop").unwrap();
    let (star, other) = (space.key("v", "a*b"), space.key("v", "axb"));
    for key in [&star, &other] {
        redis.run::<()>(Cmd::idempotent("SET").key(key).arg(1)).await.unwrap();
    }
    assert_eq!(found(&redis, Scan::matching(star.to_bytes())).await, HashSet::from([star]));
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_no_key() {
    let server = Server::builder().aof(Fsync::Always).start().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    fill(&redis, "k", 3_000).await;
    let mut keys = HashSet::new();
    let mut scan = pin!(redis.scan(Scan::all().count(50)));
    for _ in 0..1_000 {
        keys.insert(scan.try_next().await.unwrap().unwrap());
    }
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    while let Some(key) = scan.try_next().await.unwrap() {
        keys.insert(key);
    }
    assert_eq!(keys.len(), 3_000);
}

#[tokio::test]
async fn a_server_that_is_another_one_each_time_ends_the_walk() {
    let server = Server::builder().aof(Fsync::Always).start().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    fill(&redis, "k", 200).await;
    let mut scan = pin!(redis.scan(Scan::all().count(10)));
    let mut ended = None;
    for _ in 0..9 {
        for _ in 0..20 {
            if let Err(error) = scan.try_next().await {
                ended = Some(error);
            }
        }
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    }
    let error = match ended {
        Some(error) => error,
        None => scan.try_collect::<Vec<_>>().await.unwrap_err(),
    };
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
}
