//! A process that spends as fast as it can: this one, started once more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use russet_core_conn::KeySpace;
use russet_ratelimit::{Acquired, Level, Limit, Limiter};
use russet_testkit::TestProcess;
use tokio::task::JoinSet;

use super::{Bounded, Of, Target, slots, targets};
use crate::support::{exact, patient};

pub(super) struct Process(TestProcess);

impl Process {
    pub(super) fn start(what: &str, url: &str, prefix: &str, tasks: u64, time: Duration) -> Self {
        let (tasks, millis) = (tasks.to_string(), time.as_millis().to_string());
        let variables = [
            ("RUSSET_TEST_SPEND_ON", what),
            ("RUSSET_TEST_SERVER", url),
            ("RUSSET_TEST_PREFIX", prefix),
            ("RUSSET_TEST_MILLIS", &millis),
            ("RUSSET_TEST_TASKS", &tasks),
        ];
        Self(TestProcess::start("never_above::process::one_process", variables).unwrap())
    }

    /// Waits until it could spend.
    pub(super) async fn ready(&mut self) {
        self.0.says("ready").await.unwrap();
    }

    /// Has it spend.
    pub(super) fn go(&mut self) {
        self.0.close_input();
    }

    pub(super) async fn kill(&mut self) {
        self.0.kill().await.unwrap();
    }

    /// Waits for its end, and for what it says was admitted, level by level.
    pub(super) async fn admitted(&mut self) -> Vec<String> {
        let mut admitted = Vec::new();
        while let Some(line) = self.0.line().await.unwrap() {
            if let Some(levels) = line.strip_prefix("admitted ") {
                admitted.extend(levels.split(' ').map(str::to_owned));
            }
        }
        admitted
    }

    pub(super) async fn ended(mut self) {
        self.admitted().await;
        assert!(self.0.ended().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start"]
async fn one_process() {
    let Ok(url) = std::env::var("RUSSET_TEST_SERVER") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let number = |name: &str| variable(name).parse::<u64>().unwrap();
    let space = KeySpace::new(variable("RUSSET_TEST_PREFIX")).unwrap();
    let limiter = exact(&patient(&url).with_deadline(Duration::from_secs(2)), &space);
    let what = variable("RUSSET_TEST_SPEND_ON");
    let says = what == "slots";
    let limit = |Bounded { name, quota, .. }: &Bounded| limiter.limit(name, *quota).unwrap();
    let (held, spent): (Vec<_>, Vec<_>) =
        targets(&what).into_iter().partition(|target| target[0].of == Of::Held);
    let held: Vec<_> = held.iter().flatten().map(limit).collect();
    let levels = |target: &Target| target.iter().map(|bounded| limit(bounded).of("s")).collect();
    let sets = match says {
        false => spent.iter().map(levels).collect(),
        true => slots::sets(&limiter),
    };
    println!("\nready");
    // Until it is closed.
    let _ = std::io::stdin().read_line(&mut String::new());
    let until = Instant::now() + Duration::from_millis(number("RUSSET_TEST_MILLIS"));
    let mut tasks = JoinSet::new();
    for _ in 0..number("RUSSET_TEST_TASKS") {
        for levels in &sets {
            tasks.spawn(spend(limiter.clone(), levels.clone(), until, says));
        }
        for limit in &held {
            tasks.spawn(hold(limit.clone(), until));
        }
    }
    tasks.join_all().await;
}

/// What is admitted, is said at once: it may be killed.
async fn spend(limiter: Limiter, levels: Vec<Level>, until: Instant, says: bool) {
    while Instant::now() < until {
        match limiter.check(&levels).await {
            Ok(decision) if says && decision.is_allowed() => {
                let names: Vec<_> = decision.levels.iter().map(|level| &*level.name).collect();
                println!("\nadmitted {}", names.join(" "));
            }
            Ok(_) => {}
            // Where a server is killed. Nobody is told that it was admitted.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Takes permits as fast as it can, and gives back the oldest of several, in each way that there is. Those that it holds at
/// its end are held by nobody.
async fn hold(limit: Limit, until: Instant) {
    let mut held = VecDeque::new();
    for turn in 0.. {
        if Instant::now() >= until {
            break;
        }
        match limit.acquire("s").await {
            Ok(Acquired::Held(permit)) if held.len() < 3 => {
                held.push_back(permit);
                continue;
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        let Some(permit) = held.pop_front() else { continue };
        let _ = match turn % 4 {
            0 => permit.renew().await,
            _ => permit.release().await,
        };
    }
    held.into_iter().for_each(std::mem::forget);
}
