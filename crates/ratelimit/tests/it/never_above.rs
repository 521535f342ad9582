//! Never above: many tasks of many processes that spend as fast as they can, some of which are killed.
//!
//! What was admitted is counted by the files to which the servers append what they write, with the times at which they
//! decided: so it does not matter who heard of it.

mod appended;
mod process;
mod slots;

use std::collections::BTreeMap;
use std::time::Duration;

use russet_ratelimit::{Error, Quota};
use russet_testkit::{Builder, Fsync, Sentinel, Server, soak};
use tokio::time::sleep;

use appended::appended;
use process::Process;

use crate::support::Space;

const SPACE: &str = "never-above";
const LIMIT: u64 = 200;
/// A fifth of a second's: a busy machine may stand still for so long.
const BURST: u64 = LIMIT / 5;
const WINDOW: Duration = Duration::from_secs(1);

/// What is spent on by one call: one limit, or several levels; of each its name, and the most that it admits in any window.
type Target = Vec<(&'static str, Quota, usize)>;

/// All of them, or the one whose first limit has this name.
fn targets(what: &str) -> Vec<Target> {
    let limit = |name: &'static str, quota: Result<Quota, Error>, most: u64| {
        (name, quota.unwrap(), usize::try_from(most).unwrap())
    };
    let gcra = |name, limits: u64| limit(name, Quota::gcra(limits, WINDOW, BURST), limits + BURST);
    let strict = |name| limit(name, Quota::strict(LIMIT, WINDOW), LIMIT);
    let fixed = |name| limit(name, Quota::fixed(LIMIT, WINDOW), 2 * LIMIT);
    let all = vec![
        vec![gcra("gcra", LIMIT)],
        vec![limit("interval", Quota::interval(LIMIT, LIMIT / 10, WINDOW / 10), 2 * LIMIT)],
        vec![fixed("fixed")],
        vec![limit("counter", Quota::counter(LIMIT, WINDOW), 2 * LIMIT)],
        vec![strict("strict")],
        vec![limit("log", Quota::log(LIMIT, WINDOW), LIMIT)],
        vec![gcra("levels.user", LIMIT), strict("levels.endpoint"), fixed("levels.global")],
        vec![
            gcra("buckets.user", LIMIT),
            gcra("buckets.ip", 2 * LIMIT),
            gcra("buckets.all", LIMIT),
        ],
    ];
    all.into_iter().filter(|target| what == "all" || target[0].0 == what).collect()
}

/// The most that were surely decided within a window. What was written at a time was decided before that, and after what
/// was written before it: a server may be kept from running in between. Times are whole milliseconds.
fn most(times: &[u64]) -> usize {
    let window = u64::try_from(WINDOW.as_millis()).unwrap() - 2;
    // The one before the first.
    let mut from = 0;
    let within = times.iter().enumerate().skip(1).map(|(to, time)| {
        while time - times[from] > window {
            from += 1;
        }
        to - from
    });
    within.max().unwrap_or(0)
}

/// Who spends, and for how long.
#[derive(Debug, Clone, Copy)]
struct Load {
    what: &'static str,
    processes: usize,
    /// Of each process, on each target.
    tasks: u64,
    windows: u32,
    /// As many of the processes are killed after a quarter of it, and others begin.
    kills: usize,
}

/// Has them all spend; something may happen after a quarter of it.
async fn hammer(url: &str, load: Load, meanwhile: impl AsyncFnOnce()) {
    let quarter = WINDOW * load.windows / 4;
    let start = |time| Process::start(load.what, url, SPACE, load.tasks, time);
    let mut running: Vec<_> = (0..load.processes).map(|_| start(4 * quarter)).collect();
    for process in &mut running {
        process.ready().await;
    }
    running.iter_mut().for_each(Process::go);
    sleep(quarter).await;
    let mut others = Vec::new();
    for mut process in running.drain(..load.kills) {
        process.kill().await;
        let mut other = start(3 * quarter);
        other.go();
        others.push(other);
    }
    meanwhile().await;
    for process in running.into_iter().chain(others) {
        process.ended().await;
    }
}

