//! What was confirmed is safe; what was not is unknown, and never said to be safe.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use russet_core_conn::{Class, Cmd, Durability, ErrorKind, Key, Redis, Script, SendOutcome};
use russet_testkit::{Fsync, Match, Proxy, Server};

use crate::ledger::{TASKS, settled, writers};
use crate::support::{info, ms, patient, record_figures, until};

static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "count",
        "-- KEYS[1]: counter\n-- Idempotent: no\nreturn redis.call('INCR', KEYS[1])",
    )
});

async fn replicated() -> (Server, Redis) {
    let server = Server::start_with_replicas(1).await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    (server, redis.with_durability(Durability::Replicas(1)))
}

async fn on_replica(server: &Server, key: &str) -> Option<String> {
    let mut conn = server.replicas()[0].conn().await.unwrap();
    conn.call(&["GET", key]).await.unwrap().text().map(str::to_owned)
}

fn is_not_durable(error: &russet_core_conn::Error) {
    assert!(matches!(error.kind(), ErrorKind::NotDurable { acknowledged: 0, .. }), "{error}");
    assert_eq!(error.outcome(), SendOutcome::Unknown);
}

#[tokio::test]
async fn what_a_replica_acknowledged_is_there() {
    let (server, redis) = replicated().await;
    for round in 1..=50_i64 {
        let key = Key::raw("a");
        redis.run::<()>(Cmd::idempotent("SET").key(&key).arg(round)).await.unwrap();
        assert_eq!(on_replica(&server, "a").await, Some(round.to_string()));
        assert_eq!(redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("b"))).await.unwrap(), round);
        assert_eq!(on_replica(&server, "b").await, Some(round.to_string()));
        assert_eq!(redis.script::<i64>(COUNT.key(&Key::raw("c"))).await.unwrap(), round);
        assert_eq!(on_replica(&server, "c").await, Some(round.to_string()));
        let both = [Cmd::write("INCR").key(&Key::raw("d")), Cmd::write("INCR").key(&Key::raw("d"))];
        redis.transaction(both.clone()).await.unwrap();
        assert_eq!(on_replica(&server, "d").await, Some((4 * round - 2).to_string()));
        assert!(redis.pipeline(both).await.iter().all(Result::is_ok));
        assert_eq!(on_replica(&server, "d").await, Some((4 * round).to_string()));
    }
    // Each was confirmed by one WAIT, and all by one connection beside the shared one.
    let mut conn = server.conn().await.unwrap();
    let stats = conn.call(&["INFO", "commandstats"]).await.unwrap();
    let waits = stats.text().unwrap().lines().find(|line| line.starts_with("cmdstat_wait:"));
    // One more for the script, which the server did not know the first time.
    assert!(waits.unwrap().contains("calls=251,"), "{waits:?}");
}

#[tokio::test]
async fn a_paused_replica_confirms_nothing() {
    let (server, redis) = replicated().await;
    let redis = redis.with_deadline(ms(600));
    let shared = redis.with_durability(Durability::Async).with_deadline(Duration::from_secs(5));
    // The server knows the script: it need not be told while nobody acknowledges.
    shared.script::<i64>(COUNT.key(&Key::raw("c"))).await.unwrap();
    server.replicas()[0].pause().await.unwrap();
    for round in 1..=3_i64 {
        let (key, begun) = (Key::raw("n"), Instant::now());
        let write = redis.run::<i64>(Cmd::write("INCR").key(&key));
        let neighbour = async {
            tokio::time::sleep(ms(50)).await;
            let begun = Instant::now();
            let n: i64 = shared.run(Cmd::read("GET").key(&key)).await.unwrap();
            (n, begun.elapsed())
        };
        let (error, (n, took)) = tokio::join!(write, neighbour);
        is_not_durable(&error.unwrap_err());
        assert!(begun.elapsed() < ms(700), "after {:?}", begun.elapsed());
        // It is applied all the same, and nobody else waited for it.
        assert_eq!(n, round);
        assert!(took < ms(150), "a read waited {took:?}");
        let set = redis.run::<()>(Cmd::idempotent("SET").key(&Key::raw("s")).arg(round)).await;
        is_not_durable(&set.unwrap_err());
        is_not_durable(&redis.script::<i64>(COUNT.key(&Key::raw("c"))).await.unwrap_err());
        let block = redis.transaction([Cmd::write("INCR").key(&Key::raw("d"))]).await;
        is_not_durable(&block.unwrap_err());
        let piped = redis.pipeline((0..3).map(|_| Cmd::write("INCR").key(&Key::raw("p")))).await;
        piped.iter().for_each(|reply| is_not_durable(reply.as_ref().unwrap_err()));
        // A read has nothing to be confirmed.
        assert_eq!(redis.run::<i64>(Cmd::read("GET").key(&key)).await.unwrap(), round);
        // A refusal is a refusal: nothing was written that could be lost.
        let refused = redis.run::<i64>(Cmd::write("LPUSH").key(&key).arg("x")).await.unwrap_err();
        assert_eq!(refused.outcome(), SendOutcome::Rejected, "{refused}");
    }
    server.replicas()[0].resume().await.unwrap();
    let again = redis.with_deadline(Duration::from_secs(10));
    assert_eq!(again.run::<i64>(Cmd::write("INCR").key(&Key::raw("n"))).await.unwrap(), 4);
}

