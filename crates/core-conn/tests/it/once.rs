//! `Ok` is applied once, not sent and rejected never, unknown at most once.

mod load;
mod ops;
mod queue;

use std::time::Duration;

use russet_core_conn::{
    Class, Cmd, ErrorKind, EventKind, Events, Key, Notice, Script, SendOutcome, ServerError, Value,
};
use russet_testkit::Match;

use self::ops::{Bench, Op};
use crate::support::record;

/// Where a connection is cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Nothing of the request gets to the server.
    Before,
    /// The reply is swallowed.
    After,
    /// So many bytes of the reply arrive.
    InReply(usize),
    /// Of a transaction: before the command in it, or after that was queued.
    Inside(bool),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_unknown_for_each_cut() {
    sequential(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_once_sequential() {
    let met = sequential(17).await;
    assert!(met.calls >= 1_000);
    record(
        "once_sequential",
        &met.server,
        &[("calls", met.calls), ("ok", met.ok), ("unknown", met.unknown), ("not_sent", 0)],
        &[("cuts_before", met.cuts_before), ("cuts_after", met.cuts_after)],
    );
}

#[derive(Debug, Default)]
struct Met {
    server: String,
    calls: u64,
    ok: u64,
    unknown: u64,
    cuts_before: u64,
    cuts_after: u64,
}

/// Each operation, cut at each place: before it, after it, and at every byte of its reply.
async fn sequential(rounds: usize) -> Met {
    let bench = Bench::start(|builder| builder).await;
    let mut met = Met { server: bench.server.version().to_string(), ..Met::default() };
    let mut conn = bench.server.conn().await.unwrap();
    // The server knows the script from here on.
    Op::Script.call(&bench.redis, &Key::raw("warm")).await.unwrap();
    bench.proxy.reset_counters();
    for _ in 0..rounds {
        for op in Op::ALL {
            let mut cuts = vec![Cut::Before, Cut::After];
            cuts.extend((0..=op.reply().len()).map(Cut::InReply));
            if op == Op::Exec {
                cuts.extend([Cut::Inside(false), Cut::Inside(true)]);
            }
            for cut in cuts {
                met.calls += 1;
                let key = format!("key-{}", met.calls);
                let wanted = Match::name(op.sent_as());
                let fault = match cut {
                    Cut::Before => bench.proxy.cut_before(wanted),
                    Cut::After => bench.proxy.cut_after(wanted),
                    Cut::InReply(bytes) => bench.proxy.cut_in_reply(wanted, bytes),
                    Cut::Inside(false) => bench.proxy.cut_before(Match::name("INCRBY")),
                    Cut::Inside(true) => bench.proxy.cut_after(Match::name("INCRBY")),
                };
                let mut events = bench.redis.events();
                let result = op.call(&bench.redis, &Key::raw(key.clone())).await;
                let struck = fault.struck().await;
                struck.unwrap_or_else(|error| panic!("{op:?} {cut:?}: {result:?}: {error}"));
                if result.is_ok() {
                    // Nobody was there to see the cut; the next call must not meet it. Each call so far has had a
                    // connection of its own, and of the one before it may only now be said that it is closed.
                    closed(&mut events, met.calls).await;
                }
                let applied = conn.call(&["GET", &key]).await.unwrap();
                let whole = matches!(cut, Cut::InReply(bytes) if bytes == op.reply().len());
                let (outcome, times) = match cut {
                    Cut::Before | Cut::Inside(_) => (Some(SendOutcome::Unknown), None),
                    _ if whole => (None, Some("1")),
                    Cut::After | Cut::InReply(_) => (Some(SendOutcome::Unknown), Some("1")),
                };
                let got = result.as_ref().err().map(russet_core_conn::Error::outcome);
                assert_eq!(got, outcome, "{op:?} {cut:?}: {result:?}");
                assert_eq!(applied.text(), times, "{op:?} {cut:?}: {result:?}");
                met.ok += u64::from(got.is_none());
                met.unknown += u64::from(got.is_some());
                met.cuts_before += u64::from(times.is_none());
                met.cuts_after += u64::from(times.is_some() && !whole);
            }
        }
    }
    let seen = bench.proxy.counters();
    assert_eq!(met.unknown, met.cuts_before + met.cuts_after);
    assert!(seen.lost >= met.cuts_after, "{seen:?} {met:?}");
    assert_eq!(seen.strikes, met.calls);
    // Nothing came twice.
    let sent: u64 = Op::ALL.iter().map(|op| seen.requests(op.sent_as())).sum();
    // The two that were cut inside did not get to their EXEC.
    assert_eq!(sent + 2 * rounds as u64, met.calls);
    assert_eq!(seen.requests("EVAL"), 0);
    met
}

async fn closed(events: &mut Events, generation: u64) {
    loop {
        match events.next().await.unwrap() {
            Notice::Event(event)
                if matches!(event.kind, EventKind::Closed) && event.generation == generation =>
            {
                return;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_repeated_is_repeated_and_succeeds() {
    let bench = Bench::start(|builder| builder).await;
    let mut conn = bench.server.conn().await.unwrap();
    let script = Script::new("put", "-- Idempotent: yes\nreturn redis.call('SET', KEYS[1], 'v')");
    let key = Key::raw("key");
    let () = bench.redis.script(script.key(&key)).await.unwrap();
    for place in 0..=4 {
        bench.proxy.reset_counters();
        for name in ["SET", "GET", "EVALSHA", "LRANGE"] {
            // A wrapped command is a script to the proxy.
            let wanted = Match::name(if name == "LRANGE" { "EVALSHA" } else { name });
            let fault = match place {
                0 => bench.proxy.cut_before(wanted),
                1 => bench.proxy.cut_after(wanted),
                bytes => bench.proxy.cut_in_reply(wanted, bytes - 2),
            };
            let result = match name {
                "EVALSHA" => bench.redis.script::<Value>(script.key(&key)).await,
                "SET" => bench.redis.run(Cmd::idempotent("SET").key(&key).arg("v")).await,
                "GET" => bench.redis.run(Cmd::read("GET").key(&key)).await,
                _ => bench.redis.run(Cmd::read(name).key(&Key::raw("none")).arg(0).arg(-1)).await,
            };
            result.unwrap_or_else(|error| panic!("{name} at {place}: {error}"));
            assert_eq!(fault.strikes(), 1, "{name} at {place}");
        }
        let seen = bench.proxy.counters();
        assert_eq!((seen.requests("SET"), seen.requests("GET")), (2, 2), "{seen:?}");
        assert_eq!(seen.requests("EVALSHA"), 4, "{seen:?}");
        assert_eq!(conn.call(&["GET", "key"]).await.unwrap().text(), Some("v"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_bounded() {
    let bench = Bench::start(|builder| builder.attempts(4)).await;
    let fault = bench.proxy.cut_after(Match::name("SET").always());
    let set = Cmd::idempotent("SET").key(&Key::raw("key")).arg("v");
    assert_eq!(set.class(), Class::Idempotent);
    let error = bench.redis.run::<()>(set).await.unwrap_err();
    assert_eq!((error.outcome(), error.attempt()), (SendOutcome::Unknown, 4), "{error}");
    assert!(matches!(error.kind(), ErrorKind::ConnectionLost(_)), "{error}");
    assert_eq!((fault.strikes(), bench.proxy.requests("SET")), (4, 4));
}

/// More commands than travel as one, and one left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_command_of_many_is_repeated_like_the_others() {
    let bench = Bench::start(|builder| builder.deadline(Duration::from_millis(2_000))).await;
    let keys: Vec<_> = (0..129).map(|n| Key::raw(format!("k{n}"))).collect();
    let fault = bench.proxy.cut_before(Match::name("GET").with_arg("k128"));
    for reply in bench.redis.pipeline(keys.iter().map(|key| Cmd::read("GET").key(key))).await {
        assert_eq!(reply.unwrap(), Value::Nil);
    }
    assert_eq!(fault.strikes(), 1);
}

/// The first attempt is applied and its reply lost; the second one is not sent, or is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_is_unknown_whatever_became_of_its_last_attempt() {
    let bench = Bench::start(|builder| builder.deadline(Duration::from_millis(500))).await;
    let mut conn = bench.server.conn().await.unwrap();
    let set = |name: &str| Cmd::idempotent("SET").key(&Key::raw(name.to_owned())).arg("v");

    bench.proxy.cut_after(Match::name("SET"));
    bench.proxy.answer(Match::name("SET"), "-READONLY You can't write\r\n");
    let error = bench.redis.run::<()>(set("refused")).await.unwrap_err();
    assert_eq!((error.outcome(), error.attempt()), (SendOutcome::Unknown, 2), "{error}");
    assert_eq!(error.server(), Some(&ServerError::ReadOnly), "{error}");

    bench.proxy.cut_after(Match::name("SET").with_arg("first"));
    for name in ["first", "second"] {
        bench.proxy.answer(Match::name("SET").with_arg(name), "-READONLY You can't write\r\n");
    }
    for reply in bench.redis.pipeline([set("first"), set("second")]).await {
        let error = reply.unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
        assert_eq!(error.server(), Some(&ServerError::ReadOnly), "{error}");
    }

    let fault = bench.proxy.cut_after(Match::name("SET"));
    let calling = set("unsent");
    let (result, ()) = tokio::join!(bench.redis.run::<()>(calling), async {
        bench.proxy.refuse().await.unwrap();
        fault.struck().await.unwrap();
    });
    let error = result.unwrap_err();
    assert_eq!((error.outcome(), error.attempt()), (SendOutcome::Unknown, 2), "{error}");
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
    for name in ["refused", "unsent"] {
        assert_eq!(conn.call(&["GET", name]).await.unwrap().text(), Some("v"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_never_applied() {
    let bench = Bench::start(|builder| builder).await;
    let mut conn = bench.server.conn().await.unwrap();
    let key = Key::raw("list");
    conn.call(&["RPUSH", "list", "a"]).await.unwrap();
    let other = Key::raw("other");
    // A wrapped command is one command: its error is a refusal, too.
    for cmd in [
        Cmd::write("INCR").key(&key),
        Cmd::write("INCRBYFLOAT").key(&key).arg(1),
        Cmd::write("SPOP").key(&key).arg(2),
        Cmd::write("BZPOPMIN").key(&key).arg(1),
        Cmd::write("SET").key(&other).arg("v").arg("PX").arg(0),
    ] {
        let error = bench.redis.run::<Value>(cmd).await.unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::Rejected, "{error}");
    }
    let wrong = [Cmd::write("INCR").key(&other), Cmd::write("INCR").key(&key)];
    let error = bench.redis.transaction(wrong).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "one ran, the other did not: {error}");
    assert_eq!(conn.call(&["GET", "other"]).await.unwrap().text(), Some("1"));
    let refused = [Cmd::write("INCR").key(&other), Cmd::write("SET").key(&other)];
    let error = bench.redis.transaction(refused).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Rejected, "{error}");
    assert_eq!(conn.call(&["GET", "other"]).await.unwrap().text(), Some("1"));
    assert_eq!(conn.call(&["LLEN", "list"]).await.unwrap().int(), Some(1));
}
