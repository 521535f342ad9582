//! What goes wrong meanwhile.

use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use russet_core_conn::KeySpace;
use russet_testkit::soak::seed;
use russet_testkit::{Cluster, Proxy, Sentinel, Server};

use super::MAX_STALENESS;
use super::process::now;
use super::servers::{SPACE, Servers};
use crate::support::forsake;

pub(super) struct Faults {
    pub(super) servers: Servers,
    /// The processes.
    pids: Vec<u32>,
    random: SmallRng,
    /// When, in µs.
    pub(super) windows: Vec<Range<u64>>,
    pub(super) struck: Vec<(&'static str, u64)>,
}

const OF_ONE: [&str; 8] =
    ["deafness", "pause", "cut", "kill", "stall", "hang", "flush", "script flush"];

/// The one that dies has been taking writes that its replica will never have.
const FAILOVERS: [&str; 2] = ["death", "failover"];

/// After a fault, processes have what they keep to gather again.
const RECOVERY: Duration = Duration::from_millis(1_500);

impl Faults {
    pub(super) fn new(servers: Servers, pids: Vec<u32>) -> Self {
        let kinds = match servers {
            Servers::One { .. } => &OF_ONE[..],
            Servers::Sentinel(_) | Servers::Cluster(_) => &FAILOVERS,
        };
        let struck = kinds.iter().map(|kind| (*kind, 0)).collect();
        let random = SmallRng::seed_from_u64(seed());
        Self { servers, pids, random, windows: Vec::new(), struck }
    }

    /// So many, each kind in turn.
    pub(super) async fn run(mut self, count: usize) -> Self {
        for number in 0..count {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(300..700))).await;
            let begun = now();
            let kind = number % self.struck.len();
            let struck = self.strike(self.struck[kind].0).await;
            self.struck[kind].1 += struck;
            let end = now() + u64::try_from(RECOVERY.as_micros()).unwrap();
            self.windows.push(begun..end);
            if kind == self.struck.len() - 1 {
                // And for as long again all is well.
                tokio::time::sleep(RECOVERY * 2).await;
            }
        }
        self
    }

    async fn strike(&mut self, kind: &str) -> u64 {
        // Longer than anything may be stale, now and then.
        let time = Duration::from_millis(self.random.random_range(200..1_600));
        let process = self.random.random_range(0..self.pids.len());
        match &self.servers {
            Servers::One { server, proxies } => {
                strike(server, proxies, &self.pids, kind, process, time).await
            }
            Servers::Sentinel(sentinel) => promote(sentinel, kind, time / 2).await,
            Servers::Cluster(cluster) => promote_in(cluster, kind, time / 2).await,
        }
    }
}

async fn strike(
    server: &Server,
    proxies: &[Proxy],
    pids: &[u32],
    kind: &str,
    process: usize,
    time: Duration,
) -> u64 {
    let mut conn = server.conn().await.unwrap();
    match kind {
        "cut" => return proxies[process].cut_all().await.unwrap() as u64,
        "kill" => {
            let mut killed = 0;
            for sort in ["normal", "pubsub"] {
                let command = ["CLIENT", "KILL", "TYPE", sort, "SKIPME", "yes"];
                killed += conn.call(&command).await.unwrap().int().unwrap();
            }
            return u64::try_from(killed).unwrap();
        }
        "stall" => {
            proxies[process].stall();
            tokio::time::sleep(time).await;
            proxies[process].unstall();
        }
        // Of the one that only reads, and for longer than it may go on with what it keeps.
        "deafness" => {
            let reader = proxies.last().unwrap();
            reader.stall();
            tokio::time::sleep(MAX_STALENESS * 2 + time / 2).await;
            reader.unstall();
        }
        // Whoever leads a load sleeps past its lease.
        "pause" => {
            signal(pids[process], "-STOP");
            tokio::time::sleep(time).await;
            signal(pids[process], "-CONT");
        }
        "hang" => {
            server.pause().await.unwrap();
            tokio::time::sleep(time).await;
            server.resume().await.unwrap();
        }
        "flush" => assert!(conn.call(&["FLUSHALL"]).await.unwrap().is_ok()),
        _ => assert!(conn.call(&["SCRIPT", "FLUSH"]).await.unwrap().is_ok()),
    }
    1
}

fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

async fn promote(sentinel: &Sentinel, kind: &str, time: Duration) -> u64 {
    if kind == "death" {
        forsake(sentinel.primary().await.unwrap()).await;
        tokio::time::sleep(time).await;
        let dead = sentinel.kill_primary().await.unwrap();
        sentinel.promoted().await.unwrap();
        dead.restart().await.unwrap();
    } else {
        sentinel.failover().await.unwrap();
    }
    // The next one must have a replica that has everything.
    sentinel.ready().await.unwrap();
    1
}

/// Of the journal's node.
async fn promote_in(cluster: &Cluster, kind: &str, time: Duration) -> u64 {
    let journal = KeySpace::new(SPACE).unwrap().key("cache-journal", "n").slot();
    if kind == "death" {
        forsake(&cluster.primary_of(journal).await.unwrap()).await;
        tokio::time::sleep(time).await;
        let dead = cluster.kill_primary_of(journal).await.unwrap();
        cluster.promoted(journal).await.unwrap();
        dead.restart().await.unwrap();
    } else {
        cluster.failover(journal).await.unwrap();
    }
    cluster.ready().await.unwrap();
    1
}