#[tokio::test]
async fn a_connection_that_is_lost_between_write_and_wait_confirms_nothing() {
    let server = Server::start_with_replicas(1).await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = Redis::builder(&proxy.url()).deadline(ms(400)).build().unwrap();
    let redis = redis.with_durability(Durability::Replicas(1));
    server.replicas()[0].pause().await.unwrap();
    let (mut cut, mut unconfirmed) = (0, 0);
    for round in 0..30_u32 {
        // Before the wait, after it, or not at all.
        match round % 3 {
            0 => drop(proxy.cut_before(Match::name("WAIT"))),
            1 => drop(proxy.cut_after(Match::name("WAIT"))),
            _ => {}
        }
        let class = if round % 2 == 0 { Class::Write } else { Class::Idempotent };
        let cmd = match class {
            Class::Write => Cmd::write("INCR").key(&Key::raw("n")),
            _ => Cmd::idempotent("SET").key(&Key::raw("s")).arg(round),
        };
        let error = redis.run::<()>(cmd).await.unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::Unknown, "round {round}: {error}");
        match error.kind() {
            ErrorKind::ConnectionLost(_) => cut += 1,
            ErrorKind::NotDurable { .. } | ErrorKind::Deadline(_) => unconfirmed += 1,
            other => panic!("round {round}: {other}"),
        }
        proxy.heal();
    }
    assert!(cut >= 5 && unconfirmed >= 10, "{cut} cut, {unconfirmed} unconfirmed");
    assert!(proxy.strikes() >= 20, "{} strikes", proxy.strikes());
}

