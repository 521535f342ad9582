//! Loads in processes of their own: a thousand misses in each, and leaders that are killed, stopped or left alone.

use std::io::BufRead;
use std::time::{Duration, Instant};

use russet_cache::Cache;
use russet_core_conn::KeySpace;
use russet_testkit::{Conn, Server, TestProcess, soak};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::{patient, url, users};

const MISSES: usize = 1_000;
const LEASE: Duration = Duration::from_secs(2);
const PROCESSES: usize = 4;

/// A load.
const TAKES: Duration = Duration::from_millis(200);

/// The origin, one more process: it says its version, remembers who asked, and takes its time.
async fn origin(url: String, takes: String) -> Result<u64, std::io::Error> {
    let mut conn = Conn::open(&url).await.unwrap();
    let version = conn.call(&["GET", "version"]).await.unwrap();
    let version = version.text().and_then(|text| text.parse().ok()).unwrap();
    let pid = std::process::id().to_string();
    conn.call(&["RPUSH", "asked", &pid]).await.unwrap();
    assert!(conn.call(&["BLPOP", "nothing", &takes]).await.unwrap().is_nil());
    Ok(version)
}

/// What it is told, line by line.
fn words() -> mpsc::UnboundedReceiver<String> {
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let _ = tell.send(line.unwrap());
        }
    });
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start, stop and kill"]
async fn one_process() {
    let Ok(server) = std::env::var("RUSSET_TEST_SERVER") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let (base, takes) = (variable("RUSSET_TEST_ORIGIN"), variable("RUSSET_TEST_TAKES"));
    let redis = patient(&url(server.parse().unwrap()));
    let cache: Cache<u64> = Cache::builder(&redis, &KeySpace::new("processes").unwrap(), "n")
        .budget(Duration::from_secs(10))
        .lease(LEASE)
        .build()
        .unwrap();
    // Connected, and told by others when they have filled.
    cache.get("warm").await.unwrap();
    let mut words = words();
    println!("\nready -");
    assert_eq!(words.recv().await.unwrap(), "begin");
    let mut tasks = JoinSet::new();
    for _ in 0..MISSES {
        let (cache, base, takes) = (cache.clone(), base.clone(), takes.clone());
        tasks.spawn(async move {
            let load = move |_| origin(base, takes);
            *cache.get_or_load("k", load).await.unwrap().into_value().unwrap()
        });
    }
    let (mut versions, mut cancelled) = (Vec::new(), 0);
    loop {
        tokio::select! {
            word = words.recv() => {
                assert_eq!(word.unwrap(), "cancel");
                tasks.abort_all();
            }
            served = tasks.join_next() => match served {
                Some(Ok(version)) => versions.push(version),
                Some(Err(error)) => cancelled += usize::from(error.is_cancelled()),
                None => break,
            }
        }
    }
    versions.sort_unstable();
    versions.dedup();
    println!(
        "\nserved {versions:?}, {cancelled} cancelled, {} refused",
        cache.stats().fills_refused
    );
    // What is still being loaded is until it is told to end.
    while words.recv().await.is_some() {}
}

async fn loader(server: &Server, origin: &Server, takes: Duration) -> TestProcess {
    let variables = [
        ("RUSSET_TEST_SERVER", server.addr().to_string()),
        ("RUSSET_TEST_ORIGIN", origin.url()),
        ("RUSSET_TEST_TAKES", takes.as_secs_f64().to_string()),
    ];
    let mut loader = TestProcess::start("processes::one_process", variables).unwrap();
    loader.says("ready").await.unwrap();
    loader
}

struct Stage {
    server: Server,
    /// To the origin.
    conn: Conn,
    _origin: Server,
    loaders: Vec<TestProcess>,
}

impl Stage {
    /// Four processes that miss the same key together.
    async fn start(takes: Duration) -> Self {
        let server = Server::builder().acl_file(users("processes")).start().await.unwrap();
        let origin = Server::start().await.unwrap();
        let mut conn = origin.conn().await.unwrap();
        conn.call(&["SET", "version", "1"]).await.unwrap();
        let mut loaders = Vec::new();
        for _ in 0..PROCESSES {
            loaders.push(loader(&server, &origin, takes).await);
        }
        for loader in &mut loaders {
            loader.tell("begin").await.unwrap();
        }
        Self { server, conn, _origin: origin, loaders }
    }

    /// Who has asked the origin.
    async fn asked(&mut self) -> Vec<u32> {
        let asked = self.conn.call(&["LRANGE", "asked", "0", "-1"]).await.unwrap();
        let pids = asked.items().unwrap().iter();
        pids.map(|pid| pid.text().unwrap().parse().unwrap()).collect()
    }

