//! Another server becomes the primary: by order, by silence, by somebody's hand.

use std::time::{Duration, Instant};

use russet_core_conn::{
    Cmd, Delivery, Durability, EventKind, Key, Redis, Script, SendOutcome, ServerError, Topic,
};
use russet_testkit::{Conn, Sentinel, Server, encode};

use crate::support::{incr, info, ms, patient, until};

mod ledger;

async fn number(server: &Server, name: &str) -> i64 {
    let answer = server.conn().await.unwrap().call(&["GET", name]).await.unwrap();
    answer.text().map_or(0, |text| text.parse().unwrap())
}

/// Hears from this sentinel, and not from us, that there is another primary.
async fn listener(sentinel: &Server) -> Conn {
    let mut conn = sentinel.conn().await.unwrap().with_deadline(Duration::from_secs(30));
    conn.call(&["HELLO", "3"]).await.unwrap();
    conn.send(&encode(&["SUBSCRIBE", "+switch-master"])).await.unwrap();
    conn.push().await.unwrap();
    conn
}

/// Calls until one succeeds, and gives the time that took.
async fn resumed(redis: &Redis, name: &str) -> Duration {
    let began = Instant::now();
    let brief = redis.with_deadline(ms(100));
    while brief.run::<i64>(incr(name)).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "writes never resumed");
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_follows_an_ordered_failover() {
    let sentinel = Sentinel::start(1, 3).await.unwrap();
    let redis = patient(&sentinel.url()).build().unwrap();
    let old = sentinel.primary().await.unwrap();
    let mut news = redis.hub().subscribe(Topic::channel("news")).await.unwrap();
    // So that the next primary has it.
    let mut own = redis.with_durability(Durability::Replicas(1)).dedicated().await.unwrap();
    assert_eq!(own.run::<i64>(incr("n")).await.unwrap(), 1);
    // Left to the next caller.
    drop(redis.dedicated().await.unwrap());
    let blocked = tokio::spawn(async move {
        let pop = Cmd::write("BLPOP").key(&Key::raw("queue")).arg(0);
        own.run::<Option<(String, String)>>(pop).await.unwrap_err()
    });
    let mut conn = old.conn().await.unwrap();
    until("blocked", async || info(&mut conn, "blocked_clients").await == 1).await;
    let new = sentinel.failover().await.unwrap();
    assert!(resumed(&redis, "n").await < ms(500));
    assert_eq!(number(new, "n").await, 2);
    // On a connection of its own, too; and what was blocked on the old one is told.
    assert_eq!(redis.dedicated().await.unwrap().run::<i64>(incr("n")).await.unwrap(), 3);
    let error = blocked.await.unwrap();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    let told = async {
        assert!(matches!(news.next().await, Some(Delivery::Away(_))));
        assert!(matches!(news.next().await, Some(Delivery::Gap(_))));
        new.conn().await.unwrap().call(&["PUBLISH", "news", "of the new"]).await.unwrap();
        match news.next().await {
            Some(Delivery::Message(message)) => assert_eq!(message.payload(), "of the new"),
            other => panic!("{other:?}"),
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
    let wrong = redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("n")).arg(1)).await;
    assert_eq!(wrong.unwrap_err().node(), Some(&*new.addr().to_string()));
}

