//! Futures of every kind of call, a third of them dropped wherever they stand: nobody gets another's reply, nothing
//! leaks, and what was never sent is never applied.

use std::ops::Range;
use std::pin::pin;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use russet_core_conn::{Cmd, Durability, Error, Key, Redis, Script, SendOutcome, Value};
use russet_testkit::{Match, Proxy, Server};
use tokio::runtime::Handle;

use crate::support::{clients, ms, poll_once, record_figures, seed, until};

const TASKS: u32 = 64;

static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "count",
        "-- KEYS[1]: counter\n-- Returns: {count, key}\n-- Idempotent: no\n\
         return {redis.call('INCR', KEYS[1]), KEYS[1]}",
    )
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_futures_harm_nobody() {
    check(4_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_cancel() {
    let found = check(200_000).await;
    record_figures(
        "cancel",
        &found.server,
        &[("futures", 200_000), ("tasks", TASKS.into())],
        &[("dropped", found.tally.dropped), ("cuts", found.cuts)],
        &[
            ("dropped_unpolled", found.tally.unpolled),
            ("ok", found.tally.ok),
            ("unknown", found.tally.unknown),
            ("not_sent", found.tally.not_sent),
            ("foreign_replies", 0),
            ("rss_kib_at_a_tenth", found.rss.0),
            ("rss_kib_at_the_end", found.rss.1),
        ],
    );
    assert!(found.rss.1 * 100 <= found.rss.0 * 105, "memory grew: {:?} KiB", found.rss);
}

#[derive(Debug, Default)]
struct Tally {
    ok: u64,
    unknown: u64,
    not_sent: u64,
    dropped: u64,
    unpolled: u64,
    /// Whose keys must not be there: their call was not sent, or dropped before it was polled. By number, because what
    /// this list takes is not what is looked for.
    never: Vec<u32>,
}

struct Found {
    server: String,
    tally: Tally,
    cuts: u64,
    rss: (u64, u64),
}

async fn check(futures: u64) -> Found {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = Redis::builder(&proxy.url())
        .deadline(Duration::from_secs(10))
        .connection_name("cancel")
        .dedicated(8)
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    let before = Handle::current().metrics().num_alive_tasks();
    // Some are lost on the way, so that there is something unsent, too.
    let cuts =
        [proxy.cut_before(Match::any().every(1_999)), proxy.cut_after(Match::any().every(2_003))];
    let mut tally = Tally::default();
    let mut early = 0;
    let turns = u32::try_from(futures).unwrap() / 10 / TASKS;
    for tenth in 0..10 {
        let workers: Vec<_> = (0..TASKS)
            .map(|task| {
                let random = StdRng::seed_from_u64(seed() ^ u64::from(tenth * 1_000 + task));
                let first = (tenth * TASKS + task) * turns;
                tokio::spawn(worker(redis.clone(), first..first + turns, random))
            })
            .collect();
        for worker in workers {
            let part = worker.await.unwrap();
            tally.ok += part.ok;
            tally.unknown += part.unknown;
            tally.not_sent += part.not_sent;
            tally.dropped += part.dropped;
            tally.unpolled += part.unpolled;
            tally.never.extend(part.never);
        }
        if tenth == 0 {
            early = crate::support::rss();
        }
    }
    let cuts = cuts.iter().map(russet_testkit::Fault::strikes).sum();
    proxy.heal();
    let late = crate::support::rss();
    assert!(tally.dropped > futures / 5 && tally.unpolled > 0, "{tally:?}");
    assert!(tally.ok > futures / 2, "{} ok, {} unknown", tally.ok, tally.unknown);
    no_place_is_lost(&redis).await;
    let mut conn = server.conn().await.unwrap();
    for number in &tally.never {
        let there = conn.call(&["EXISTS", &number.to_string()]).await.unwrap().int();
        assert_eq!(there, Some(0), "{number} was never sent");
    }
    until("the tasks are as many as before", async || {
        Handle::current().metrics().num_alive_tasks() <= before
    })
    .await;
    until("idle connections end", async || clients(&mut conn, "cancel").await.len() == 1).await;
    Found { server: server.version().to_string(), tally, cuts, rss: (early, late) }
}

/// As many calls as there are places get in at once, shared and dedicated, and none of them waits for its deadline.
async fn no_place_is_lost(redis: &Redis) {
    let begun = Instant::now();
    let calls: Vec<_> = (0..1_024).map(|n| Cmd::read("ECHO").arg(n)).collect();
    let calls = calls.into_iter().map(|cmd| redis.run::<u64>(cmd));
    for (n, reply) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(reply.unwrap(), n as u64);
    }
    let owns = futures_util::future::join_all((0..8).map(|_| redis.dedicated())).await;
    assert!(owns.iter().all(Result::is_ok));
    assert!(begun.elapsed() < Duration::from_secs(5), "places were lost: {:?}", begun.elapsed());
}

async fn worker(redis: Redis, numbers: Range<u32>, mut random: StdRng) -> Tally {
    let mut tally = Tally::default();
    for number in numbers {
        let kind = KINDS[random.random_range(0..KINDS.len())];
        let key = Key::raw(number.to_string());
        let fate = random.random_range(0..9_u32);
        let polls = random.random_range(0..6_u32);
        let wait = ms(random.random_range(0..3));
        let mut call = pin!(call(kind, &redis, &key));
        let result = match fate {
            // Dropped after some polls, each as soon as something has happened.
            0 | 1 => {
                let mut done = None;
                for _ in 0..polls {
                    done = poll_once(call.as_mut()).await;
                    if done.is_some() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                if done.is_none() {
                    tally.dropped += 1;
                    if polls == 0 {
                        tally.unpolled += 1;
                        tally.never.push(number);
                    }
                }
                done
            }
            // Dropped when its time is over.
            2 => {
                let done = tokio::time::timeout(wait, call).await.ok();
                tally.dropped += u64::from(done.is_none());
                done
            }
            _ => Some(call.await),
        };
        match result.map(|result| result.map_err(|error| (error.outcome(), error))) {
            None => {}
            Some(Ok(())) => tally.ok += 1,
            Some(Err((SendOutcome::Unknown, _))) => tally.unknown += 1,
            Some(Err((SendOutcome::NotSent, _))) => {
                tally.not_sent += 1;
                // The others write before the call that may have been the one.
                if !matches!(kind, Kind::Wrapped | Kind::Many | Kind::Alone) {
                    tally.never.push(number);
                }
            }
            Some(Err((_, error))) => panic!("{kind:?} was refused: {error}"),
        }
    }
    tally
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Command,
    Direct,
    Wrapped,
    Many,
    Alone,
    Script,
    Pipeline,
    Transaction,
    Dedicated,
    Watch,
    Durable,
    Ready,
}

const KINDS: [Kind; 12] = [
    Kind::Command,
    Kind::Direct,
    Kind::Wrapped,
    Kind::Many,
    Kind::Alone,
    Kind::Script,
    Kind::Pipeline,
    Kind::Transaction,
    Kind::Dedicated,
    Kind::Watch,
    Kind::Durable,
    Kind::Ready,
];

/// Writes its own key, or asks for its own words, and knows the answer.
async fn call(kind: Kind, redis: &Redis, key: &Key) -> Result<(), Error> {
    let mine = key.to_bytes();
    let incr = || Cmd::write("INCR").key(key);
    let echo = || Cmd::read("ECHO").arg(&mine);
    let is_mine = |value: &Value| assert_eq!(*value, Value::Bytes(mine.clone()), "another's");
    match kind {
        Kind::Command => assert_eq!(redis.run::<i64>(incr()).await?, 1),
        Kind::Direct => is_mine(&redis.run(echo()).await?),
        Kind::Wrapped => {
            let push = Cmd::write("RPUSH").key(key).arg("message").arg(&mine).arg("x");
            redis.run::<i64>(push).await?;
            let read: Vec<Value> = redis.run(Cmd::read("LRANGE").key(key).arg(0).arg(-1)).await?;
            is_mine(&read[1]);
        }
        Kind::Many => {
            redis.run::<()>(Cmd::idempotent("SET").key(key).arg(&mine)).await?;
            let read: Vec<Value> = redis.run(Cmd::read("MGET").keys([key, key])).await?;
            read.iter().for_each(is_mine);
        }
        Kind::Alone => {
            redis.run::<i64>(Cmd::write("RPUSH").key(key).arg(&mine)).await?;
            let pop: Vec<Value> = redis.run(Cmd::write("BLPOP").key(key).arg(1)).await?;
            pop.iter().for_each(is_mine);
        }
        Kind::Script => {
            let (n, name): (i64, Value) = redis.script(COUNT.key(key)).await?;
            assert_eq!(n, 1);
            is_mine(&name);
        }
        Kind::Pipeline => {
            for reply in redis.pipeline([echo(), echo(), echo()]).await {
                is_mine(&reply?);
            }
        }
        Kind::Transaction => {
            let replies = redis.transaction([incr(), echo()]).await?;
            assert_eq!(replies[0], Value::Int(1));
            is_mine(&replies[1]);
        }
        Kind::Dedicated => {
            let mut own = redis.dedicated().await?;
            is_mine(&own.run(echo()).await?);
            assert_eq!(own.run::<i64>(incr()).await?, 1);
        }
        Kind::Watch => {
            let mut watch = redis.watch(std::slice::from_ref(key)).await?;
            assert_eq!(watch.run::<Option<i64>>(Cmd::read("GET").key(key)).await?, None);
            let replies = watch.exec([incr(), echo()]).await?.expect("nobody else has this key");
            is_mine(&replies[1]);
        }
        Kind::Durable => {
            let durable = redis.with_durability(Durability::Replicas(0));
            assert_eq!(durable.run::<i64>(incr()).await?, 1);
        }
        Kind::Ready => redis.ready().await?,
    }
    Ok(())
}
