//! Loads in processes of their own: a thousand misses in each, and leaders that are killed or stopped.

use std::process::Stdio;
use std::time::{Duration, Instant};

use russet_cache::Cache;
use russet_core_conn::KeySpace;
use russet_testkit::{Conn, Server};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::support::{patient, url, users};

const MISSES: usize = 1_000;
const LEASE: Duration = Duration::from_millis(1_000);

/// The origin, another process: it says its version, and remembers who asked.
async fn origin(url: String, takes: Duration) -> Result<u64, std::io::Error> {
    let mut conn = Conn::open(&url).await.unwrap();
    let version = conn.call(&["GET", "origin:version"]).await.unwrap();
    let version = version.text().and_then(|text| text.parse().ok()).unwrap();
    let pid = std::process::id().to_string();
    conn.call(&["RPUSH", "origin:asked", &pid]).await.unwrap();
    tokio::time::sleep(takes).await;
    Ok(version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start, stop and kill"]
async fn one_process() {
    let Ok(base) = std::env::var("RUSSET_TEST_SERVER") else { return };
    let takes: u64 = std::env::var("RUSSET_TEST_TAKES").unwrap().parse().unwrap();
    let addr = base.parse().unwrap();
    let cache: Cache<u64> =
        Cache::builder(&patient(&url(addr)), &KeySpace::new("processes").unwrap(), "n")
            .budget(Duration::from_secs(10))
            .lease(LEASE)
            .build()
            .unwrap();
    // Connected, and told by others when they have filled.
    cache.get("warm").await.unwrap();
    println!("\nready -");
    let mut begin = String::new();
    let begin = tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut begin));
    begin.await.unwrap().unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..MISSES {
        let (cache, plain) = (cache.clone(), format!("redis://{base}"));
        tasks.spawn(async move {
            let load = move |_| origin(plain, Duration::from_millis(takes));
            *cache.get_or_load("k", load).await.unwrap().into_value().unwrap()
        });
    }
    let mut versions = Vec::new();
    while let Some(version) = tasks.join_next().await {
        versions.push(version.unwrap());
    }
    versions.sort_unstable();
    versions.dedup();
    println!("\nserved {versions:?} {}", cache.stats().fills_refused);
}

struct Loader {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Loader {
    async fn start(server: &Server, takes: Duration) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::one_process", "--ignored", "--nocapture"])
            .env("RUSSET_TEST_SERVER", server.addr().to_string())
            .env("RUSSET_TEST_TAKES", takes.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut this = Self { child, lines };
        this.says("ready").await;
        this
    }

    fn begin(&mut self) {
        // All begin together: at the end of their input.
        drop(self.child.stdin.take());
    }

    async fn says(&mut self, word: &str) -> String {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if let Some(rest) = line.strip_prefix(word) {
                    return rest.trim().to_owned();
                }
            }
            panic!("it ended without {word}");
        };
        tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap();
        let kill = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
        assert!(kill.unwrap().success());
    }
}

struct Stage {
    server: Server,
    conn: Conn,
    loaders: Vec<Loader>,
}

impl Stage {
    /// Four processes that miss the same key together.
    async fn start(takes: Duration) -> Self {
        let server = Server::builder().acl_file(users("processes")).start().await.unwrap();
        let mut conn = server.conn().await.unwrap();
        conn.call(&["SET", "origin:version", "1"]).await.unwrap();
        let mut loaders = Vec::new();
        for _ in 0..4 {
            loaders.push(Loader::start(&server, takes).await);
        }
        loaders.iter_mut().for_each(Loader::begin);
        Self { server, conn, loaders }
    }

    /// Who has asked the origin.
    async fn asked(&mut self) -> Vec<u32> {
        let asked = self.conn.call(&["LRANGE", "origin:asked", "0", "-1"]).await.unwrap();
        let pids = asked.items().unwrap().iter();
        pids.map(|pid| pid.text().unwrap().parse().unwrap()).collect()
    }

    /// The process that loads, taken out of those that are waited for.
    async fn leader(&mut self) -> Loader {
        let begun = Instant::now();
        while self.asked().await.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody loads");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let pid = self.asked().await[0];
        let at = self.loaders.iter().position(|loader| loader.child.id() == Some(pid)).unwrap();
        self.loaders.swap_remove(at)
    }

    async fn cached(&self) -> Option<u64> {
        let redis = patient(&url(self.server.addr()));
        let cache: Cache<u64> =
            Cache::new(&redis, &KeySpace::new("processes").unwrap(), "n").unwrap();
        cache.get("k").await.unwrap().and_then(|found| found.value().copied())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_that_miss_load_once() {
    let mut stage = Stage::start(Duration::from_millis(200)).await;
    for loader in &mut stage.loaders {
        assert_eq!(loader.says("served").await, "[1] 0");
    }
    assert_eq!(stage.asked().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_leader_is_killed_one_other_loads() {
    let mut stage = Stage::start(Duration::from_millis(400)).await;
    let mut leader = stage.leader().await;
    leader.child.kill().await.unwrap();
    for loader in &mut stage.loaders {
        assert_eq!(loader.says("served").await, "[1] 0");
    }
    assert_eq!(stage.asked().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_sleeps_past_its_lease_does_not_fill_what_is_old() {
    let mut stage = Stage::start(Duration::from_millis(400)).await;
    let mut leader = stage.leader().await;
    leader.signal("-STOP");
    // What it has read is old from here on.
    stage.conn.call(&["SET", "origin:version", "2"]).await.unwrap();
    for loader in &mut stage.loaders {
        assert_eq!(loader.says("served").await, "[2] 0");
    }
    leader.signal("-CONT");
    // Those who asked there before may have what was there then.
    let served = leader.says("served").await;
    assert!(served.ends_with(" 1"), "its fill was not refused: {served}");
    assert_eq!(stage.asked().await.len(), 2);
    assert_eq!(stage.cached().await, Some(2));
}
