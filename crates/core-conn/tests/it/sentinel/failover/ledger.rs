//! What writes that were acknowledged are worth after a failover, by a ledger of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use russet_core_conn::{Durability, Redis};
use russet_testkit::Sentinel;

use super::{listener, resumed};
use crate::ledger::{Ledger, TASKS, settled, writers};
use crate::support::{ms, record_figures, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_replicas_confirmed_survives_and_writes_resume() {
    check(1, 2).await;
    check(2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_sentinel_failovers() {
    for replicas in [1, 2] {
        let found = check(replicas, 20).await;
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap();
        record_figures(
            &format!("sentinel_failovers_{replicas}"),
            &found.server,
            &[("rounds", 20), ("replicas", replicas.into()), ("tasks_of_each", TASKS as u64)],
            &[("kills", 10), ("ordered", 10)],
            &[
                ("acknowledged_async", found.soon.acknowledged.len() as u64),
                ("lost_async", found.soon.lost),
                ("unknown_async", found.soon.unknown),
                ("acknowledged_replicas", found.safe.acknowledged.len() as u64),
                ("lost_replicas", found.safe.lost),
                ("unknown_replicas", found.safe.unknown),
                ("slowest_resume_us", us(found.resumed[found.resumed.len() - 1])),
                ("median_resume_us", us(found.resumed[found.resumed.len() / 2])),
            ],
        );
    }
}

struct Found {
    server: String,
    soon: Ledger,
    safe: Ledger,
    /// From the sentinel's word to the first acknowledged write, the shortest first.
    resumed: Vec<Duration>,
}

async fn check(replicas: u32, rounds: usize) -> Found {
    // A machine that stalls for a second must not make them elect the dead primary again, which has come back with what
    // its disk had, and follows nobody yet.
    let patient = Sentinel::builder().down_after(ms(3_000));
    let sentinel = patient.replicas(replicas as usize).sentinels(3).start().await.unwrap();
    let redis = Redis::builder(&sentinel.url()).deadline(ms(300)).build().unwrap();
    redis.ready().await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let all = Durability::Replicas(replicas);
    let (soon, _) = writers(&redis, "soon", &over);
    let (safe, confirmed) = writers(&redis.with_durability(all), "safe", &over);
    let mut took = Vec::new();
    for round in 0..rounds {
        let before = confirmed.load(SeqCst);
        until("confirmed writes", async || confirmed.load(SeqCst) > before + 100).await;
        // Whether the last of the sentinels says it or the first, the others follow within its greeting to them.
        let mut told = listener(&sentinel.sentinels()[round % 3]).await;
        if round % 2 == 0 {
            let dead = sentinel.kill_primary().await.unwrap();
            told.push().await.unwrap();
            took.push(resumed(&redis, "resumed").await);
            sentinel.promoted().await.unwrap();
            dead.restart().await.unwrap();
        } else {
            let (ordered, ()) = tokio::join!(sentinel.failover(), async {
                told.push().await.unwrap();
                took.push(resumed(&redis, "resumed").await);
            });
            ordered.unwrap();
        }
        sentinel.ready().await.unwrap();
    }
    over.store(true, SeqCst);
    let primary = sentinel.promoted().await.unwrap();
    let soon = settled(soon, primary, "soon").await;
    let safe = settled(safe, primary, "safe").await;
    took.sort_unstable();
    println!(
        "{replicas} replicas, {rounds} rounds; acknowledged, unknown, lost: async {:?}, all replicas {:?}; \
         resumed after {took:?}",
        soon.summary(),
        safe.summary()
    );
    let elections = sentinel.sentinels()[0].log().matches(" +switch-master ").count();
    assert_eq!(elections, rounds, "an election that nobody asked for");
    assert_eq!(safe.lost, 0, "acknowledged by all replicas, and lost");
    assert!(safe.acknowledged.len() > 100 * rounds && safe.unknown > 0, "{:?}", safe.summary());
    assert!(soon.not_sent + safe.not_sent > 0, "nobody noticed a failover");
    let slowest = took[took.len() - 1];
    assert!(slowest < ms(500), "writes resumed after {slowest:?}");
    Found { server: primary.version().to_string(), soon, safe, resumed: took }
}
