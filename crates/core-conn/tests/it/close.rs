//! The graceful end.

use std::time::Duration;

use futures_util::future::join_all;
use russet_core_conn::{CloseReport, Cmd, Error, ErrorKind, EventKind, Key, Redis, SendOutcome};
use russet_testkit::{Proxy, Server};
use tokio::task::JoinSet;

use crate::order::{At, Order};
use crate::support::{clients, key, ms, patient, poll_once, until};

mod leaks;
pub(crate) mod signal;

/// A server behind a proxy.
pub(crate) async fn behind_proxy() -> (Server, Proxy) {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    (server, proxy)
}

/// So many calls, each on a key of its own.
pub(crate) fn calls(redis: &Redis, name: &str, count: usize) -> JoinSet<Result<i64, Error>> {
    let mut calls = JoinSet::new();
    for n in 0..count {
        let (redis, key) = (redis.clone(), key(name, n));
        calls.spawn(async move { redis.run(Cmd::write("INCR").key(&key)).await });
    }
    calls
}

pub(crate) fn assert_closed(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    assert!(!error.is_retryable());
}

fn is_clean(report: CloseReport) {
    assert!(report.is_clean(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_is_idempotent_and_concurrent_and_says_goodbye_once() {
    let (server, proxy) = behind_proxy().await;
    let redis = patient(&proxy.url()).connections(2).connection_name("bye").build().unwrap();
    let mut events = redis.events();
    redis.ready().await.unwrap();
    let reports = join_all((0..8).map(|_| redis.close())).await;
    assert!(reports.iter().all(|report| *report == reports[0]), "{reports:?}");
    is_clean(redis.clone().close().await);
    // One for each connection.
    proxy.until(|now| now.open == 0).await.unwrap();
    assert_eq!(proxy.requests("QUIT"), 2);
    let mut conn = server.conn().await.unwrap();
    until("the connections end", async || clients(&mut conn, "bye").await.is_empty()).await;

    // Later calls of every kind are told so.
    assert_closed(&redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("n"))).await.unwrap_err());
    assert_closed(&redis.ping().await.unwrap_err());
    assert_closed(&redis.ready().await.unwrap_err());
    assert_closed(&redis.without_waiting().ping().await.unwrap_err());
    let blocking = Cmd::write("BLPOP").key(&Key::raw("list")).arg("1");
    assert_closed(&redis.run::<Option<Vec<String>>>(blocking).await.unwrap_err());
    for reply in redis.pipeline([Cmd::read("PING"), Cmd::read("DBSIZE")]).await {
        assert_closed(&reply.unwrap_err());
    }
    redis.reconnect();
    assert_closed(&redis.ping().await.unwrap_err());
    assert_eq!(proxy.connections(), 2, "nothing connects after the end");

    // A goodbye is no error; and the events end, although the handle is still here.
    let mut order = Order::default();
    order.read_to_end(&mut events).await;
    assert_eq!((order.errors, order.attempts.len()), (0, 0), "{order:?}");
    assert_eq!([order.at(0), order.at(1)], [At::Closed; 2]);
    drop(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_finishes_and_what_waits_is_not_sent() {
    let (server, proxy) = behind_proxy().await;
    let redis = patient(&proxy.url()).in_flight(8).build().unwrap();
    redis.ready().await.unwrap();
    proxy.stall();
    let sent = calls(&redis, "sent", 8);
    proxy.until(|now| now.requests("INCR") == 8).await.unwrap();
    let queued: Vec<Key> = (0..12).map(|n| key("queued", n)).collect();
    let waiting = queued.iter().map(|key| redis.run::<i64>(Cmd::write("INCR").key(key)));
    let mut waiting = Box::pin(join_all(waiting));
    assert!(poll_once(waiting.as_mut()).await.is_none());

    let mut closing = Box::pin(redis.close());
    assert!(poll_once(closing.as_mut()).await.is_none());
    // Those that wait are turned away at once, not at the end.
    for reply in waiting.await {
        assert_closed(&reply.unwrap_err());
    }
    let early = tokio::time::timeout(ms(200), closing.as_mut()).await;
    assert!(early.is_err(), "it does not wait for what is in flight: {early:?}");
    assert_eq!(proxy.requests("QUIT"), 0);
    proxy.unstall();
    let report = closing.await;
    assert_eq!((report.not_sent, report.unknown), (12, 0), "{report:?}");
    for reply in sent.join_all().await {
        assert_eq!(reply.unwrap(), 1);
    }
    proxy.until(|now| now.open == 0).await.unwrap();
    assert_eq!((proxy.requests("QUIT"), proxy.requests("INCR")), (1, 8));
    let mut conn = server.conn().await.unwrap();
    for key in &queued {
        assert!(conn.call(&[b"GET".as_slice(), key.as_bytes()]).await.unwrap().is_nil());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_does_not_hold_it_up() {
    let (server, proxy) = behind_proxy().await;
    let redis = patient(&proxy.url()).close_deadline(ms(300)).in_flight(10).build().unwrap();
    redis.ready().await.unwrap();
    server.pause().await.unwrap();
    let sent = calls(&redis, "sent", 10);
    proxy.until(|now| now.requests("INCR") == 10).await.unwrap();
    let waiting = (0..3).map(|_| redis.ping());
    let mut waiting = Box::pin(join_all(waiting));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    let report = redis.close().await;
    assert_eq!((report.not_sent, report.unknown), (3, 10), "{report:?}");
    assert!(report.took >= ms(300) && report.took < ms(1_000), "{report:?}");
    for reply in sent.join_all().await {
        let error = reply.unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    }
    for reply in waiting.await {
        assert_closed(&reply.unwrap_err());
    }

    // Nothing is in flight, but the goodbye is not taken.
    let idle = patient(&proxy.url()).close_deadline(ms(300)).build().unwrap();
    server.resume().await.unwrap();
    idle.ready().await.unwrap();
    server.pause().await.unwrap();
    let report = idle.close().await;
    is_clean(report);
    assert!(report.took < ms(1_000), "{report:?}");
    server.resume().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_does_not_hold_it_up() {
    // Never asked for anything.
    let (_server, proxy) = behind_proxy().await;
    let redis = patient(&proxy.url()).build().unwrap();
    is_clean(redis.close().await);
    assert_closed(&redis.ping().await.unwrap_err());
    assert_eq!(proxy.connections(), 0);

    // Refused, and in the middle of a handshake that does not go on.
    for stalled in [false, true] {
        if stalled {
            proxy.accept().await.unwrap();
            proxy.stall();
        } else {
            proxy.refuse().await.unwrap();
        }
        let redis = patient(&proxy.url()).build().unwrap();
        let mut waiting = Box::pin(join_all((0..5).map(|_| redis.ping())));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        if stalled {
            proxy.until(|now| now.requests("HELLO") > 0).await.unwrap();
        } else {
            redis.events().find(|kind| matches!(kind, EventKind::Error(_))).await.unwrap();
        }
        let report = redis.close().await;
        assert_eq!((report.not_sent, report.unknown), (5, 0), "{report:?}");
        assert!(report.took < ms(500), "stalled: {stalled}, {report:?}");
        for reply in waiting.await {
            assert_closed(&reply.unwrap_err());
        }
        proxy.unstall();
        proxy.until(|now| now.open == 0).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_on_connections_of_their_own_may_finish_too() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    for in_time in [true, false] {
        let redis = patient(&server.url())
            .connection_name("pop")
            .close_deadline(if in_time { Duration::from_secs(10) } else { ms(200) })
            .build()
            .unwrap();
        let pop = Cmd::write("BLPOP").key(&Key::raw("list")).arg("0");
        let mut popping = Box::pin(redis.run::<Vec<String>>(pop));
        tokio::select! {
            popped = popping.as_mut() => panic!("{popped:?}"),
            () = until("a blocked client", async || {
                clients(&mut conn, "pop").await.iter().any(|line| line.contains(" cmd=blpop "))
            }) => {}
        }
        let mut closing = Box::pin(redis.close());
        assert!(poll_once(closing.as_mut()).await.is_none());
        if in_time {
            conn.call(&["RPUSH", "list", "v"]).await.unwrap();
            let (report, popped) = tokio::join!(closing, popping);
            is_clean(report);
            assert_eq!(popped.unwrap(), ["list", "v"]);
        } else {
            let (report, popped) = tokio::join!(closing, popping);
            assert_eq!((report.not_sent, report.unknown), (0, 1), "{report:?}");
            assert_eq!(popped.unwrap_err().outcome(), SendOutcome::Unknown);
        }
        until("the connections end", async || clients(&mut conn, "pop").await.is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_after_the_end() {
    let (server, proxy) = behind_proxy().await;
    let redis = patient(&proxy.url()).close_deadline(ms(100)).build().unwrap();
    redis.ready().await.unwrap();
    // A call that needs a connection of its own, which can't be had until after the end.
    proxy.stall();
    let call = Cmd::write("FCALL").arg("none").arg("0");
    let mut alone = Box::pin(redis.run::<i64>(call));
    let asked = proxy.until(|now| now.connections == 2 && now.requests("HELLO") == 2);
    tokio::select! {
        asked = asked => { asked.unwrap(); }
        ended = &mut alone => panic!("{ended:?}"),
    }
    let (report, turned_away) = tokio::join!(redis.close(), alone);
    assert_eq!((report.not_sent, report.unknown), (1, 0), "{report:?}");
    assert_closed(&turned_away.unwrap_err());
    proxy.unstall();
    proxy.until(|now| now.open == 0).await.unwrap();
    assert_eq!(proxy.requests("FCALL"), 0);
    drop(server);
}
