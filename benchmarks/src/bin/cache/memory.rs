//! Hits in this process's memory, beside a bare moka. An operation is a lookup of each of 100 keys, so that nothing else
//! is measured.

use std::sync::Arc;

use moka::sync::Cache as Moka;
use russet_benchmarks::{Ops, Result, Side, Suite, resident};
use russet_cache::{Cache, CacheBuilder, Tier};
use russet_core_conn::{KeySpace, Redis};

use crate::{BATCH, Fare, fare, is_hit, never};

/// How a table calls ours.
pub(crate) const LOCAL: &str = "100 x get_or_load, local(10_000)";

const ENTRIES: u64 = 10_000;

/// At most 1.3 times as long as moka takes.
const FLOOR: f64 = 0.77;

/// A task that waits for nothing gives way after so many operations, on both sides: else the 64 would keep the runtime from
/// its clock, which stops them, and from its sockets, by which ours hears what is invalid.
const TURN: u32 = 4;

pub(crate) fn builder(redis: &Redis, keys: &KeySpace) -> CacheBuilder<Fare> {
    Cache::builder(redis, keys, "local").local(ENTRIES)
}

/// Ours, with all keys in it.
pub(crate) async fn cache(redis: &Redis, keys: &KeySpace) -> Result<Cache<Fare>> {
    let cache = builder(redis, keys).build()?;
    for route in 0..BATCH {
        cache.insert(route, fare(route)).await?;
    }
    Ok(cache)
}

pub(crate) async fn rows(suite: &mut Suite, cache: &Cache<Fare>) -> Result {
    let moka = Moka::new(ENTRIES);
    for route in 0..BATCH {
        moka.insert(route, Arc::new(fare(route)));
    }
    for (name, tasks) in [("local hit", 1), ("local hit 64", 64)] {
        warm(cache).await?;
        let other = ("100 x get, moka 0.12, sync::Cache<u32, Arc<_>>", moka_hit(&moka));
        let row = suite.row(name).tasks(tasks).floor(Some(FLOOR));
        row.run((LOCAL, hit(cache)), other).await?;
    }
    Ok(())
}

/// What 1,000 values in memory take beside what they are, in the first round: later ones find memory that the round before
/// has left.
pub(crate) async fn entries(suite: &mut Suite, redis: &Redis, keys: &KeySpace) -> Result {
    const ROW: &str = "memory of 1,000 local entries";
    const EACH: u64 = 50_000;
    static DONE: std::sync::Once = std::sync::Once::new();
    if DONE.is_completed() || !suite.runs(ROW) {
        return Ok(());
    }
    DONE.call_once(|| {});
    let (mut kept, mut pairs) = (Vec::new(), Vec::new());
    let thousand = |from: f64, to: f64| (to - from) * 1_000.0 / EACH as f64;
    // The first of each pays for much that is there once.
    for pair in 0..6 {
        let ours: Cache<u64> =
            Cache::builder(redis, keys, &format!("entries-{pair}")).local(EACH).build()?;
        let moka: Moka<u64, Arc<u64>> = Moka::new(EACH);
        let before = resident()?;
        let all: Vec<u64> = (0..EACH).collect();
        for some in all.chunks(500) {
            let load = |missing: Vec<u64>, _| async move {
                Ok::<_, std::io::Error>(
                    missing.into_iter().map(|key| (key, key)).collect::<Vec<_>>(),
                )
            };
            ours.get_or_load_many(some.iter().copied(), load).await?;
        }
        is_hit(ours.stats().local_entries > EACH * 9 / 10)?;
        let between = resident()?;
        for key in 0..EACH {
            moka.insert(key, Arc::new(key));
        }
        moka.run_pending_tasks();
        let after = resident()?;
        kept.push((ours, moka));
        if pair > 0 {
            pairs.push([thousand(before, between), thousand(between, after)]);
        }
    }
    suite.memory(ROW, "moka 0.12, sync::Cache<u64, Arc<u64>>", pairs);
    drop(kept);
    Ok(())
}

/// Afterwards all is in memory. While a row runs, a hit in Redis, where the machine stood still for a second, is as good:
/// it only counts against ours.
pub(crate) async fn warm(cache: &Cache<Fare>) -> Result {
    for route in 0..BATCH {
        cache.get_or_load(route, |_| never::<Fare>()).await?;
    }
    for route in 0..BATCH {
        let found = cache.get_or_load(route, |_| never::<Fare>()).await?;
        is_hit(found.tier() == Tier::Local && found.value() == Some(&fare(route)))?;
    }
    Ok(())
}

pub(crate) fn hit(cache: &Cache<Fare>) -> impl Side {
    let cache = cache.clone();
    move |mut ops: Ops| {
        let cache = cache.clone();
        async move {
            let mut turn = Turn::default();
            while ops.next() {
                for route in 0..BATCH {
                    let found = cache.get_or_load(route, |_| never::<Fare>()).await?;
                    is_hit(found.value().is_some_and(Fare::is_whole))?;
                }
                turn.over().await;
            }
            Ok(())
        }
    }
}

fn moka_hit(moka: &Moka<u32, Arc<Fare>>) -> impl Side {
    let moka = moka.clone();
    move |mut ops: Ops| {
        let moka = moka.clone();
        async move {
            let mut turn = Turn::default();
            while ops.next() {
                for route in 0..BATCH {
                    is_hit(moka.get(&route).is_some_and(|fare| fare.is_whole()))?;
                }
                turn.over().await;
            }
            Ok(())
        }
    }
}

/// How many operations until another task has its turn.
pub(crate) struct Turn(u32);

impl Default for Turn {
    fn default() -> Self {
        Self(TURN)
    }
}

impl Turn {
    pub(crate) async fn over(&mut self) {
        self.0 -= 1;
        if self.0 == 0 {
            self.0 = TURN;
            tokio::task::yield_now().await;
        }
    }
}
