//! `cargo xtask bench cache`: hits in Redis, one and many, beside the raw commands they cost; in memory beside moka; and
//! both beside other caches.

mod memory;
#[cfg(feature = "caches")]
mod versus;

use bytes::Bytes;
use fred::{interfaces::KeysInterface, prelude::Client};
use russet_benchmarks::{
    Ops, Result, Side, Suite,
    rivals::{self, FRED},
};
use russet_cache::{Access, Cache};
use russet_core_conn::{Codec, KeySpace, Redis};
use serde::{Deserialize, Serialize};
use std::{io, process::ExitCode};

/// What a shop would cache; 512 bytes as an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "caches", derive(hitbox_fn::CacheableResponse))]
struct Fare {
    route: u32,
    origin: String,
    destination: String,
    cents: u32,
    seats: u16,
    refundable: bool,
    conditions: String,
}

const ENTRY: usize = 512;
const BATCH: u32 = 100;
const NAME: &str = "fare";

fn main() -> ExitCode {
    Suite::main("cache", async |suite| {
        let redis = Redis::connect(suite.url()).await?;
        let fred = rivals::fred(suite.url()).await?;
        let keys = KeySpace::new("bench")?;
        let cache: Cache<Fare> = Cache::new(&redis, &keys, NAME)?;
        for route in 0..BATCH {
            cache.insert(route, fare(route)).await?;
        }
        let raw: Vec<Bytes> =
            (0..BATCH).map(|route| keys.key(&format!("cache.{NAME}"), route).to_bytes()).collect();
        let entry: Bytes = fred.get(raw[0].clone()).await?;
        if entry.len() != ENTRY || decoded(&Codec::default(), &entry)? != fare(0) {
            return Err(format!("the rival would read {} other bytes", entry.len()).into());
        }

        let local = memory::cache(&redis, &keys).await?;
        // Other caches bring much with them, so they are measured in a build of its own.
        #[cfg(feature = "caches")]
        versus::rows(suite, &cache, &local).await?;
        if !cfg!(feature = "caches") {
            hits(suite, &cache, &fred, &raw).await?;
            memory::rows(suite, &local).await?;
            insight(suite, &redis, &keys, [&cache, &local]).await?;
            memory::entries(suite, &redis, &keys).await?;
        }
        Ok(())
    })
}

/// In Redis.
async fn hits(suite: &mut Suite, cache: &Cache<Fare>, fred: &Client, raw: &[Bytes]) -> Result {
    for tasks in [1, 64, 256] {
        let floor = (tasks == 64).then_some(0.90);
        let other = format!("GET and decode by {FRED}");
        let row = suite.row(format!("redis hit {tasks}")).tasks(tasks).floor(floor);
        row.run(("get_or_load", hit(cache)), (&other, fred_hit(fred, raw))).await?;
    }
    let many = || ("get_or_load_many", hit_many(cache));
    let row = suite.row(format!("many {BATCH}")).floor(Some(10.0));
    row.run(many(), ("get_or_load, one after the other", hit_sequentially(cache))).await?;
    let other = format!("pipeline and decode by {FRED}");
    let row = suite.row(format!("many {BATCH} pipeline"));
    row.run(many(), (&other, fred_pipeline(fred, raw))).await?;
    Ok(())
}

/// What it costs to know which keys are asked for, in Redis and in memory: beside the same lookups without it.
async fn insight(
    suite: &mut Suite,
    redis: &Redis,
    keys: &KeySpace,
    [cache, local]: [&Cache<Fare>; 2],
) -> Result {
    let watched = Cache::builder(redis, keys, NAME).access(Access::default()).build()?;
    let row = suite.row("redis hit 64 with insight").tasks(64);
    row.run(("get_or_load, access", hit(&watched)), ("get_or_load", hit(cache))).await?;
    let watched = memory::builder(redis, keys).access(Access::default()).build()?;
    memory::warm(&watched).await?;
    memory::warm(local).await?;
    let ours = (&*format!("{}, access", memory::LOCAL), memory::hit(&watched));
    suite.row("local hit with insight").run(ours, (memory::LOCAL, memory::hit(local))).await
}

impl Fare {
    /// Each side looks at what it found.
    fn is_whole(&self) -> bool {
        self.seats == 144
    }
}

fn fare(route: u32) -> Fare {
    Fare {
        route: 1_000_000 + route,
        origin: "SEA".to_owned(),
        destination: "LAX".to_owned(),
        cents: 23_900,
        seats: 144,
        refundable: false,
        conditions: "x".repeat(427),
    }
}

fn hit(cache: &Cache<Fare>) -> impl Side {
    let cache = cache.clone();
    move |mut ops: Ops| {
        let cache = cache.clone();
        async move {
            let route = ops.task() as u32 % BATCH;
            while ops.next() {
                let found = cache.get_or_load(route, |_| never::<Fare>()).await?;
                is_hit(found.value().is_some_and(Fare::is_whole))?;
            }
            Ok(())
        }
    }
}

fn fred_hit(client: &Client, keys: &[Bytes]) -> impl Side {
    let (client, keys) = (client.clone(), keys.to_vec());
    move |mut ops: Ops| {
        let (client, key) = (client.clone(), keys[ops.task() % keys.len()].clone());
        async move {
            let codec = Codec::default();
            while ops.next() {
                let entry: Option<Bytes> = client.get(key.clone()).await?;
                is_hit(decoded(&codec, &entry.ok_or("nothing there")?)?.is_whole())?;
            }
            Ok(())
        }
    }
}

fn hit_many(cache: &Cache<Fare>) -> impl Side {
    let cache = cache.clone();
    move |mut ops: Ops| {
        let cache = cache.clone();
        async move {
            while ops.next() {
                let found = cache.get_or_load_many(0..BATCH, |_, _| never::<Vec<(u32, Fare)>>());
                is_hit(found.await?.iter().all(russet_cache::Lookup::is_hit))?;
            }
            Ok(())
        }
    }
}

fn hit_sequentially(cache: &Cache<Fare>) -> impl Side {
    let cache = cache.clone();
    move |mut ops: Ops| {
        let cache = cache.clone();
        async move {
            while ops.next() {
                for route in 0..BATCH {
                    is_hit(cache.get_or_load(route, |_| never::<Fare>()).await?.is_hit())?;
                }
            }
            Ok(())
        }
    }
}

fn fred_pipeline(client: &Client, keys: &[Bytes]) -> impl Side {
    let (client, keys) = (client.clone(), keys.to_vec());
    move |mut ops: Ops| {
        let (client, keys) = (client.clone(), keys.clone());
        async move {
            let codec = Codec::default();
            while ops.next() {
                let pipeline = client.pipeline();
                for key in &keys {
                    let () = pipeline.get(key.clone()).await?;
                }
                let entries: Vec<Bytes> = pipeline.all().await?;
                for entry in entries {
                    is_hit(decoded(&codec, &entry)?.is_whole())?;
                }
            }
            Ok(())
        }
    }
}

/// The loader of a cache that has everything. Where Redis was too slow to say so, the benchmark ends, and does not hang.
async fn never<T>() -> Result<T, io::Error> {
    Err(io::Error::other("the loader was asked"))
}

/// An entry is one byte that says "a value", then the codec's envelope.
fn decoded(codec: &Codec, entry: &[u8]) -> Result<Fare> {
    Ok(codec.decode(entry.get(1..).ok_or("an empty entry")?)?)
}

fn is_hit(hit: bool) -> Result {
    if hit { Ok(()) } else { Err("not a hit".into()) }
}
