//! What the shop measures about itself: counters, latencies by window, and which routes were
//! served from where since somebody last looked.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::limits::Decided;

/// Longest latency that is told apart, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Without asking the database.
    Hit {
        /// Queries that it would have taken without a cache.
        without_cache: u32,
    },
    /// With at least one query.
    Miss {
        /// Queries that it would have taken without a cache.
        without_cache: u32,
    },
    /// A fare was changed.
    Change,
    /// The request was refused (4xx).
    Refused,
    /// The shop failed (5xx).
    Failed,
}

/// Counts since the shop began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests for products and lists, and fare changes.
    pub requests: u64,
    /// Answered without the database.
    pub hits: u64,
    /// Answered with it.
    pub misses: u64,
    /// Fare changes.
    pub changes: u64,
    /// Refused (4xx).
    pub refused: u64,
    /// Failed (5xx).
    pub failed: u64,
    /// Queries that hits and misses would have taken without a cache.
    pub without_cache: u64,
    /// Requests of the API that its limits let in.
    pub admitted: u64,
    /// Those that were over a limit.
    pub denied: u64,
    /// Those that were shed, because others needed the room.
    pub shed: u64,
    /// Those that were let in without Redis.
    pub fallback: u64,
}

impl Totals {
    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            hits: self.hits - earlier.hits,
            misses: self.misses - earlier.misses,
            changes: self.changes - earlier.changes,
            refused: self.refused - earlier.refused,
            failed: self.failed - earlier.failed,
            without_cache: self.without_cache - earlier.without_cache,
            admitted: self.admitted - earlier.admitted,
            denied: self.denied - earlier.denied,
            shed: self.shed - earlier.shed,
            fallback: self.fallback - earlier.fallback,
        }
    }

    /// Hits of all reads, 0 to 1; `None` without any.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        let reads = self.hits + self.misses;
        (reads > 0).then(|| self.hits as f64 / reads as f64)
    }
}

/// Median and 99th percentile of a window, in microseconds; `None` when nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
}

/// Latencies of hits and of misses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latencies {
    /// Of requests that the cache answered.
    pub hit: Quantiles,
    /// Of requests that asked the database.
    pub miss: Quantiles,
}

/// The counters. All methods are cheap and take `&self`.
#[derive(Debug)]
pub struct Metrics {
    requests: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    changes: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    without_cache: AtomicU64,
    admitted: AtomicU64,
    denied: AtomicU64,
    shed: AtomicU64,
    fallback: AtomicU64,
    latencies: Mutex<Windows>,
    lit: Vec<[AtomicU32; 2]>,
}

#[derive(Debug)]
struct Windows {
    second: Pair,
    run: Pair,
}

#[derive(Debug)]
struct Pair {
    hit: Histogram<u64>,
    miss: Histogram<u64>,
}

impl Metrics {
    /// Metrics for this many routes.
    pub fn new(routes: usize) -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            requests: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            without_cache: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            fallback: AtomicU64::new(0),
            latencies: Mutex::new(Windows { second: Pair::new()?, run: Pair::new()? }),
            lit: (0..routes).map(|_| Default::default()).collect(),
        })
    }

    /// A request was answered.
    pub fn answered(&self, answer: Answer, took: Duration) {
        self.requests.fetch_add(1, Relaxed);
        match answer {
            Answer::Hit { without_cache } => {
                self.hits.fetch_add(1, Relaxed);
                self.without_cache.fetch_add(u64::from(without_cache), Relaxed);
                self.windows().each(|pair| &mut pair.hit, took);
            }
            Answer::Miss { without_cache } => {
                self.misses.fetch_add(1, Relaxed);
                self.without_cache.fetch_add(u64::from(without_cache), Relaxed);
                self.windows().each(|pair| &mut pair.miss, took);
            }
            Answer::Change => drop(self.changes.fetch_add(1, Relaxed)),
            Answer::Refused => drop(self.refused.fetch_add(1, Relaxed)),
            Answer::Failed => drop(self.failed.fetch_add(1, Relaxed)),
        }
    }

    /// It was decided whether a request of the API goes on.
    pub fn decided(&self, decided: Decided) {
        let count = match decided {
            Decided::Admitted => &self.admitted,
            Decided::Fallback => &self.fallback,
            Decided::Denied => &self.denied,
            Decided::Shed => &self.shed,
        };
        count.fetch_add(1, Relaxed);
    }

    /// The page of a route was served.
    pub fn lit(&self, route: u32, from_cache: bool) {
        if let Some(sources) = self.lit.get(route as usize) {
            sources[usize::from(!from_cache)].fetch_add(1, Relaxed);
        }
    }

    /// Routes served since the last call, as (route, from cache, from database), at most `most` of
    /// them: when more were, those from the database and then the most served ones.
    pub fn take_lit(&self, most: usize) -> Vec<(u32, u32, u32)> {
        let mut lit: Vec<(u32, u32, u32)> = self
            .lit
            .iter()
            .enumerate()
            .map(|(route, [cache, database])| {
                (route as u32, cache.swap(0, Relaxed), database.swap(0, Relaxed))
            })
            .filter(|(_, cache, database)| cache + database > 0)
            .collect();
        if lit.len() > most {
            lit.sort_unstable_by_key(|(_, cache, database)| std::cmp::Reverse((*database, *cache)));
            lit.truncate(most);
        }
        lit
    }

    /// Counts since the beginning.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            requests: self.requests.load(Relaxed),
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            changes: self.changes.load(Relaxed),
            refused: self.refused.load(Relaxed),
            failed: self.failed.load(Relaxed),
            without_cache: self.without_cache.load(Relaxed),
            admitted: self.admitted.load(Relaxed),
            denied: self.denied.load(Relaxed),
            shed: self.shed.load(Relaxed),
            fallback: self.fallback.load(Relaxed),
        }
    }

    /// Latencies since the last call, for the plots.
    pub fn take_second(&self) -> Latencies {
        self.windows().second.take()
    }

    /// Latencies since the last call, for the summary of a run.
    pub fn take_run(&self) -> Latencies {
        self.windows().run.take()
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Windows {
    fn each(&mut self, which: impl Fn(&mut Pair) -> &mut Histogram<u64>, took: Duration) {
        let took = took.as_micros() as u64;
        which(&mut self.second).saturating_record(took);
        which(&mut self.run).saturating_record(took);
    }
}

impl Pair {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        let histogram = || Histogram::new_with_max(LONGEST_US, 3);
        Ok(Self { hit: histogram()?, miss: histogram()? })
    }

    fn take(&mut self) -> Latencies {
        let latencies = Latencies { hit: quantiles(&self.hit), miss: quantiles(&self.miss) };
        self.hit.reset();
        self.miss.reset();
        latencies
    }
}

/// Median and 99th percentile of a histogram of microseconds.
pub(crate) fn quantiles(histogram: &Histogram<u64>) -> Quantiles {
    let at = |q| (!histogram.is_empty()).then(|| histogram.value_at_quantile(q));
    Quantiles { p50: at(0.50), p99: at(0.99) }
}
