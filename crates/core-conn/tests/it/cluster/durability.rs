//! What is confirmed by whom in a cluster, and what of it a failover takes back.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use russet_core_conn::{Cmd, Durability, ErrorKind, Key, Redis, SendOutcome};
use russet_testkit::{Clients, Cluster, Fsync, Server};

use super::{connected, key};
use crate::ledger::{TASKS, settled, writers};
use crate::support::{ms, record_figures, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shard_confirms_its_own() {
    let cluster = Cluster::start(3, 1).await.unwrap();
    let redis = connected(&cluster).await;
    let one = redis.with_durability(Durability::Replicas(1));
    for n in 0..30 {
        assert_eq!(one.run::<i64>(Cmd::write("INCR").key(&key(n))).await.unwrap(), 1);
    }
    // What it was confirmed to have.
    for replica in cluster.replicas_of(key(1).slot()).await.unwrap() {
        let mut conn = replica.conn().await.unwrap();
        conn.call(&["READONLY"]).await.unwrap();
        assert_eq!(conn.call(&["GET", "k:1"]).await.unwrap().text(), Some("1"));
    }
    // Also along a slot that is elsewhere by now.
    let from = cluster.primary_of(key(2).slot()).await.unwrap();
    let to = cluster.primary_of(key(2).slot().wrapping_add(8_192) % 16_384).await.unwrap();
    cluster.reshard([key(2).slot()], &from, &to).await.unwrap();
    assert_eq!(one.run::<i64>(Cmd::write("INCR").key(&key(2))).await.unwrap(), 2);
    let counts = one.pipeline([3, 4].map(|n| Cmd::write("INCR").key(&key(n)))).await;
    assert!(counts.iter().all(Result::is_ok), "{counts:?}");

    let two = redis.with_durability(Durability::Replicas(2)).with_deadline(ms(500));
    let error = two.run::<i64>(Cmd::write("INCR").key(&key(1))).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotDurable { .. }), "{error}");
    assert_eq!(error.outcome(), SendOutcome::Unknown);
    assert_eq!(redis.run::<i64>(Cmd::read("GET").key(&key(1))).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_disk_is_said_to_be_so() {
    let server = Server::builder().aof(Fsync::Always);
    let cluster = Cluster::builder().primaries(3).server(server).start().await.unwrap();
    let redis = connected(&cluster).await.with_durability(Durability::Fsync);
    let written = redis.run::<i64>(Cmd::write("INCR").key(&key(1))).await;
    let version = cluster.nodes()[0].version().clone();
    if version.at_least(7, 2) {
        assert_eq!(written.unwrap(), 1);
    } else {
        let error = written.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
        assert_eq!(error.outcome(), SendOutcome::NotSent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_replicas_confirmed_survives() {
    check(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_cluster_durability() {
    check(21).await;
}

/// Each round another node becomes the primary of a shard: its own is killed, cut off, or told to hand over.
async fn check(rounds: u64) {
    let cluster = Cluster::builder().primaries(3).replicas(1).partitions().start().await.unwrap();
    let redis = Redis::builder(&cluster.url()).deadline(ms(300)).build().unwrap();
    redis.with_deadline(ms(10_000)).ready().await.unwrap();
    let slot = Key::raw("{l}").slot();
    let over = Arc::new(AtomicBool::new(false));
    let (soon, _) = writers(&redis, "{l}:soon", &over);
    let safe = redis.with_durability(Durability::Replicas(1));
    let (safe, confirmed) = writers(&safe, "{l}:safe", &over);
    for round in 0..rounds {
        let before = confirmed.load(SeqCst);
        until("confirmed writes", async || confirmed.load(SeqCst) > before + 100).await;
        match round % 3 {
            0 => {
                let dead = cluster.kill_primary_of(slot).await.unwrap();
                cluster.promoted(slot).await.unwrap();
                dead.restart().await.unwrap();
            }
            1 => {
                // It takes writes until it notices.
                let alone = cluster.primary_of(slot).await.unwrap();
                cluster.cut_off(&[&alone], Clients::Reach).unwrap();
                cluster.promoted(slot).await.unwrap();
                cluster.heal().unwrap();
            }
            _ => drop(cluster.failover(slot).await.unwrap()),
        }
        cluster.ready().await.unwrap();
    }
    over.store(true, SeqCst);
    let primary = cluster.primary_of(slot).await.unwrap();
    let soon = settled(soon, &primary, "{l}:soon").await;
    let safe = settled(safe, &primary, "{l}:safe").await;
    println!(
        "{rounds} rounds; acknowledged, unknown, lost: async {:?}, all replicas {:?}",
        soon.summary(),
        safe.summary()
    );
    assert_eq!(safe.lost, 0, "acknowledged by all replicas, and lost");
    assert!(safe.acknowledged.len() as u64 > 100 * rounds, "{:?}", safe.summary());
    assert!(soon.not_sent + safe.not_sent + safe.unknown > 0, "nobody noticed a failover");
    record_figures(
        "cluster_durability",
        &primary.version().to_string(),
        &[("rounds", rounds), ("tasks_of_each", TASKS as u64)],
        &[("kills", rounds / 3), ("cut_off", rounds / 3), ("ordered", rounds / 3)],
        &[
            ("acknowledged_async", soon.acknowledged.len() as u64),
            ("lost_async", soon.lost),
            ("unknown_async", soon.unknown),
            ("acknowledged_replicas", safe.acknowledged.len() as u64),
            ("lost_replicas", safe.lost),
            ("unknown_replicas", safe.unknown),
        ],
    );
}
