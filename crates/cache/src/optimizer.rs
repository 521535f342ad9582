//! How a cache does, and what would help it.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use russet_core_conn::{Cmd, Role};

use crate::cache::Cache;
use crate::error::Error;
use crate::fleet::Size;
use crate::policy::LONGEST_TTL;
use crate::stats::Stats;

/// Fewer lookups say nothing of a rate.
const LEAST_LOOKUPS: u64 = 100;

/// Looks how a cache does, now and then, and says what would help. Made by [`Cache::optimizer`].
#[derive(Debug)]
pub struct Optimizer<V> {
    cache: Cache<V>,
    limits: Limits,
    sample: usize,
    last: Option<Seen>,
}

/// Beyond these something is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    least_hits: f64,
    most_evicted: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { least_hits: 0.7, most_evicted: 0.1 }
    }
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    stats: Stats,
    evicted: u64,
}

/// How a cache has done since the last report.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// For how long; `None` for the first, which is about all that was ever merged, and advises nothing.
    pub interval: Option<Duration>,
    /// What all processes have done meanwhile.
    pub stats: Stats,
    /// How much there is now.
    pub size: Size,
    /// About how many of this cache's entries Redis has evicted meanwhile: of all evictions of its servers the share that
    /// this cache has of their keys. `None` for the first report, and where a server has begun anew.
    pub evicted: Option<u64>,
    /// What would help; empty where all is well.
    pub advice: Vec<Advice>,
}

/// Something that would help.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// Why, with the figures; and what, where only people can do it.
    pub reason: String,
    /// What [`Optimizer::apply`] can do about it.
    pub change: Option<Remedy>,
}

/// All that [`Optimizer::apply`] may change, in this process alone. It never changes a server's configuration, nor the size
/// of a process's memory, which is chosen when the cache is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The time to live of what is filled from now on, where neither the load nor the handle says another.
    Ttl(Duration),
}

impl Report {
    /// The share of the evicted entries among those that were written, 0 to 1.
    pub fn eviction_rate(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more")]
        let rate = |evicted: u64| evicted as f64 / self.stats.fills.max(1) as f64;
        Some(rate(self.evicted?).min(1.0))
    }
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Advice for this cache. It needs [`access`](crate::CacheBuilder::access), and for each report what
    /// [`fleet_stats`](Self::fleet_stats) and [`size`](Self::size) need: it is for administration, once a minute or so.
    ///
    /// Where fewer than 70% of the lookups were hits and hardly anything was evicted, entries end too early: it advises
    /// twice the TTL. Where more than 10% of what was written was evicted, there is too little memory: it advises more, or
    /// half the TTL. Nothing is changed before it is [told](Optimizer::apply) to.
    ///
    /// Measured over <!--soak replay-optimizer: lookups-->500,000 lookups in seven hours by Zipf's law (skew 0.8) on <!--soak replay-optimizer: keys-->20,000 keys,
    /// nothing being evicted: with a TTL of 300 s <!--soak replay-optimizer: hit_permille_without-->48.2% were hits, and the origin was
    /// called <!--soak replay-optimizer: origin_calls_without-->259,011 times; with what was advised done every quarter of an
    /// hour <!--soak replay-optimizer: hit_permille_with-->74.8%, and <!--soak replay-optimizer: origin_calls_with-->125,910 times, until the TTL
    /// was <!--soak replay-optimizer: last_ttl_s-->2,400 s (`soak_replay_optimizer`). That has its price: <!--soak replay-optimizer: entries_with-->9,838 entries instead
    /// of <!--soak replay-optimizer: entries_without-->3,090, and values that are <!--soak replay-optimizer: age_s_with-->1,098 s old when they are hit instead
    /// of <!--soak replay-optimizer: age_s_without-->150 s. It can't know whether they may be.
    pub fn optimizer(&self) -> Optimizer<V> {
        let cache = self.clone();
        Optimizer { cache, limits: Limits::default(), sample: 1_000, last: None }
    }
}

