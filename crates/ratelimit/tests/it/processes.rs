//! Never above: many tasks of many processes that spend as fast as they can.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use russet_core_conn::KeySpace;
use russet_ratelimit::{Limit, Quota};
use russet_testkit::{Server, soak};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::{exact, patient};

const LIMIT: u64 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// The algorithms, and the most that they admit in any window.
fn quotas() -> [(&'static str, Quota, usize); 6] {
    let quotas = [
        ("gcra", Quota::gcra(LIMIT, WINDOW, 20), LIMIT + 20),
        ("interval", Quota::interval(LIMIT, LIMIT / 10, WINDOW / 10), 2 * LIMIT),
        ("fixed", Quota::fixed(LIMIT, WINDOW), 2 * LIMIT),
        ("counter", Quota::counter(LIMIT, WINDOW), 2 * LIMIT),
        ("strict", Quota::strict(LIMIT, WINDOW), LIMIT),
        ("log", Quota::log(LIMIT, WINDOW), LIMIT),
    ];
    quotas.map(|(name, quota, most)| (name, quota.unwrap(), usize::try_from(most).unwrap()))
}

fn micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()
}

/// Between which times each unit was admitted; the server reads the same clock in between.
async fn spend(limit: Limit, until: Instant) -> Vec<(u128, u128)> {
    let mut admitted = Vec::new();
    while Instant::now() < until {
        let before = micros();
        if limit.check("subject").await.unwrap().is_allowed() {
            admitted.push((before, micros()));
        }
    }
    admitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start"]
async fn one_process() {
    let Ok(url) = std::env::var("RUSSET_TEST_SERVER") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let limiter = exact(&patient(&url), &KeySpace::new("never-above").unwrap());
    let until = Instant::now() + Duration::from_millis(number("RUSSET_TEST_MILLIS"));
    let mut tasks = JoinSet::new();
    for task in 0..number("RUSSET_TEST_TASKS") {
        let (name, quota, _) = quotas()[usize::try_from(task).unwrap() % 6];
        let limit = limiter.limit(name, quota).unwrap();
        tasks.spawn(async move { (name, spend(limit, until).await) });
    }
    while let Some(done) = tasks.join_next().await {
        let (name, admitted) = done.unwrap();
        for (before, after) in admitted {
            println!("\nadmitted {name} {before} {after}");
        }
    }
}

/// The most that were surely admitted in a window that begins with any of them.
fn most(times: &[(u128, u128)]) -> usize {
    let window = WINDOW.as_micros();
    let within = |start: u128| {
        let mut inside = 0;
        for (before, after) in times {
            inside += usize::from(*before >= start && *after < start + window);
        }
        inside
    };
    times.iter().map(|(before, _)| within(*before)).max().unwrap_or(0)
}

/// Answers how many were admitted of each, and how many might have been.
async fn never_above(processes: u64, tasks: u64, windows: u64) -> Vec<(&'static str, u64)> {
    let server = Server::start().await.unwrap();
    let mut children = Vec::new();
    for _ in 0..processes {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::one_process", "--ignored", "--nocapture"])
            .env("RUSSET_TEST_SERVER", server.url())
            .env("RUSSET_TEST_MILLIS", (windows * 1_000).to_string())
            .env("RUSSET_TEST_TASKS", tasks.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        children.push(child);
    }
    let mut admitted: Vec<(String, (u128, u128))> = Vec::new();
    for child in children {
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success());
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let Some(line) = line.strip_prefix("admitted ") else { continue };
            let words: Vec<&str> = line.split(' ').collect();
            let time = |at: usize| words[at].parse().unwrap();
            admitted.push((words[0].to_owned(), (time(1), time(2))));
        }
    }
    let mut totals = Vec::new();
    for (name, _, bound) in quotas() {
        let mine = admitted.iter().filter(|(of, _)| of == name).map(|(_, times)| *times);
        let times: Vec<_> = mine.collect();
        let most = most(&times);
        assert!(most <= bound, "{name}: {most} in a window; allowed: {bound}");
        let begun = times.iter().map(|(before, _)| before).min().unwrap();
        let ended = times.iter().map(|(_, after)| after).max().unwrap();
        let span = Duration::from_micros(u64::try_from(ended - begun).unwrap());
        let share = times.len() as f64 / (LIMIT as f64 * span.as_secs_f64());
        println!("{name}: {} in {span:?}, at most {most} in a window: {share:.3}", times.len());
        let least = if windows >= 10 { 0.93 } else { 0.8 };
        assert!(share >= least, "{name}: {share} of the limit; at least {least}");
        totals.push((name, times.len() as u64));
    }
    totals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_admits_more_than_its_bound() {
    never_above(3, 12, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_never_above() {
    // 64 tasks for each of the six.
    let totals = never_above(8, 6 * 64, 10).await;
    let sizes = [("processes", 8), ("tasks", 64), ("windows", 10)];
    soak::record("ratelimit_never_above", "one server", &sizes, &[], &totals);
}
