//! Connections in one caller's hands, and transactions that depend on what was read there.

use std::pin::pin;
use std::time::{Duration, Instant};

use russet_core_conn::{
    Backoff, Breaker, Cmd, Durability, ErrorKind, Key, Redis, SendOutcome, Value,
};
use russet_testkit::shared::Topology;
use russet_testkit::{Server, contract};

use crate::support::{clients, info, key, ms, patient, poll_once, shared, until};

async fn private(name: &str) -> (Server, Redis) {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).connection_name(name).build().unwrap();
    (server, redis)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_their_own_wait_for_a_server_that_is_away() {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).reconnect(Backoff::constant(ms(20))).build().unwrap();
    redis.ping().await.unwrap();
    server.kill().await.unwrap();
    let list = Key::raw("list");
    let pop = || Cmd::write("BLPOP").key(&list).arg(5);
    let error = redis.without_waiting().run::<Vec<String>>(pop()).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    let begun = Instant::now();
    let error = redis.with_deadline(ms(300)).run::<Vec<String>>(pop()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    assert!(begun.elapsed() >= ms(290), "{:?}", begun.elapsed());
    let back = async {
        tokio::time::sleep(ms(200)).await;
        server.restart().await.unwrap();
        redis.run::<i64>(Cmd::write("RPUSH").key(&list).arg("v")).await.unwrap();
    };
    let (popped, ()) = tokio::join!(redis.run::<Vec<String>>(pop()), back);
    assert_eq!(popped.unwrap(), ["list", "v"]);
}

contract!(a_blocking_call_holds_nobody_up_and_gets_what_comes);
async fn a_blocking_call_holds_nobody_up_and_gets_what_comes(at: Topology) {
    let (redis, prefix) = shared(at, "dedicated-blocks").await;
    let mut own = redis.dedicated().await.unwrap();
    let list = key(&prefix, "list");
    let pop = own.run::<(String, String)>(Cmd::write("BLPOP").key(&list).arg(5));
    let push = async {
        let begun = Instant::now();
        for _ in 0..100 {
            redis.ping().await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "neighbours waited");
        redis.run::<i64>(Cmd::write("RPUSH").key(&list).arg("x")).await.unwrap()
    };
    let (popped, pushed) = tokio::join!(pop, push);
    assert_eq!((popped.unwrap().1.as_str(), pushed), ("x", 1));
}

contract!(flat_arrays_that_begin_with_words_of_pubsub_are_read_on_it);
async fn flat_arrays_that_begin_with_words_of_pubsub_are_read_on_it(at: Topology) {
    let (redis, prefix) = shared(at, "dedicated-words").await;
    let (list, hash, text) = (key(&prefix, "l"), key(&prefix, "h"), key(&prefix, "t"));
    let mut own = redis.dedicated().await.unwrap();
    for word in ["message", "subscribe", "punsubscribe"] {
        own.run::<()>(Cmd::write("DEL").keys([&list, &hash])).await.unwrap();
        own.run::<()>(Cmd::write("RPUSH").key(&list).arg(word).arg("b").arg("c")).await.unwrap();
        own.run::<()>(Cmd::write("HSET").key(&hash).arg("f").arg(word)).await.unwrap();
        own.run::<()>(Cmd::idempotent("SET").key(&text).arg(word)).await.unwrap();
        let read: Vec<String> =
            own.run(Cmd::read("LRANGE").key(&list).arg(0).arg(-1)).await.unwrap();
        assert_eq!(read, [word, "b", "c"]);
        let read: Vec<Option<String>> =
            own.run(Cmd::read("HMGET").key(&hash).arg("f").arg("g").arg("h")).await.unwrap();
        assert_eq!(read[0].as_deref(), Some(word));
        let read: Vec<Option<String>> =
            own.run(Cmd::read("MGET").keys([&text, &text, &text])).await.unwrap();
        assert_eq!(read, vec![Some(word.to_owned()); 3]);
    }
}

#[tokio::test]
async fn there_are_never_more_than_allowed() {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).dedicated(2).connection_name("cap").build().unwrap();
    let (one, two) = (redis.dedicated().await.unwrap(), redis.dedicated().await.unwrap());
    let error = redis.with_deadline(ms(80)).dedicated().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Deadline(_)), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent);
    let waits = redis.dedicated();
    let (three, ()) = tokio::join!(waits, async { drop(one) });
    let mut conn = server.conn().await.unwrap();
    // Beside the shared one, which nobody has needed yet.
    assert!(clients(&mut conn, "cap").await.len() <= 3);
    drop((two, three.unwrap()));
}

