//! Those that are too slow, and what is too long.

use russet_core_conn::{Delivery, Hub, Topic};
use russet_testkit::shared::Topology;
use russet_testkit::{Proxy, Server, contract};

use super::{next, publish, start, text};
use crate::support::{ms, patient};

contract!(threads, a_slow_subscriber_is_told_exactly_what_it_missed_and_nobody_else_loses_anything);
async fn a_slow_subscriber_is_told_exactly_what_it_missed_and_nobody_else_loses_anything(
    at: Topology,
) {
    let (redis, mut servers, prefix) = start(at, "slow").await;
    let hub = Hub::builder(&redis).queue(100).build().unwrap();
    let mut slow = hub.subscribe(Topic::channel(&prefix)).await.unwrap();
    let mut quick = hub.subscribe(Topic::channel(&prefix)).await.unwrap();
    let mut by_pattern = hub.subscribe(Topic::pattern(&prefix)).await.unwrap();
    for n in 0..1_000 {
        publish(&mut servers.owner, &prefix, n.to_string()).await;
        for subscription in [&mut quick, &mut by_pattern] {
            assert_eq!(text(subscription).await, n.to_string());
        }
    }
    assert!(matches!(next(&mut slow).await, Delivery::Missed(900)));
    for n in 900..950 {
        assert_eq!(text(&mut slow).await, n.to_string());
    }
    // Half of the room is free again.
    for n in 1_000..1_060 {
        publish(&mut servers.owner, &prefix, n.to_string()).await;
        assert_eq!(text(&mut quick).await, n.to_string());
    }
    assert!(matches!(next(&mut slow).await, Delivery::Missed(10)));
    for n in 960..1_060 {
        assert_eq!(text(&mut slow).await, n.to_string());
    }
    publish(&mut servers.owner, &prefix, "quick enough").await;
    for subscription in [&mut slow, &mut quick] {
        assert_eq!(text(subscription).await, "quick enough");
    }
}

contract!(threads, what_waits_is_bounded_in_bytes);
async fn what_waits_is_bounded_in_bytes(at: Topology) {
    let (redis, mut servers, prefix) = start(at, "bytes").await;
    let hub = Hub::builder(&redis).queue_bytes(1 << 20).max_message(1 << 20).build().unwrap();
    let mut slow = hub.subscribe(Topic::channel(&prefix)).await.unwrap();
    let mut quick = hub.subscribe(Topic::channel(&prefix)).await.unwrap();
    for n in 0..10_u8 {
        publish(&mut servers.owner, &prefix, vec![n; 300_000]).await;
        assert_eq!(text(&mut quick).await.as_bytes()[0], n);
    }
    assert!(matches!(next(&mut slow).await, Delivery::Missed(7)));
    for n in 7..10_u8 {
        assert_eq!(text(&mut slow).await.as_bytes(), vec![n; 300_000]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_is_missed_by_its_subscribers_and_noticed_by_nobody_else() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let redis = patient(&proxy.url()).build().unwrap();
    // Less than a heartbeat's answers have.
    let hub = Hub::builder(&redis).max_message(10).heartbeat(ms(20), ms(5_000)).build().unwrap();
    let mut news = hub.subscribe(Topic::channel("news-of-the-world")).await.unwrap();
    let mut pattern = hub.subscribe(Topic::pattern("news*")).await.unwrap();
    let mut other = hub.subscribe(Topic::channel("other")).await.unwrap();
    let long = vec![b'\n'; 5 << 20];
    for payload in [&b"ten bytes!"[..], b"eleven byte", &long, b"after"] {
        publish(&mut conn, "news-of-the-world", payload).await;
        publish(&mut conn, "other", "o").await;
        assert_eq!(text(&mut other).await, "o");
    }
    // One that came by a pattern can be too long also by its channel's name.
    publish(&mut conn, [b"news".as_slice(), &long].concat(), "long name").await;
    publish(&mut conn, "news", "end").await;
    publish(&mut conn, "other", "o").await;
    assert_eq!(text(&mut other).await, "o");
    for subscription in [&mut news, &mut pattern] {
        assert_eq!(text(subscription).await, "ten bytes!");
        assert!(matches!(next(subscription).await, Delivery::Missed(2)));
        assert_eq!(text(subscription).await, "after");
    }
    assert!(matches!(next(&mut pattern).await, Delivery::Missed(1)));
    assert_eq!(text(&mut pattern).await, "end");
    // Still the same connection, and its heart beats.
    let beats = proxy.requests("PING");
    proxy.until(|now| now.requests("PING") > beats + 3).await.unwrap();
    assert_eq!(proxy.connections(), 1);
}

contract!(a_burst_longer_than_its_queue_is_not_missed_by_one_that_reads);
/// On one thread, so that whoever reads has its turn when the hub gives it one, and not when the system does.
async fn a_burst_longer_than_its_queue_is_not_missed_by_one_that_reads(at: Topology) {
    let (redis, mut servers, prefix) = start(at, "burst").await;
    let hub = Hub::builder(&redis).queue(512).build().unwrap();
    let mut subscription = hub.subscribe(Topic::channel(&prefix)).await.unwrap();
    let reading = tokio::spawn(async move {
        for n in 1..=20_000 {
            assert_eq!(text(&mut subscription).await, n.to_string());
        }
    });
    // The server sends it as fast as it can be read.
    let burst = "for n = 1, 20000 do redis.call('PUBLISH', ARGV[1], n) end";
    servers.owner.call(&["EVAL", burst, "0", &prefix]).await.unwrap();
    reading.await.unwrap();
}
