//! Many tasks in many processes want the same lease; the server's own log says who had it when.

use std::time::Instant;

use russet_testkit::{Server, TestProcess};
use tokio::task::JoinSet;

use super::leases;
use crate::lease::{Acquired, Released};
use crate::support::{ms, record_figures, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_one_of_many_holds_it() {
    crowd(3, 8, 400, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_lease_crowd() {
    let found = crowd(8, 64, 40_000, 100).await;
    assert!(found.cut_short >= 3, "{} of {} were inside", found.cut_short, found.killed);
    // An acquire and a release each, and what was asked in vain: far from one question of each process.
    assert!(found.questions < 6 * found.grants, "{} for {}", found.questions, found.grants);
    record_figures(
        "lease_crowd",
        &found.version,
        &[("processes", 8), ("tasks", 64), ("grants", found.grants)],
        &[("killed", found.killed)],
        &[
            ("overlaps", 0),
            ("killed_inside", found.cut_short),
            ("grants_per_second", found.rate),
            ("questions_per_100_grants", found.questions * 100 / found.grants),
        ],
    );
}

/// One of the processes: so many tasks that take the lease again and again, and write into the log, by a connection
/// that knows nothing of leases, when they have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "one process of the crowd"]
async fn one_process() {
    let Ok(url) = std::env::var("RUSSET_TEST_CROWD") else { return };
    let tasks: usize = std::env::var("RUSSET_TEST_TASKS").unwrap().parse().unwrap();
    let leases = leases(&url, 1_000);
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (leases, url) = (leases.clone(), url.clone());
        running.spawn(async move {
            let mut log = russet_testkit::Conn::open(&url).await.unwrap();
            let mut had = 0_u32;
            while log.call(&["EXISTS", "over"]).await.unwrap().int() == Some(0) {
                let Acquired::Held(lease) = leases.acquire("report", ms(60_000)).await.unwrap()
                else {
                    continue;
                };
                let fence = lease.fence().to_string();
                for what in ["enter", "exit"] {
                    let line = format!("{what} {fence} {}", std::process::id());
                    log.call(&["RPUSH", "log", &line]).await.unwrap();
                }
                assert!(!lease.lost().is_cancelled(), "{:?}", lease.loss().await);
                assert_eq!(lease.release().await.unwrap(), Released::Yes);
                had += 1;
            }
            had
        });
    }
    let had: u32 = running.join_all().await.into_iter().sum();
    println!("\nhad {had}");
}

struct Found {
    version: String,
    grants: u64,
    killed: u64,
    /// Killed while they had it.
    cut_short: u64,
    rate: u64,
    questions: u64,
}

/// Lets them have it so often, kills some of the processes meanwhile and starts others, and reads the log.
async fn crowd(processes: usize, tasks: usize, grants: u64, kills: u64) -> Found {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let start = || {
        let variables =
            [("RUSSET_TEST_CROWD", server.url()), ("RUSSET_TEST_TASKS", tasks.to_string())];
        TestProcess::start("lease::processes::crowd::one_process", variables).unwrap()
    };
    let begun = Instant::now();
    let mut children: Vec<_> = (0..processes).map(|_| start()).collect();
    for step in 1..=kills + 1 {
        let goal = i64::try_from(2 * grants * step / (kills + 1)).unwrap();
        until("grants", async || conn.call(&["LLEN", "log"]).await.unwrap().int() >= Some(goal))
            .await;
        if step <= kills {
            // Who is inside, or was a moment ago; not the one killed before, whose lease holds up to its TTL.
            let mut inside = None;
            until("somebody alive inside", async || {
                let last = conn.call(&["LINDEX", "log", "-1"]).await.unwrap();
                let pid = last.text().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
                inside = children.iter().position(|child| child.id() == Some(pid));
                inside.is_some()
            })
            .await;
            let inside = &mut children[inside.unwrap()];
            inside.kill().await.unwrap();
            *inside = start();
        }
    }
    let rate = grants * 1_000 / u64::try_from(begun.elapsed().as_millis()).unwrap();
    let questions = evalshas(&mut conn).await;
    conn.call(&["SET", "over", "1"]).await.unwrap();
    let mut had = 0;
    for mut child in children {
        had += child.says("had").await.unwrap().parse::<u64>().unwrap();
        assert!(child.ended().await.unwrap());
    }
    let log = conn.call(&["LRANGE", "log", "0", "-1"]).await.unwrap();
    let log: Vec<_> = log.items().unwrap().iter().map(|line| line.text().unwrap()).collect();
    let (entered, cut_short) = read(&log);
    assert!(entered >= grants && entered >= had, "{entered} of {grants}");
    assert!(cut_short <= kills, "{cut_short} without an exit, {kills} killed");
    let version = server.version().to_string();
    Found { version, grants: entered, killed: kills, cut_short, rate, questions }
}

/// Nobody enters before the last has left or is dead, and each with a higher number. How many entered, and how many
/// did not leave.
fn read(log: &[&str]) -> (u64, u64) {
    let (mut entered, mut cut_short, mut highest) = (0, 0, 0_u64);
    let mut inside = None;
    for line in log {
        let (what, rest) = line.split_once(' ').unwrap();
        let fence: u64 = rest.split_once(' ').unwrap().0.parse().unwrap();
        match what {
            "enter" => {
                assert!(fence > highest, "{fence} enters after {highest}");
                cut_short += u64::from(inside.is_some());
                (inside, highest) = (Some(fence), fence);
                entered += 1;
            }
            _ => {
                assert_eq!(inside, Some(fence), "two were inside: {fence} leaves");
                inside = None;
            }
        }
    }
    (entered, cut_short + u64::from(inside.is_some()))
}

/// Calls of scripts.
async fn evalshas(conn: &mut russet_testkit::Conn) -> u64 {
    let info = conn.call(&["INFO", "commandstats"]).await.unwrap();
    let calls = info.text().unwrap().split("cmdstat_evalsha:calls=").nth(1).unwrap();
    calls.split(',').next().unwrap().parse().unwrap()
}