#[tokio::test]
async fn a_call_that_is_dropped_ends_its_connection_and_no_reply_of_it_reaches_another() {
    let (server, redis) = private("dropped").await;
    let list = Key::raw("list");
    for round in 0..20 {
        let mut own = redis.dedicated().await.unwrap();
        {
            let mut pop = pin!(own.run::<Value>(Cmd::write("BLPOP").key(&list).arg(5)));
            for _ in 0..=round % 4 {
                assert!(poll_once(pop.as_mut()).await.is_none());
                tokio::task::yield_now().await;
            }
        }
        let error = own.run::<Value>(Cmd::read("ECHO").arg("mine")).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ConnectionLost(_)), "{error}");
        assert_eq!(error.outcome(), SendOutcome::NotSent);
        let mut next = redis.dedicated().await.unwrap();
        let echo: String = next.run(Cmd::read("ECHO").arg(round)).await.unwrap();
        assert_eq!(echo, round.to_string());
    }
    let mut conn = server.conn().await.unwrap();
    until("no dropped call is left on the server", async || {
        info(&mut conn, "blocked_clients").await == 0
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_used_again_unless_an_unknown_command_ran_there() {
    let (server, redis) = private("again").await;
    redis.ready().await.unwrap();
    let id = async |known: bool| {
        let mut own = redis.dedicated().await.unwrap();
        if !known {
            own.run::<()>(Cmd::read("CLIENT NO-TOUCH").arg("off")).await.ok();
        }
        own.run::<i64>(Cmd::read("CLIENT ID")).await.unwrap()
    };
    let first = id(true).await;
    assert_eq!(id(true).await, first);
    assert_eq!(id(false).await, first);
    assert_ne!(id(true).await, first);
    // Lone calls take theirs from the same.
    let mut conn = server.conn().await.unwrap();
    let before = info(&mut conn, "total_connections_received").await;
    for _ in 0..10 {
        redis.run::<Value>(Cmd::write("BLPOP").key(&Key::raw("none")).arg("0.001")).await.unwrap();
    }
    assert_eq!(info(&mut conn, "total_connections_received").await, before);
}

#[tokio::test]
async fn one_that_died_or_that_nobody_needs_is_not_kept() {
    let (server, redis) = private("idle").await;
    redis.ready().await.unwrap();
    drop(redis.dedicated().await.unwrap());
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let mut own = redis.dedicated().await.unwrap();
    assert_eq!(own.run::<String>(Cmd::read("ECHO").arg("x")).await.unwrap(), "x");
    drop(own);
    redis.ready().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    assert_eq!(clients(&mut conn, "idle").await.len(), 2);
    until("the idle one is ended", async || clients(&mut conn, "idle").await.len() == 1).await;
}

#[tokio::test]
async fn one_that_nobody_needs_is_ended_also_where_no_lane_is_probed() {
    let server = Server::start().await.unwrap();
    let hour = Duration::from_secs(3_600);
    let redis = patient(&server.url()).probe(hour, hour).connection_name("rare").build().unwrap();
    redis.ready().await.unwrap();
    drop(redis.dedicated().await.unwrap());
    let (begun, mut conn) = (Instant::now(), server.conn().await.unwrap());
    assert_eq!(clients(&mut conn, "rare").await.len(), 2);
    until("the idle one is ended", async || clients(&mut conn, "rare").await.len() == 1).await;
    assert!(begun.elapsed() < Duration::from_secs(12), "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn closing_waits_for_calls_and_not_for_holders() {
    let (server, redis) = private("closing").await;
    let mut own = redis.dedicated().await.unwrap();
    let mut busy = redis.dedicated().await.unwrap();
    drop(redis.dedicated().await.unwrap());
    let (list, mut conn) = (Key::raw("list"), server.conn().await.unwrap());
    let pop = busy.run::<(String, String)>(Cmd::write("BLPOP").key(&list).arg(5));
    let close = async {
        until("it blocks", async || info(&mut conn, "blocked_clients").await == 1).await;
        let (report, ()) = tokio::join!(redis.close(), async {
            tokio::task::yield_now().await;
            conn.call(&["RPUSH", "list", "x"]).await.unwrap();
        });
        report
    };
    let (popped, report) = tokio::join!(pop, close);
    assert_eq!(popped.unwrap().1, "x");
    assert!(report.is_clean(), "{report:?}");
    assert!(report.took < Duration::from_secs(3), "{report:?}");
    let error = own.run::<Value>(Cmd::read("ECHO").arg("x")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent);
    drop((own, busy));
    until("all are gone", async || clients(&mut conn, "closing").await.is_empty()).await;
}

#[tokio::test]
async fn a_call_on_it_that_outlives_the_close_is_unknown_and_counted() {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).close_deadline(ms(200)).build().unwrap();
    let mut own = redis.dedicated().await.unwrap();
    let (list, mut conn) = (Key::raw("list"), server.conn().await.unwrap());
    let pop = own.run::<Value>(Cmd::write("BLPOP").key(&list).arg(5));
    let close = async {
        until("it blocks", async || info(&mut conn, "blocked_clients").await == 1).await;
        redis.close().await
    };
    let (popped, report) = tokio::join!(pop, close);
    assert_eq!(popped.unwrap_err().outcome(), SendOutcome::Unknown);
    assert_eq!((report.unknown, report.not_sent), (1, 0), "{report:?}");
}

contract!(threads, watched_increments_are_all_counted);
async fn watched_increments_are_all_counted(at: Topology) {
    let (redis, prefix) = shared(at, "watch-count").await;
    let counter = key(&prefix, "n");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (redis, counter) = (redis.clone(), counter.clone());
            tokio::spawn(async move {
                let (mut done, mut changed) = (0, 0_u64);
                while done < 20 {
                    let mut watch = redis.watch(std::slice::from_ref(&counter)).await.unwrap();
                    let n: Option<i64> = watch.run(Cmd::read("GET").key(&counter)).await.unwrap();
                    let next = n.unwrap_or(0) + 1;
                    let set = Cmd::idempotent("SET").key(&counter).arg(next);
                    match watch.exec([set]).await.unwrap() {
                        Some(replies) => {
                            assert_eq!(replies.len(), 1);
                            done += 1;
                        }
                        None => changed += 1,
                    }
                }
                changed
            })
        })
        .collect();
    let mut changed = 0;
    for task in tasks {
        changed += task.await.unwrap();
    }
    assert_eq!(redis.run::<i64>(Cmd::read("GET").key(&counter)).await.unwrap(), 160);
    assert!(changed > 0, "nobody was ever in anybody's way");
}

