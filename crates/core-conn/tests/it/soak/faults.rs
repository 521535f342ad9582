//! The faults, one after the other, and when each is over.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use russet_core_conn::Redis;
use russet_testkit::{Match, Proxy, Server};

use crate::support::ms;

/// Whether a fault is under way, as those see it who are to be served.
#[derive(Debug, Default)]
pub(super) struct Weather(AtomicBool);

impl Weather {
    pub(super) fn is_bad(&self) -> bool {
        self.0.load(SeqCst)
    }
}

/// Whoever makes the weather.
pub(super) struct Faults {
    server: Server,
    proxy: Proxy,
    redis: Redis,
    weather: Arc<Weather>,
    random: StdRng,
}

const NAMES: [&str; 7] = ["kill", "pause", "cut", "slow", "stall", "script flush", "out of memory"];

impl Faults {
    pub(super) fn new(
        server: Server,
        proxy: Proxy,
        redis: Redis,
        weather: Arc<Weather>,
        seed: u64,
    ) -> Self {
        Self { server, proxy, redis, weather, random: StdRng::seed_from_u64(seed) }
    }

    /// Until `end`; answers what server it was, and how often each fault struck.
    pub(super) async fn run(mut self, end: Instant) -> (String, Vec<(&'static str, u64)>) {
        let mut struck = NAMES.map(|name| (name, 0_u64));
        // Each kind once, in an order of chance, and then again.
        let mut left: Vec<usize> = Vec::new();
        loop {
            // The calm after the one before: most of the time.
            tokio::time::sleep(ms(self.random.random_range(700..1_100))).await;
            if left.is_empty() {
                left.extend(0..NAMES.len());
            }
            if Instant::now() + Duration::from_secs(2) > end {
                return (self.server.version().to_string(), struck.to_vec());
            }
            let which = left.swap_remove(self.random.random_range(0..left.len()));
            self.weather.0.store(true, SeqCst);
            self.strike(NAMES[which]).await;
            struck[which].1 += 1;
            self.calm_down().await;
            self.weather.0.store(false, SeqCst);
        }
    }

    async fn strike(&mut self, name: &str) {
        let while_it_lasts = ms(self.random.random_range(20..400));
        let (server, proxy) = (&self.server, &self.proxy);
        match name {
            "kill" => {
                server.kill().await.unwrap();
                tokio::time::sleep(while_it_lasts).await;
                server.restart().await.unwrap();
            }
            "pause" => {
                server.pause().await.unwrap();
                // Longer than a deadline, and at times than a probe.
                tokio::time::sleep(while_it_lasts * 4).await;
                server.resume().await.unwrap();
            }
            "cut" => {
                for at in 0..self.random.random_range(1..6_usize) {
                    match at % 3 {
                        0 => drop(proxy.cut_after(Match::any())),
                        1 => drop(proxy.cut_before(Match::any())),
                        _ => drop(proxy.cut_in_reply(Match::any(), at)),
                    }
                    tokio::time::sleep(while_it_lasts / 8).await;
                    proxy.cut_all().await.unwrap();
                }
            }
            "slow" => {
                proxy.delay_replies(ms(self.random.random_range(50..700)));
                tokio::time::sleep(while_it_lasts).await;
                proxy.delay_replies(Duration::ZERO);
            }
            "stall" => {
                proxy.stall();
                tokio::time::sleep(while_it_lasts * 3).await;
                proxy.unstall();
            }
            "script flush" => {
                server.conn().await.unwrap().call(&["SCRIPT", "FLUSH"]).await.unwrap();
            }
            _ => {
                let mut conn = server.conn().await.unwrap();
                conn.call(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
                tokio::time::sleep(while_it_lasts).await;
                conn.call(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
            }
        }
        proxy.heal();
    }

    /// A fault is over when calls are served again, for which the core has as long as it promises: a probe that finds
    /// the loss, a delay of the backoff, a connection.
    async fn calm_down(&self) {
        let begun = Instant::now();
        while self.redis.ping().await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(5), "not served again for 5 s");
        }
        // What was in flight when it ended is still of the fault: for as long as a deadline.
        tokio::time::sleep(ms(500)).await;
        while self.redis.ping().await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(5), "not served again for 5 s");
        }
    }
}
