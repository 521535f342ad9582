//! What waits in our queue was not sent, and is not sent later.

use std::pin::pin;
use std::time::Duration;

use russet_core_conn::{ErrorKind, EventKind, Key, SendOutcome};
use russet_testkit::Conn;

use super::ops::{Bench, Op};
use crate::support::poll_once;

const SHORT: Duration = Duration::from_millis(120);

/// Forty calls, ten of each kind, that must end unsent.
async fn all_unsent(bench: &Bench, names: &str) {
    let redis = bench.redis.with_deadline(SHORT);
    let tasks: Vec<_> = (0..40)
        .map(|n: usize| {
            let (redis, key) = (redis.clone(), Key::raw(format!("{names}-{n}")));
            tokio::spawn(async move { Op::ALL[n % 4].call(&redis, &key).await })
        })
        .collect();
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
        assert!(
            matches!(error.kind(), ErrorKind::Deadline(_) | ErrorKind::NotConnected(_)),
            "{error}"
        );
    }
}

/// None of them is there, though later calls are.
async fn none_applied(bench: &Bench, names: &str) {
    let mut conn: Conn = bench.server.conn().await.unwrap();
    for (n, op) in Op::ALL.into_iter().enumerate() {
        let key = format!("later-{names}-{n}");
        op.call(&bench.redis, &Key::raw(key.clone())).await.unwrap();
        assert_eq!(conn.call(&["GET", &key]).await.unwrap().text(), Some("1"));
    }
    let found = conn.call(&["KEYS", &format!("{names}-*")]).await.unwrap();
    assert_eq!(found.items().map(<[_]>::len), Some(0), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_connection_is_never_sent() {
    let bench = Bench::start(|builder| builder).await;
    let mut events = bench.redis.events();
    bench.proxy.refuse().await.unwrap();
    bench.proxy.cut_all().await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Closed)).await.unwrap();
    all_unsent(&bench, "refused").await;
    // Dropped while it waits.
    {
        let key = Key::raw("refused-dropped");
        let mut waiting = pin!(Op::Hot.call(&bench.redis, &key));
        assert!(poll_once(waiting.as_mut()).await.is_none());
    }
    bench.proxy.accept().await.unwrap();
    none_applied(&bench, "refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_dead_server_is_never_sent() {
    let bench = Bench::start(|builder| builder).await;
    let mut events = bench.redis.events();
    bench.server.kill().await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Closed)).await.unwrap();
    all_unsent(&bench, "killed").await;
    bench.server.restart().await.unwrap();
    none_applied(&bench, "killed").await;
    // The one that was told so, each time.
    assert_eq!(bench.proxy.requests("INCR"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_place_is_never_sent() {
    let bench = Bench::start(|builder| builder.in_flight(1)).await;
    bench.proxy.stall();
    // It holds the only place, and is under way.
    let (redis, key) = (bench.redis.clone(), Key::raw("first"));
    let first = tokio::spawn(async move { Op::Hot.call(&redis, &key).await });
    bench.proxy.until(|seen| seen.requests("INCR") == 1).await.unwrap();
    all_unsent(&bench, "queued").await;
    for op in Op::ALL {
        let key = Key::raw(format!("queued-dropped-{op:?}"));
        let mut waiting = pin!(op.call(&bench.redis, &key));
        assert!(poll_once(waiting.as_mut()).await.is_none());
    }
    bench.proxy.unstall();
    first.await.unwrap().unwrap();
    none_applied(&bench, "queued").await;
    assert_eq!(bench.proxy.requests("INCR"), 2);
    assert_eq!(bench.proxy.connections(), 1);
}

/// The other side of it: what has left the queue may be applied after its deadline, and does not claim otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_at_its_deadline_is_unknown() {
    let bench = Bench::start(|builder| builder).await;
    let mut conn = bench.server.conn().await.unwrap();
    Op::Script.call(&bench.redis, &Key::raw("warm")).await.unwrap();
    bench.proxy.stall();
    let hasty = bench.redis.with_deadline(SHORT);
    for op in Op::ALL {
        let error = op.call(&hasty, &Key::raw(format!("late-{op:?}"))).await.unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::Unknown, "{op:?}: {error}");
        assert!(matches!(error.kind(), ErrorKind::Deadline(_)), "{op:?}: {error}");
    }
    bench.proxy.unstall();
    Op::Hot.call(&bench.redis, &Key::raw("later")).await.unwrap();
    for op in Op::ALL {
        let applied = conn.call(&["GET", &format!("late-{op:?}")]).await.unwrap();
        assert_eq!(applied.text(), Some("1"), "{op:?}");
    }
    assert_eq!(bench.proxy.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_in_flight_harms_nobody() {
    let bench = Bench::start(|builder| builder).await;
    let mut conn = bench.server.conn().await.unwrap();
    bench.proxy.stall();
    let keys: Vec<_> = (0..100).map(|n| Key::raw(format!("dropped-{n}"))).collect();
    let mut calls: Vec<_> =
        keys.iter().map(|key| Box::pin(Op::Hot.call(&bench.redis, key))).collect();
    for call in &mut calls {
        assert!(poll_once(call.as_mut()).await.is_none());
    }
    bench.proxy.until(|seen| seen.requests("INCR") == 100).await.unwrap();
    drop(calls);
    bench.proxy.unstall();
    // The reply of each later call is its own.
    for n in 0..100_i64 {
        let echo = russet_core_conn::Cmd::read("ECHO").arg(n);
        assert_eq!(bench.redis.run::<i64>(echo).await.unwrap(), n);
    }
    for n in 0..100 {
        let applied = conn.call(&["GET", &format!("dropped-{n}")]).await.unwrap();
        assert_eq!(applied.text(), Some("1"));
    }
    assert_eq!((bench.proxy.requests("INCR"), bench.proxy.connections()), (100, 1));
}
