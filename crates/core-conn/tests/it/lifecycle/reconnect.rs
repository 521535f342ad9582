//! The delays between attempts, and their end.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use russet_core_conn::{
    Backoff, Error, ErrorKind, Event, EventKind, Notice, Purpose, Redis, SendOutcome, ServerError,
    Topic,
};
use russet_testkit::{Match, Proxy, Server};

use super::{away, is_ready, is_reconnecting};
use crate::order::Order;
use crate::support::{incr, ms, patient, poll_once};

fn is_gone(kind: &EventKind) -> bool {
    matches!(kind, EventKind::GaveUp { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delays_grow_to_their_cap_and_are_jittered() {
    let (_server, proxy) = away().await;
    let redis = Redis::builder(&proxy.url())
        .reconnect(Backoff::exponential(ms(8), ms(64)).jitter(0.5))
        .deadline(ms(10))
        .build()
        .unwrap();
    let (mut events, mut order) = (redis.events(), Order::capped(ms(64)));
    redis.ping().await.unwrap_err();
    let started = Instant::now();
    order
        .until(&mut events, |kind| matches!(kind, EventKind::Reconnecting { attempt: 24, .. }))
        .await;
    let waited = started.elapsed();
    for (n, delay) in order.delays.iter().enumerate() {
        let full = ms(64).min(ms(8) * 2_u32.pow(n.min(10) as u32));
        assert!(*delay >= full / 2 && *delay <= full, "attempt {}: {delay:?} of {full:?}", n + 1);
    }
    // Once capped they still differ, by chance.
    let capped: HashSet<Duration> = order.delays[3..].iter().copied().collect();
    assert!(capped.len() > 10, "{capped:?}");
    // They are really waited for. The first of them began before the clock did.
    let announced: Duration = order.delays[3..23].iter().sum();
    assert!(waited + ms(30) >= announced, "{waited:?} of {announced:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_gives_up_after_its_attempts_and_comes_back_when_told() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    proxy.cut_before(Match::any().always());
    let redis =
        patient(&proxy.url()).reconnect(Backoff::constant(ms(5)).max_attempts(3)).build().unwrap();
    let (mut events, mut order) = (redis.events(), Order::default());
    for life in 1..=2 {
        // What waits when it gives up is told so, long before its deadline.
        let error = redis.run::<i64>(incr("n")).await.unwrap_err();
        let event = order.until(&mut events, is_gone).await;
        let EventKind::GaveUp { attempts, error: told } = event.kind else { panic!() };
        assert_eq!(attempts, 3);
        for error in [error, told, redis.ready().await.unwrap_err()] {
            assert!(matches!(error.kind(), ErrorKind::GaveUp { attempts: 3, .. }), "{error}");
            assert_eq!(error.outcome(), SendOutcome::NotSent);
            assert!(error.to_string().contains("can't connect"), "without the last error: {error}");
        }
        // The first attempt and three more.
        assert_eq!(proxy.connections(), 4 * life);
        if life == 1 {
            redis.reconnect();
        }
    }
    proxy.heal();
    redis.reconnect();
    order.until(&mut events, is_ready).await;
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_gives_up_after_its_time() {
    let (_server, proxy) = away().await;
    let rule = Backoff::constant(ms(10)).max_elapsed(ms(150));
    let redis = patient(&proxy.url()).reconnect(rule).build().unwrap();
    let started = Instant::now();
    let error = redis.ready().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::GaveUp { .. }), "{error}");
    assert!(error.to_string().contains("maximum of time"), "{error}");
    assert!(started.elapsed() >= ms(150));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnect_cuts_the_wait_before_the_next_attempt() {
    let (_server, proxy) = away().await;
    let hour = Backoff::constant(Duration::from_secs(3_600));
    let redis = patient(&proxy.url()).reconnect(hour).build().unwrap();
    let (mut events, mut order) = (redis.events(), Order::default());
    let mut ready = Box::pin(redis.ready());
    assert!(poll_once(ready.as_mut()).await.is_none());
    order.until(&mut events, is_reconnecting).await;
    proxy.accept().await.unwrap();
    redis.reconnect();
    ready.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_comes_and_goes_does_not_start_the_count_again() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url())
        .reconnect(Backoff::linear(ms(10), ms(60)).jitter(0.0).stable_after(ms(400)))
        .build()
        .unwrap();
    // Accepted, found ready, and cut at the probe that follows.
    let flapping = proxy.cut_before(Match::name("PING").always());
    let (mut events, mut order) = (redis.events(), Order::default());
    let mut ready = Box::pin(redis.ready());
    let _ = poll_once(ready.as_mut()).await;
    order
        .until(&mut events, |kind| matches!(kind, EventKind::Reconnecting { attempt: 8, .. }))
        .await;
    assert_eq!(order.attempts, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(order.delays[..3], [ms(10), ms(20), ms(30)]);
    assert!(order.readies >= 7 && flapping.strikes() >= 7, "it did not flap: {order:?}");

    proxy.heal();
    order.until(&mut events, is_ready).await;
    tokio::time::sleep(ms(450)).await;
    proxy.cut_all().await.unwrap();
    order.until(&mut events, is_reconnecting).await;
    assert_eq!(order.attempts.last(), Some(&1), "after a stay in ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_of_the_users_own_stops_with_its_reason() {
    let server = Server::builder().password("right").start().await.unwrap();
    let rule = Backoff::custom(|attempt, error| match error.server() {
        Some(ServerError::WrongPass) if attempt == 3 => {
            ControlFlow::Break("ask for a new one".into())
        }
        Some(ServerError::WrongPass) => ControlFlow::Continue(ms(5) * attempt),
        _ => ControlFlow::Break(format!("not expected: {error}")),
    });
    let url = format!("redis://:wrong@{}", server.addr());
    let redis = patient(&url).reconnect(rule).build().unwrap();
    let (mut events, mut order) = (redis.events(), Order::default());
    let error = redis.ready().await.unwrap_err();
    assert!(error.to_string().contains("ask for a new one"), "{error}");
    order.until(&mut events, is_gone).await;
    assert_eq!(order.delays, [ms(5), ms(10)]);
}

/// One connection waits long for its next attempt, and the other comes back at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_takes_the_first_connection_that_is_there() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    // One of the two fails twice, and has to wait then.
    proxy.cut_before(Match::name("HELLO").nth(2));
    proxy.cut_before(Match::name("HELLO").nth(2));
    let rule =
        |attempt, _: &Error| ControlFlow::Continue(if attempt < 2 { ms(50) } else { ms(60_000) });
    let builder = patient(&proxy.url()).connections(2).reconnect(Backoff::custom(rule));
    let redis = builder.build().unwrap();
    let mut events = redis.events();
    redis.ping().await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Reconnecting { attempt: 2, .. })).await.unwrap();
    proxy.cut_all().await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Closed)).await.unwrap();
    for served in join_all((0..8).map(|_| redis.ping())).await {
        served.unwrap();
    }
}

