//! Nothing that was acknowledged is lost, and nothing comes in another order: workers in processes of their own are killed
//! and stopped, Redis is killed, and what is in the database is compared with what was written, afterwards.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use russet_cache::WriteBehind;
use russet_core_conn::{KeySpace, Redis};
use russet_testkit::soak::{record, seed};
use russet_testkit::{Fsync, Server, TestProcess};
use tokio::task::JoinSet;

use self::writer::{Tally, Writer};
use super::ms;
use crate::support::{patient, url, users};

mod process;
pub(super) mod table;
pub(super) mod writer;

const PROCESSES: usize = 4;
const LEASE: Duration = Duration::from_millis(1_000);

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    writes: u64,
    entities: u64,
    kills: u64,
    stops: u64,
    crashes: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    run(Size { writes: 2_000, entities: 50, kills: 3, stops: 1, crashes: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_write_behind() {
    let size = Size { writes: 200_000, entities: 5_000, kills: 100, stops: 20, crashes: 10 };
    let (version, figures) = run(size).await;
    record(
        "write-behind",
        &version,
        &[("writes", size.writes), ("entities", size.entities), ("processes", PROCESSES as u64)],
        &[
            ("workers killed", size.kills),
            ("workers stopped past their lease", size.stops),
            ("redis killed", size.crashes),
        ],
        &figures,
    );
}

/// The buffer, as all processes have it.
pub(super) fn buffer(redis: &Redis) -> WriteBehind {
    super::buffer(redis, &KeySpace::new("soak").unwrap())
        .flush_every(ms(150))
        .lease(LEASE)
        .retry(russet_core_conn::Backoff::constant(ms(100)).max_attempts(2))
        .build()
        .unwrap()
}

async fn run(size: Size) -> (String, Vec<(&'static str, u64)>) {
    let server = Server::builder().aof(Fsync::Always).acl_file(users("soak"));
    let server = server.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    table::create(&folder.path().join("db"));
    let redis = Redis::builder(&url(server.addr())).deadline(ms(2_000)).build().unwrap();
    let buffer = buffer(&redis);
    let (written, ends) = (Arc::<AtomicU64>::default(), Arc::new(AtomicBool::new(false)));
    let mut writers = JoinSet::new();
    for number in 0..writer::TASKS {
        let writer = Writer::new(&buffer, number, size.entities);
        writers.spawn(writer.run(size.writes, written.clone(), ends.clone()));
    }
    let (mut redriven, processes) = faults(&server, &buffer, folder.path(), size, &written).await;
    shared(folder.path()).await;
    ends.store(true, Relaxed);
    let mut tally = Tally::default();
    while let Some(done) = writers.join_next().await {
        tally.add(done.unwrap());
    }
    let buffer = self::buffer(&patient(&url(server.addr())));
    redriven += settle(&buffer, folder.path()).await;
    for mut process in processes {
        process.close_input();
        assert!(process.ended().await.unwrap());
    }
    let found = table::judge(&folder.path().join("db"), &tally.possible);
    let stats = buffer.stats().await.unwrap();
    println!("{size:?} {tally:?} {found:?} {stats:?} {redriven} redriven");
    assert!(tally.acknowledged * 100 >= tally.writes * 95, "{tally:?}");
    assert!(tally.writes >= size.writes && redriven > 0 && found.repeated > 0);
    let version = server.version().to_string();
    let figures = vec![
        ("written", tally.writes),
        ("acknowledged", tally.acknowledged),
        ("outcome unknown", tally.unknown),
        ("entities committed", stats.committed),
        ("redriven", redriven),
        ("given again and told so", found.repeated),
        ("given by one who was not the owner any more", found.late),
        ("lost or in another order", 0),
    ];
    (version, figures)
}

/// Has things go wrong while all is written. Answers how many were redriven, and who commits.
async fn faults(
    server: &Server,
    buffer: &WriteBehind,
    folder: &Path,
    size: Size,
    written: &AtomicU64,
) -> (u64, Vec<TestProcess>) {
    let mut random = SmallRng::seed_from_u64(seed());
    let mut processes: Vec<TestProcess> =
        (0..PROCESSES).map(|_| process::start(server.addr(), folder)).collect();
    let mut faults: Vec<char> = Vec::new();
    for (fault, times) in [('k', size.kills), ('s', size.stops), ('c', size.crashes)] {
        faults.extend((0..times).map(|_| fault));
    }
    for at in (1..faults.len()).rev() {
        faults.swap(at, random.random_range(0..=at));
    }
    let (mut redriven, healed) = (0, folder.join("healed"));
    let apart = size.writes / (faults.len() as u64 + 1);
    for (number, fault) in (1..).zip(faults) {
        while written.load(Relaxed) < number * apart {
            tokio::time::sleep(ms(2)).await;
        }
        let at = random.random_range(0..PROCESSES);
        match fault {
            'k' => {
                processes[at].kill().await.unwrap();
                processes[at] = process::start(server.addr(), folder);
            }
            's' => {
                processes[at].pause().await.unwrap();
                tokio::time::sleep(LEASE + LEASE / 2).await;
                processes[at].resume().unwrap();
            }
            _ => {
                server.kill().await.unwrap();
                tokio::time::sleep(ms(random.random_range(0..300))).await;
                server.restart().await.unwrap();
            }
        }
        // What is poison now and then is none.
        if number % 4 == 0 {
            let begun = Instant::now();
            let mut dead = Vec::new();
            while dead.is_empty() && begun.elapsed() < ms(10_000) {
                dead = buffer.dead(1_000).await.unwrap_or_default();
                tokio::time::sleep(ms(5)).await;
            }
            std::fs::write(&healed, "").unwrap();
            redriven += buffer.redrive(&dead).await.unwrap_or_default();
        } else {
            let _ = std::fs::remove_file(&healed);
        }
    }
    (redriven, processes)
}

/// Waits until each process has its share of the lanes.
async fn shared(folder: &Path) {
    let begun = Instant::now();
    loop {
        let shares = table::shares(&folder.join("db"));
        if shares == [16 / PROCESSES as u64; PROCESSES] {
            return;
        }
        assert!(begun.elapsed() < ms(20_000), "{shares:?}");
        tokio::time::sleep(ms(20)).await;
    }
}

/// Waits until all is committed. Answers how many were redriven.
pub(super) async fn settle(buffer: &WriteBehind, folder: &Path) -> u64 {
    let (mut redriven, begun) = (0, Instant::now());
    loop {
        std::fs::write(folder.join("healed"), "").unwrap();
        let dead = buffer.dead(1_000).await.unwrap();
        redriven += buffer.redrive(&dead).await.unwrap();
        let stats = buffer.stats().await.unwrap();
        if stats.pending + stats.retrying + stats.dead == 0 {
            return redriven;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{stats:?}");
        tokio::time::sleep(ms(50)).await;
    }
}
