//! A connection whose replies have slipped is found by its probe, and ended.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use russet_core_conn::{
    Backoff, Cmd, ErrorKind, EventKind, Events, Key, Redis, SendOutcome, Value,
};
use russet_testkit::{Match, Proxy, Server};
use tokio::sync::watch;

use crate::support::{info, patient, until};

const PROBE: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_millis(400);

async fn start() -> (Server, Proxy, Redis) {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let builder = patient(&proxy.url())
        .probe(PROBE, TIMEOUT)
        .reconnect(Backoff::constant(Duration::from_millis(1)));
    let redis = builder.build().unwrap();
    let mut events = redis.events();
    redis.ready().await.unwrap();
    ready(&mut events).await;
    (server, proxy, redis)
}

/// Why the connection ended.
async fn error(events: &mut Events) -> ErrorKind {
    let found = events.find(|kind| matches!(kind, EventKind::Error(_)));
    // Its bound is asserted by the callers; this one makes a connection that is never ended a failure.
    let event = tokio::time::timeout(Duration::from_secs(10), found).await.unwrap().unwrap();
    let EventKind::Error(error) = event.kind else { unreachable!() };
    assert_eq!(error.outcome(), SendOutcome::Unknown);
    error.kind().clone()
}

async fn ready(events: &mut Events) {
    events.find(|kind| matches!(kind, EventKind::Ready(_))).await.unwrap();
}

/// How many of so many echoes are not their own.
async fn foreign(redis: &Redis, echoes: i64) -> usize {
    let echo = |n: i64| redis.run::<Value>(Cmd::write("ECHO").arg(n));
    let replies = join_all((0..echoes).map(echo)).await;
    let own = |n: usize| Value::Bytes(Bytes::from(n.to_string()));
    replies
        .iter()
        .enumerate()
        .filter(|(n, reply)| reply.as_ref().is_ok_and(|reply| *reply != own(*n)))
        .count()
}

#[derive(Debug, Clone, Copy)]
enum Slip {
    /// One reply too many.
    Extra,
    /// One too few.
    Missing,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slipped_connection_is_ended_by_its_probe() {
    for slip in [Slip::Extra, Slip::Missing] {
        let (server, proxy, redis) = start().await;
        let mut events = redis.events();
        // Calls are always under way, so that the probe is among them, and finds what it must find.
        proxy.delay_replies(Duration::from_millis(20));
        let (stop, stopped) = watch::channel(false);
        let callers: Vec<_> =
            (0..32).map(|n| tokio::spawn(caller(redis.clone(), n, stopped.clone()))).collect();
        let seen = proxy.counters().replies;
        proxy.until(|now| now.replies > seen + 160).await.unwrap();
        let slipped_at = Instant::now();
        let fault = match slip {
            // fred forgets a surplus when nothing is under way: one for each keeps it up.
            Slip::Extra => proxy.inject_before(Match::name("ECHO").always(), "$5\r\nalien\r\n"),
            Slip::Missing => proxy.corrupt(Match::name("ECHO"), |_| Vec::new()),
        };
        let why = error(&mut events).await;
        fault.remove();
        stop.send_replace(true);
        assert!(matches!(why, ErrorKind::Desync(_)), "{slip:?}: {why}");
        let took = slipped_at.elapsed();
        assert!(took < PROBE + TIMEOUT + Duration::from_secs(1), "{slip:?}: {took:?}");
        let (mut foreigners, mut unknown, mut calls) = (0, 0, 0);
        for caller in callers {
            let met = caller.await.unwrap();
            foreigners += met.foreign;
            unknown += met.unknown;
            calls += met.calls;
        }
        // It did slip; and what was under way when it was found had no answer of its own.
        assert!(fault.strikes() > 0 && foreigners > 0, "{slip:?}: {foreigners} of {calls}");
        // With one too few there is always one that waits; of those too many there may be one for everybody.
        assert!(unknown > 0 || matches!(slip, Slip::Extra), "{slip:?}: {unknown} of {calls}");

        proxy.delay_replies(Duration::ZERO);
        ready(&mut events).await;
        // What was injected into the next connection before the fault was taken back has gone by.
        proxy.until(|seen| seen.replies == seen.all_requests() - seen.lost).await.unwrap();
        assert_eq!(foreign(&redis, 2_000).await, 0, "{slip:?}");
        assert!(proxy.connections() >= 2, "{slip:?}");
        let mut conn = server.conn().await.unwrap();
        let keys = conn.call(&["KEYS", "n*"]).await.unwrap();
        assert!(keys.items().unwrap().len() > 32);
        for key in keys.items().unwrap() {
            let applied = conn.call(&["GET", key.text().unwrap()]).await.unwrap();
            assert_eq!(applied.text(), Some("1"), "{key:?}");
        }
    }
}

#[derive(Debug, Default)]
struct Caller {
    calls: usize,
    foreign: usize,
    unknown: usize,
}

/// Calls without a pause; whatever has no answer must say that it is unknown.
async fn caller(redis: Redis, n: usize, stopped: watch::Receiver<bool>) -> Caller {
    let mut met = Caller::default();
    while !*stopped.borrow() {
        met.calls += 1;
        let own = format!("n{n}-{}", met.calls);
        let incr = Cmd::write("INCR").key(&Key::raw(own.clone()));
        let echo = Cmd::write("ECHO").arg(&own);
        let own = Value::Bytes(Bytes::from(own));
        let mut both = [(incr, Value::Int(1)), (echo, own)];
        // All in step would slip with every second delay only, and the probe's time is a multiple of that.
        both.rotate_left(n % 2);
        for (cmd, own) in both {
            match redis.run::<Value>(cmd).await {
                Ok(reply) => met.foreign += usize::from(reply != own),
                Err(error) => {
                    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
                    met.unknown += 1;
                }
            }
        }
    }
    met
}

/// Nobody calls: whatever becomes of the reply that nobody asked for, nobody gets it later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_nobody_asked_for_reaches_nobody() {
    for frame in ["$5\r\nalien\r\n", ":1\r\n", "-ERR alien\r\n", "*1\r\n$5\r\nalien\r\n"] {
        let (_server, proxy, redis) = start().await;
        proxy.until(|seen| seen.replies == seen.all_requests()).await.unwrap();
        assert_eq!(proxy.inject_reply(frame), 1);
        // The next probe goes by, in step or not.
        let seen = proxy.counters();
        proxy
            .until(|now| {
                now.requests("PING") > seen.requests("PING") && now.replies == now.all_requests()
            })
            .await
            .unwrap();
        let pings = proxy.requests("PING");
        proxy.until(|now| now.requests("PING") > pings + 1).await.unwrap();
        assert_eq!(foreign(&redis, 500).await, 0, "{frame:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_without_an_answer_ends_the_connection() {
    let (_server, proxy, redis) = start().await;
    let mut events = redis.events();
    proxy.stall();
    let stalled = Instant::now();
    let call = tokio::spawn({
        let redis = redis.clone();
        async move { redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("n"))).await }
    });
    let why = error(&mut events).await;
    let took = stalled.elapsed();
    assert!(matches!(&why, ErrorKind::ConnectionLost(reason) if reason.contains("probe")), "{why}");
    // Not before a probe has had its time, and not much after the second one would have.
    assert!(took < PROBE + TIMEOUT + Duration::from_millis(500), "{took:?}");
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    proxy.unstall();
    ready(&mut events).await;
    assert_eq!(foreign(&redis, 500).await, 0);
}

