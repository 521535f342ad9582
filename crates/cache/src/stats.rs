//! Counters: in the process, and by the `metrics` facade with the feature of that name.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use russet_core_conn::Striped;

#[cfg(feature = "metrics")]
use crate::metrics as names;
use crate::times::{BUCKETS, LoadTimes};

/// What a cache has done in this process since it was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Lookups that this process answered from its own memory, a value or a remembered absence.
    pub local: u64,
    /// Values that this process keeps in its own memory now.
    pub local_entries: u64,
    /// Lookups for which this process's own memory was not used, whatever it has, because nobody vouches for it: Redis
    /// has not answered for [`max_staleness`](crate::CacheBuilder::journal), nobody asked it for so long, or an
    /// invalidation by tag or of all is [owed](Self::owed).
    pub bypassed: u64,
    /// Lookups that found a value in Redis.
    pub hits: u64,
    /// Lookups that found a remembered absence there.
    pub absent: u64,
    /// Lookups that found a value past its time, within its grace.
    pub stale: u64,
    /// Lookups that found nothing.
    pub misses: u64,
    /// Lookups that found something that could not be read: misses all the same.
    pub unreadable: u64,
    /// Lookups that Redis did not answer in time.
    pub unavailable: u64,
    /// Lookups that waited for a load of this process that another one had begun.
    pub joined: u64,
    /// Times that the lease was found to be another process's, and waited for.
    pub waits: u64,
    /// Loads begun before the value's time was over.
    pub refreshes: u64,
    /// Loader calls; one for all keys of a batch.
    pub loads: u64,
    /// Loader calls that ended in an error.
    pub load_errors: u64,
    /// Entries written.
    pub fills: u64,
    /// Entries that could not be written.
    pub fill_errors: u64,
    /// Invalidations that Redis has not taken yet, and that this process repeats.
    pub owed: u64,
    /// Times that a server was found to be another process than before, or a replica to have become a primary: what it
    /// acknowledged before may be lost.
    pub failovers: u64,
    /// Invalidations that were acknowledged and are repeated, because a failover may have lost them.
    pub repeated: u64,
    /// Entries that were not written, because the key had been removed, written or claimed by another since the load
    /// began.
    pub fills_refused: u64,
    /// Bytes of the entries that were read in Redis, as they are encoded there.
    pub bytes_read: u64,
    /// Bytes of the entries that were written by loads.
    pub bytes_filled: u64,
    /// How long loader calls took.
    pub load_times: LoadTimes,
}

impl Stats {
    /// The share of lookups that the cache answered, 0 to 1; `None` before the first.
    pub fn hit_rate(&self) -> Option<f64> {
        let answered = self.answered();
        let all = self.lookups();
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more")]
        (all > 0).then(|| answered as f64 / all as f64)
    }

    /// How many lookups there were.
    pub fn lookups(&self) -> u64 {
        self.answered() + self.misses + self.unreadable + self.unavailable
    }

    fn answered(&self) -> u64 {
        self.local + self.hits + self.absent + self.stale
    }

    /// What adds up over all processes, by the name that it has in Redis.
    fn sums(&mut self) -> impl Iterator<Item = (String, &mut u64)> {
        // What this process keeps or owes now is no sum.
        let Self {
            local_entries: _, owed: _, local, bypassed, hits, absent, stale, misses, ..
        } = self;
        let Self { unreadable, unavailable, joined, waits, refreshes, loads, load_errors, .. } =
            self;
        let Self { fills, fill_errors, fills_refused, bytes_read, bytes_filled, .. } = self;
        let named = [
            ("local", local),
            ("bypassed", bypassed),
            ("hits", hits),
            ("absent", absent),
            ("stale", stale),
            ("misses", misses),
            ("unreadable", unreadable),
            ("unavailable", unavailable),
            ("joined", joined),
            ("waits", waits),
            ("refreshes", refreshes),
            ("loads", loads),
            ("load_errors", load_errors),
            ("fills", fills),
            ("fill_errors", fill_errors),
            ("fills_refused", fills_refused),
            ("bytes_read", bytes_read),
            ("bytes_filled", bytes_filled),
        ];
        let times = self.load_times.0.iter_mut().enumerate();
        let times = times.map(|(class, count)| (format!("load_time_{class}"), count));
        named.into_iter().map(|(name, sum)| (name.to_owned(), sum)).chain(times)
    }

    /// By how much which of its sums are larger.
    pub(crate) fn grown_since(mut self, mut before: Self) -> Vec<(String, u64)> {
        let pairs = self.sums().zip(before.sums());
        let grown = pairs.map(|((name, now), (_, before))| (name, now.saturating_sub(*before)));
        grown.filter(|(_, grown)| *grown > 0).collect()
    }

    /// Of sums by their names.
    pub(crate) fn of_sums(mut found: HashMap<String, u64>) -> Self {
        let mut stats = Self::default();
        stats.sums().for_each(|(name, sum)| *sum = found.remove(&name).unwrap_or(0));
        stats
    }
}

/// How one lookup went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Hit,
    Absent,
    Stale,
    Miss,
    Unreadable,
    Unavailable,
    Local,
}

