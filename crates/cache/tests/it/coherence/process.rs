//! One process, whose tasks read and write.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use russet_cache::Cache;
use russet_core_conn::{Durability, KeySpace, Redis};
use russet_testkit::TestProcess;
use russet_testkit::soak::seed;
use tokio::task::JoinSet;

use super::MAX_STALENESS;
use super::servers::SPACE;
use super::worker::{Origin, Worker};

const TASKS: u64 = 8;

/// Between what one task does and does next.
const PAUSE: Duration = Duration::from_millis(4);

const READY: &str = "ready";

/// What it is to do.
#[derive(Clone, Copy)]
pub(super) struct Orders {
    /// How many operations at the least.
    pub(super) operations: u64,
    /// Whether it also writes.
    pub(super) writes: bool,
    /// How many replicas acknowledge what it says.
    pub(super) replicas: u32,
}

pub(super) struct Process(TestProcess);

impl Process {
    pub(super) fn start(
        number: usize,
        [server, origin]: [String; 2],
        orders: Orders,
        folder: &Path,
    ) -> Self {
        let variables = [
            ("RUSSET_TEST_SERVER", server.into()),
            ("RUSSET_TEST_ORIGIN", origin.into()),
            ("RUSSET_TEST_OPERATIONS", orders.operations.to_string().into()),
            ("RUSSET_TEST_WRITES", orders.writes.to_string().into()),
            ("RUSSET_TEST_REPLICAS", orders.replicas.to_string().into()),
            ("RUSSET_TEST_NUMBER", number.to_string().into()),
            ("RUSSET_TEST_FILE", file(folder, number).into_os_string()),
        ];
        Self(TestProcess::start("coherence::process::one_process", variables).unwrap())
    }

    /// It has what it reads most.
    pub(super) async fn ready(&mut self) {
        self.0.says(READY).await.unwrap();
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id().unwrap()
    }

    /// Once it has done what it was to do at the least.
    pub(super) fn end(&mut self) {
        self.0.close_input();
    }

    pub(super) async fn ends(&mut self) {
        assert!(self.0.ended().await.unwrap());
    }
}

pub(super) fn file(folder: &Path, number: usize) -> PathBuf {
    folder.join(number.to_string())
}

/// The time that all processes of this machine have, in µs.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_micros()).unwrap()
}

fn cache(server: &str, replicas: u32) -> Cache<u64> {
    let redis = Redis::builder(server)
        .deadline(Duration::from_millis(500))
        .probe(Duration::from_millis(300), Duration::from_millis(300))
        .build()
        .unwrap();
    let redis = match replicas {
        0 => redis,
        more => redis.with_durability(Durability::Replicas(more)),
    };
    Cache::builder(&redis, &KeySpace::new(SPACE).unwrap(), "n")
        .ttl(Duration::from_secs(60))
        .lease(Duration::from_millis(300))
        .budget(Duration::from_millis(300))
        .journal(MAX_STALENESS)
        .local(10_000)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start"]
async fn one_process() {
    let Ok(server) = std::env::var("RUSSET_TEST_SERVER") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let number: u64 = variable("RUSSET_TEST_NUMBER").parse().unwrap();
    let operations: u64 = variable("RUSSET_TEST_OPERATIONS").parse().unwrap();
    let writes: bool = variable("RUSSET_TEST_WRITES").parse().unwrap();
    let origin = variable("RUSSET_TEST_ORIGIN");
    let cache = cache(&server, variable("RUSSET_TEST_REPLICAS").parse().unwrap());
    let end = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (cache, origin, end) = (cache.clone(), origin.clone(), end.clone());
        tasks.spawn(async move {
            let random = SmallRng::seed_from_u64(seed() ^ (number << 32) ^ task);
            let origin = Origin::open(&origin).await;
            let mut worker = Worker { cache, origin, writes, random, notes: String::new() };
            let mut acts = 0;
            while acts < operations / TASKS || !end.load(Relaxed) {
                tokio::time::sleep(PAUSE.mul_f64(worker.random.random())).await;
                worker.act().await;
                acts += 1;
            }
            worker.notes
        });
    }
    while cache.stats().local < 100 {
        tokio::time::sleep(PAUSE).await;
    }
    println!("\n{READY}");
    let mut nothing = String::new();
    let told = tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut nothing));
    told.await.unwrap().unwrap();
    end.store(true, Relaxed);
    let mut notes = String::new();
    while let Some(done) = tasks.join_next().await {
        notes.push_str(&done.unwrap());
    }
    let stats = cache.stats();
    writeln!(notes, "S {} {}", stats.failovers, stats.repeated).unwrap();
    std::fs::write(variable("RUSSET_TEST_FILE"), notes).unwrap();
}