#[tokio::test]
async fn what_can_not_be_watched_is_refused_unsent() {
    let redis = Redis::builder("redis://127.0.0.1:1").build().unwrap();
    for keys in [&[][..], &[Key::raw("{a}1"), Key::raw("{b}1")]] {
        let error = redis.watch(keys).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Refused(_)), "{error}");
        assert_eq!(error.outcome(), SendOutcome::NotSent);
    }
}

#[tokio::test]
async fn a_watch_that_is_dropped_watches_no_more() {
    let (server, redis) = private("watch").await;
    let watched = Key::raw("k");
    let mut conn = server.conn().await.unwrap();
    for _ in 0..3 {
        drop(redis.watch(std::slice::from_ref(&watched)).await.unwrap());
        conn.call(&["INCR", "k"]).await.unwrap();
        // Were it the same connection, this would be off: what it watched has changed.
        let other = redis.watch(&[Key::raw("other")]).await.unwrap();
        assert!(other.exec([Cmd::write("INCR").key(&Key::raw("n"))]).await.unwrap().is_some());
    }
    // And one that was executed leaves its connection to the next.
    let before = info(&mut conn, "total_connections_received").await;
    for _ in 0..10 {
        let watch = redis.watch(std::slice::from_ref(&watched)).await.unwrap();
        watch.exec([Cmd::write("INCR").key(&watched)]).await.unwrap().unwrap();
    }
    assert_eq!(info(&mut conn, "total_connections_received").await, before);
}

