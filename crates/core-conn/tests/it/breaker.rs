//! A handle whose calls go through a breaker.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use russet_core_conn::{
    Backoff, Breaker, BreakerState, Cmd, Error, ErrorKind, Events, Key, Notice, Redis, Script,
    SendOutcome, ServerError, Trip,
};
use russet_testkit::shared::Topology;
use russet_testkit::{Proxy, Server, contract};

use crate::log::Log;
use crate::support::{key, ms, patient, poll_once, shared};

/// Opens after three failures in a row; one probe closes it.
fn third(open_for: Duration) -> Breaker {
    Breaker::builder("third")
        .trips([Trip::Consecutive(3)])
        .open_for(Backoff::constant(open_for).jitter(0.0))
        .close_after(1)
        .build()
        .unwrap()
}

fn is_refused(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::BreakerOpen(_)), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    assert!(error.is_retryable(), "{error}");
}

async fn until<T: Clone>(events: &mut Events<T>, mut wanted: impl FnMut(&T) -> bool) {
    let waiting = async {
        loop {
            match events.next().await {
                Some(Notice::Event(event)) if wanted(&event) => return,
                Some(_) => {}
                None => panic!("the events ended"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_is_waited_for_by_the_first_few_and_asked_again_later() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url()).probe(ms(60_000), ms(60_000)).build().unwrap();
    redis.ready().await.unwrap();
    let breaker = third(Duration::from_secs(1));
    let mut events = breaker.events();
    let guarded = redis.with_deadline(ms(50)).with_breaker(&breaker);
    let incr = || Cmd::write("INCR").key(&Key::raw("n"));
    assert_eq!(guarded.run::<i64>(incr()).await.unwrap(), 1);

    server.pause().await.unwrap();
    for _ in 0..3 {
        let error = guarded.run::<i64>(incr()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Deadline(_)), "{error}");
    }
    let started = Instant::now();
    for refusal in join_all((0..1_000).map(|_| guarded.run::<i64>(incr()))).await {
        is_refused(&refusal.unwrap_err());
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?} for calls that are not made");
    // Others wait as before.
    let error = redis.with_deadline(ms(50)).ping().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Deadline(_)), "{error}");

    server.resume().await.unwrap();
    redis.ping().await.unwrap();
    assert_eq!(proxy.requests("INCR"), 4, "a refused call was sent");
    let patient = guarded.with_deadline(Duration::from_secs(10));
    let asking = async {
        while patient.run::<i64>(incr()).await.is_err() {
            tokio::time::sleep(ms(5)).await;
        }
    };
    tokio::join!(until(&mut events, |event| event.to == BreakerState::Closed), asking);
    assert_eq!(proxy.requests("INCR"), 5);
}

contract!(what_the_server_refuses_does_not_open_it);
async fn what_the_server_refuses_does_not_open_it(at: Topology) {
    let (redis, prefix) = shared(at, "breaker-refusals").await;
    let breaker = third(ms(60_000));
    let redis = redis.with_breaker(&breaker);
    let list = key(&prefix, "list");
    let () = redis.run(Cmd::write("RPUSH").key(&list).arg("a")).await.unwrap();
    for _ in 0..20 {
        let error = redis.run::<i64>(Cmd::write("INCR").key(&list)).await.unwrap_err();
        assert_eq!(error.server(), Some(&ServerError::WrongType), "{error}");
        let local = redis.run::<i64>(Cmd::write("SUBSCRIBE").arg("c")).await.unwrap_err();
        assert!(matches!(local.kind(), ErrorKind::Refused(_)), "{local}");
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_goes_through_it() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url()).connection_name("b").build().unwrap();
    redis.ready().await.unwrap();
    let breaker = third(ms(60_000));
    let guarded = redis.without_waiting().with_breaker(&breaker);
    assert_eq!(guarded.breaker().map(Breaker::name), Some("third"));
    let k = key("every", "k");
    let script = Script::new("one", "-- Idempotent: yes\nreturn redis.call('GET', KEYS[1])");

    breaker.force_open();
    let told = guarded.run::<i64>(Cmd::write("INCR").key(&k)).await.unwrap_err();
    is_refused(&told);
    assert!(
        told.to_string().starts_with("INCR: the breaker \"third\" is open [not sent"),
        "{told}"
    );
    is_refused(
        &guarded.run::<Vec<String>>(Cmd::read("LRANGE").key(&k).arg(0).arg(1)).await.unwrap_err(),
    );
    is_refused(&guarded.run::<Vec<String>>(Cmd::read("MGET").key(&k)).await.unwrap_err());
    let pop = Cmd::write("BLPOP").key(&k).arg("1");
    is_refused(&guarded.run::<Vec<String>>(pop).await.unwrap_err());
    is_refused(&guarded.script::<String>(script.key(&k)).await.unwrap_err());
    is_refused(&guarded.transaction([Cmd::write("INCR").key(&k)]).await.unwrap_err());
    is_refused(&guarded.ping().await.unwrap_err());
    for cmds in [
        [Cmd::read("GET").key(&k), Cmd::read("GET").key(&k)],
        [Cmd::write("INCR").key(&k), Cmd::read("GET").key(&k)],
    ] {
        for reply in guarded.pipeline(cmds).await {
            is_refused(&reply.unwrap_err());
        }
    }
    guarded.ready().await.unwrap();
    for name in ["INCR", "GET", "MGET", "EVALSHA", "EVAL", "BLPOP", "MULTI", "EXEC"] {
        assert_eq!(proxy.requests(name), 0, "{name} was sent");
    }

    breaker.reset();
    assert_eq!(guarded.run::<i64>(Cmd::write("INCR").key(&k)).await.unwrap(), 1);
    assert_eq!(redis.breaker().map(Breaker::name), None);
}

