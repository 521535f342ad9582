//! How long `subscribe` waits, and what its errors tell.

use std::time::Instant;

use russet_core_conn::{
    Backoff, Delivery, Error, ErrorKind, EventKind, Hub, Purpose, Redis, SendOutcome, Topic,
};
use russet_testkit::{Match, Proxy, Server, shared};

use super::{next, numsub, publish, text};
use crate::order::{At, Order};
use crate::support::{ms, patient, poll_once, until};

/// The shared server behind a proxy.
async fn proxied() -> Proxy {
    let url = shared::url().await.unwrap();
    let addr = url.rsplit(['/', '@']).find(|part| part.contains(':')).unwrap().parse().unwrap();
    Proxy::start(addr).await.unwrap()
}

fn quick(proxy: &Proxy) -> Redis {
    patient(&proxy.url()).reconnect(Backoff::constant(ms(10))).build().unwrap()
}

fn assert_error(error: &Error, outcome: SendOutcome, words: &str) {
    assert_eq!(error.outcome(), outcome, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(error.operation(), Some("SUBSCRIBE"));
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_it_waits_until_its_deadline_and_nothing_is_sent() {
    let (proxy, prefix) = (proxied().await, russet_testkit::prefix("away"));
    proxy.refuse().await.unwrap();
    let redis = quick(&proxy);
    let brisk = redis.without_waiting().hub();
    // Not known to be away yet: it waits for the outcome of the first attempt, no longer.
    let error = brisk.subscribe(Topic::channel(&prefix)).await.unwrap_err();
    assert_error(&error, SendOutcome::NotSent, "refused");
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
    let started = Instant::now();
    for _ in 0..100 {
        let error = brisk.subscribe(Topic::channel(&prefix)).await.unwrap_err();
        assert_error(&error, SendOutcome::NotSent, "refused");
    }
    assert!(started.elapsed() < ms(3_000), "{:?}", started.elapsed());

    let (hub, started) = (redis.with_deadline(ms(100)).hub(), Instant::now());
    let error = hub.subscribe(Topic::channel(&prefix)).await.unwrap_err();
    assert_error(&error, SendOutcome::NotSent, "refused");
    let took = started.elapsed();
    assert!(took >= ms(100) && took < ms(600), "{took:?}");

    // Those that wait have it as soon as there is a connection.
    let mut waiting = Box::pin(redis.hub().subscribe(Topic::channel(&prefix)));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    proxy.accept().await.unwrap();
    let mut subscription = waiting.await.unwrap();
    publish(&mut shared::conn().await.unwrap(), &prefix, "m").await;
    assert_eq!(text(&mut subscription).await, "m");
    assert!(brisk.subscribe(Topic::pattern(&prefix)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_and_not_answered_is_unknown_and_taken_back() {
    let (proxy, prefix) = (proxied().await, russet_testkit::prefix("unanswered"));
    let mut conn = shared::conn().await.unwrap();
    let redis = quick(&proxy);
    let kept = redis.hub().subscribe(Topic::channel(&prefix)).await.unwrap();
    proxy.stall();
    let other = format!("{prefix}:other");
    let hub = redis.with_deadline(ms(100)).hub();
    let error = hub.subscribe(Topic::channel(&other)).await.unwrap_err();
    assert_error(&error, SendOutcome::Unknown, "no answer within 100ms");
    // What the server has already costs no answer of it.
    assert!(hub.subscribe(Topic::channel(&prefix)).await.is_ok());
    proxy.unstall();
    proxy.until(|now| now.requests("UNSUBSCRIBE") == 1).await.unwrap();
    until("it is taken back", async || numsub(&mut conn, "NUMSUB", &other).await == 0).await;
    assert_eq!(proxy.requests("SUBSCRIBE"), 2);
    assert!(kept.is_live());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_while_it_waits_is_waited_out_and_the_server_asked_again() {
    let (proxy, prefix) = (proxied().await, russet_testkit::prefix("again"));
    let mut conn = shared::conn().await.unwrap();
    let redis = quick(&proxy);
    for (channel, cut) in [
        (format!("{prefix}:a"), proxy.cut_before(Match::name("SUBSCRIBE").with_arg(":a"))),
        (format!("{prefix}:b"), proxy.cut_after(Match::name("SUBSCRIBE").with_arg(":b"))),
    ] {
        let mut subscription = redis.hub().subscribe(Topic::channel(&channel)).await.unwrap();
        assert_eq!(cut.strikes(), 1);
        assert_eq!(publish(&mut conn, &channel, "m").await, 1);
        assert_eq!(text(&mut subscription).await, "m");
    }
    // One that does not wait does not wait for this either.
    let cut = proxy.cut_after(Match::name("SUBSCRIBE").with_arg("brisk"));
    let brisk = redis.without_waiting().hub();
    let error = brisk.subscribe(Topic::channel(format!("{prefix}:brisk"))).await.unwrap_err();
    assert_eq!((error.outcome(), cut.strikes()), (SendOutcome::Unknown, 1), "{error}");
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
}

/// Who comes back while the server is still unsubscribing is subscribed when it has, and not with the next heartbeat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_back_while_the_last_leaves_waits_for_the_server_only() {
    let (proxy, prefix) = (proxied().await, russet_testkit::prefix("back"));
    let redis = quick(&proxy);
    // After the first one no heart beats.
    let hub = Hub::builder(&redis).heartbeat(ms(3_600_000), ms(3_600_000)).build().unwrap();
    let first = hub.subscribe(Topic::channel(&prefix)).await.unwrap();
    proxy.until(|now| now.requests("PING") == 1).await.unwrap();
    proxy.stall();
    drop(first);
    proxy.until(|now| now.requests("UNSUBSCRIBE") == 1).await.unwrap();
    let mut again = Box::pin(hub.subscribe(Topic::channel(&prefix)));
    assert!(poll_once(again.as_mut()).await.is_none());
    // The hub has seen it, and can do nothing yet.
    tokio::time::sleep(ms(50)).await;
    assert_eq!(proxy.requests("SUBSCRIBE"), 1);
    proxy.unstall();
    let mut again = again.await.unwrap();
    assert_eq!(publish(&mut shared::conn().await.unwrap(), &prefix, "m").await, 1);
    assert_eq!(text(&mut again).await, "m");
    assert_eq!(proxy.requests("SUBSCRIBE"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnect_cuts_the_wait() {
    let (proxy, prefix) = (proxied().await, russet_testkit::prefix("hurry"));
    let redis = patient(&proxy.url()).reconnect(Backoff::constant(ms(3_600_000))).build().unwrap();
    let mut events = redis.events();
    let mut subscription = redis.hub().subscribe(Topic::channel(&prefix)).await.unwrap();
    proxy.cut_all().await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Reconnecting { .. })).await.unwrap();
    redis.reconnect();
    assert!(matches!(next(&mut subscription).await, Delivery::Away(_)));
    assert!(matches!(next(&mut subscription).await, Delivery::Gap(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_is_told_and_reconnect_begins_again() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let backoff = Backoff::constant(ms(5)).max_attempts(3);
    let redis = patient(&proxy.url()).reconnect(backoff).build().unwrap();
    let (mut events, mut order) = (redis.events(), Order::default());
    let hub = Hub::builder(&redis).build().unwrap();
    let mut subscription = hub.subscribe(Topic::channel("x")).await.unwrap();
    let event = order.until(&mut events, |kind| matches!(kind, EventKind::Ready(_))).await;
    assert_eq!((event.purpose, event.generation), (Purpose::Subscriptions, 1));

    proxy.refuse().await.unwrap();
    proxy.cut_all().await.unwrap();
    order.until(&mut events, |kind| matches!(kind, EventKind::GaveUp { attempts: 3, .. })).await;
    for _ in 0..2 {
        let error = hub.subscribe(Topic::channel("y")).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::GaveUp { attempts: 3, .. }), "{error}");
        assert_eq!(error.outcome(), SendOutcome::NotSent);
    }
    proxy.accept().await.unwrap();
    redis.reconnect();
    assert!(matches!(next(&mut subscription).await, Delivery::Away(_)));
    assert!(matches!(next(&mut subscription).await, Delivery::Gap(_)));
    assert_eq!(publish(&mut server.conn().await.unwrap(), "x", "m").await, 1);
    assert_eq!(text(&mut subscription).await, "m");
    order.until(&mut events, |kind| matches!(kind, EventKind::Ready(_))).await;
    redis.close().await;
    drop((redis, hub, subscription));
    order.read_to_end(&mut events).await;
    assert_eq!((order.at(1), order.readies), (At::Closed, 2));
}
