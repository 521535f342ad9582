//! A load on the shop, through the real HTTP stack: open loop, so that a slow shop is not asked
//! less, and every fare that comes back is judged by the [`crate::ledger`].

mod client;
mod draw;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::client::{Client, Refusal, Visitor};
pub use self::draw::{Ask, Draw, Mix, MixError, Popularity};
use crate::ledger::Verdict;
use crate::metrics::{Quantiles, quantiles};
use crate::origin::Product;
use crate::shop::Shop;

/// The most requests a second that can be asked for.
pub const HIGHEST_RATE: u32 = 20_000;

/// Connections, so requests that are on their way at the same time.
const CONNECTIONS: usize = 128;

/// How coarse the runtime's timer is.
const TIMER: Duration = Duration::from_millis(1);

/// A request that would begin later than this after its time is given up, and counts as not made.
const LATEST: Duration = Duration::from_secs(3);

/// How long the last requests may take when the load ends.
const DRAIN: Duration = Duration::from_secs(5);

/// How a load is counted. Its rate can be set while it runs.
#[derive(Debug)]
pub struct Progress {
    rate: AtomicU32,
    rate_changed: Notify,
    planned: AtomicU64,
    made: AtomicU64,
    failed: AtomicU64,
    denied: AtomicU64,
    shed: AtomicU64,
    lost: AtomicU64,
    right: AtomicU64,
    late: AtomicU64,
    wrong: AtomicU64,
    oldest_ms: AtomicU64,
    first_wrong: Mutex<Option<String>>,
    latency: Mutex<Histogram<u64>>,
}

/// What a load has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// Requests whose time has come.
    pub planned: u64,
    /// Of them, answered by HTTP.
    pub made: u64,
    /// Of those, answered 5xx or with an answer that could not be read.
    pub failed: u64,
    /// Of those, denied: over a limit.
    pub denied: u64,
    /// Of those, shed: others needed the room.
    pub shed: u64,
    /// Sent, but the connection broke before the answer.
    pub lost: u64,
    /// Fares that were right.
    pub right: u64,
    /// Fares that had been replaced, with a reason, within the allowed age.
    pub late: u64,
    /// The oldest of them.
    pub oldest: Duration,
    /// Fares that must not have been served.
    pub wrong: u64,
    /// The first of them, in words.
    pub first_wrong: Option<String>,
}

impl Progress {
    /// Counters for a load of `rate` requests a second.
    pub fn new(rate: u32) -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            rate: AtomicU32::new(rate),
            rate_changed: Notify::new(),
            planned: AtomicU64::new(0),
            made: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            right: AtomicU64::new(0),
            late: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            oldest_ms: AtomicU64::new(0),
            first_wrong: Mutex::default(),
            latency: Mutex::new(Histogram::new_with_max(60_000_000, 3)?),
        })
    }

    /// Requests a second.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate.load(Relaxed)
    }

    /// Sets the requests a second; 0 is a pause.
    pub fn set_rate(&self, rate: u32) {
        self.rate.store(rate.min(HIGHEST_RATE), Relaxed);
        self.rate_changed.notify_one();
    }

    /// The counts by now.
    #[must_use]
    pub fn checks(&self) -> Checks {
        Checks {
            planned: self.planned.load(Relaxed),
            made: self.made.load(Relaxed),
            failed: self.failed.load(Relaxed),
            denied: self.denied.load(Relaxed),
            shed: self.shed.load(Relaxed),
            lost: self.lost.load(Relaxed),
            right: self.right.load(Relaxed),
            late: self.late.load(Relaxed),
            oldest: Duration::from_millis(self.oldest_ms.load(Relaxed)),
            wrong: self.wrong.load(Relaxed),
            first_wrong: self.first_wrong.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Latencies from the planned beginning to the whole answer, in microseconds, since the last
    /// call.
    pub fn take_latency(&self) -> Quantiles {
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = quantiles(&latency);
        latency.reset();
        taken
    }

    fn answered(&self, took: Duration) {
        self.made.fetch_add(1, Relaxed);
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        latency.saturating_record(took.as_micros() as u64);
    }

    fn judge(&self, by: &Shop, product: &Product, began: Instant, ended: Instant) {
        let verdict = by.ledger().check(
            product.id(),
            product.fare_cents,
            by.number(),
            began.into_std(),
            ended.into_std(),
        );
        match verdict {
            Verdict::Right => drop(self.right.fetch_add(1, Relaxed)),
            Verdict::Late { age } => {
                self.late.fetch_add(1, Relaxed);
                self.oldest_ms.fetch_max(age.as_millis() as u64, Relaxed);
            }
            Verdict::Wrong { age } => {
                self.wrong.fetch_add(1, Relaxed);
                let mut first = self.first_wrong.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| describe(product, age));
            }
        }
    }
}