#[tokio::test]
async fn a_sync_is_waited_for_or_refused_before_anything_is_sent() {
    let with_file = Server::builder().aof(Fsync::EverySecond).start().await.unwrap();
    let without = Server::start().await.unwrap();
    let key = Key::raw("n");
    let supported = with_file.version().at_least(7, 2);
    for (server, confirms) in [(&with_file, supported), (&without, false)] {
        let redis = patient(&server.url()).build().unwrap().with_durability(Durability::Fsync);
        for round in 1..=3_i64 {
            let reply = redis.run::<i64>(Cmd::write("INCR").key(&key)).await;
            if confirms {
                assert_eq!(reply.unwrap(), round);
                continue;
            }
            let error = reply.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
            assert_eq!(error.outcome(), SendOutcome::NotSent);
            assert!(!error.is_retryable());
            let mut conn = server.conn().await.unwrap();
            assert_eq!(conn.call(&["GET", "n"]).await.unwrap().text(), None);
        }
    }
    if supported {
        with_file.kill().await.unwrap();
        with_file.restart().await.unwrap();
        let mut conn = with_file.conn().await.unwrap();
        assert_eq!(conn.call(&["GET", "n"]).await.unwrap().text(), Some("3"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_synced_survives_a_restart() {
    check_restarts(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_fsync() {
    check_restarts(10).await;
}

/// The server is killed in each round, and comes back with what its file has. In every other round that takes nothing any
/// more before: what a killed process had written is there all the same, and only a dead machine would lose it.
async fn check_restarts(rounds: u64) {
    let server = Server::builder().aof(Fsync::EverySecond).start().await.unwrap();
    let version = server.version().clone();
    if !version.at_least(7, 2) {
        return println!("{version} can't tell of a sync");
    }
    let redis = Redis::builder(&server.url()).deadline(ms(300)).build().unwrap();
    redis.with_deadline(ms(5_000)).ready().await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let (soon, _) = writers(&redis, "soon", &over);
    let safe = redis.with_durability(Durability::Fsync).with_deadline(ms(5_000));
    let (safe, confirmed) = writers(&safe, "safe", &over);
    for round in 0..rounds {
        let before = confirmed.load(SeqCst);
        until("confirmed writes", async || confirmed.load(SeqCst) > before + 3 * TASKS as u64)
            .await;
        if round % 2 == 0 {
            let mut conn = server.conn().await.unwrap();
            conn.call(&["CONFIG", "SET", "appendonly", "no"]).await.unwrap();
            tokio::time::sleep(ms(100)).await;
        }
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    }
    over.store(true, SeqCst);
    let soon = settled(soon, &server, "soon").await;
    let safe = settled(safe, &server, "safe").await;
    println!(
        "{rounds} rounds; acknowledged, unknown, lost: async {:?}, synced {:?}",
        soon.summary(),
        safe.summary()
    );
    assert_eq!(safe.lost, 0, "said to be on disk, and lost");
    assert!(soon.lost > 0, "the file has all the same what it was not given");
    assert!(safe.acknowledged.len() as u64 > 20 * rounds && safe.unknown > 0);
    record_figures(
        "fsync",
        &version.to_string(),
        &[("rounds", rounds), ("tasks_of_each", TASKS as u64)],
        &[("kills", rounds), ("file_off", rounds.div_ceil(2))],
        &[
            ("acknowledged_async", soon.acknowledged.len() as u64),
            ("lost_async", soon.lost),
            ("unknown_async", soon.unknown),
            ("acknowledged_fsync", safe.acknowledged.len() as u64),
            ("lost_fsync", safe.lost),
            ("unknown_fsync", safe.unknown),
        ],
    );
}

#[tokio::test]
async fn durable_writes_use_their_connections_again() {
    let (server, redis) = replicated().await;
    let key = Key::raw("n");
    redis.run::<i64>(Cmd::write("INCR").key(&key)).await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let before = info(&mut conn, "total_connections_received").await;
    for _ in 0..100 {
        redis.run::<i64>(Cmd::write("INCR").key(&key)).await.unwrap();
    }
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (redis, key) = (redis.clone(), key.clone());
            tokio::spawn(async move { redis.run::<i64>(Cmd::write("INCR").key(&key)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let opened = info(&mut conn, "total_connections_received").await - before;
    assert!((1..=32).contains(&opened), "{opened} connections opened");
}

/// Sent again, it would change nothing, and what a connection has not written is waited for by nobody.
#[tokio::test]
async fn a_durable_write_is_sent_once_whatever_its_class() {
    let server = Server::start_with_replicas(1).await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url()).build().unwrap();
    redis.ready().await.unwrap();
    server.replicas()[0].pause().await.unwrap();
    proxy.cut_after(Match::name("SADD"));
    let add = Cmd::idempotent("SADD").key(&Key::raw("s")).arg("member");
    let durable = redis.with_durability(Durability::Replicas(1));
    let error = durable.run::<i64>(add).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    assert!(matches!(error.kind(), ErrorKind::ConnectionLost(_)), "{error}");
    assert_eq!((proxy.requests("SADD"), proxy.strikes()), (1, 1));
}

/// Who may write and may not wait: what is written is written, whatever the answer to the wait.
#[tokio::test]
async fn a_refused_wait_refuses_no_write() {
    let acl = "user default on nopass ~* &* +@all\nuser shop on >word ~* &* +@all -wait\n";
    let server = Server::builder().acl_file(acl).start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    conn.call(&["RPUSH", "list", "1", "2", "3"]).await.unwrap();
    let redis = patient(&server.url()).user("shop").password("word").build().unwrap();
    let redis = redis.with_durability(Durability::Replicas(1));
    // The one goes by a script, the other as it is.
    let key = Key::raw("list");
    for cmd in [Cmd::write("LPOP").key(&key).arg(1), Cmd::write("RPUSH").key(&key).arg("4")] {
        let error = redis.run::<()>(cmd).await.unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    }
    let mut own = redis.dedicated().await.unwrap();
    let error = own.run::<()>(Cmd::write("LPOP").key(&key).arg(1)).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    let left = conn.call(&["LRANGE", "list", "0", "-1"]).await.unwrap();
    assert_eq!(left.items().unwrap().len(), 2, "{left:?}");
}

/// Nothing was applied, so there is nothing to confirm.
#[tokio::test]
async fn what_was_given_up_waits_for_nobody() {
    let (server, redis) = replicated().await;
    server.replicas()[0].pause().await.unwrap();
    let (watched, key) = (Key::raw("watched"), Key::raw("n"));
    let mut watch = redis.watch(std::slice::from_ref(&watched)).await.unwrap();
    watch.run::<Option<String>>(Cmd::read("GET").key(&watched)).await.unwrap();
    server.conn().await.unwrap().call(&["SET", "watched", "changed"]).await.unwrap();
    assert!(watch.exec([Cmd::write("INCR").key(&key)]).await.unwrap().is_none());
    let wrong = Cmd::write("INCR").key(&watched);
    for reply in redis.pipeline([wrong.clone(), wrong]).await {
        assert_eq!(reply.unwrap_err().outcome(), SendOutcome::Rejected);
    }
}
