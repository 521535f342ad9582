//! Honest waiting by the wall clock: who comes back when it was told to is admitted.

use std::time::Duration;

use russet_ratelimit::{Limit, Quota};
use russet_testkit::shared::Topology;
use russet_testkit::soak;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::support::limiter;

/// Of half a second, so that there are many waits in a minute, and none is as short as a busy machine's pauses.
fn quotas() -> Vec<Quota> {
    let half = Duration::from_millis(500);
    let quotas = [
        Quota::gcra(2, half, 2),
        Quota::queue(2, 2, half, half * 2),
        Quota::interval(2, 1, half),
        Quota::fixed(2, half),
        Quota::counter(2, half),
        Quota::strict(2, half),
        Quota::log(2, half),
        Quota::permits(2, half),
    ];
    quotas.into_iter().map(Result::unwrap).collect()
}

/// Spends until it is denied, waits as long as it is told, and comes back, so many times: how often it was admitted then.
async fn waits(limit: Limit, subject: u64, rounds: u64) -> u64 {
    let mut admitted = 0;
    for _ in 0..rounds {
        let wait = loop {
            if let Some(wait) = limit.check(subject).await.unwrap().retry_after {
                break wait;
            }
        };
        sleep_until(Instant::now() + wait).await;
        admitted += u64::from(limit.check(subject).await.unwrap().is_allowed());
    }
    admitted
}

/// Answers how many waits there were, and after how many of them it was admitted.
async fn honest(subjects: u64, rounds: u64) -> (u64, u64) {
    let at = Topology::Server;
    let (limiter, _space) = limiter(at, "waiting").await;
    let mut tasks = JoinSet::new();
    for (n, quota) in quotas().into_iter().enumerate() {
        let limit = limiter.limit(&format!("l{n}"), quota).unwrap();
        for subject in 0..subjects {
            tasks.spawn(waits(limit.clone(), subject, rounds));
        }
    }
    let waits = tasks.len() as u64 * rounds;
    let admitted = tasks.join_all().await.into_iter().sum();
    println!("{admitted} of {waits} were admitted when they came back");
    assert!(admitted * 1_000 >= waits * 999, "{admitted} of {waits}; at least 99.9%");
    (waits, admitted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_in_time_is_admitted() {
    honest(20, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_honest_waiting_by_the_clock() {
    let (waits, admitted) = honest(200, 20).await;
    soak::record(
        "ratelimit_honest_waiting_by_the_clock",
        "one server",
        &[("waits", waits)],
        &[],
        &[("admitted", admitted)],
    );
}