/// A load, ready to run.
#[derive(Debug)]
pub struct Load {
    shops: Vec<Shop>,
    draw: Draw,
    progress: Arc<Progress>,
    client: Client,
    seed: u64,
    turn: AtomicUsize,
}

impl Load {
    /// A load on the instances that listen at these addresses, in turn. The same seed draws the
    /// same requests.
    #[must_use]
    pub fn new(
        shops: Vec<Shop>,
        draw: Draw,
        progress: Arc<Progress>,
        addresses: Vec<SocketAddr>,
        seed: u64,
    ) -> Self {
        let client = Client::new(addresses, CONNECTIONS);
        Self { shops, draw, progress, client, seed, turn: AtomicUsize::new(0) }
    }

    /// Runs until `end`, then waits for the answers that are on their way. Requests begin at
    /// random moments (a Poisson process), as those of many independent visitors do.
    pub async fn run(self, end: CancellationToken) {
        let load = Arc::new(self);
        let mut random = StdRng::seed_from_u64(load.seed);
        let mut due = Instant::now();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut running = JoinSet::new();
        loop {
            while running.try_join_next().is_some() {}
            let rate = load.progress.rate();
            if rate == 0 {
                if end.run_until_cancelled(load.progress.rate_changed.notified()).await.is_none() {
                    break;
                }
                due = Instant::now();
                continue;
            }
            due +=
                Duration::from_secs_f64(-f64::ln(1.0 - random.random::<f64>()) / f64::from(rate));
            let ask = load.draw.next(&mut random);
            // The timer rounds up to its next millisecond, so this wakes within one before the time.
            let wake = due.checked_sub(TIMER).unwrap_or(due);
            if wake > Instant::now()
                && end.run_until_cancelled(tokio::time::sleep_until(wake)).await.is_none()
            {
                break;
            }
            if end.is_cancelled() {
                break;
            }
            load.progress.planned.fetch_add(1, Relaxed);
            let place =
                tokio::time::timeout_at(due + LATEST, Arc::clone(&places).acquire_owned()).await;
            if let Ok(Ok(place)) = place {
                let load = Arc::clone(&load);
                running.spawn(async move {
                    load.one(ask, due).await;
                    drop(place);
                });
            }
        }
        drop(
            tokio::time::timeout(DRAIN, async { while running.join_next().await.is_some() {} })
                .await,
        );
    }

    async fn one(&self, ask: Ask, due: Instant) {
        let began = Instant::now();
        let shop = &self.shops[self.turn.fetch_add(1, Relaxed) % self.shops.len()];
        let Ok(reply) = self.client.send(shop.number(), &ask, shop.catalog()).await else {
            self.progress.lost.fetch_add(1, Relaxed);
            return;
        };
        let ended = Instant::now();
        self.progress.answered(ended - due.min(began));
        match reply.refusal() {
            Some(Refusal::Denied { .. }) => {
                self.progress.denied.fetch_add(1, Relaxed);
                return;
            }
            Some(Refusal::Shed) => {
                self.progress.shed.fetch_add(1, Relaxed);
                return;
            }
            None => {}
        }
        match client::products(&ask, reply.status, &reply.body) {
            Some(products) => {
                for product in &products {
                    self.progress.judge(shop, product, began, ended);
                }
            }
            None => drop(self.progress.failed.fetch_add(1, Relaxed)),
        }
    }
}

fn describe(product: &Product, age: Option<Duration>) -> String {
    let Product { origin, destination, fare_cents, .. } = product;
    let number = product.number;
    match age {
        Some(age) => {
            format!("{origin}-{destination} {number}: {fare_cents} ct was replaced {age:?} before")
        }
        None => format!("{origin}-{destination} {number} never cost {fare_cents} ct"),
    }
}
