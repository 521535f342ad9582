//! No stale read after an acknowledged invalidation: random readers and writers in processes of their own, under random
//! faults, and what they did and saw, looked at afterwards.

use std::time::Duration;

use russet_testkit::soak::record;
use russet_testkit::{Proxy, Server};

use self::faults::Faults;
use self::history::{History, Verdict};
use self::process::Process;
use crate::support::users;

mod faults;
mod history;
mod process;

const PROCESSES: usize = 4;

/// For so long others may have in their memory what was said to be invalid.
const MAX_STALENESS: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stale_is_read_after_an_acknowledged_invalidation() {
    run(30_000, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_coherence() {
    let (version, struck, verdict) = run(1_000_000, 60).await;
    let Verdict { reads, near, clear, clear_near, origin, acknowledged, failed, .. } = verdict;
    record(
        "coherence",
        &version,
        &[("operations", 1_000_000), ("processes", PROCESSES as u64)],
        &struck,
        &[
            ("reads", reads),
            ("from_memory", near),
            ("outside_faults", clear),
            ("outside_faults_from_memory", clear_near),
            ("origin_calls", origin),
            ("invalidations_acknowledged", acknowledged),
            ("invalidations_failed", failed),
            ("stale_in_the_same_process", 0),
            ("stale_in_others", 0),
        ],
    );
}

async fn run(operations: u64, faults: usize) -> (String, Vec<(&'static str, u64)>, Verdict) {
    let server = Server::builder().acl_file(users("coherence")).start().await.unwrap();
    let origin = Server::start().await.unwrap();
    let keys = operations / 500;
    let folder = tempfile::tempdir().unwrap();
    let (mut processes, mut proxies) = (Vec::new(), Vec::new());
    for number in 0..PROCESSES {
        let proxy = Proxy::start(server.addr()).await.unwrap();
        let each = [operations / PROCESSES as u64, keys];
        let addrs = [proxy.addr(), origin.addr()];
        processes.push(Process::start(number, addrs, each, folder.path()));
        proxies.push(proxy);
    }
    let faults = tokio::spawn(Faults::new(server, proxies).run(faults));
    let faults = faults.await.unwrap();
    processes.iter_mut().for_each(Process::end);
    for process in &mut processes {
        process.ends().await;
    }
    let struck = faults.struck.to_vec();
    let files = (0..PROCESSES).map(|number| process::file(folder.path(), number));
    let verdict = History::read(files).judge(keys, MAX_STALENESS, &faults.windows);
    println!("{verdict:?} {struck:?}");
    assert_eq!((verdict.stale_here, verdict.stale_there), (0, 0), "{verdict:?}");
    assert!(verdict.clear_near * 100 >= verdict.clear * 80, "{verdict:?}");
    assert!(verdict.acknowledged > 0 && verdict.origin > 0, "{verdict:?}");
    for (fault, times) in &struck {
        assert!(*times > 0, "{fault} never struck");
    }
    let version = faults.server.conn().await.unwrap().call(&["INFO", "server"]).await.unwrap();
    let version =
        version.text().unwrap().lines().find_map(|line| line.strip_prefix("redis_version:"));
    (version.unwrap().to_owned(), struck, verdict)
}
