//! Scripts: by digest, else by text; classes, errors and replies.

use std::time::{Duration, Instant};

use bytes::Bytes;
use russet_core_conn::{Class, Error, Key, Redis, Script, SendOutcome, ServerError, Value};
use russet_testkit::shared::Topology;
use russet_testkit::{Conn, Match, Proxy, Server, contract};

use crate::support::{key, patient, record, shared};

contract!(keys_and_arguments_arrive_as_the_bytes_that_they_are);
async fn keys_and_arguments_arrive_as_the_bytes_that_they_are(at: Topology) {
    let (redis, prefix) = shared(at, "echo").await;
    let script = Script::new("echo", "return {KEYS, ARGV}");
    let keys = [key(&prefix, 1), key(&prefix, 2)];
    let call = script.key(&keys[0]).key(&keys[1]).arg(i64::MIN).arg(-1).arg(0).arg(u64::MAX);
    let call = call.arg("007").arg(&b"\r\n\0\xff"[..]).arg("").arg(0.5);
    let echoed: (Vec<Bytes>, Vec<Bytes>) = redis.script(call).await.unwrap();
    assert_eq!(echoed.0, keys.map(|key| key.to_bytes()));
    let sent: [&[u8]; 8] = [
        b"-9223372036854775808",
        b"-1",
        b"0",
        b"18446744073709551615",
        b"007",
        b"\r\n\0\xff",
        b"",
        b"0.5",
    ];
    assert_eq!(echoed.1, sent);
    let nothing: (Vec<Bytes>, Vec<Bytes>) = redis.script(script.call()).await.unwrap();
    assert_eq!(nothing, (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_its_scripts_is_told_again() {
    flushes(20, 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_script_flush() {
    let (server, forgotten) = flushes(1_000, 100_000).await;
    record(
        "script_flush",
        &server,
        &[("calls", 100_000), ("tasks", 32), ("errors", 0)],
        &[("flushes", 1_000), ("noscript", forgotten)],
    );
}

/// So many calls of a script that counts, while the server's scripts are flushed.
async fn flushes(flushes: usize, calls: usize) -> (String, u64) {
    // Its own server: a flush concerns all.
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    let mut conn = server.conn().await.unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let redis = redis.clone();
            tokio::spawn(async move {
                let count = Script::new("count", "return redis.call('INCR', KEYS[1])");
                let key = Key::raw(format!("count-{task}"));
                for expected in 1..=calls / 32 {
                    let n: usize = redis.script(count.key(&key)).await.unwrap();
                    assert_eq!(n, expected);
                }
            })
        })
        .collect();
    // Spread over the run: the next when the server has counted that many calls more.
    for flush in 1..=flushes {
        assert!(conn.call(&["SCRIPT", "FLUSH"]).await.unwrap().is_ok());
        loop {
            let counts: Vec<_> =
                (0..32).map(|task| ["GET".into(), format!("count-{task}")]).collect();
            let counts = conn.pipeline(&counts).await.unwrap();
            let done: usize =
                counts.iter().map(|n| n.text().map_or(0, |n| n.parse().unwrap())).sum();
            let over = tasks.iter().any(tokio::task::JoinHandle::is_finished);
            if over || done >= calls / 32 * 32 * flush / (flushes + 1) {
                break;
            }
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let forgotten = noscripts(&mut conn).await;
    assert!(forgotten >= flushes as u64 / 2, "NOSCRIPT {forgotten} times after {flushes} flushes");
    (server.version().to_string(), forgotten)
}

async fn noscripts(conn: &mut Conn) -> u64 {
    let info = conn.call(&["INFO", "errorstats"]).await.unwrap();
    let count = info.text().unwrap().split("errorstat_NOSCRIPT:count=").nth(1).unwrap_or("0");
    count.split('\r').next().unwrap().parse().unwrap()
}

contract!(threads, replies_come_as_they_were_returned);
async fn replies_come_as_they_were_returned(at: Topology) {
    let (redis, prefix) = shared(at, "replies").await;
    let text = |text: &'static str| Value::Bytes(text.into());
    let nil = || Value::Nil;
    for (body, right) in [
        ("return", nil()),
        ("return nil", nil()),
        ("return false", nil()),
        ("return true", Value::Int(1)),
        ("return 7", Value::Int(7)),
        ("return -3.9", Value::Int(-3)),
        ("return 'text'", text("text")),
        ("return {ok = 'FINE'}", text("FINE")),
        ("return redis.status_reply('FINE')", text("FINE")),
        ("return {}", Value::Array(vec![])),
        ("return {0}", Value::Array(vec![Value::Int(0)])),
        ("return {0, {1}}", Value::Array(vec![Value::Int(0), Value::Array(vec![Value::Int(1)])])),
        ("return {1, nil, 3}", Value::Array(vec![Value::Int(1)])),
        ("return {false, 'a'}", Value::Array(vec![nil(), text("a")])),
        ("return {{{}}, {ok = 'x'}}", {
            let inner = Value::Array(vec![Value::Array(vec![])]);
            Value::Array(vec![inner, text("x")])
        }),
        ("return redis.call('SET', KEYS[1], 'v')", text("OK")),
        ("return redis.call('GET', KEYS[1])", text("v")),
        ("return redis.call('GET', KEYS[1] .. 'none')", nil()),
        ("return redis.call('MGET', KEYS[1], KEYS[1])", Value::Array(vec![text("v"), text("v")])),
        ("redis.setresp(3) return {map = {a = 1}}", {
            Value::Array(vec![Value::Map(vec![(text("a"), Value::Int(1))])])
        }),
        ("redis.setresp(3) return {double = 1.5}", Value::Array(vec![Value::Double(1.5)])),
        ("-- ends in a comment", nil()),
        ("return 1 -- and in another", Value::Int(1)),
        ("if KEYS[1] then return 2 end", Value::Int(2)),
    ] {
        let script = Script::new("reply", body);
        // What RESP3 has beyond RESP2 has no form as an answer of its own: see the shapes below.
        let reply: Value = redis.script(script.key(&key(&prefix, "k"))).await.unwrap();
        let reply = match (&reply, body.contains("setresp")) {
            (Value::Array(_), true) | (_, false) => reply,
            (_, true) => Value::Array(vec![reply]),
        };
        assert_eq!(reply, right, "{body}");
    }
    let long = "x".repeat(1 << 20);
    let script = Script::new("long", "return {ARGV[1]}");
    let (back,): (String,) = redis.script(script.call().arg(&long)).await.unwrap();
    assert!(back == long);
}

contract!(threads, an_error_tells_what_may_have_been_applied);
async fn an_error_tells_what_may_have_been_applied(at: Topology) {
    let (redis, prefix) = shared(at, "errors").await;
    let mut conn = at.conn(&prefix).await.unwrap();
    let unknown = SendOutcome::Unknown;
    for (n, (body, outcome, applied)) in [
        ("redis.call('INCR', KEYS[1]) redis.call('LPUSH', KEYS[1], 'x')", unknown, true),
        ("redis.call('INCR', KEYS[1]) error('boom')", unknown, true),
        ("redis.call('INCR', KEYS[1]) error({err = 'My own'})", unknown, true),
        ("redis.call('INCR', KEYS[1]) redis.call('NOSUCH')", unknown, true),
        ("redis.call('INCR', KEYS[1]) local t = nil; return t.x", unknown, true),
        ("#!lua flags=no-writes\nredis.call('INCR', KEYS[1])", unknown, false),
        ("return redis.error_reply('NOPE not now')", SendOutcome::Rejected, false),
        ("return redis.error_reply('my own words')", SendOutcome::Rejected, false),
        ("return {err = 'message b c'}", SendOutcome::Rejected, false),
        ("return redis.error_reply('MOVED 1 127.0.0.1:1')", SendOutcome::Rejected, false),
        ("return redis.error_reply('READONLY x')", SendOutcome::Rejected, false),
        (
            "redis.call('INCR', KEYS[1]) return redis.error_reply('LOADING x')",
            SendOutcome::Rejected,
            true,
        ),
        ("return redis.error_reply('NOAUTH x')", SendOutcome::Rejected, false),
        ("this is not Lua", SendOutcome::Rejected, false),
        ("#!lua flags=none-such\nreturn 1", SendOutcome::Rejected, false),
    ]
    .into_iter()
    .enumerate()
    {
        let script = Script::new("failing", body);
        let name = format!("{prefix}:{n}");
        let begun = Instant::now();
        let error = failed(&redis, &script, &name).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{body}: nobody is asked in vain");
        assert_eq!(error.outcome(), outcome, "{body}: {error}");
        assert!(error.server().is_some(), "{body}: {error}");
        assert_eq!((error.script(), error.operation()), (Some("failing"), Some("EVALSHA")));
        assert_eq!(error.attempt(), 1, "{body}: {error}");
        let there = conn.call(&["EXISTS", &name]).await.unwrap().int() == Some(1);
        assert_eq!(there, applied, "{body}");
    }
    let script = Script::new("failing", "return redis.call('INCR', KEYS[1])");
    conn.call(&["RPUSH", &format!("{prefix}:list"), "a"]).await.unwrap();
    let error = failed(&redis, &script, &format!("{prefix}:list")).await;
    assert_eq!(error.server(), Some(&ServerError::WrongType));
}

async fn failed(redis: &Redis, script: &Script, name: &str) -> Error {
    redis.script::<Value>(script.key(&Key::raw(name.to_owned()))).await.unwrap_err()
}

/// fred gives this error to all that is in flight, and ends the connection: nobody may take it for an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_that_fred_hands_to_all_is_unknown_to_all() {
    let (server, proxy, redis) = behind_proxy().await;
    let mut conn = server.conn().await.unwrap();
    let down = Script::new("down", "return redis.error_reply('CLUSTERDOWN x')");
    proxy.delay_replies(Duration::from_millis(300));
    let incr = |n: usize| russet_core_conn::Cmd::write("INCR").key(&Key::raw(format!("k{n}")));
    let error = down.call();
    let (error, incrs) = tokio::join!(
        redis.script::<Value>(error),
        futures_util::future::join_all((0..64).map(|n| redis.run::<i64>(incr(n)))),
    );
    assert_eq!(error.unwrap_err().outcome(), SendOutcome::Unknown);
    for (n, incr) in incrs.into_iter().enumerate() {
        let applied = conn.call(&["GET", &format!("k{n}")]).await.unwrap();
        let applied = applied.text().is_some();
        match incr {
            Ok(_) => assert!(applied),
            Err(error) => assert_eq!(error.outcome(), SendOutcome::Unknown, "{error} ({applied})"),
        }
    }
    assert_eq!(proxy.requests("INCR"), 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_writes_is_never_sent_twice() {
    let (server, proxy, redis) = behind_proxy().await;
    let mut conn = server.conn().await.unwrap();
    let write = Script::new("write", "return redis.call('INCR', KEYS[1])");
    assert_eq!(write.class(), Class::Write);
    // By text, which the server hears for the first time; by digest; and where the refusal of the digest is lost.
    for (n, (lost, evalsha, eval, applied)) in
        [("EVAL", 1, 1, Some("1")), ("EVALSHA", 1, 0, Some("1")), ("EVALSHA", 1, 0, None)]
            .into_iter()
            .enumerate()
    {
        if n == 2 {
            conn.call(&["SCRIPT", "FLUSH"]).await.unwrap();
        }
        proxy.reset_counters();
        proxy.cut_after(Match::name(lost));
        let name = format!("written-{n}");
        let error = failed(&redis, &write, &name).await;
        assert_eq!((error.outcome(), error.attempt()), (SendOutcome::Unknown, 1), "{error}");
        assert_eq!(conn.call(&["GET", &name]).await.unwrap().text(), applied);
        let seen = proxy.counters();
        assert_eq!((seen.requests("EVALSHA"), seen.requests("EVAL")), (evalsha, eval), "{n}");
        assert_eq!(seen.strikes, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_only_reads_may_be_repeated() {
    let (server, proxy, redis) = behind_proxy().await;
    server.conn().await.unwrap().call(&["SET", "k", "v"]).await.unwrap();
    let read = Script::new("read", "#!lua flags=no-writes\nreturn {redis.call('GET', KEYS[1])}");
    assert_eq!(read.class(), Class::Read);
    for (lost, evalsha, eval) in [("EVAL", 2, 1), ("EVALSHA", 2, 0)] {
        proxy.reset_counters();
        proxy.cut_after(Match::name(lost));
        let (value,): (String,) = redis.script(read.key(&Key::raw("k"))).await.unwrap();
        assert_eq!(value, "v");
        let seen = proxy.counters();
        assert_eq!((seen.requests("EVALSHA"), seen.requests("EVAL")), (evalsha, eval), "{lost}");
        assert_eq!(seen.strikes, 1);
    }
}

async fn behind_proxy() -> (Server, Proxy, Redis) {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url()).build().unwrap();
    redis.ready().await.unwrap();
    (server, proxy, redis)
}
