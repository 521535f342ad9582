//! Mixed load under random faults: nobody gets another's reply, nothing is applied twice, what was not sent never is,
//! memory stays flat, and outside the faults nearly everything is served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russet_core_conn::{Backoff, Redis};
use russet_testkit::{Proxy, Server};

use self::faults::{Faults, Weather};
use self::load::{Tally, Worker};
use crate::support::{ms, record_figures, rss, seed};

mod faults;
mod load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_load_stays_right_for_a_minute_of_random_faults() {
    run(Duration::from_secs(60)).await;
}

/// An hour on Redis 7.0, ten minutes on the others: `cargo xtask test --soak --seconds 3600`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_mixed() {
    let seconds = std::env::var("RUSSET_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(3_600));
    let found = run(time).await;
    assert!(found.rss.1 * 100 <= found.rss.0 * 105, "memory grew: {:?} KiB", found.rss);
    let Tally { calls, ok, clear, clear_ok, unknown, not_sent, rejected, rechecked, .. } =
        found.tally;
    let faults: Vec<_> = found.faults.iter().map(|(name, count)| (*name, *count)).collect();
    record_figures(
        "mixed",
        &found.server,
        &[("seconds", time.as_secs()), ("calls", calls), ("tasks", TASKS as u64)],
        &faults,
        &[
            ("ok", ok),
            ("unknown", unknown),
            ("not_sent", not_sent),
            ("rejected", rejected),
            ("outside_faults", clear),
            ("outside_faults_ok", clear_ok),
            ("looked_at_again_later", rechecked),
            ("foreign_replies", 0),
            ("applied_twice", 0),
            ("rss_kib_at_a_tenth", found.rss.0),
            ("rss_kib_at_the_end", found.rss.1),
        ],
    );
}

const TASKS: usize = 16;

struct Found {
    server: String,
    tally: Tally,
    faults: Vec<(&'static str, u64)>,
    /// KiB, as usual at a tenth of the run and at its end.
    rss: (u64, u64),
}

async fn run(time: Duration) -> Found {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = Redis::builder(&proxy.url())
        .reconnect(Backoff::exponential(ms(20), ms(500)))
        .deadline(ms(500))
        .probe(ms(500), ms(500))
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    let weather = Arc::new(Weather::default());
    let end = Instant::now() + time;
    let workers: Vec<_> =
        (0..TASKS).map(|task| tokio::spawn(Worker::new(&redis, &weather, task).run(end))).collect();
    let faults = tokio::spawn(Faults::new(server, proxy, redis.clone(), weather, seed()).run(end));
    let memory = tokio::spawn(async move {
        // Of one reading a few percent are chance: how much is in flight, and which thread's heap it came from.
        let while_it = (time / 20).min(Duration::from_secs(60));
        tokio::time::sleep(time / 10).await;
        let early = usual_rss(while_it).await;
        tokio::time::sleep_until((end - while_it).into()).await;
        (early, usual_rss(while_it).await)
    });
    let mut tally = Tally::default();
    for worker in workers {
        tally.add(&worker.await.unwrap());
    }
    let rss = memory.await.unwrap();
    let (server, faults) = faults.await.unwrap();
    println!("{tally:?} {faults:?} RSS {rss:?} KiB");
    assert!(
        faults.iter().all(|(_, count)| *count > 0),
        "not each kind of fault struck: {faults:?}"
    );
    assert!(tally.clear * 3 >= tally.calls, "hardly anything ran outside the faults: {tally:?}");
    assert!(tally.clear_ok * 100 >= tally.clear * 99, "served outside the faults: {tally:?}");
    assert!(tally.unknown > 0 && tally.rechecked > 0, "nothing was ever in doubt: {tally:?}");
    redis.close().await;
    Found { server, tally, faults, rss }
}

/// The median of the readings in this time, in KiB.
async fn usual_rss(time: Duration) -> u64 {
    let end = Instant::now() + time;
    let mut readings = vec![rss()];
    while Instant::now() < end {
        tokio::time::sleep(ms(200)).await;
        readings.push(rss());
    }
    readings.sort_unstable();
    readings[readings.len() / 2]
}
