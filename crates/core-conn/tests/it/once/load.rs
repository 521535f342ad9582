//! The same with many calls on one connection: a cut takes with it what is pipelined behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use russet_core_conn::{Key, SendOutcome};
use russet_testkit::{Conn, Match};

use super::ops::{Bench, Op};
use crate::support::{info, record, until};

const TASKS: u64 = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_each_reply_that_came_is_an_ok() {
    load(5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_once_load() {
    let met = load(100_000).await;
    record(
        "once_load",
        &met.server,
        &[
            ("calls", met.calls),
            ("tasks", TASKS),
            ("ok", met.ok),
            ("unknown", met.unknown),
            ("not_sent", met.not_sent),
        ],
        &[("cuts", met.cuts), ("without_reply", met.without_reply)],
    );
}

struct Met {
    server: String,
    calls: u64,
    ok: u64,
    unknown: u64,
    not_sent: u64,
    cuts: u64,
    without_reply: u64,
}

/// So many calls, each on a key of its own, from many tasks, with a cut now and then at each place.
async fn load(calls: u64) -> Met {
    let bench = Bench::start(|builder| builder).await;
    Op::Script.call(&bench.redis, &Key::raw("warm")).await.unwrap();
    // The first fault whose turn it is takes a request: what the cuts leave is counted, reply by reply.
    let (mut cuts, mut replied) = (Vec::new(), Vec::new());
    for (op, every) in [(Op::Hot, 211), (Op::Direct, 307), (Op::Script, 223), (Op::Exec, 257)] {
        let wanted = Match::name(op.sent_as());
        cuts.push(bench.proxy.cut_after(wanted.clone().every(every)));
        cuts.push(bench.proxy.cut_before(wanted.clone().every(every + 90)));
        cuts.push(bench.proxy.cut_in_reply(wanted.clone().every(every + 70), 3));
        replied.push(bench.proxy.corrupt(wanted.always(), <[u8]>::to_vec));
    }
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (redis, next) = (bench.redis.clone(), next.clone());
            tokio::spawn(async move {
                let mut ends = Vec::new();
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    if n >= calls {
                        return ends;
                    }
                    let op = Op::ALL[usize::try_from(n).unwrap() % Op::ALL.len()];
                    let result = op.call(&redis, &Key::raw(format!("key-{n}"))).await;
                    ends.push((n, result.err().map(|error| error.outcome())));
                }
            })
        })
        .collect();
    let mut ends = HashMap::new();
    for task in tasks {
        ends.extend(task.await.unwrap());
    }
    assert_eq!(ends.len() as u64, calls);
    let applied = applied(&mut bench.server.conn().await.unwrap(), calls).await;
    for (n, end) in &ends {
        let times = applied[usize::try_from(*n).unwrap()];
        match end {
            None => assert_eq!(times, 1, "key-{n} was acknowledged"),
            Some(SendOutcome::Unknown) => assert!(times <= 1, "key-{n} was applied twice"),
            Some(_) => assert_eq!(times, 0, "key-{n}: {end:?}"),
        }
    }
    let count = |end| ends.values().filter(|known| **known == end).count() as u64;
    let (ok, unknown) = (count(None), count(Some(SendOutcome::Unknown)));
    let not_sent = count(Some(SendOutcome::NotSent));
    assert_eq!(ok + unknown + not_sent, calls, "nothing was refused");
    let replied: u64 = replied.iter().map(russet_testkit::Fault::strikes).sum();
    let without_reply = calls - not_sent - replied;
    assert!(unknown <= without_reply, "{unknown} unknown, {without_reply} went without a reply");
    // In whole replies that a cut took the last bytes of, too, there is no `Ok`.
    assert_eq!(ok, replied);
    let struck: Vec<_> = cuts.iter().map(russet_testkit::Fault::strikes).collect();
    assert!(struck.iter().all(|strikes| *strikes > 0), "{struck:?}");
    assert!(ok > calls / 2, "{ok} of {calls}");
    let cuts = struck.iter().sum();
    let server = bench.server.version().to_string();
    Met { server, calls, ok, unknown, not_sent, cuts, without_reply }
}

/// How often each key was counted up, as the server says.
async fn applied(conn: &mut Conn, calls: u64) -> Vec<u64> {
    let gets: Vec<_> = (0..calls).map(|n| ["GET".to_owned(), format!("key-{n}")]).collect();
    let replies = conn.pipeline(&gets).await.unwrap();
    replies.iter().map(|reply| reply.text().map_or(0, |text| text.parse().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_takes_what_is_in_flight_and_nothing_that_waits() {
    const PLACES: usize = 32;
    let bench = Bench::start(|builder| builder.in_flight(PLACES)).await;
    let mut conn = bench.server.conn().await.unwrap();
    bench.proxy.reset_counters();
    bench.proxy.delay_replies(Duration::from_secs(30));
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let redis = bench.redis.clone();
            tokio::spawn(async move { Op::Hot.call(&redis, &Key::raw(format!("key-{n}"))).await })
        })
        .collect();
    // Applied, and none of the replies has passed.
    until("as many calls as there are places", async || {
        info(&mut conn, "total_commands_processed").await > 0
            && conn.call(&["DBSIZE"]).await.unwrap().int() == Some(PLACES as i64)
    })
    .await;
    // In this order: those that are not held up any more might pass before they are cut.
    bench.proxy.cut_all().await.unwrap();
    bench.proxy.delay_replies(Duration::ZERO);
    let (mut ok, mut unknown) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => ok += 1,
            Err(error) => {
                assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
                unknown += 1;
            }
        }
    }
    assert_eq!((ok, unknown), (TASKS - PLACES as u64, PLACES as u64));
    assert!(unknown <= bench.proxy.lost(), "{:?}", bench.proxy.counters());
    assert_eq!(bench.proxy.requests("INCR"), TASKS);
    assert_eq!(applied(&mut conn, TASKS).await, vec![1; 64]);
}