/// Answers how many were admitted of each limit.
fn judge(times: &BTreeMap<String, Vec<u64>>, load: Load) -> Vec<(&'static str, u64)> {
    let mut totals = Vec::new();
    for target in targets(load.what) {
        let alone = target.len() == 1;
        for (name, _, bound) in target {
            let times = &times[name];
            let most = most(times);
            let span = Duration::from_millis(times[times.len() - 1] - times[0]);
            let share = times.len() as f64 / (LIMIT as f64 * span.as_secs_f64());
            println!("{name}: {} in {span:?}, at most {most} in a window: {share:.3}", times.len());
            assert!(most <= bound, "{name}: {most} in a window; allowed: {bound}");
            let least = if load.windows >= 10 { 0.93 } else { 0.8 };
            if alone && load.kills == 0 {
                assert!(share >= least, "{name}: {share} of the limit; at least {least}");
            }
            totals.push((name, times.len() as u64));
        }
    }
    totals
}

fn appending() -> Builder {
    Server::builder().aof(Fsync::Never)
}

async fn never_above(load: Load) -> Vec<(&'static str, u64)> {
    let server = appending().start().await.unwrap();
    let _space = Space::own([&server], SPACE);
    hammer(&server.url(), load, async || {}).await;
    let times = appended(&[&server]).into_iter().map(|(name, writes)| (name, writes.times()));
    judge(&times.collect(), load)
}

/// The primary is killed in the middle. A window that begins before that may have what it forgot, once more. Answers the
/// most of them in shares of a thousand of their bounds.
async fn failover(load: Load) -> Vec<(&'static str, u64)> {
    let sentinel = Sentinel::builder().server(appending()).start().await.unwrap();
    sentinel.ready().await.unwrap();
    let _space = Space::own(sentinel.servers(), SPACE);
    let first = sentinel.primary().await.unwrap();
    hammer(&sentinel.url(), load, async || {
        sentinel.kill_primary().await.unwrap();
        sentinel.promoted().await.unwrap();
    })
    .await;
    let all = appended(&sentinel.servers().iter().collect::<Vec<_>>());
    let before = appended(&[first]);
    let mut found = Vec::new();
    for (name, _, bound) in targets(load.what).into_iter().flatten() {
        let times = all[name].times();
        let killed = *before[name].times().last().unwrap();
        let after: Vec<_> = times.iter().copied().filter(|time| *time > killed).collect();
        let across = most(&times);
        println!(
            "{name}: {} and {}, at most {across} in a window",
            times.len() - after.len(),
            after.len()
        );
        assert!(after.len() > bound / 2, "{name}: {} after a failover", after.len());
        for (times, bound) in [(&before[name].times(), bound), (&after, bound), (&times, 2 * bound)]
        {
            let most = most(times);
            assert!(most <= bound, "{name}: {most} in a window; allowed: {bound}");
        }
        found.push((name, (across * 1_000 / bound) as u64));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_admits_more_than_its_bound() {
    never_above(Load { what: "all", processes: 3, tasks: 2, windows: 3, kills: 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_and_a_failover_admit_one_bound_more_at_most() {
    failover(Load { what: "all", processes: 2, tasks: 1, windows: 8, kills: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_never_above() {
    let load = Load { what: "all", processes: 8, tasks: 64, windows: 10, kills: 0 };
    let (mut totals, mut killed) = (Vec::new(), Vec::new());
    for target in targets("all") {
        // One after the other: all of the load is on one subject.
        let load = Load { what: target[0].0, ..load };
        totals.extend(never_above(load).await);
        killed.extend(never_above(Load { kills: 4, ..load }).await);
    }
    let sizes = [("processes", 8), ("tasks", 64), ("windows", 10)];
    let name = "ratelimit_never_above";
    soak::record(name, "one server", &sizes, &[], &totals);
    let faults = [("killed", 32)];
    soak::record(&format!("{name}_killed"), "one server", &sizes, &faults, &killed);
    let permille = failover(Load { tasks: 8, kills: 4, windows: 20, ..load }).await;
    let (faults, sizes) = ([("killed", 4), ("failovers", 1)], [("processes", 8), ("tasks", 64)]);
    soak::record(&format!("{name}_failover"), "Sentinel", &sizes, &faults, &permille);
}