/// It neither closes its connections nor says that it is no primary any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs_is_left_when_another_is_named() {
    let sentinel = Sentinel::start(1, 3).await.unwrap();
    // Found by nothing but the sentinels' word.
    let deaf = patient(&sentinel.url()).probe(Duration::from_secs(60), Duration::from_secs(60));
    let redis = deaf.build().unwrap();
    // In a runtime that ends: whoever listens to the sentinels there ends with it.
    let first = redis.clone();
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { first.ping().await.unwrap() });
    });
    other.join().unwrap();
    let mut news = redis.hub().subscribe(Topic::channel("news")).await.unwrap();
    let safe = redis.with_durability(Durability::Replicas(1));
    assert_eq!(safe.run::<i64>(incr("n")).await.unwrap(), 1);
    let mut kept = safe.dedicated().await.unwrap();
    kept.run::<i64>(incr("kept")).await.unwrap();
    let mut told = listener(&sentinel.sentinels()[2]).await;
    let old = sentinel.primary().await.unwrap();
    old.pause().await.unwrap();
    // Opens its first connection to one that takes it and says nothing.
    let late = patient(&sentinel.url()).connect_timeout(Duration::from_secs(60)).build().unwrap();
    let waiting = tokio::spawn(async move { late.run::<i64>(incr("late")).await });
    told.push().await.unwrap();
    assert!(resumed(&redis, "n").await < ms(500));
    let late = tokio::time::timeout(ms(500), waiting).await.unwrap().unwrap();
    assert_eq!(late.unwrap(), 1);
    // What leads to the old one sends nothing there any more, though it could.
    let error = kept.run::<i64>(incr("kept")).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    let new = sentinel.promoted().await.unwrap();
    assert!(matches!(news.next().await, Some(Delivery::Away(_))));
    assert!(matches!(news.next().await, Some(Delivery::Gap(_))));
    let before = number(new, "n").await;
    assert!(before >= 2);
    old.resume().await.unwrap();
    for n in 1..=100 {
        assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), before + n);
    }
    sentinel.ready().await.unwrap();
}

/// The connection lives, the sentinels have noticed nothing, and every write is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_the_sentinels_call_the_primary_is_not_written_to() {
    let sentinel = Sentinel::builder().down_after(Duration::from_secs(60)).start().await.unwrap();
    let redis = patient(&sentinel.url()).build().unwrap();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
    let primary = sentinel.primary().await.unwrap();
    let mut conn = primary.conn().await.unwrap();
    // Of a server that does not exist: it keeps what it has.
    conn.call(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    // What was refused is not applied, and waits with the others.
    let write = redis.run::<i64>(incr("n"));
    let repaired = async {
        let brief = redis.with_deadline(ms(300));
        let error = brief.run::<i64>(incr("n")).await.unwrap_err();
        let why = error.cause().unwrap_or(error.kind()).to_string();
        assert!(why.contains("says itself that it is a replica"), "{error:?}");
        assert_eq!(error.outcome(), SendOutcome::NotSent);
        conn.call(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    };
    let (written, ()) = tokio::join!(write, repaired);
    assert_eq!(written.unwrap(), 2);
    // Of several commands at once the caller is told, and none is sent again.
    let mut events = redis.events();
    conn.call(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    let sets = ["a", "b"].map(|name| Cmd::idempotent("SET").key(&Key::raw(name)).arg(1));
    for reply in redis.pipeline(sets).await {
        let error = reply.unwrap_err();
        assert_eq!(error.server(), Some(&ServerError::ReadOnly), "{error}");
        assert_eq!(error.outcome(), SendOutcome::Rejected);
    }
    conn.call(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    // Over the next connection: the one that was refused is left.
    events.find(|kind| matches!(kind, EventKind::Ready(_))).await.unwrap();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 3);
    conn.call(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    let error = redis.transaction([incr("n")]).await.unwrap_err();
    assert_eq!((error.server(), error.attempt()), (Some(&ServerError::ExecAbort), 1), "{error}");
    assert_eq!(error.outcome(), SendOutcome::Rejected);
    conn.call(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Ready(_))).await.unwrap();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 4);
    // Who only talks like a replica is not one, and may have written.
    let body = "redis.call('INCR', KEYS[1]) \
                return redis.error_reply(\"READONLY You can't write against a read only replica.\")";
    let script = Script::new("talks", body);
    let said = redis.script::<()>(script.key(&Key::raw("n"))).await.unwrap_err();
    assert_eq!((said.server(), said.attempt()), (Some(&ServerError::ReadOnly), 1));
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 6);
}
