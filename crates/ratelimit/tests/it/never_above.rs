//! Never above: many tasks of many processes that spend as fast as they can, some of which are killed.
//!
//! What was admitted is counted by the files to which the servers append what they write, with the times at which they
//! decided: so it does not matter who heard of it.

mod appended;
mod process;
mod slots;

use std::time::Duration;

use russet_ratelimit::{Error, Quota};
use russet_testkit::{Builder, Fsync, Sentinel, Server, soak};
use tokio::time::sleep;

use appended::{Writes, appended, held};
use process::Process;

use crate::support::Space;

const SPACE: &str = "never-above";
const LIMIT: u64 = 200;
/// A fifth of a second's: a busy machine may stand still for so long.
const BURST: u64 = LIMIT / 5;
const WINDOW: Duration = Duration::from_secs(1);
/// Few, so that there are always more who want one.
const PERMITS: u64 = 5;

/// What is spent on by one call: one limit, or several levels.
type Target = Vec<Bounded>;

/// A limit, and the most that it admits.
struct Bounded {
    name: &'static str,
    quota: Quota,
    most: usize,
    of: Of,
}

/// Of what it admits no more.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// What is decided in any window.
    Decided,
    /// What begins in any window: each when it was decided, and its turn has come.
    Begun,
    /// What is held at a time.
    Held,
}

/// All of them, or the one whose first limit has this name.
fn targets(what: &str) -> Vec<Target> {
    let bounded = |name: &'static str, quota: Result<Quota, Error>, most: u64, of: Of| {
        let (quota, most) = (quota.unwrap(), usize::try_from(most).unwrap());
        Bounded { name, quota, most, of }
    };
    let limit = |name, quota, most| bounded(name, quota, most, Of::Decided);
    let gcra = |name, limits: u64| limit(name, Quota::gcra(limits, WINDOW, BURST), limits + BURST);
    let strict = |name| limit(name, Quota::strict(LIMIT, WINDOW), LIMIT);
    let fixed = |name| limit(name, Quota::fixed(LIMIT, WINDOW), 2 * LIMIT);
    let queue = Quota::queue(BURST, LIMIT, WINDOW, WINDOW);
    let all = vec![
        vec![gcra("gcra", LIMIT)],
        vec![limit("interval", Quota::interval(LIMIT, LIMIT / 10, WINDOW / 10), 2 * LIMIT)],
        vec![fixed("fixed")],
        vec![limit("counter", Quota::counter(LIMIT, WINDOW), 2 * LIMIT)],
        vec![strict("strict")],
        vec![limit("log", Quota::log(LIMIT, WINDOW), LIMIT)],
        vec![bounded("queue", queue, LIMIT + 1, Of::Begun)],
        vec![bounded("permits", Quota::permits(PERMITS, WINDOW), PERMITS, Of::Held)],
        vec![gcra("levels.user", LIMIT), strict("levels.endpoint"), fixed("levels.global")],
        vec![
            gcra("buckets.user", LIMIT),
            gcra("buckets.ip", 2 * LIMIT),
            gcra("buckets.all", LIMIT),
        ],
    ];
    all.into_iter().filter(|target| what == "all" || target[0].name == what).collect()
}

/// What was admitted of one limit, in order: when it was decided, or when it begins, in µs.
fn times(of: Of, writes: &Writes) -> Vec<u64> {
    match of {
        Of::Begun => writes.begins(WINDOW / u32::try_from(LIMIT).unwrap()),
        Of::Decided | Of::Held => writes.times(),
    }
}

/// The most in any window.
fn most(of: Of, times: &[u64]) -> usize {
    match of {
        Of::Begun => 1 + following(times, WINDOW),
        // What was written at a time was decided before that, and after what was written before it: a server may be
        // kept from running in between. So the first is not surely within. Times are whole milliseconds.
        Of::Decided | Of::Held => following(times, WINDOW - Duration::from_millis(2)),
    }
}

/// The most that follow one within so long.
fn following(times: &[u64], longest: Duration) -> usize {
    let mut from = 0;
    let follow = times.iter().enumerate().skip(1).map(|(to, time)| {
        while Duration::from_micros(time - times[from]) > longest {
            from += 1;
        }
        to - from
    });
    follow.max().unwrap_or(0)
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

/// Answers how many were admitted of each limit, or held at once.
fn judge(server: &Server, load: Load) -> Vec<(&'static str, u64)> {
    let written = appended(&[server]);
    let mut totals = Vec::new();
    for target in targets(load.what) {
        let alone = target.len() == 1;
        for Bounded { name, quota, most: bound, of } in target {
            if of == Of::Held {
                let held = held(server, name, quota.period());
                println!("{name}: at most {held} at a time");
                assert_eq!(held, bound, "{name}: as many as there may be, and no more");
                totals.push((name, held as u64));
                continue;
            }
            let times = times(of, &written[name]);
            let most = most(of, &times);
            let span = Duration::from_micros(times[times.len() - 1] - times[0]);
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
    judge(&server, load)
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
    let second = sentinel.primary().await.unwrap();
    let all = appended(&sentinel.servers().iter().collect::<Vec<_>>());
    let before = appended(&[first]);
    let mut found = Vec::new();
    for Bounded { name, quota, most: bound, of } in targets(load.what).into_iter().flatten() {
        let across = if of == Of::Held {
            // What the second has forgotten is held beside what it gives.
            let held = [first, second].map(|server| held(server, name, quota.period()));
            println!("{name}: {held:?} at a time");
            assert_eq!(held, [bound; 2], "{name}: as many as there may be, and no more");
            held.iter().sum()
        } else {
            let (all, before) = (&all[name], &before[name]);
            let after = times(of, &all.without(before));
            let (all, before) = (times(of, all), times(of, before));
            let across = most(of, &all);
            println!("{name}: {} and {}, at most {across} in a window", before.len(), after.len());
            assert!(after.len() > bound / 2, "{name}: {} after a failover", after.len());
            for (times, bound) in [(&before, bound), (&after, bound), (&all, 2 * bound)] {
                let most = most(of, times);
                assert!(most <= bound, "{name}: {most} in a window; allowed: {bound}");
            }
            across
        };
        found.push((name, (across * 1_000 / bound) as u64));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_admits_more_than_its_bound() {
    never_above(Load { what: "all", processes: 3, tasks: 2, windows: 3, kills: 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_of_who_is_killed_are_nobodys_until_their_end() {
    let load = Load { what: "permits", processes: 3, tasks: 2, windows: 4, kills: 1 };
    never_above(load).await;
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
        let load = Load { what: target[0].name, ..load };
        totals.extend(never_above(load).await);
        killed.extend(never_above(Load { kills: 4, ..load }).await);
    }
    let sizes = [("processes", 8), ("tasks", 64), ("windows", 10)];
    let name = "ratelimit_never_above";
    soak::record(name, "one server", &sizes, &[], &totals);
    let faults = [("killed", 4 * targets("all").len() as u64)];
    soak::record(&format!("{name}_killed"), "one server", &sizes, &faults, &killed);
    let permille = failover(Load { tasks: 8, kills: 4, windows: 20, ..load }).await;
    let (faults, sizes) = ([("killed", 4), ("failovers", 1)], [("processes", 8), ("tasks", 64)]);
    soak::record(&format!("{name}_failover"), "Sentinel", &sizes, &faults, &permille);
}
