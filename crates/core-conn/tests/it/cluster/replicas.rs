//! Replicas that are read from.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russet_core_conn::{Cmd, ErrorKind, Key, Redis, ReplicaReads, SendOutcome};
use russet_testkit::{Clients, Cluster, Server};

use super::key;
use crate::support::{ms, patient, until};

/// How many GETs it has answered or refused.
async fn gets(server: &Server) -> u64 {
    let stats = server.conn().await.unwrap().call(&["INFO", "commandstats"]).await.unwrap();
    let line =
        stats.text().unwrap().lines().find_map(|line| {
            line.strip_prefix("cmdstat_get:calls=")?.split(',').next()?.parse().ok()
        });
    line.unwrap_or(0)
}

async fn get(redis: &Redis, key: &Key) -> Option<u64> {
    redis.run(Cmd::read("GET").key(key)).await.unwrap()
}

async fn set(redis: &Redis, key: &Key, value: u64) {
    let () = redis.run(Cmd::idempotent("SET").key(key).arg(value)).await.unwrap();
}

/// A cluster whose slot of `key(1)` has these replicas.
async fn started(replicas: usize) -> (Cluster, Arc<Server>, Vec<Arc<Server>>) {
    let cluster =
        Cluster::builder().primaries(3).replicas(replicas).partitions().start().await.unwrap();
    let slot = key(1).slot();
    let primary = cluster.primary_of(slot).await.unwrap();
    let replicas = cluster.replicas_of(slot).await.unwrap();
    (cluster, primary, replicas)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_round_the_replicas_and_nothing_else_does() {
    let (cluster, primary, replicas) = started(2).await;
    let redis =
        patient(&cluster.url()).replica_reads(ReplicaReads::Only).replica_lag(ms(2_000)).build();
    let redis = redis.unwrap();
    set(&redis, &key(1), 7).await;
    for _ in 0..40 {
        get(&redis, &key(1)).await;
    }
    assert_eq!(gets(&primary).await, 0);
    let each = [gets(&replicas[0]).await, gets(&replicas[1]).await];
    assert!(each.iter().sum::<u64>() == 40 && each.iter().all(|&gets| gets >= 10), "{each:?}");
    // What goes as one goes where all of it may.
    let mixed = [Cmd::read("GET").key(&key(1)), Cmd::idempotent("SET").key(&key(1)).arg(8)];
    redis.pipeline(mixed).await.into_iter().for_each(|reply| drop(reply.unwrap()));
    assert_eq!(gets(&primary).await, 1);
    // Not asked for, it does not happen.
    let plain = patient(&cluster.url()).build().unwrap();
    for _ in 0..10 {
        assert_eq!(get(&plain, &key(1)).await, Some(8));
    }
    assert_eq!(gets(&primary).await, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_falls_behind_is_left_within_the_bound() {
    const BOUND: Duration = Duration::from_millis(400);
    let (cluster, primary, replicas) = started(1).await;
    let written = patient(&cluster.url()).build().unwrap();
    let build =
        |reads| patient(&cluster.url()).replica_reads(reads).replica_lag(BOUND).build().unwrap();
    let (prefer, only) = (build(ReplicaReads::Prefer), build(ReplicaReads::Only));
    let name = key(1);
    set(&written, &name, 0).await;
    get(&only, &name).await;
    until("the replica is preferred", async || {
        let before = gets(&replicas[0]).await;
        get(&prefer, &name).await;
        gets(&replicas[0]).await > before
    })
    .await;

    // It hears of no write any more, and answers all the same.
    cluster.cut_off(&[&replicas[0]], Clients::Reach).unwrap();
    let (mut past, mut stale, begun) = (VecDeque::new(), 0, Instant::now());
    for count in 1_u64.. {
        set(&written, &name, count).await;
        past.push_back((Instant::now(), count));
        let asked = Instant::now();
        let found = get(&prefer, &name).await.unwrap();
        stale += u64::from(found < count);
        while past.front().is_some_and(|(at, _)| *at + BOUND < asked) {
            let (at, due) = past.pop_front().unwrap();
            assert!(found >= due, "{found}, and {due} was written {:?} before", asked - at);
        }
        if begun.elapsed() > 4 * BOUND {
            break;
        }
        tokio::time::sleep(ms(2)).await;
    }
    assert!(stale > 0, "the replica was never behind");
    let before = gets(&primary).await;
    get(&prefer, &name).await;
    assert_eq!(gets(&primary).await, before + 1);
    let error = only.with_deadline(ms(100)).run::<u64>(Cmd::read("GET").key(&name)).await;
    let error = error.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent);

    cluster.heal().unwrap();
    // It waits until there is one again.
    get(&only, &name).await;
}

#[test]
fn what_is_out_of_bounds_or_place_is_named() {
    let said = |builder: russet_core_conn::RedisBuilder| builder.build().unwrap_err().to_string();
    let cluster = || Redis::builder("redis-cluster://h");
    assert!(said(cluster().replica_lag(ms(19))).contains("20 ms to a day"));
    let nat = said(cluster().nat([("a:1", "b")]));
    assert!(nat.contains("`a:1` to `b`") && nat.contains("host:port"), "{nat}");
    for builder in [
        Redis::builder("redis://h").replica_reads(ReplicaReads::Prefer),
        Redis::builder("redis://h").replica_lag(ms(100)),
        Redis::builder("redis-sentinel://h").nat([("a:1", "b:2")]),
        Redis::builder("redis://h").discovery_reconnect(russet_core_conn::Backoff::constant(ms(9))),
    ] {
        let said = said(builder);
        assert!(said.contains("no cluster") && said.contains("redis-cluster://"), "{said}");
    }
}
