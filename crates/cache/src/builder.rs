//! Options, validated by `build()`.

use std::marker::PhantomData;
use std::time::Duration;

use russet_core_conn::{Breaker, Codec, Durability, KeySpace};

use crate::access::{Access, Insight};
use crate::adaptive::AdaptiveTtl;
use crate::cache::Cache;
use crate::error::Error;
use crate::journal::Journal;
use crate::keys::Keys;
use crate::local::Local;
use crate::origin::Origin;
use crate::policy::{LONGEST_TTL, Policy, RefreshAhead};
use crate::scripts::journal::JournalKeys;
use crate::store::Store;
use crate::tracked::Tracked;

/// The options of a [`Cache`]. See [`Cache::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `build()`"]
pub struct CacheBuilder<V> {
    store: Store,
    space: KeySpace,
    name: String,
    /// Where one is chosen.
    ttl: Option<Duration>,
    policy: Policy,
    budget: Duration,
    breaker: Guard,
    codec: Codec,
    staleness: Option<Duration>,
    local: Option<u64>,
    local_ttl: Option<Duration>,
    origin: usize,
    access: Option<Access>,
    value: PhantomData<fn() -> V>,
}

/// Which breaker lookups with a loader go through.
#[derive(Debug, Clone)]
enum Guard {
    Own,
    Shared(Breaker),
    None,
}

impl<V> CacheBuilder<V> {
    pub(crate) fn on(store: Store, space: &KeySpace, name: &str) -> Self {
        Self {
            store,
            space: space.clone(),
            name: name.to_owned(),
            ttl: None,
            policy: Policy {
                ttl: Duration::from_secs(300),
                absent_ttl: Duration::from_secs(30),
                jitter: 0.1,
                grace: Duration::ZERO,
                backoff: Duration::from_secs(10),
                soft: Duration::ZERO,
                hard: None,
                ahead: None,
                lease: Duration::from_secs(5),
                adaptive: None,
                own_ttl: false,
                counts: true,
            },
            budget: Duration::from_millis(100),
            breaker: Guard::Own,
            codec: Codec::default(),
            staleness: None,
            local: None,
            local_ttl: None,
            origin: 100,
            access: None,
            value: PhantomData,
        }
    }

    /// How long a value is kept, from 1 ms to ten years. Default: 300 s, for what is [written](Cache::write) through, too:
    /// an entry is the same whoever fills it, and only the user knows whether all changes of the origin go that way. Where
    /// they do, nothing is out of date for long, and [`with_ttl`](Cache::with_ttl) of an hour saves loads.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long it is remembered that there is no value. Default: 30 s, less than a value's, because what is created
    /// later should be seen soon.
    pub fn absent_ttl(mut self, ttl: Duration) -> Self {
        self.policy.absent_ttl = ttl;
        self
    }

    /// The share of each TTL that is left to chance, 0 to 1: it is drawn from `ttl × (1 − share)` to `ttl`, so that
    /// what was filled together does not end together. Default: 0.1.
    pub fn jitter(mut self, share: f64) -> Self {
        self.policy.jitter = share;
        self
    }

