//! From the first call to the last: waiting, listening, ending.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use russet_core_conn::{
    Backoff, Cmd, Error, ErrorKind, EventKind, Key, Notice, Redis, RedisBuilder, SendOutcome,
};
use russet_testkit::{Proxy, Server};

use crate::order::{At, Order};
use crate::support::{clients, incr, key, ms, patient, poll_once, until};

mod identity;
mod reconnect;

/// A server behind a proxy that refuses connections, so that its port is nobody else's.
async fn away() -> (Server, Proxy) {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    proxy.refuse().await.unwrap();
    (server, proxy)
}

/// Quick attempts, for tests that are about something else.
fn quick(builder: RedisBuilder) -> Redis {
    builder.reconnect(Backoff::constant(ms(10))).build().unwrap()
}

fn is_ready(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Ready(_))
}

fn is_reconnecting(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Reconnecting { .. })
}

fn assert_not_connected(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    assert!(error.is_retryable(), "{error}");
}

#[test]
fn building_needs_neither_a_server_nor_a_runtime() {
    let redis = Redis::builder("redis://127.0.0.1:1").build().unwrap();
    let clone = redis.with_deadline(ms(50));
    let mut events = redis.events();
    drop(redis);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_not_connected(&clone.ping().await.unwrap_err());
        drop(clone);
        Order::default().read_to_end(&mut events).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_calls_wait_until_their_deadline() {
    let (_server, proxy) = away().await;
    let redis = quick(Redis::builder(&proxy.url()));
    for deadline in [ms(50), ms(200)] {
        let redis = redis.with_deadline(deadline);
        let calls =
            [redis.run::<i64>(incr("n")).await.unwrap_err(), redis.ready().await.unwrap_err()];
        for error in calls {
            assert_not_connected(&error);
            assert!(error.to_string().contains("refused"), "{error}");
        }
        let started = Instant::now();
        redis.ping().await.unwrap_err();
        let took = started.elapsed();
        assert!(took >= deadline && took < deadline + ms(500), "{took:?} of {deadline:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_for_a_connection_and_their_number_is_bounded() {
    let (server, proxy) = away().await;
    let redis = quick(patient(&proxy.url()).queue(5));
    // Before the first connection, and after the loss of one.
    for time in ["first", "again"] {
        let keys: Vec<Key> = (0..6).map(|n| key(time, n)).collect();
        let mut calls = Box::pin(join_all(
            keys[..5].iter().map(|key| redis.run::<i64>(Cmd::write("INCR").key(key))),
        ));
        assert!(poll_once(calls.as_mut()).await.is_none());
        let error = redis.run::<i64>(Cmd::write("INCR").key(&keys[5])).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Backpressure { waiting: 5 }), "{error}");
        assert_eq!(error.outcome(), SendOutcome::NotSent);

        proxy.accept().await.unwrap();
        for reply in calls.await {
            assert_eq!(reply.unwrap(), 1, "{time}");
        }
        let mut conn = server.conn().await.unwrap();
        let refused = conn.call(&[b"GET".as_slice(), keys[5].as_bytes()]).await.unwrap();
        assert!(refused.is_nil(), "what was refused was sent");

        let mut events = redis.events();
        proxy.refuse().await.unwrap();
        proxy.cut_all().await.unwrap();
        events.find(is_reconnecting).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_does_not_wait_fails_at_once_while_the_server_is_away() {
    let (_server, proxy) = away().await;
    let redis = quick(patient(&proxy.url()));
    let brisk = redis.without_waiting();
    // Not known to be away yet: it waits for the outcome of the first attempt, no longer.
    assert_not_connected(&brisk.run::<i64>(incr("n")).await.unwrap_err());
    let started = Instant::now();
    for _ in 0..100 {
        assert_not_connected(&brisk.run::<i64>(incr("n")).await.unwrap_err());
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    proxy.accept().await.unwrap();
    redis.ready().await.unwrap();
    assert_eq!(brisk.run::<i64>(incr("n")).await.unwrap(), 1);
    let fresh = quick(patient(&proxy.url())).without_waiting();
    assert_eq!(fresh.run::<i64>(incr("n")).await.unwrap(), 2, "the first call connects");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_listener_is_told_what_it_missed_and_blocks_nothing() {
    let (_server, proxy) = away().await;
    let redis = patient(&proxy.url()).reconnect(Backoff::constant(ms(1))).build().unwrap();
    let (mut slow, mut quick, mut order) = (redis.events(), redis.events(), Order::default());
    let mut ready = Box::pin(redis.ready());
    assert!(poll_once(ready.as_mut()).await.is_none());
    order
        .until(&mut quick, |kind| matches!(kind, EventKind::Reconnecting { attempt: 200, .. }))
        .await;
    proxy.accept().await.unwrap();
    order.until(&mut quick, is_ready).await;
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
    ready.await.unwrap();
    redis.close().await;
    drop(redis);
    order.read_to_end(&mut quick).await;

    let Some(Notice::Missed(missed)) = slow.next().await else { panic!("it missed nothing") };
    let mut left = 0;
    while let Some(notice) = slow.next().await {
        assert!(matches!(notice, Notice::Event(_)), "{notice:?}");
        left += 1;
    }
    assert_eq!(missed + left, order.heard);
    assert!(missed >= 100 && left >= 100, "{missed} missed, {left} left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_ends_its_connections_and_tasks() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let redis = patient(&server.url()).connections(3).connection_name("last").build().unwrap();
    let clone = redis.without_waiting();
    let mut events = redis.events();
    redis.ready().await.unwrap();
    assert_eq!(clients(&mut conn, "last").await.len(), 3);
    drop(redis);
    assert_eq!(clone.run::<i64>(incr("n")).await.unwrap(), 1, "a clone is left");
    drop(clone);
    until("the connections end", async || clients(&mut conn, "last").await.is_empty()).await;
    until("the tasks end", async || tasks() <= before).await;
    let mut order = Order::default();
    order.read_to_end(&mut events).await;
    assert_eq!([0, 1, 2].map(|connection| order.at(connection)), [At::Closed; 3]);

    // Also while it is away.
    let (_server, proxy) = away().await;
    let before = tasks();
    let redis = quick(patient(&proxy.url()));
    let mut events = redis.events();
    let mut ready = Box::pin(redis.ready());
    assert!(poll_once(ready.as_mut()).await.is_none());
    events.find(is_reconnecting).await.unwrap();
    drop(ready);
    drop(redis);
    until("the tasks end", async || tasks() <= before).await;
}
