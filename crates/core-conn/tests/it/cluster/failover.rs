//! Primaries that die.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use bytes::Bytes;
use russet_core_conn::{Backoff, Cmd, Durability, ErrorKind, EventKind, Key, Redis, SendOutcome};
use russet_testkit::{Cluster, ClusterBuilder};
use tokio::task::JoinSet;

use crate::support::{ms, patient, record_figures, until};

/// Each a call a millisecond at most: over ten thousand a second in all.
const TASKS: usize = 48;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_primary_costs_its_own_slots_only() {
    check(1, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_primary_costs_its_own_slots_only() {
    check(1, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_cluster_failovers() {
    for hung in [false, true] {
        check(20, hung).await;
    }
}

fn cluster() -> ClusterBuilder {
    Cluster::builder().primaries(3).replicas(1).full_coverage(false)
}

async fn check(rounds: u64, hung: bool) {
    let cluster = Arc::new(cluster().start().await.unwrap());
    let redis = Redis::builder(&cluster.url())
        .deadline(ms(500))
        .reconnect(Backoff::exponential(ms(50), ms(500)))
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    // Counters of all three shards, and beside each one a text that says where it belongs.
    let pair = |n| (Key::raw(format!("f:{n}")), Key::raw(format!("{{f:{n}}}:name")));
    let keys: Vec<(Key, Key)> = (0..600).map(pair).collect();
    let name = |(_, name): &(Key, Key)| Cmd::idempotent("SET").key(name).arg(name.as_bytes());
    let named = redis.with_durability(Durability::Replicas(1)).with_deadline(ms(5_000));
    named.pipeline(keys.iter().map(name)).await.into_iter().for_each(|set| drop(set.unwrap()));
    let mut resumed = Vec::new();
    let (mut calls, mut rate) = (0, u64::MAX);
    for round in 0..rounds {
        let slot = keys[usize::try_from(round).unwrap() * 7].0.slot();
        let victim = cluster.primary_of(slot).await.unwrap();
        let view = cluster.view(&victim).await.unwrap();
        let id = cluster.id(&victim).unwrap();
        let lost =
            |(key, _): &(Key, Key)| view.owner(key.slot()).is_some_and(|owner| owner.id == id);
        let (own, others): (Vec<_>, Vec<_>) = keys.iter().cloned().partition(lost);
        let (own, others) = (Arc::new(own), Arc::new(others));
        let over = Arc::new(AtomicBool::new(false));
        let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (redis, over) = (redis.clone(), over.clone());
            let (done, failed) = (done.clone(), failed.clone());
            // Half of them on the shard that is lost: their waiting must not be in the others' way.
            let near = task % 2 == 0;
            let keys = if near { others.clone() } else { own.clone() };
            tasks.spawn(async move {
                for turn in 0_usize.. {
                    if over.load(SeqCst) {
                        break;
                    }
                    let (key, name) = &keys[(task + 7 * turn) % keys.len()];
                    let called = if turn % 2 == 0 {
                        redis.run::<i64>(Cmd::write("INCR").key(key)).await.map(drop)
                    } else {
                        let read = redis.run::<Bytes>(Cmd::read("GET").key(name)).await;
                        read.map(|found| assert_eq!(found, name.to_bytes(), "another's reply"))
                    };
                    done.fetch_add(u64::from(called.is_ok()), SeqCst);
                    if let (true, Err(error)) = (near, called) {
                        eprintln!("another shard: {error}");
                        failed.fetch_add(1, SeqCst);
                    }
                    tokio::time::sleep(ms(1)).await;
                }
            });
        }
        let begun = Instant::now();
        tokio::time::sleep(ms(500)).await;
        let a_second = u128::from(done.load(SeqCst)) * 1_000 / begun.elapsed().as_millis();
        rate = rate.min(u64::try_from(a_second).unwrap());
        if hung {
            victim.pause().await.unwrap();
        } else {
            victim.kill().await.unwrap();
        }
        let (watcher, key) = (cluster.clone(), own[0].0.clone());
        let promoted = tokio::spawn(async move {
            watcher.promoted(slot).await.unwrap();
            Instant::now()
        });
        let brief = redis.with_deadline(ms(50));
        let first = loop {
            if brief.run::<i64>(Cmd::write("INCR").key(&key)).await.is_ok() {
                break Instant::now();
            }
            // What is refused at once must not keep the servers from their election.
            tokio::time::sleep(ms(1)).await;
        };
        let promoted = promoted.await.unwrap();
        resumed.push(first.saturating_duration_since(promoted));
        tokio::time::sleep(ms(200)).await;
        over.store(true, SeqCst);
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        calls += done.load(SeqCst);
        assert_eq!(failed.load(SeqCst), 0, "failures on other shards, of {calls} calls");
        if hung {
            victim.resume().await.unwrap();
        } else {
            victim.restart().await.unwrap();
        }
        cluster.ready().await.unwrap();
    }
    resumed.sort_unstable();
    println!("hung {hung}: {calls} calls, {rate} a second, writes resumed after {resumed:?}");
    let slowest = *resumed.last().unwrap();
    assert!(slowest < ms(500), "writes resumed after {slowest:?}");
    let us = u64::try_from(slowest.as_micros()).unwrap();
    let name = if hung { "cluster_hangs" } else { "cluster_deaths" };
    let server = cluster.nodes()[0].version().to_string();
    record_figures(
        name,
        &server,
        &[("rounds", rounds), ("calls", calls), ("least_calls_a_second", rate)],
        &[],
        &[("slowest_resume_us", us)],
    );
}

/// Nobody takes its place, so nothing but a probe can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_a_probe_finds_hung_fails_its_own_slots_fast() {
    let timeout = ms(1_000);
    let cluster = Cluster::builder().primaries(3).full_coverage(false).start().await.unwrap();
    let redis = patient(&cluster.url()).probe(ms(200), timeout).build().unwrap();
    redis.ready().await.unwrap();
    let own = Key::raw("f:1");
    let hung = cluster.primary_of(own.slot()).await.unwrap();
    let view = cluster.view(&hung).await.unwrap();
    let is_other = |key: &Key| view.owner(key.slot()).unwrap().port != hung.port();
    let others = (0..).map(|n| Key::raw(format!("f:{n}"))).filter(is_other);
    let mut events = redis.events();
    hung.pause().await.unwrap();
    let begun = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for key in others.take(16) {
        let (redis, over) = (redis.clone(), over.clone());
        tasks.spawn(async move {
            let mut calls = 0_u64;
            while !over.load(SeqCst) {
                let () = redis.run(Cmd::write("INCR").key(&key)).await.map(|_: i64| ()).unwrap();
                calls += 1;
                tokio::time::sleep(ms(1)).await;
            }
            calls
        });
    }
    let event = events.find(|kind| matches!(kind, EventKind::Error(_))).await.unwrap();
    let noticed = begun.elapsed();
    assert!(noticed < 2 * timeout, "{noticed:?}");
    assert_eq!(*event.node, hung.addr().to_string());
    let EventKind::Error(error) = event.kind else { unreachable!() };
    let is_loss = matches!(error.kind(), ErrorKind::ConnectionLost(why) if why.contains("probe"));
    assert!(is_loss, "{error}");
    // None waits for its deadline, neither while it is tried again nor when the others know it, too.
    let refused = Instant::now();
    let mut calls = 0;
    while refused.elapsed() < ms(3_000) {
        for cmd in [Cmd::read("GET").key(&own), Cmd::write("INCR").key(&own)] {
            let called = Instant::now();
            let error = redis.run::<Option<i64>>(cmd).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
            assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
            assert!(called.elapsed() < ms(2_000), "{:?}", called.elapsed());
            calls += 1;
        }
        tokio::time::sleep(ms(10)).await;
    }
    assert!(calls > 50, "{calls} in 3 s");
    over.store(true, SeqCst);
    while let Some(calls) = tasks.join_next().await {
        assert!(calls.unwrap() > 50);
    }
    hung.resume().await.unwrap();
    until("it is used", async || redis.run::<i64>(Cmd::write("INCR").key(&own)).await.is_ok())
        .await;
}

/// Its maximum of attempts ends its connection, and not the handle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_given_up_is_used_again_when_the_others_see_it() {
    let cluster = Cluster::builder().primaries(3).full_coverage(false).start().await.unwrap();
    let few = Backoff::constant(ms(10)).max_attempts(2);
    let redis = patient(&cluster.url()).reconnect(few).build().unwrap();
    let key = Key::raw("f:1");
    let () = redis.run(Cmd::idempotent("SET").key(&key).arg(1)).await.unwrap();
    let mut events = redis.events();
    let node = cluster.primary_of(key.slot()).await.unwrap();
    let place = node.addr().to_string();
    node.kill().await.unwrap();
    let gave_up = events.find(|kind| matches!(kind, EventKind::GaveUp { .. })).await.unwrap();
    assert_eq!(*gave_up.node, *place);
    let down = events.find(|kind| matches!(kind, EventKind::Down)).await.unwrap();
    assert_eq!(*down.node, *place);
    node.restart().await.unwrap();
    let up = events.find(|kind| matches!(kind, EventKind::Up)).await.unwrap();
    assert_eq!(*up.node, *place);
    until("it is used", async || redis.run::<i64>(Cmd::write("INCR").key(&key)).await.is_ok())
        .await;
}

/// The same of attempts to learn the map, of a cluster of which nothing is known yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_was_given_up_is_found_all_the_same() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let few = Backoff::constant(ms(10)).max_attempts(2);
    let redis = patient(&cluster.url()).deadline(ms(1_000)).discovery_reconnect(few);
    let redis = redis.build().unwrap();
    for node in cluster.nodes() {
        node.kill().await.unwrap();
    }
    let error = redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("n"))).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::NotSent);
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
    for node in cluster.nodes() {
        node.restart().await.unwrap();
    }
    cluster.ready().await.unwrap();
    until("it is found", async || {
        redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("n"))).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_nobodys_is_not_served_and_nothing_is_sent() {
    let cluster = Cluster::builder().primaries(3).full_coverage(false).start().await.unwrap();
    let redis = patient(&cluster.url()).build().unwrap();
    let key = Key::raw("f:1");
    let () = redis.run(Cmd::idempotent("SET").key(&key).arg(1)).await.unwrap();
    let slot = key.slot().to_string();
    for node in cluster.nodes() {
        // Who does not have it any more refuses to give it up.
        node.conn().await.unwrap().call(&["CLUSTER", "DELSLOTS", &slot]).await.unwrap();
    }
    let brief = redis.with_deadline(ms(500));
    until("it is known", async || {
        let error = brief.run::<i64>(Cmd::write("INCR").key(&key)).await.unwrap_err();
        let unserved =
            matches!(error.kind(), ErrorKind::Unserved { slot: Some(slot) } if *slot == key.slot());
        assert!(!unserved || error.outcome() == SendOutcome::NotSent, "{error}");
        unserved
    })
    .await;
}