impl<V: Send + Sync + 'static> Optimizer<V> {
    /// Below which share of hits something is to be done, 0 to 1. Default: 0.7.
    #[must_use]
    pub fn least_hits(mut self, share: f64) -> Self {
        self.limits.least_hits = share;
        self
    }

    /// Above which share of evicted entries among those that were written something is to be done, 0 to 1. Default: 0.1.
    #[must_use]
    pub fn most_evicted(mut self, share: f64) -> Self {
        self.limits.most_evicted = share;
        self
    }

    /// How many keys of each primary are looked at. Default: 1,000.
    #[must_use]
    pub fn sample(mut self, keys: usize) -> Self {
        self.sample = keys;
        self
    }

    /// How the cache has done since the last report. It changes nothing.
    ///
    /// # Errors
    /// Those of [`Cache::fleet_stats`] and [`Cache::size`].
    pub async fn report(&mut self) -> Result<Report, Error> {
        let all = self.cache.fleet_stats().await?;
        let size = self.cache.size(self.sample).await?;
        let now = Seen { at: Instant::now(), stats: all, evicted: self.evicted().await? };
        let (mut interval, mut evicted, mut stats) = (None, None, all);
        if let Some(last) = &self.last {
            interval = Some(now.at.duration_since(last.at));
            stats = Stats::of_sums(all.grown_since(last.stats).into_iter().collect());
            #[expect(clippy::cast_precision_loss, reason = "an estimate needs no more")]
            let ours = |all: u64| crate::access::whole(all as f64 * size.share);
            evicted = now.evicted.checked_sub(last.evicted).map(ours);
        }
        self.last = Some(now);
        let mut report = Report { interval, stats, size, evicted, advice: Vec::new() };
        report.advice = self.limits.advise(&report, self.cache.usual_ttl());
        Ok(report)
    }

    /// Does it, in this process, for this cache and all its handles.
    pub fn apply(&self, change: Remedy) {
        match change {
            Remedy::Ttl(ttl) => {
                let ttl = ttl.clamp(Duration::from_millis(1), LONGEST_TTL);
                tracing::info!(?ttl, "a cache's time to live is changed, as it was told");
                self.cache.inner.ttl.set(ttl);
            }
        }
    }

    /// Of all primaries, since they began.
    async fn evicted(&self) -> Result<u64, Error> {
        let redis = self.cache.inner.redis.needed("evictions")?;
        let primaries = redis.nodes(Role::Primary).await?;
        let evicted = primaries.iter().map(async |node| {
            let info: String = redis.on(node)?.run(Cmd::read("INFO").arg("stats")).await?;
            let fields: HashMap<&str, &str> =
                info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
            let evicted = fields.get("evicted_keys").and_then(|count| count.parse().ok());
            Ok::<u64, Error>(evicted.unwrap_or(0))
        });
        Ok(try_join_all(evicted).await?.iter().sum())
    }
}

impl Limits {
    /// `ttl`: where it is one for all.
    pub(crate) fn advise(&self, report: &Report, ttl: Option<Duration>) -> Vec<Advice> {
        let Some(hits) = report.stats.hit_rate() else { return Vec::new() };
        // What was long ago says nothing of now.
        if report.interval.is_none() || report.stats.lookups() < LEAST_LOOKUPS {
            return Vec::new();
        }
        let evicted = report.eviction_rate().filter(|rate| *rate > self.most_evicted);
        let mut advice = Vec::new();
        if let Some(rate) = evicted {
            advice.push(Advice {
                reason: format!(
                    "{} of the entries that were written were evicted, more than {}: there is too little memory (more \
                     maxmemory, smaller values), or entries stay too long",
                    Percent(rate),
                    Percent(self.most_evicted)
                ),
                change: ttl.map(|ttl| Remedy::Ttl(ttl / 2)),
            });
        }
        if hits < self.least_hits {
            let why = match (evicted, ttl) {
                (Some(_), _) => "what is evicted can't be hit".to_owned(),
                (None, Some(ttl)) => {
                    format!(
                        "hardly anything is evicted, so entries end by their time to live of {ttl:?}"
                    )
                }
                (None, None) => "the time to live follows how often keys are asked for".to_owned(),
            };
            let longer = ttl.filter(|_| evicted.is_none()).map(|ttl| (ttl * 2).min(LONGEST_TTL));
            advice.push(Advice {
                reason: format!(
                    "{} of {} lookups were hits, fewer than {}: {why}",
                    Percent(hits),
                    report.stats.lookups(),
                    Percent(self.least_hits)
                ),
                change: longer.map(Remedy::Ttl),
            });
        }
        advice
    }
}

struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}%", self.0 * 100.0)
    }
}
