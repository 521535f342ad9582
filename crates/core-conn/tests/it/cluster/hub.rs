//! Subscriptions in a cluster.

use std::time::Duration;

use russet_core_conn::{Cmd, Delivery, Key, Redis, SendOutcome, Subscription, Topic};
use russet_testkit::{Cluster, slot_of};

use super::connected;

/// Publishes until it is heard, which it is not while nobody listens.
async fn heard(redis: &Redis, subscription: &mut Subscription, name: &str, word: &str) -> u32 {
    let mut gaps = 0;
    let publish = || async {
        let cmd = match name.starts_with("s:") {
            true => Cmd::write("SPUBLISH").arg(name).arg(word),
            false => Cmd::write("PUBLISH").arg(name).arg(word),
        };
        match redis.run::<i64>(cmd).await {
            Ok(_) => {}
            // The node died under it. It is said again.
            Err(error) => assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}"),
        }
    };
    let hear = async {
        loop {
            match subscription.next().await.expect("the hub ended") {
                Delivery::Message(message) if message.payload() == word.as_bytes() => return,
                Delivery::Gap(_) => gaps += 1,
                _ => {}
            }
        }
    };
    let publish = async {
        loop {
            publish().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = hear => {}
        () = publish => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("{name}: never heard {word}"),
    }
    gaps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharded_channels_live_where_their_slots_do_and_go_along() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let hub = redis.hub();
    let names: Vec<String> = (0..60).map(|n| format!("s:{n}")).collect();
    let mut all = Vec::new();
    for name in &names {
        all.push(hub.subscribe(Topic::sharded(Key::raw(name.clone()))).await.unwrap());
    }
    for (name, subscription) in names.iter().zip(&mut all) {
        let told: i64 = redis.run(Cmd::write("SPUBLISH").arg(name).arg("first")).await.unwrap();
        assert_eq!(told, 1, "{name}");
        assert_eq!(heard(&redis, subscription, name, "first").await, 0);
    }
    let nodes = cluster.nodes();
    let first: Vec<u16> = (0..5_400).collect();
    cluster.reshard(first, &nodes[0], &nodes[1]).await.unwrap();
    for (name, subscription) in names.iter().zip(&mut all) {
        let gaps = heard(&redis, subscription, name, "second").await;
        let moved = slot_of(name) < 5_400;
        assert!(!moved || gaps >= 1, "{name}: moved, and no gap was told");
    }
    // What nobody hears any more is not subscribed to any more.
    drop(all);
    crate::support::until("no subscriptions", async || {
        let mut left = 0;
        for node in &nodes {
            let channels =
                node.conn().await.unwrap().call(&["PUBSUB", "SHARDCHANNELS"]).await.unwrap();
            left += channels.items().unwrap().len();
        }
        left == 0
    })
    .await;
    assert!(redis.close().await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_and_patterns_outlive_the_node_that_tells_of_them() {
    let cluster =
        Cluster::builder().primaries(3).replicas(1).full_coverage(false).start().await.unwrap();
    let redis = connected(&cluster).await;
    let mut news = redis.hub().subscribe(Topic::channel("news")).await.unwrap();
    let mut all = redis.hub().subscribe(Topic::pattern("ne*")).await.unwrap();
    assert_eq!(heard(&redis, &mut news, "news", "one").await, 0);
    assert_eq!(heard(&redis, &mut all, "news", "two").await, 0);
    let mut home = None;
    for node in cluster.nodes() {
        let channels = node.conn().await.unwrap().call(&["PUBSUB", "CHANNELS"]).await.unwrap();
        if channels.items().unwrap().iter().any(|name| name.text() == Some("news")) {
            home = Some(node);
        }
    }
    home.unwrap().kill().await.unwrap();
    let patient = redis.with_deadline(Duration::from_secs(10));
    assert!(heard(&patient, &mut news, "news", "three").await >= 1);
    assert!(heard(&patient, &mut all, "news", "four").await >= 1);
}