/// In the order of [`Seen`].
#[cfg(feature = "metrics")]
const RESULTS: [&str; 7] = ["hit", "absent", "stale", "miss", "unreadable", "unavailable", "local"];

#[derive(Debug)]
pub(crate) struct Counters {
    #[cfg(feature = "metrics")]
    cache: std::sync::Arc<str>,
    counts: Striped<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    lookups: [AtomicU64; 7],
    loads: [AtomicU64; 2],
    fills: [AtomicU64; 3],
    bypassed: AtomicU64,
    joined: AtomicU64,
    waits: AtomicU64,
    refreshes: AtomicU64,
    failovers: AtomicU64,
    repeated: AtomicU64,
    /// Read, and written by loads.
    bytes: [AtomicU64; 2],
    times: [AtomicU64; BUCKETS],
}

impl Counters {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only a label"))]
    pub(crate) fn new(cache: &str) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            cache: cache.into(),
            counts: Striped::default(),
        }
    }

    #[inline]
    pub(crate) fn lookup(&self, seen: Seen) {
        self.counts.mine().lookups[seen as usize].fetch_add(1, Relaxed);
        #[cfg(feature = "metrics")]
        {
            let result = RESULTS[seen as usize];
            metrics::counter!(names::LOOKUPS, "cache" => self.cache.clone(), "result" => result)
                .increment(1);
        }
    }

    pub(crate) fn load(&self, ok: bool, took: Duration) {
        let counts = self.counts.mine();
        counts.loads[usize::from(!ok)].fetch_add(1, Relaxed);
        counts.times[LoadTimes::class(took)].fetch_add(1, Relaxed);
        #[cfg(feature = "metrics")]
        {
            metrics::counter!(names::LOADS, "cache" => self.cache.clone(), "result" => result(ok))
                .increment(1);
            metrics::histogram!(names::LOAD_SECONDS, "cache" => self.cache.clone()).record(took);
        }
    }

    pub(crate) fn fill(&self, ok: bool) {
        self.filled(usize::from(!ok));
    }

    /// A fill whose lease was gone.
    pub(crate) fn refused(&self) {
        self.filled(2);
    }

    fn filled(&self, result: usize) {
        self.counts.mine().fills[result].fetch_add(1, Relaxed);
        #[cfg(feature = "metrics")]
        {
            let result = ["ok", "error", "refused"][result];
            metrics::counter!(names::FILLS, "cache" => self.cache.clone(), "result" => result)
                .increment(1);
        }
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.counts.mine().bytes[0].fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn filled_bytes(&self, bytes: usize) {
        self.counts.mine().bytes[1].fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn bypassed(&self) {
        self.counts.mine().bypassed.fetch_add(1, Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!(names::BYPASSED, "cache" => self.cache.clone()).increment(1);
    }

    pub(crate) fn joined(&self) {
        self.counts.mine().joined.fetch_add(1, Relaxed);
    }

    pub(crate) fn waited(&self) {
        self.counts.mine().waits.fetch_add(1, Relaxed);
    }

    pub(crate) fn refreshed(&self) {
        self.counts.mine().refreshes.fetch_add(1, Relaxed);
    }

    /// And repeats so much.
    pub(crate) fn failed_over(&self, repeated: usize) {
        let (counts, repeated) = (self.counts.mine(), repeated as u64);
        counts.failovers.fetch_add(1, Relaxed);
        counts.repeated.fetch_add(repeated, Relaxed);
        #[cfg(feature = "metrics")]
        {
            metrics::counter!(names::FAILOVERS, "cache" => self.cache.clone()).increment(1);
            metrics::counter!(names::REPEATED, "cache" => self.cache.clone()).increment(repeated);
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let mut stats = Stats::default();
        for counts in self.counts.all() {
            let Stats { local, hits, absent, stale, misses, unreadable, unavailable, .. } =
                &mut stats;
            let seen = [hits, absent, stale, misses, unreadable, unavailable, local];
            add(&counts.lookups, seen);
            let Stats { loads, load_errors, fills, fill_errors, fills_refused, .. } = &mut stats;
            add(&counts.loads, [loads, load_errors]);
            add(&counts.fills, [fills, fill_errors, fills_refused]);
            stats.bypassed += counts.bypassed.load(Relaxed);
            stats.joined += counts.joined.load(Relaxed);
            stats.waits += counts.waits.load(Relaxed);
            stats.refreshes += counts.refreshes.load(Relaxed);
            stats.failovers += counts.failovers.load(Relaxed);
            stats.repeated += counts.repeated.load(Relaxed);
            add(&counts.bytes, [&mut stats.bytes_read, &mut stats.bytes_filled]);
            add(&counts.times, stats.load_times.0.each_mut());
        }
        stats.loads += stats.load_errors;
        stats
    }
}

fn add<const N: usize>(counts: &[AtomicU64; N], sums: [&mut u64; N]) {
    for (count, sum) in counts.iter().zip(sums) {
        *sum += count.load(Relaxed);
    }
}

#[cfg(feature = "metrics")]
fn result(ok: bool) -> &'static str {
    if ok { "ok" } else { "error" }
}