    /// How long a value may be used after its time: while it is loaded anew, and where the loader fails. Up to ten years.
    /// Default: 0, not at all. With it, entries keep their own times by the server's clock, and a lookup is a script.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.policy.grace = grace;
        self
    }

    /// How long a lookup that has a stale value waits for the load before it gives that; the load goes on. Default: 0:
    /// stale values are given at once (stale while revalidating).
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.policy.soft = timeout;
        self
    }

    /// How long a lookup with a loader takes at all, then it ends with [`LoadError::Timeout`](crate::LoadError::Timeout);
    /// the load goes on. Default: as long as the loader takes.
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.policy.hard = Some(timeout);
        self
    }

    /// After a load has failed, and there is a stale value: for how long it is given without another try, in all
    /// processes. Default: 10 s, so that an origin in trouble is not asked by everybody all the time.
    pub fn grace_backoff(mut self, backoff: Duration) -> Self {
        self.policy.backoff = backoff;
        self
    }

    /// Refreshes values in the background before their time is over: each by its own TTL, whoever chose that. Default:
    /// not. With it, entries keep their own times by the server's clock, and a lookup is a script. A process's
    /// [memory](Self::local) leaves a lookup to Redis as soon as it would be due there.
    pub fn refresh_ahead(mut self, ahead: RefreshAhead) -> Self {
        self.policy.ahead = Some(ahead);
        self
    }

    /// How long the lease of a load lasts if its holder is not heard of; a holder that lives renews it every third of
    /// that. From 30 ms to an hour. Default: 5 s: for so long others wait for a process that has died.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.policy.lease = lease;
        self
    }

    /// How long a lookup with a loader waits for Redis before it asks the loader, and again for what was loaded to be
    /// cached; the first lookups also to agree on the key space's layout. Default: 100 ms, at most the handle's
    /// deadline.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// The breaker that lookups with a loader go through: while it is open, they ask the loader at once instead of
    /// waiting for their budget. Default: the handle's, and else [`Breaker::new`] of this cache's name. Caches on one
    /// server do well to share one, so that what one has seen the others know.
    ///
    /// Calls without a loader to fall back to (`get`, `insert`, `remove`) go through the handle's breaker alone, if it
    /// has one.
    pub fn breaker(mut self, breaker: &Breaker) -> Self {
        self.breaker = Guard::Shared(breaker.clone());
        self
    }

    /// No breaker but the handle's, if it has one.
    pub fn without_breaker(mut self) -> Self {
        self.breaker = Guard::None;
        self
    }

    /// How values are encoded. Default: [`Codec::default`], MessagePack without compression. What was written with another
    /// codec is still read, and what can't be read as `V`, because an older or newer release wrote it, is a miss.
    ///
    /// With the feature `lz4` or `zstd`, values above a threshold can be compressed:
    ///
    /// ```
    /// # #[cfg(feature = "lz4")]
    /// # fn example(redis: &russet_core_conn::Redis, keys: &russet_core_conn::KeySpace) -> Result<(), Box<dyn std::error::Error>> {
    /// use russet_cache::{Cache, Codec, Compression};
    ///
    /// let codec = Codec::builder().compression(Compression::Lz4).threshold(4_096).build()?;
    /// let pages: Cache<String> = Cache::builder(redis, keys, "page").codec(codec).build()?;
    /// # Ok(()) }
    /// ```
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Keeps a journal of what becomes invalid, in Redis. With it there are [tags](crate::Load::tags),
    /// [`invalidate_tags`](Cache::invalidate_tags), [`invalidate_all`](Cache::invalidate_all),
    /// [`invalidations`](Cache::invalidations) and [`local`](Self::local); without it a value is invalid by its key alone.
    ///
    /// `max_staleness` is for how long after it was acknowledged an invalidation by tag or of all may be unknown to
    /// another process, and one by key to its memory; up to an hour. It holds also where messages are lost or late:
    /// whoever uses a value has asked Redis no longer ago than that whether there is news. A process that is used asks
    /// every half of it, in one round trip and in the background, and is told of news meanwhile; with 0 each lookup asks
    /// first. Where it gets no answer, its memory is not used, and lookups go on as if Redis were away.
    ///
    /// All programs that use the cache must keep its journal, or none: those that do not can't read what the others
    /// write, and the others not theirs. Entries of both are then misses, and each is logged.
    pub fn journal(mut self, max_staleness: Duration) -> Self {
        self.staleness = Some(max_staleness);
        self
    }

    /// Keeps up to so many values in this process's memory, decoded: a hit there costs no round trip. Which ones is
    /// decided by how often they are asked for (TinyLFU), as a bare moka of that size does: with 1,000
    /// entries <!--soak replay-local: zipf_local_permille-->73.6% of <!--soak replay-local: lookups-->300,000 lookups by Zipf's law on 10,000 keys were hits,
    /// with moka <!--soak replay-local: zipf_moka_permille-->73.9%, and <!--soak replay-local: scanning_local_permille-->34.0%
    /// against <!--soak replay-local: scanning_moka_permille-->34.1% where half of them walk through keys that nobody asks for again
    /// (`soak_replay_local`). Beside their keys and values, 1,000 take <!--bench cache: memory of 1,000 local entries: ours-->570 KiB;
    /// in a bare moka it is <!--bench cache: memory of 1,000 local entries: other-->299. Default: none, for how many fit depends on
    /// how large decoded values are, which only the user knows. It needs a [`journal`](Self::journal), and has one of 1 s if none is chosen.
    pub fn local(mut self, entries: u64) -> Self {
        self.local = Some(entries);
        self
    }

    /// How long this process's memory may keep a value; never longer than Redis has it. Default: half of
    /// [`ttl`](Self::ttl).
    pub fn local_ttl(mut self, ttl: Duration) -> Self {
        self.local_ttl = Some(ttl);
        self
    }

    /// How many loads of this process may be under way at a time while Redis can't say who is to load: it is away, or the
    /// holder of a lease has been too slow for too long. Up to 100 times as many wait their turn, and those beyond have
    /// [`LoadError::Overloaded`](crate::LoadError::Overloaded). Default: 100, so that a cache that is lost does not become
    /// an origin that is lost. With leases there is one load a key, and this bounds nothing.
    pub fn origin_limit(mut self, loads: usize) -> Self {
        self.origin = loads;
        self
    }

    /// Finds out which keys are asked for: [`hot`](Cache::hot), [`missed`](Cache::missed), [`recent`](Cache::recent), and
    /// [`fleet_stats`](Cache::fleet_stats). Default: not.
    ///
    /// Each process counts in its own memory, and merges what it has seen into Redis [every 10 s](Access::every) while it
    /// is used: one script for 250 keys, no command for a lookup. Of lookups that a process answers from its own memory it
    /// looks at one in 16, drawn by chance, which counts for all. What a process has not merged when it ends is not
    /// counted, and neither is what Redis did not take. Keys with a segment of more than 128 bytes can't be told, and are
    /// not recorded.
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Keeps values the longer, the more often their keys are asked for, in the place of [`ttl`](Self::ttl): what is hot is
    /// loaded seldom, and what is not takes its place for a short time only. Never for longer than a `ttl` that is set. How often that was is known by the
    /// [insight](Self::access) of this process, and of others as far as it is merged; it decays, and neither a miss nor a
    /// removal sets it back. Default: not. It has the default insight if none is chosen. A load with a
    /// [TTL of its own](crate::Load::ttl) and a handle [with one](Cache::with_ttl) keep that.
    ///
    /// It saves calls where memory is short and old values do no harm, and nothing else: a longer TTL for all hits more, and
    /// needs more memory. Measured over <!--soak replay-adaptive-ttl: lookups-->1,000,000 lookups in 14 hours by Zipf's law (skew 1)
    /// on <!--soak replay-adaptive-ttl: keys-->20,000 keys, nothing being evicted (`soak_replay_adaptive_ttl`):
    ///
    /// | TTL | hits | origin calls | entries, on average | age of a hit, on average |
    /// |---|---|---|---|---|
    /// | 300 s | <!--soak replay-adaptive-ttl: zipf_fixed_300_hit_permille-->65.8% | <!--soak replay-adaptive-ttl: zipf_fixed_300_origin_calls-->342,131 | <!--soak replay-adaptive-ttl: zipf_fixed_300_entries-->2,047 | <!--soak replay-adaptive-ttl: zipf_fixed_300_age_s-->150 s |
    /// | adaptive, 300 s to 3,600 s | <!--soak replay-adaptive-ttl: zipf_adaptive_hit_permille-->74.2% | <!--soak replay-adaptive-ttl: zipf_adaptive_origin_calls-->258,489 | <!--soak replay-adaptive-ttl: zipf_adaptive_entries-->3,116 | <!--soak replay-adaptive-ttl: zipf_adaptive_age_s-->1,116 s |
    /// | <!--soak replay-adaptive-ttl: zipf_fixed_as_many_entries_ttl_s-->542 s, for as many entries | <!--soak replay-adaptive-ttl: zipf_fixed_as_many_entries_hit_permille-->71.2% | <!--soak replay-adaptive-ttl: zipf_fixed_as_many_entries_origin_calls-->288,002 | <!--soak replay-adaptive-ttl: zipf_fixed_as_many_entries_entries-->3,107 | <!--soak replay-adaptive-ttl: zipf_fixed_as_many_entries_age_s-->271 s |
    /// | 3,600 s | <!--soak replay-adaptive-ttl: zipf_fixed_3600_hit_permille-->86.7% | <!--soak replay-adaptive-ttl: zipf_fixed_3600_origin_calls-->132,637 | <!--soak replay-adaptive-ttl: zipf_fixed_3600_entries-->9,214 | <!--soak replay-adaptive-ttl: zipf_fixed_3600_age_s-->1,781 s |
    ///
    /// Where half of the lookups are for keys that nobody asks for again, there is hardly a
    /// gain: <!--soak replay-adaptive-ttl: scanning_adaptive_hit_permille-->32.9% are hits, against <!--soak replay-adaptive-ttl: scanning_fixed_as_many_entries_hit_permille-->32.0%
    /// with a fixed TTL of as many entries and <!--soak replay-adaptive-ttl: scanning_fixed_300_hit_permille-->29.6% with 300 s.
    pub fn adaptive_ttl(mut self, adaptive: AdaptiveTtl) -> Self {
        self.policy.adaptive = Some(adaptive);
        self
    }

    /// Validates, and makes the cache. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Config`], naming the option, what is wrong with it and what is allowed.
    pub fn build(self) -> Result<Cache<V>, Error>
    where
        V: Send + Sync + 'static,
    {
        let config =
            |field, problem: String, allowed| Err(Error::Config { field, problem, allowed });
        if self.name.is_empty() || self.name.len() > 64 {
            return config("name", format!("{:?}", self.name), "1 to 64 bytes");
        }
        let mut policy = self.policy;
        policy.adaptive = policy.adaptive.map(|adaptive| adaptive.within(self.ttl));
        if let Some(problem) = policy.adaptive.and_then(AdaptiveTtl::problem) {
            return config(
                "adaptive_ttl",
                problem,
                "a base from 1 ms to the longest, that up to ten years and to `ttl`, if set",
            );
        }
        let ttl = self.ttl.unwrap_or(policy.ttl);
        policy.ttl = policy.adaptive.map_or(ttl, AdaptiveTtl::longest);
        for (field, ttl) in [("ttl", policy.ttl), ("absent_ttl", policy.absent_ttl)] {
            if ttl < Duration::from_millis(1) || ttl > LONGEST_TTL {
                return config(field, format!("{ttl:?}"), "1 ms to ten years");
            }
        }
        for (field, time) in [("grace", policy.grace), ("grace_backoff", policy.backoff)] {
            if time > LONGEST_TTL {
                return config(field, format!("{time:?}"), "up to ten years");
            }
        }
        if !(0.0..=1.0).contains(&policy.jitter) {
            return config("jitter", policy.jitter.to_string(), "0 to 1");
        }
        if policy.hard == Some(Duration::ZERO) {
            return config("hard_timeout", "0".into(), "above zero");
        }
        if !(Duration::from_millis(30)..=Duration::from_secs(3_600)).contains(&policy.lease) {
            return config("lease", format!("{:?}", policy.lease), "30 ms to an hour");
        }
        if let Some(problem) = policy.ahead.and_then(RefreshAhead::problem) {
            let allowed = "a share above 0 and below 1; a beta above 0";
            return config("refresh_ahead", problem, allowed);
        }
        if self.budget.is_zero() {
            return config("budget", "0".into(), "above zero");
        }
        if self.origin == 0 {
            return config("origin_limit", "0".into(), "at least one");
        }
        if self.local == Some(0) {
            return config("local", "0".into(), "at least one entry");
        }
        if let Some(time) = self.staleness.filter(|time| *time > Duration::from_secs(3_600)) {
            return config("journal", format!("{time:?}"), "up to an hour");
        }
        if let Some((problem, allowed)) = self.access.and_then(|access| access.problem()) {
            return config("access", problem, allowed);
        }
        let budgeted = match &self.store {
            Store::Redis(redis) => {
                let budget = self.budget.min(redis.deadline());
                let budgeted = redis.with_deadline(budget).without_waiting();
                // A lease or a fill that a failover takes back is a miss.
                let budgeted = budgeted.with_durability(Durability::Async);
                Store::Redis(match self.breaker {
                    Guard::Shared(breaker) => budgeted.with_breaker(&breaker),
                    Guard::Own if budgeted.breaker().is_none() => {
                        budgeted.with_breaker(&Breaker::new(&self.name))
                    }
                    Guard::Own | Guard::None => budgeted,
                })
            }
            #[cfg(feature = "test-util")]
            memory @ Store::Memory(_) => memory.clone(),
        };
        let keys = Keys::new(&self.space, &self.name);
        let staleness = self.staleness.or(self.local.map(|_| Duration::from_secs(1)));
        let tracked = staleness.map(|staleness| {
            let journal = Journal::new(JournalKeys::of(&keys), staleness);
            let ttl = self.local_ttl.unwrap_or(policy.ttl / 2);
            let local = self.local.map(|entries| Local::new(entries, ttl, policy.ahead));
            Tracked::new(journal, local)
        });
        let origin = Origin::new(self.origin);
        let access = self.access.or(policy.adaptive.map(|_| Access::default()));
        let insight = access.map(Insight::new);
        Ok(Cache::assemble(
            self.store, budgeted, keys, policy, self.codec, tracked, origin, insight,
        ))
    }
}