#[tokio::test]
async fn one_whose_exec_is_not_sent_watches_no_more() {
    let (server, redis) = private("unsent").await;
    let (watched, n) = (Key::raw("k"), Key::raw("n"));
    let mut conn = server.conn().await.unwrap();
    let breaker = Breaker::new("open");
    // The server has no append-only file.
    let (guarded, synced) =
        (redis.with_breaker(&breaker), redis.with_durability(Durability::Fsync));
    let pop = Cmd::write("BLPOP").key(&watched).arg(1);
    let incr = || Cmd::write("INCR").key(&n);
    for (handle, cmd) in [(&redis, pop), (&guarded, incr()), (&synced, incr())] {
        let watch = handle.watch(std::slice::from_ref(&watched)).await.unwrap();
        breaker.force_open();
        let error = watch.exec([cmd]).await.unwrap_err();
        breaker.reset();
        assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
        conn.call(&["INCR", "k"]).await.unwrap();
        // Were it the same connection, this would be off: what it watched has changed.
        let other = redis.watch(&[Key::raw("other")]).await.unwrap();
        assert!(other.exec([incr()]).await.unwrap().is_some(), "it watches after {error}");
    }
    assert_eq!(redis.run::<i64>(Cmd::read("GET").key(&n)).await.unwrap(), 3);
}

#[tokio::test]
async fn one_that_watched_is_used_again_if_exec_was_answered_and_nothing_else_changed_it() {
    let (server, redis) = private("watched").await;
    let (watched, text) = (Key::raw("k"), Key::raw("text"));
    let mut conn = server.conn().await.unwrap();
    conn.call(&["SET", "text", "x"]).await.unwrap();
    let id = async || {
        let mut own = redis.dedicated().await.unwrap();
        own.run::<i64>(Cmd::read("CLIENT ID")).await.unwrap()
    };
    let watch = async || redis.watch(std::slice::from_ref(&watched)).await.unwrap();
    let first = id().await;
    let incr = |key| Cmd::write("INCR").key(key);
    watch().await.exec([incr(&watched)]).await.unwrap().unwrap();
    let late = watch().await;
    conn.call(&["INCR", "k"]).await.unwrap();
    assert!(late.exec([incr(&watched)]).await.unwrap().is_none());
    watch().await.exec([incr(&text)]).await.unwrap_err();
    let aborted = watch().await.exec([Cmd::write("INCR")]).await.unwrap_err();
    assert_eq!(aborted.outcome(), SendOutcome::Rejected, "{aborted}");
    assert_eq!(id().await, first);

    let mut altered = watch().await;
    altered.run::<()>(Cmd::read("CLIENT NO-TOUCH").arg("on")).await.ok();
    altered.exec([incr(&watched)]).await.unwrap().unwrap();
    assert_ne!(id().await, first, "what an unknown command did is left to the next");
}

#[tokio::test]
async fn what_is_kept_apart_runs_on_a_connection_of_its_own() {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).apart(["CLIENT ID", "EXEC", "LRANGE"]).build().unwrap();
    let mut own = redis.dedicated().await.unwrap();
    let own_id: i64 = own.run(Cmd::read("CLIENT ID")).await.unwrap();
    drop(own);
    let id = || Cmd::read("CLIENT ID");
    assert_eq!(redis.run::<i64>(id()).await.unwrap(), own_id);
    assert_eq!(redis.transaction([id()]).await.unwrap(), [Value::Int(own_id)]);
    for reply in redis.pipeline([id(), id()]).await {
        // The second one, made at once, has one of its own, too.
        assert!(matches!(reply.unwrap(), Value::Int(n) if n >= own_id));
    }
    let read: Vec<String> =
        redis.run(Cmd::read("LRANGE").key(&Key::raw("l")).arg(0).arg(-1)).await.unwrap();
    assert!(read.is_empty());
    let mut conn = server.conn().await.unwrap();
    let list = conn.call(&["CLIENT", "LIST"]).await.unwrap();
    let scripted = list.text().unwrap().lines().filter(|line| line.contains("cmd=ping"));
    assert!(scripted.count() >= 1, "{list:?}");
    for name in ["get", "SELECT", "BLPOP", ""] {
        let error = Redis::builder("redis://h").apart([name]).build().unwrap_err().to_string();
        assert!(error.contains("apart") && error.contains("allowed"), "{error}");
    }
}
