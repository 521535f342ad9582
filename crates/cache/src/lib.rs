//! Caching on Redis and Valkey: look up, load what is missing, remember what is not there.
//!
//! ```no_run
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Route { fare_cents: u32 }
//! # async fn from_database(_: u64) -> Result<Option<Route>, std::io::Error> { Ok(None) }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use russet_cache::Cache;
//! use russet_core_conn::{KeySpace, Redis};
//!
//! let redis = Redis::builder("redis://localhost").build()?;
//! let routes: Cache<Route> = Cache::builder(&redis, &KeySpace::new("shop")?, "route")
//!     .ttl(Duration::from_secs(3_600))
//!     .build()?;
//!
//! let id = 42;
//! let found = routes.get_or_load(id, move |_| from_database(id)).await?;
//! println!("{:?} from {:?}", found.freshness(), found.tier());
//!
//! // After the database has changed:
//! routes.remove(id).await?;
//! # Ok(()) }
//! ```
//!
//! # What you can rely on
//!
//! - **Without Redis the loader serves.** A lookup with a loader waits for Redis for its budget (100 ms) at most, before
//!   the key space's layout is agreed upon for two (one for that), and after a load for one more, to cache it; not at
//!   all while the connection is known to be away. Then the loader is asked and nothing is cached. When Redis
//!   hangs the first few lookups wait; then a [breaker](CacheBuilder::breaker) lets only one through now and then, to
//!   see whether it is back. It is asked again within about 2 s of its return.
//! - **Many keys are one trip.** [`Cache::get_or_load_many`] reads them in one, loads what is missing with one call, and
//!   caches it in one.
//! - **Absence is remembered**, for its own shorter time: what does not exist does not cost a load each time.
//! - **No entry without an end.** The TTL is set with the value in one command, and drawn by jitter, so that what was
//!   cached together does not end together.
//! - **One unreadable entry is one miss**: corrupt bytes, another type, an older release's shape. It is replaced.
//! - **One key, one shape**, whichever call wrote it.
//!
//! # Where that ends
//!
//! - Concurrent misses of one key each call their loader.
//! - A loader that read the origin before a change may cache what it read after [`Cache::remove`] was acknowledged. The
//!   TTL bounds how long that is seen.
//! - A lookup whose future is dropped drops its loader, too.
//! - Two caches of different types must not share a name in one key space: each would find the other's entries
//!   unreadable, and replace them.
//!
//! # Keys
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `{prefix:p}:cache.<name>:<segment>:…` | string | one entry | by its TTL |
//! | `{prefix}:layout` | hash | the layout version and number of partitions | with the key space |
//!
//! # Features
//!
//! `metrics`: counters and histograms by the `metrics` facade. [`Cache::stats`] has the counts without it.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `russet_cache_lookups_total` | counter | `cache`, `result`: `hit`, `absent`, `miss`, `unreadable`, `unavailable` |
//! | `russet_cache_loads_total` | counter | `cache`, `result`: `ok`, `error` |
//! | `russet_cache_load_seconds` | histogram | `cache`: one loader call |
//! | `russet_cache_fills_total` | counter | `cache`, `result`: `ok`, `error` |

mod builder;
mod cache;
mod entry;
mod error;
mod keys;
mod load;
mod lookup;
mod many;
mod stats;

pub use self::builder::CacheBuilder;
pub use self::cache::Cache;
pub use self::error::{Error, LoadError};
pub use self::load::{Load, LoadContext, Reason};
pub use self::lookup::{Freshness, Lookup, Tier};
pub use self::stats::Stats;
