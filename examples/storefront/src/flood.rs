//! A flood on purpose: one client asks for one fare as often as it can, while the others go on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::catalog::Catalog;
use crate::limits::{CUSTOMER_BURST, CUSTOMER_RATE};
use crate::load::{Client, Refusal, Visitor};

/// For how long a flood goes on that nobody says anything else of.
pub const LASTS: Duration = Duration::from_secs(5);

/// Requests of it that are under way at once.
const WORKERS: usize = 8;

/// How often each of them begins another: five hundred a second in all.
const EVERY: Duration = Duration::from_millis(16);

/// What a flood came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Flood {
    /// Requests that were answered.
    pub sent: u64,
    /// Of them, let in.
    pub admitted: u64,
    /// Of them, let in by an instance's share of the limit, because Redis said nothing in time: at most as many more.
    pub fallback: u64,
    /// The most of them that may have been: the limit of one customer, over that time.
    pub allowed: u64,
    /// Of them, denied.
    pub denied: u64,
    /// Of them, denied and not told when to come back.
    pub untold: u64,
    /// Not answered, or in another way.
    pub lost: u64,
    /// From the first question to the last answer, in milliseconds.
    pub took_ms: u64,
}

/// Floods these instances with questions for the busiest route, in turn.
pub async fn run(addresses: &[SocketAddr], catalog: &Catalog, lasts: Duration) -> Flood {
    let (from, to) = catalog.ends(catalog.busiest());
    let path = format!("/api/route/{}/{}", from.iata, to.iata);
    let client = Client::new(addresses.to_vec(), WORKERS);
    let begun = Instant::now();
    let workers = (0..WORKERS).map(|worker| flood(&client, &path, worker, begun + lasts));
    let mut all = Flood::default();
    for one in join_all(workers).await {
        all.sent += one.sent;
        all.admitted += one.admitted;
        all.fallback += one.fallback;
        all.denied += one.denied;
        all.untold += one.untold;
        all.lost += one.lost;
    }
    let took = begun.elapsed();
    all.took_ms = took.as_millis() as u64;
    all.allowed = CUSTOMER_BURST + (took.as_secs_f64() * CUSTOMER_RATE as f64).ceil() as u64;
    all
}

async fn flood(client: &Client, path: &str, worker: usize, until: Instant) -> Flood {
    let mut counted = Flood::default();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = worker;
    while Instant::now() < until {
        tick.tick().await;
        turn += 1;
        let Ok(reply) = client.get(turn, path, &Visitor::flood()).await else {
            counted.lost += 1;
            continue;
        };
        counted.sent += 1;
        match reply.refusal() {
            None if reply.status.is_success() && reply.fallback => counted.fallback += 1,
            None if reply.status.is_success() => counted.admitted += 1,
            Some(Refusal::Denied { retry_after }) => {
                counted.denied += 1;
                counted.untold += u64::from(retry_after.is_none());
            }
            _ => counted.lost += 1,
        }
    }
    counted
}