#[tokio::test]
async fn what_it_refuses_on_a_dedicated_connection_is_told_as_every_call_is() {
    let (log, _guard) = Log::of_this_thread();
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let breaker = third(ms(60_000));
    let guarded = patient(&proxy.url()).build().unwrap().with_breaker(&breaker);
    let (k, script) = (Key::raw("k"), Script::new("one", "return 1"));
    let mut own = guarded.dedicated().await.unwrap();
    let mut watch = guarded.watch(std::slice::from_ref(&k)).await.unwrap();
    breaker.force_open();
    let incr = || Cmd::write("INCR").key(&k);
    for error in [
        own.run::<i64>(incr()).await.unwrap_err(),
        own.script::<i64>(script.key(&k)).await.unwrap_err(),
        watch.run::<i64>(Cmd::read("GET").key(&k)).await.unwrap_err(),
        watch.exec([incr()]).await.unwrap_err(),
    ] {
        is_refused(&error);
        assert_eq!((error.node(), error.attempt()), (Some(&*proxy.addr().to_string()), 0));
    }
    let text = log.text();
    for name in ["INCR", "EVALSHA", "GET", "EXEC"] {
        assert_eq!(proxy.requests(name), 0, "{name} was sent");
        let ends = text.lines().filter(|line| {
            line.contains("close")
                && line.contains(&format!("operation=\"{name}\""))
                && line.contains("outcome=\"not_sent\" attempts=0")
        });
        assert_eq!(ends.count(), 1, "{name} in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_dropped_count_for_nothing_and_leave_no_place_taken() {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    redis.ready().await.unwrap();
    let breaker = third(ms(1));
    let guarded = redis.with_breaker(&breaker);
    let give_up = async |redis: &Redis| {
        let mut call = Box::pin(redis.ping());
        assert!(poll_once(call.as_mut()).await.is_none());
    };
    server.pause().await.unwrap();
    for _ in 0..10 {
        give_up(&guarded).await;
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    let brief = guarded.with_deadline(ms(10));
    for _ in 0..3 {
        brief.ping().await.unwrap_err();
    }
    assert!(matches!(breaker.state(), BreakerState::Open { .. }), "{breaker:?}");
    tokio::time::sleep(ms(2)).await;
    // Each of them is the only probe.
    for _ in 0..10 {
        give_up(&guarded).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }
    server.resume().await.unwrap();
    guarded.ping().await.unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

contract!(whoever_goes_on_without_it_lets_others_run);
async fn whoever_goes_on_without_it_lets_others_run(at: Topology) {
    let redis = Redis::builder("redis://localhost").build().unwrap();
    let breaker = Breaker::new("open");
    breaker.force_open();
    let guarded = redis.with_breaker(&breaker);
    let (shared, _) = shared(at, "breaker-lets-run").await;
    let mut own = shared.with_breaker(&breaker).dedicated().await.unwrap();
    for way in ["a handle", "a dedicated connection", "around anything"] {
        let other = tokio::spawn(async {});
        let mut refused = 0;
        while !other.is_finished() {
            refused += 1;
            assert!(refused < 100_000, "nobody else runs: {way}");
            match way {
                "a handle" => is_refused(&guarded.ping().await.unwrap_err()),
                "around anything" => {
                    breaker.call(|| async { Ok(()) }).await.unwrap_err();
                }
                _ => is_refused(&own.run::<()>(Cmd::read("PING")).await.unwrap_err()),
            }
        }
    }
}
