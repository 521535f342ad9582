//! Deadlines, while the server hangs.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use russet_core_conn::{Cmd, Error, ErrorKind, Key, Redis, Registry, SendOutcome};
use russet_testkit::{Match, Proxy, Server};
use tokio::task::JoinSet;

use crate::support::{info, key, ms, patient, record_figures, seed};

/// Calls that hold all places of the narrow handle.
const HOLDERS: usize = 8;

/// How the server hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hang {
    /// Its process is stopped.
    Paused,
    /// The network takes everything and brings nothing.
    HalfOpen,
}

/// How late the calls were, at most. Each has a bare timer beside it that had to wake at the same moment: what that one is
/// late by is the machine's doing.
#[derive(Debug, Default)]
struct Lateness {
    /// Beyond the timer's, and beyond what is allowed: 10% of the deadline, or 20 ms.
    excess: Duration,
    /// Beyond the timer's.
    own: Duration,
    /// At all.
    whole: Duration,
}

#[tokio::test]
async fn a_deadline_without_end_is_a_day() {
    let server = Server::start().await.unwrap();
    let redis = Redis::builder(&server.url()).build().unwrap();
    let day = Duration::from_secs(24 * 3_600);
    assert_eq!(redis.with_deadline(day).deadline(), day);
    let redis = redis.with_deadline(Duration::MAX);
    assert_eq!(redis.deadline(), day);
    redis.ready().await.unwrap();
    redis.ping().await.unwrap();
    let mut own = redis.dedicated().await.unwrap();
    assert_eq!(own.run::<i64>(Cmd::write("INCR").key(&Key::raw("n"))).await.unwrap(), 1);
    let registry = Registry::new();
    registry.add("one", Redis::builder(&server.url())).unwrap();
    assert!(registry.health_within(Duration::MAX).await.is_healthy());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_at_its_deadline_while_the_server_is_paused() {
    check(100, Hang::Paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_at_its_deadline_over_a_half_open_connection() {
    check(100, Hang::HalfOpen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_deadlines() {
    let server = Server::start().await.unwrap();
    let paused = check(1_000, Hang::Paused).await;
    let half_open = check(1_000, Hang::HalfOpen).await;
    for (hang, lateness) in [("paused", &paused), ("half-open", &half_open)] {
        assert_eq!(lateness.excess, Duration::ZERO, "{hang}: {lateness:?}");
    }
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap();
    record_figures(
        "deadlines",
        &server.version().to_string(),
        &[("tasks", 1_000)],
        &[("pauses", 1), ("half_open", 1)],
        &[
            ("paused_p100_late_us", us(paused.whole)),
            ("paused_p100_later_than_a_timer_us", us(paused.own)),
            ("half_open_p100_late_us", us(half_open.whole)),
            ("half_open_p100_later_than_a_timer_us", us(half_open.own)),
        ],
    );
}

/// Half of the tasks are handed to a wide connection; the others wait behind [`HOLDERS`] on a narrow one.
async fn check(tasks: usize, hang: Hang) -> Lateness {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    // Probes that do not end the connection: the same one must work again afterwards.
    let options = || patient(&proxy.url()).probe(ms(200), Duration::from_secs(60));
    let wide = options().in_flight(tasks).build().unwrap();
    let narrow = options().in_flight(HOLDERS).build().unwrap();
    wide.ready().await.unwrap();
    narrow.ready().await.unwrap();
    let opened = info(&mut conn, "total_connections_received").await;

    match hang {
        Hang::Paused => server.pause().await.unwrap(),
        Hang::HalfOpen => proxy.stall(),
    }
    let mut random = StdRng::seed_from_u64(seed());
    let mut calls = JoinSet::new();
    for holder in 0..HOLDERS {
        calls.spawn(late_incr(narrow.clone(), key("holder", holder), ms(2_000)));
    }
    proxy.until(|now| now.requests("INCR") == HOLDERS as u64).await.unwrap();
    for task in 0..tasks {
        let deadline = ms([20, 50, 100, 200, 350, 500, 750, 1_000][random.random_range(0..8)]);
        let (handle, name) = if task % 2 == 0 { (&wide, "sent") } else { (&narrow, "queued") };
        calls.spawn(late_incr(handle.clone(), key(name, task), deadline));
        // Not all at once: it is about the deadlines, not about the start of so many tasks.
        if task % 8 == 7 {
            tokio::time::sleep(ms(1)).await;
        }
    }
    let sent = HOLDERS + tasks.div_ceil(2);
    let calls = calls.join_all().await;
    match hang {
        Hang::Paused => server.resume().await.unwrap(),
        Hang::HalfOpen => proxy.unstall(),
    }

    let mut lateness = Lateness::default();
    let mut unknown = Vec::new();
    for call in &calls {
        let (name, deadline) = (String::from_utf8_lossy(call.key.as_bytes()), call.deadline);
        let error = &call.error;
        assert!(matches!(error.kind(), ErrorKind::Deadline(_)), "{name}: {error}");
        let was_sent = !name.starts_with("queued");
        let outcome = if was_sent { SendOutcome::Unknown } else { SendOutcome::NotSent };
        assert_eq!(error.outcome(), outcome, "{name}: {error}");
        assert!(call.took >= deadline, "{name} ended early: {:?} of {deadline:?}", call.took);
        let own = call.took.saturating_sub(call.timer_took);
        lateness.whole = lateness.whole.max(call.took - deadline);
        lateness.own = lateness.own.max(own);
        lateness.excess = lateness.excess.max(own.saturating_sub(ms(20).max(deadline / 10)));
        if was_sent {
            unknown.push(call.key.clone());
        }
    }
    assert_eq!(unknown.len(), sent);
    assert!(lateness.excess < ms(250), "{hang:?}: {lateness:?}");

    // The next call works, on the same connection, and what was handed over has been applied before it: once.
    for handle in [&wide, &narrow] {
        let next: i64 = handle.run(Cmd::write("INCR").key(&Key::raw("next"))).await.unwrap();
        assert!(next > 0);
    }
    assert_eq!(info(&mut conn, "total_connections_received").await, opened);
    let mut applied = 0;
    for call in &calls {
        let value = conn.call(&[b"GET".as_slice(), call.key.as_bytes()]).await.unwrap();
        let most = if call.error.outcome() == SendOutcome::Unknown { Some("1") } else { None };
        let name = String::from_utf8_lossy(call.key.as_bytes());
        assert!(value.is_nil() || value.text() == most, "{name}: {value:?}");
        applied += usize::from(!value.is_nil());
    }
    assert_eq!(applied as u64, proxy.requests("INCR") - 2);
    assert!(applied >= sent * 99 / 100, "{applied} of {sent} were handed over");
    every_place_is_free(&narrow, &proxy).await;
    lateness
}

#[derive(Debug)]
struct Late {
    key: Key,
    deadline: Duration,
    took: Duration,
    timer_took: Duration,
    error: Error,
}

async fn late_incr(redis: Redis, key: Key, deadline: Duration) -> Late {
    let redis = redis.with_deadline(deadline);
    let started = Instant::now();
    // Another task: the call must be woken by itself.
    let timer = tokio::spawn(async move {
        tokio::time::sleep_until((started + deadline).into()).await;
        started.elapsed()
    });
    let result = redis.run::<i64>(Cmd::write("INCR").key(&key)).await;
    let took = started.elapsed();
    let error = result.expect_err("the server hangs");
    Late { key, deadline, took, timer_took: timer.await.unwrap(), error }
}

/// As many calls as there are places are under way at once, and one more is not.
async fn every_place_is_free(narrow: &Redis, proxy: &Proxy) {
    proxy.reset_counters();
    proxy.stall();
    let mut calls = JoinSet::new();
    for call in 0..HOLDERS {
        let narrow = narrow.clone();
        let key = key("after", call);
        calls.spawn(async move { narrow.run::<i64>(Cmd::write("INCR").key(&key)).await.unwrap() });
    }
    proxy.until(|now| now.requests("INCR") == HOLDERS as u64).await.unwrap();
    let one_more = late_incr(narrow.clone(), key("after", "more"), ms(50)).await;
    assert_eq!(one_more.error.outcome(), SendOutcome::NotSent, "{}", one_more.error);
    proxy.unstall();
    assert_eq!(calls.join_all().await, [1; HOLDERS]);
    assert_eq!(proxy.requests("INCR"), HOLDERS as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_connection_is_replaced_and_the_next_call_works() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url())
        .deadline(ms(100))
        .probe(ms(50), ms(150))
        .connect_timeout(ms(500))
        .build()
        .unwrap();
    redis.with_deadline(Duration::from_secs(10)).ready().await.unwrap();
    let mut events = redis.events();

    proxy.stall();
    let error = redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("n"))).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    let is_error = |kind: &_| matches!(kind, russet_core_conn::EventKind::Error(_));
    let event = events.find(is_error).await.unwrap();
    assert!(format!("{:?}", event.kind).contains("probe"), "{event:?}");
    // Hung and known to be hung: nothing more is handed over.
    let error = redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("m"))).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");

    proxy.unstall();
    let patient = redis.with_deadline(Duration::from_secs(10));
    let next: i64 = patient.run(Cmd::write("INCR").key(&Key::raw("m"))).await.unwrap();
    assert_eq!(next, 1);
    assert!(proxy.connections() >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_covers_the_repetitions_of_a_read() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url()).attempts(1_000).build().unwrap();
    redis.ready().await.unwrap();
    let fault = proxy.cut_before(Match::name("GET").always());
    let brief = redis.with_deadline(ms(300));
    let started = Instant::now();
    let error = brief.run::<Option<i64>>(Cmd::read("GET").key(&Key::raw("n"))).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(error.attempt() > 1 && fault.strikes() > 1, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_on_connections_of_their_own_end_at_their_deadline_too() {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).dedicated(2).build().unwrap().with_deadline(ms(200));
    let forever = || Cmd::write("BLPOP").key(&Key::raw("never")).arg("0");
    let pop = || redis.run::<Vec<String>>(forever());
    let ended = |started: Instant, error: &Error, outcome| {
        let took = started.elapsed();
        assert!(took >= ms(200) && took < ms(700), "{took:?}: {error}");
        assert!(matches!(error.kind(), ErrorKind::Deadline(_)), "{error}");
        assert_eq!(error.outcome(), outcome, "{error}");
    };
    // Blocked by what was asked for; and waiting for one of the two connections.
    let started = Instant::now();
    // It gives up before the others leave it their places.
    let hurried = redis.with_deadline(ms(100));
    let third = hurried.run::<Vec<String>>(forever());
    let (first, second, third) = tokio::join!(pop(), pop(), third);
    ended(started, &first.unwrap_err(), SendOutcome::Unknown);
    ended(started, &second.unwrap_err(), SendOutcome::Unknown);
    ended(started, &third.unwrap_err(), SendOutcome::NotSent);
    // No connection can be had.
    server.pause().await.unwrap();
    let started = Instant::now();
    ended(started, &pop().await.unwrap_err(), SendOutcome::NotSent);
    server.resume().await.unwrap();
}
