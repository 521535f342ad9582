//! Levels in several slots of a cluster, contended: they are reserved in parallel and given back where one denies.

use std::collections::BTreeMap;
use std::time::Duration;

use russet_ratelimit::{Level, Limiter, Quota};
use russet_testkit::shared::{self, Topology};
use russet_testkit::soak;

use super::process::Process;
use crate::support::Space;

const LIMITS: [(&str, u64); 4] = [("gcra", 60), ("strict", 70), ("log", 80), ("window", 90)];

/// Each pair of four levels, which share no slot. Nothing is regained while a test runs.
pub(super) fn sets(limiter: &Limiter) -> Vec<Vec<Level>> {
    let day = Duration::from_secs(86_400);
    let level = |(name, limit): (&str, u64)| {
        let quota = match name {
            "gcra" => Quota::gcra(1, day, limit),
            "strict" => Quota::strict(limit, day),
            "log" => Quota::log(limit, day),
            _ => Quota::fixed_from_first_hit(limit, day),
        };
        limiter.limit(name, quota.unwrap()).unwrap().of(name)
    };
    let levels = LIMITS.map(level);
    let pairs = (0..4).flat_map(|one| (one + 1..4).map(move |other| [one, other]));
    pairs.map(|pair| pair.map(|at| levels[at].clone()).to_vec()).collect()
}

/// Answers how many were admitted of each level.
async fn across_slots(processes: usize, tasks: u64, kills: usize) -> Vec<(&'static str, u64)> {
    let at = Topology::Cluster;
    let prefix = shared::prefix("slots");
    let (url, _space) = (at.url().await.unwrap(), Space::shared(at, &prefix));
    let time = Duration::from_secs(2);
    let start = |_| Process::start("slots", &url, &prefix, tasks, time);
    let mut running: Vec<_> = (0..processes).map(start).collect();
    for process in &mut running {
        process.ready().await;
    }
    running.iter_mut().for_each(Process::go);
    for process in &mut running[..kills] {
        tokio::time::sleep(Duration::from_millis(20)).await;
        process.kill().await;
    }
    let mut admitted = BTreeMap::<String, u64>::new();
    for mut process in running {
        for level in process.admitted().await {
            *admitted.entry(level).or_default() += 1;
        }
    }
    let judged = LIMITS.map(|(name, limit)| {
        let admitted = admitted.get(name).copied().unwrap_or(0);
        println!("{name}: {admitted} of {limit}");
        assert!(admitted <= limit, "{name}: {admitted} of {limit}");
        (name, admitted)
    });
    // What contention gives back may be lost to a bucket; the others have it again.
    assert!(admitted.values().sum::<u64>() > 100, "{admitted:?}");
    judged.to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_in_other_slots_admit_no_more_than_they_may() {
    across_slots(3, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_never_above_across_slots() {
    let mut all = 0;
    for _ in 0..10 {
        let admitted = across_slots(8, 16, 3).await;
        all += admitted.iter().map(|(_, units)| units).sum::<u64>();
    }
    let sizes = [("rounds", 10), ("processes", 8), ("tasks", 96)];
    let name = "ratelimit_never_above_across_slots";
    soak::record(name, "cluster", &sizes, &[("killed", 30)], &[("admitted", all)]);
}