    /// The process that loads, taken out of those that are waited for.
    async fn leader(&mut self) -> TestProcess {
        let begun = Instant::now();
        while self.asked().await.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody loads");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let pid = self.asked().await[0];
        let at = self.loaders.iter().position(|loader| loader.id() == Some(pid)).unwrap();
        self.loaders.swap_remove(at)
    }

    async fn cached(&self) -> Option<u64> {
        let redis = patient(&url(self.server.addr()));
        let cache: Cache<u64> =
            Cache::new(&redis, &KeySpace::new("processes").unwrap(), "n").unwrap();
        cache.get("k").await.unwrap().and_then(|found| found.value().copied())
    }
}

/// How often the origin is asked.
async fn together() -> usize {
    let mut stage = Stage::start(TAKES).await;
    for loader in &mut stage.loaders {
        assert_eq!(loader.says("served").await.unwrap(), "[1], 0 cancelled, 0 refused");
    }
    stage.asked().await.len()
}

async fn with_a_leader_that_is_killed() -> usize {
    let mut stage = Stage::start(Duration::from_secs(1)).await;
    let mut leader = stage.leader().await;
    leader.kill().await.unwrap();
    // What it had read is old from here on.
    stage.conn.call(&["SET", "version", "2"]).await.unwrap();
    for loader in &mut stage.loaders {
        assert_eq!(loader.says("served").await.unwrap(), "[2], 0 cancelled, 0 refused");
    }
    assert_eq!(stage.cached().await, Some(2));
    stage.asked().await.len()
}

async fn with_a_leader_whose_callers_go_away() -> usize {
    let mut stage = Stage::start(Duration::from_secs(1)).await;
    let mut leader = stage.leader().await;
    leader.tell("cancel").await.unwrap();
    assert_eq!(leader.says("served").await.unwrap(), format!("[], {MISSES} cancelled, 0 refused"));
    for loader in &mut stage.loaders {
        assert_eq!(loader.says("served").await.unwrap(), "[1], 0 cancelled, 0 refused");
    }
    assert_eq!(stage.cached().await, Some(1));
    stage.asked().await.len()
}

async fn with_a_leader_that_sleeps_past_its_lease() -> usize {
    let mut stage = Stage::start(Duration::from_secs(1)).await;
    let mut leader = stage.leader().await;
    leader.pause().await.unwrap();
    // What it has read is old from here on.
    stage.conn.call(&["SET", "version", "2"]).await.unwrap();
    for loader in &mut stage.loaders {
        assert_eq!(loader.says("served").await.unwrap(), "[2], 0 cancelled, 0 refused");
    }
    leader.resume().unwrap();
    // Those who asked there before may have what was there then.
    let served = leader.says("served").await.unwrap();
    assert!(served.ends_with(" 1 refused"), "its fill was not refused: {served}");
    assert_eq!(stage.cached().await, Some(2));
    stage.asked().await.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_that_miss_load_once() {
    assert_eq!(together().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_leader_is_killed_one_other_loads() {
    assert_eq!(with_a_leader_that_is_killed().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_callers_have_gone_away_loads_for_the_others() {
    assert_eq!(with_a_leader_whose_callers_go_away().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_sleeps_past_its_lease_does_not_fill_what_is_old() {
    assert_eq!(with_a_leader_that_sleeps_past_its_lease().await, 2);
}

/// The same, for the guide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_stampede() {
    let calls = [
        ("calls", together().await),
        ("calls where the leader is killed", with_a_leader_that_is_killed().await),
        ("calls where the leader is stopped", with_a_leader_that_sleeps_past_its_lease().await),
        ("calls where the callers go away", with_a_leader_whose_callers_go_away().await),
    ];
    let [(_, once), (_, killed), (_, stopped), (_, left)] = calls;
    assert_eq!((once, killed, stopped, left), (1, 2, 2, 1));
    // What a stopped leader loaded was refused, or it would have said so.
    let figures = calls.map(|(what, calls)| (what, calls as u64));
    let figures = [&figures[..], &[("fills refused to a stopped leader", 1)]].concat();
    let sizes = [
        ("processes", PROCESSES as u64),
        ("lookups", MISSES as u64),
        ("origin_ms", TAKES.as_millis() as u64),
        ("lease_s", LEASE.as_secs()),
    ];
    let version = Server::start().await.unwrap().version().to_string();
    soak::record(
        "stampede",
        &version,
        &sizes,
        &[("leaders killed", 1), ("leaders stopped", 1)],
        &figures,
    );
}