/// The tasks that keep the connections end with the runtime of the first call.
#[test]
fn where_the_runtime_of_the_first_call_ends_the_next_one_begins_anew() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (first, second, third) = (runtime(), runtime(), runtime());
    let server = first.block_on(Server::start()).unwrap();
    let redis = patient(&server.url()).connections(2).build().unwrap();
    first.block_on(redis.ready()).unwrap();
    first.shutdown_background();
    second.block_on(async {
        // What is found dead may cost the call that finds it; what may be repeated is.
        for _ in 0..8 {
            redis.ping().await.unwrap();
        }
    });
    second.shutdown_background();
    third.block_on(async {
        let closed = tokio::time::timeout(ms(20_000), redis.close()).await;
        closed.expect("it waits for ever for what has ended");
        assert!(matches!(redis.ping().await.unwrap_err().kind(), ErrorKind::Closed));
    });
}

/// A task that its runtime drops before it has ever run is no task: the next runtime begins anew.
#[test]
fn where_the_tasks_never_ran_the_next_runtime_begins_anew() {
    let current = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (tokio::runtime::Runtime::new().unwrap(), current());
    let server = first.block_on(Server::start()).unwrap();
    let redis = patient(&server.url()).build().unwrap();
    let started = current();
    assert!(started.block_on(async { redis.ping().now_or_never() }).is_none());
    drop(started);
    second.block_on(async {
        redis.ping().await.unwrap();
        let closed = tokio::time::timeout(ms(20_000), redis.close()).await;
        closed.expect("it waits for ever for what has ended");
    });
}

/// The runtime of the first call is there, and nobody drives it.
#[test]
fn closing_waits_for_no_runtime_that_does_not_run() {
    let current = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (current(), current());
    let server = second.block_on(Server::start()).unwrap();
    let redis = patient(&server.url()).deadline(ms(500)).build().unwrap();
    first.block_on(redis.ping()).unwrap();
    second.block_on(async {
        let closed = tokio::time::timeout(ms(20_000), redis.close()).await;
        closed.expect("it waits for ever for what does not run");
    });
    drop(first);
}

/// Also a call of `reconnect` that comes before the wait has begun cuts it: that of a connection for calls, and a hub's.
#[tokio::test]
async fn reconnect_is_heard_while_the_delay_is_worked_out() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    for (killed, purpose) in [("normal", Purpose::Calls), ("pubsub", Purpose::Subscriptions)] {
        let handle = Arc::new(OnceLock::<Redis>::new());
        let inside = handle.clone();
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        let backoff = Backoff::custom(move |_, _| {
            count.fetch_add(1, SeqCst);
            inside.get().unwrap().reconnect();
            ControlFlow::Continue(Duration::from_secs(60))
        });
        let builder = patient(&server.url()).reconnect(backoff);
        let redis = handle.get_or_init(|| builder.build().unwrap());
        redis.ready().await.unwrap();
        let mut events = redis.events();
        let hub = redis.hub();
        // The other kind is not killed, and so asks for no other attempt.
        let _subscription = hub.subscribe(Topic::channel("a")).await.unwrap();
        conn.call(&["CLIENT", "KILL", "TYPE", killed, "SKIPME", "yes"]).await.unwrap();
        tokio::time::timeout(ms(20_000), async {
            let again = |event: &Event| event.purpose == purpose && event.generation == 2;
            while !matches!(events.next().await, Some(Notice::Event(event)) if again(&event) && is_ready(&event.kind))
            {}
        })
        .await
        .unwrap_or_else(|_| panic!("{killed}: the call of `reconnect` was not heard"));
        assert_eq!(asked.load(SeqCst), 1, "{killed}");
        redis.close().await;
    }
}
