//! What goes wrong meanwhile.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use russet_testkit::soak::seed;
use russet_testkit::{Proxy, Server};

use super::process::now;

pub(super) struct Faults {
    pub(super) server: Server,
    /// One for each process: what strikes one may leave the others well.
    proxies: Vec<Proxy>,
    random: SmallRng,
    /// When, in µs.
    pub(super) windows: Vec<Range<u64>>,
    pub(super) struck: [(&'static str, u64); KINDS.len()],
}

const KINDS: [&str; 6] = ["cut", "kill", "stall", "hang", "flush", "script flush"];

/// After a fault, processes have what they keep to gather again.
const RECOVERY: Duration = Duration::from_millis(1_500);

impl Faults {
    pub(super) fn new(server: Server, proxies: Vec<Proxy>) -> Self {
        let struck = KINDS.map(|kind| (kind, 0));
        let random = SmallRng::seed_from_u64(seed());
        Self { server, proxies, random, windows: Vec::new(), struck }
    }

    /// So many, each kind in turn.
    pub(super) async fn run(mut self, count: usize) -> Self {
        for number in 0..count {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(300..700))).await;
            let begun = now();
            let kind = number % KINDS.len();
            self.struck[kind].1 += self.strike(KINDS[kind]).await;
            let end = now() + u64::try_from(RECOVERY.as_micros()).unwrap();
            self.windows.push(begun..end);
            if number % KINDS.len() == KINDS.len() - 1 {
                // And for as long again all is well.
                tokio::time::sleep(RECOVERY * 2).await;
            }
        }
        self
    }

    async fn strike(&mut self, kind: &str) -> u64 {
        // Longer than anything may be stale, now and then.
        let time = Duration::from_millis(self.random.random_range(200..1_600));
        let proxy = &self.proxies[self.random.random_range(0..self.proxies.len())];
        let mut conn = self.server.conn().await.unwrap();
        match kind {
            "cut" => return proxy.cut_all().await.unwrap() as u64,
            "kill" => {
                let mut killed = 0;
                for sort in ["normal", "pubsub"] {
                    let command = ["CLIENT", "KILL", "TYPE", sort, "SKIPME", "yes"];
                    killed += conn.call(&command).await.unwrap().int().unwrap();
                }
                return u64::try_from(killed).unwrap();
            }
            "stall" => {
                proxy.stall();
                tokio::time::sleep(time).await;
                proxy.unstall();
            }
            "hang" => {
                self.server.pause().await.unwrap();
                tokio::time::sleep(time).await;
                self.server.resume().await.unwrap();
            }
            "flush" => assert!(conn.call(&["FLUSHALL"]).await.unwrap().is_ok()),
            _ => assert!(conn.call(&["SCRIPT", "FLUSH"]).await.unwrap().is_ok()),
        }
        1
    }
}
