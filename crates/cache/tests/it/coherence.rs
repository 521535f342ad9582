//! No stale read after an acknowledged invalidation: random readers and writers in processes of their own, under random
//! faults, and what they did and saw, looked at afterwards.

use std::ops::Range;
use std::time::Duration;

use russet_testkit::Server;
use russet_testkit::soak::record;

use self::faults::Faults;
use self::history::{History, Verdict};
use self::process::{Orders, Process};
use self::servers::{Kind, Servers};

mod faults;
mod history;
mod process;
mod servers;
mod worker;

/// The last of them only reads: what it fails to hear of, nothing of its own tells it.
const PROCESSES: usize = 4;

/// For so long others may have in their memory what was said to be invalid.
const MAX_STALENESS: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stale_is_read_after_an_acknowledged_invalidation() {
    let run = run(Kind::One, 30_000, 8, 0).await;
    run.never_stale();
    run.mostly_from_memory();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_after_failovers_under_sentinel_where_the_replica_acknowledged_it() {
    run(Kind::Sentinel, 10_000, 2, 1).await.never_stale();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_after_failovers_in_a_cluster_where_the_replica_acknowledged_it() {
    run(Kind::Cluster, 10_000, 2, 1).await.never_stale();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_primary_alone_acknowledged_is_stale_for_no_longer_than_a_failover() {
    run(Kind::Sentinel, 10_000, 2, 0).await.stale_for_a_while_at_most();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_coherence() {
    let run = run(Kind::One, 1_000_000, 80, 0).await;
    run.never_stale();
    run.mostly_from_memory();
    run.record("coherence", 1_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_coherence_sentinel() {
    let run = run(Kind::Sentinel, 1_000_000, 40, 1).await;
    run.never_stale();
    run.mostly_from_memory();
    run.record("coherence-sentinel", 1_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_coherence_cluster() {
    let run = run(Kind::Cluster, 100_000, 10, 1).await;
    run.never_stale();
    run.mostly_from_memory();
    run.record("coherence-cluster", 100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_coherence_async() {
    let run = run(Kind::Sentinel, 100_000, 10, 0).await;
    run.stale_for_a_while_at_most();
    run.record("coherence-async", 100_000);
}

struct Run {
    version: String,
    struck: Vec<(&'static str, u64)>,
    windows: Vec<Range<u64>>,
    verdict: Verdict,
}

impl Run {
    fn never_stale(&self) {
        let verdict = &self.verdict;
        assert_eq!((verdict.stale_here, verdict.stale_there), (0, 0), "{verdict:?}");
    }

    /// What was acknowledged by the primary alone may be lost: that is counted, noticed by all, and comes to an end, because
    /// whoever said it lives and says it again.
    fn stale_for_a_while_at_most(&self) {
        let (verdict, end) = (&self.verdict, self.windows.last().unwrap().end);
        assert!(verdict.last_read > end, "nobody looked after that: {verdict:?}");
        assert!(verdict.last_stale < end && verdict.repeated > 0, "{verdict:?}");
    }

    /// A guard that refuses everything is no guard.
    fn mostly_from_memory(&self) {
        let verdict = &self.verdict;
        assert!(verdict.clear_near * 100 >= verdict.clear * 80, "{verdict:?}");
    }

    fn record(&self, name: &str, operations: u64) {
        let verdict = &self.verdict;
        record(
            name,
            &self.version,
            &[("operations", operations), ("processes", PROCESSES as u64)],
            &self.struck,
            &[
                ("reads", verdict.reads),
                ("from_memory", verdict.near),
                ("outside_faults", verdict.clear),
                ("outside_faults_from_memory", verdict.clear_near),
                (
                    "outside_faults_from_memory_permille",
                    verdict.clear_near * 1_000 / verdict.clear.max(1),
                ),
                ("origin_calls", verdict.origin),
                ("invalidations_acknowledged", verdict.acknowledged),
                ("invalidations_failed", verdict.failed),
                ("stale_in_the_same_process", verdict.stale_here),
                ("stale_in_others", verdict.stale_there),
                ("failovers_noticed", verdict.failovers),
                ("invalidations_repeated", verdict.repeated),
            ],
        );
    }
}

async fn run(kind: Kind, operations: u64, faults: usize, replicas: u32) -> Run {
    let servers = Servers::start(kind, PROCESSES).await;
    let origin = Server::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut processes = Vec::new();
    for number in 0..PROCESSES {
        let urls = [servers.url(number), origin.url()];
        let writes = number + 1 < PROCESSES;
        let orders = Orders { operations: operations / PROCESSES as u64, writes, replicas };
        processes.push(Process::start(number, urls, orders, folder.path()));
    }
    for process in &mut processes {
        process.ready().await;
    }
    let pids = processes.iter().map(Process::pid).collect();
    let faults = tokio::spawn(Faults::new(servers, pids).run(faults));
    let faults = faults.await.unwrap();
    processes.iter_mut().for_each(Process::end);
    for process in &mut processes {
        process.ends().await;
    }
    let Faults { servers, struck, windows, .. } = faults;
    let files = (0..PROCESSES).map(|number| process::file(folder.path(), number));
    let verdict = History::read(files).judge(MAX_STALENESS, &windows);
    println!("{verdict:?} {struck:?}");
    assert!(verdict.acknowledged > 0 && verdict.origin > 0, "{verdict:?}");
    for (fault, times) in &struck {
        assert!(*times > 0, "{fault} never struck");
    }
    if kind != Kind::One {
        // Each by each.
        let failovers: u64 = struck.iter().map(|(_, times)| times).sum();
        assert!(verdict.failovers >= failovers * PROCESSES as u64, "{verdict:?}");
    }
    Run { version: servers.version().await, struck, windows, verdict }
}
