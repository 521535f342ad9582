//! Limits that move with load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use russet_core_conn::{KeySpace, Notice};
use russet_ratelimit::adaptive::{Adaptive, Law};
use russet_ratelimit::{Limiter, Quota};
use russet_testkit::shared::Topology;
use russet_testkit::{Cluster, Server, contract};

use crate::support::{Space, exact, limiter, patient};

const MINUTE: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(10);

async fn until(adaptive: &Adaptive, is: impl Fn(u64, f64) -> bool) {
    let look = async {
        loop {
            let status = adaptive.status();
            if is(status.limit, status.load) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), look).await;
    assert!(seen.is_ok(), "{:?}", adaptive.status());
}

contract!(a_limit_follows_what_it_is_told);
async fn a_limit_follows_what_it_is_told(at: Topology) {
    let (limiter, _space) = limiter(at, "adaptive").await;
    let limit = limiter.limit("l", Quota::fixed(1, MINUTE).unwrap()).unwrap();
    let load = Arc::new(AtomicU64::new(50));
    let told = load.clone();
    let adaptive = Adaptive::builder(&limit, |n| Quota::fixed(n, MINUTE))
        .every(OFTEN)
        .signal(move || Some(told.load(Relaxed) as f64 / 100.0))
        .build()
        .unwrap();
    let mut events = adaptive.events();
    assert_eq!(limit.check("u").await.unwrap().limit, 1_000);
    load.store(100, Relaxed);
    let Some(Notice::Event(first)) = events.next().await else { panic!("an event") };
    // Three tenths of the way.
    assert_eq!((&*first.policy, first.from, first.to, first.load), ("l", 1_000, 703, 1.0));
    until(&adaptive, |limit, load| (limit, load) == (10, 1.0)).await;
    let decision = limit.check("u").await.unwrap();
    assert_eq!((decision.limit, decision.levels[0].used), (10, 2));
    load.store(90, Relaxed);
    until(&adaptive, |limit, _| limit == 505).await;
    load.store(0, Relaxed);
    until(&adaptive, |limit, _| limit == 1_000).await;
    // The task ends with it.
    drop(adaptive);
    load.store(100, Relaxed);
    while events.next().await.is_some() {}
    assert_eq!(limit.quota().limit(), 1_000);
}

/// How full the one server or the fullest of them is by the limit's signal.
async fn by_memory(limiter: &Limiter) -> Adaptive {
    let limit = limiter.limit("l", Quota::fixed(1, MINUTE).unwrap()).unwrap();
    Adaptive::builder(&limit, |n| Quota::fixed(n, MINUTE)).every(OFTEN).memory().build().unwrap()
}

#[tokio::test]
async fn memory_without_a_bound_is_a_load_of_a_half_and_with_one_its_share() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let limiter = exact(&patient(&server.url()), &KeySpace::new("memory").unwrap());
    let adaptive = by_memory(&limiter).await;
    until(&adaptive, |limit, load| (limit, load) == (1_000, 0.5)).await;
    conn.call(&["CONFIG", "SET", "maxmemory", "1gb"]).await.unwrap();
    until(&adaptive, |limit, load| limit == 1_000 && load < 0.1).await;
    conn.call(&["CONFIG", "SET", "maxmemory", "1kb"]).await.unwrap();
    until(&adaptive, |limit, load| limit == 10 && load > 1.0).await;
    conn.call(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    until(&adaptive, |limit, load| (limit, load) == (1_000, 0.5)).await;
    // Nobody answers.
    conn.call(&["CONFIG", "SET", "maxmemory", "1kb"]).await.unwrap();
    until(&adaptive, |limit, _| limit == 10).await;
    server.kill().await.unwrap();
    until(&adaptive, |limit, load| (limit, load) == (1_000, 0.5)).await;
}

#[tokio::test]
async fn of_a_cluster_the_fullest_node_counts() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let limiter = exact(&patient(&cluster.url()), &KeySpace::new("fullest").unwrap());
    let adaptive = by_memory(&limiter).await;
    until(&adaptive, |_, load| load == 0.5).await;
    for (node, most) in cluster.nodes().iter().zip(["1gb", "1gb", "1kb"]) {
        node.conn().await.unwrap().call(&["CONFIG", "SET", "maxmemory", most]).await.unwrap();
    }
    until(&adaptive, |limit, load| limit == 10 && load > 1.0).await;
}

#[tokio::test]
async fn how_long_decisions_take_is_a_load() {
    let server = Server::start().await.unwrap();
    let space = Space::own([&server], "latency");
    let limiter = exact(&patient(&server.url()), &space);
    let limit = limiter.limit("l", Quota::fixed(1, MINUTE).unwrap()).unwrap();
    let adaptive = Adaptive::builder(&limit, |n| Quota::fixed(n, MINUTE))
        .every(OFTEN)
        .latency(Duration::from_nanos(1))
        .build()
        .unwrap();
    until(&adaptive, |limit, load| (limit, load) == (1_000, 0.5)).await;
    while adaptive.status().limit > 500 {
        limit.check("u").await.unwrap();
    }
    assert!(adaptive.status().load > 1.0);
}

#[tokio::test]
async fn calls_of_the_process_move_a_limit() {
    let limiter = exact(&patient("redis://localhost"), &KeySpace::new("process").unwrap());
    let limit = limiter.limit("l", Quota::permits(1, MINUTE).unwrap()).unwrap();
    let adaptive = Adaptive::builder(&limit, |n| Quota::permits(n, MINUTE))
        .between(4, 8)
        .law(Law::Aimd)
        .every(OFTEN)
        .build()
        .unwrap();
    assert_eq!(adaptive.status().limit, 4);
    while adaptive.status().limit < 8 {
        let calls: Vec<_> = (0..8).map(|_| adaptive.begin()).collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(calls);
    }
    while adaptive.status().limit > 4 {
        adaptive.begin().dropped();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(limit.quota().limit(), 4);
}

#[test]
fn options_that_cannot_be_are_named() {
    let redis = patient("redis://localhost");
    let limiter = exact(&redis, &KeySpace::new("options").unwrap());
    let limit = limiter.limit("l", Quota::bucket()).unwrap();
    let ok = || Adaptive::builder(&limit, |n| Quota::fixed(n, MINUTE));
    for (builder, field) in [
        (ok().between(0, 1), "between"),
        (ok().between(2, 1), "between"),
        (ok().threshold(1.1), "threshold"),
        (ok().threshold(f64::NAN), "threshold"),
        (ok().smoothing(0.0), "smoothing"),
        (ok().every(Duration::ZERO), "every"),
        (ok().latency(Duration::ZERO), "latency"),
        (ok(), "runtime"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
    }
}