/// A call on a connection of its own that loses its reply, or gets another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_slips_alone_harms_nobody_else() {
    let (server, proxy, redis) = start().await;
    let mut conn = server.conn().await.unwrap();
    let mut events = redis.events();
    let hasty = redis.with_deadline(Duration::from_millis(400));
    for slip in [Slip::Extra, Slip::Missing] {
        for (name, times) in [("BLPOP", 3), ("KEYS", 3)] {
            for _ in 0..times {
                conn.call(&["RPUSH", "list", "a", "b"]).await.unwrap();
                let wanted = Match::name(name);
                let fault = match slip {
                    Slip::Extra => proxy.inject_before(wanted, "*2\r\n$1\r\nl\r\n$1\r\nx\r\n"),
                    Slip::Missing => proxy.corrupt(wanted, |_| Vec::new()),
                };
                let cmd = match name {
                    "BLPOP" => Cmd::write(name).key(&Key::raw("list")).arg(1),
                    _ => Cmd::write(name).arg("list"),
                };
                let (alone, foreign) = tokio::join!(hasty.run::<Value>(cmd), foreign(&redis, 64));
                let error = alone.unwrap_err();
                assert_eq!(error.outcome(), SendOutcome::Unknown, "{name} {slip:?}: {error}");
                match slip {
                    Slip::Extra => assert!(matches!(error.kind(), ErrorKind::Desync(_)), "{error}"),
                    Slip::Missing => {
                        assert!(matches!(error.kind(), ErrorKind::Deadline(_)), "{error}");
                    }
                }
                assert_eq!((foreign, fault.strikes()), (0, 1));
            }
        }
    }
    // Twelve connections came and went beside the one that all share.
    proxy.until(|seen| seen.open == 1).await.unwrap();
    assert_eq!(proxy.connections(), 13);
    redis.close().await;
    let closed = events.next().await;
    let first = format!("{closed:?}");
    assert!(first.contains("Closed"), "no event before the end: {first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_call_waits_alone() {
    let (server, proxy, redis) = start().await;
    let mut conn = server.conn().await.unwrap();
    let pop = tokio::spawn({
        let redis = redis.clone();
        async move { redis.run::<Value>(Cmd::write("BLPOP").key(&Key::raw("list")).arg(0)).await }
    });
    until("a blocked client", async || info(&mut conn, "blocked_clients").await == 1).await;
    // Nobody waits behind it.
    assert_eq!(foreign(&redis, 500).await, 0);
    conn.call(&["RPUSH", "list", "message"]).await.unwrap();
    let popped = Value::Array(vec![
        Value::Bytes(Bytes::from_static(b"list")),
        Value::Bytes(Bytes::from_static(b"message")),
    ]);
    assert_eq!(pop.await.unwrap().unwrap(), popped);
    assert_eq!(proxy.connections(), 2);
}