#[cfg(test)]
mod tests {
    use russet_core_conn::Redis;

    use super::*;

    #[test]
    fn bad_options_are_named() {
        let redis = Redis::builder("redis://localhost").build().unwrap();
        let space = KeySpace::new("t").unwrap();
        let ok = || Cache::<u8>::builder(&redis, &space, "c");
        assert!(ok().build().is_ok());
        for (builder, field) in [
            (Cache::<u8>::builder(&redis, &space, ""), "name"),
            (ok().ttl(Duration::ZERO), "ttl"),
            (ok().absent_ttl(Duration::ZERO), "absent_ttl"),
            (ok().jitter(f64::NAN), "jitter"),
            (ok().budget(Duration::ZERO), "budget"),
            (ok().grace(Duration::MAX), "grace"),
            (ok().grace_backoff(Duration::MAX), "grace_backoff"),
            (ok().hard_timeout(Duration::ZERO), "hard_timeout"),
            (ok().local(0), "local"),
            (ok().origin_limit(0), "origin_limit"),
            (ok().journal(Duration::MAX), "journal"),
            (ok().lease(Duration::from_millis(1)), "lease"),
            (ok().access(Access::default().keys(0)), "access"),
            (ok().adaptive_ttl(AdaptiveTtl::default().base(Duration::ZERO)), "adaptive_ttl"),
            (ok().adaptive_ttl(AdaptiveTtl::default().max(Duration::MAX)), "adaptive_ttl"),
            (ok().adaptive_ttl(AdaptiveTtl::default().max(Duration::from_secs(1))), "adaptive_ttl"),
            (
                ok().adaptive_ttl(AdaptiveTtl::default()).ttl(Duration::from_secs(299)),
                "adaptive_ttl",
            ),
            (ok().access(Access::default().every(Duration::ZERO)), "access"),
            (ok().access(Access::default().half_life(Duration::MAX)), "access"),
            (ok().refresh_ahead(RefreshAhead::at(1.0)), "refresh_ahead"),
            (ok().refresh_ahead(RefreshAhead::xfetch(f64::NAN)), "refresh_ahead"),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
        }
    }
}
