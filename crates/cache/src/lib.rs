//! Caching on Redis and Valkey: look up, load what is missing once for all who ask, remember what is not there.
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
//! - **Without Redis the loader serves.** Each question that a lookup with a loader has for Redis waits for its budget
//!   (100 ms) at most: what is there, then the lease on what is not, and after a load the fill; before the key space's
//!   layout is agreed upon, that too. None waits while the connection is known to be away. At the first that is not
//!   answered the loader is asked, and nothing is cached. When Redis
//!   hangs the first few lookups wait; then a [breaker](CacheBuilder::breaker) lets only one through now and then, to
//!   see whether it is back. It is asked again within about 2 s of its return.
//! - **One load a key, over all processes.** Whoever misses takes a lease on the key; others wait for the fill, and are
//!   woken by a message. A process that dies while it loads is followed by another when its lease ends (5 s by default).
//! - **No stale fill.** Only the lease lets a load fill, and whatever is said of the key meanwhile takes the lease away:
//!   [`remove`](Cache::remove), [`expire`](Cache::expire), [`insert`](Cache::insert), its TTL. A loader that read the
//!   origin before a change can't put that back after it, however late it comes. Nor is anybody who asks after a removal
//!   was acknowledged given what such a load has read, in this process or another.
//! - **A caller that goes away does not take the load with it**: it runs in a task of its own, and others have it.
//! - **Stale while revalidating, stale if the origin fails**, with [`grace`](CacheBuilder::grace); refreshed before its
//!   time is over with [`refresh_ahead`](CacheBuilder::refresh_ahead), by one lookup of all processes. What is fresh is
//!   told by the server's clock alone.
//! - **Invalid by key, by tag, or all at once.** With a [`journal`](CacheBuilder::journal), values have
//!   [tags](Load::tags), and one small write makes invalid whatever has one of them, or all there is, also what is just
//!   being loaded. Nothing is scanned, and no set of keys is kept for a tag.
//! - **A memory of its own that is not stale for long.** With [`local`](CacheBuilder::local), a process keeps decoded
//!   values: a hit there asks Redis nothing. What was said to be invalid is so in the process that said it at once, and
//!   in all others within `max_staleness`, also where messages are lost, connections stall, everything is deleted or a
//!   primary fails over: a value is only used if Redis was asked for news no longer ago than that, and answered. Where
//!   the news has a hole in it, all that was kept is dropped.
//! - **Nothing older than what was written.** [`write`](Cache::write) changes the origin while it has the key to itself,
//!   so that a process that dies half-way, and others that write at the same time, leave nothing stale; so does
//!   [`write_with`](Cache::write_with) of other keys that change with it.
//!   [`update`](Cache::update) is for those who hear of changes with their versions, in whichever order.
//! - **Or written later.** [`WriteBehind`] takes writes as soon as Redis has them, merges those of one entity, and commits them
//!   to a database in batches, in order, with nothing lost; lookups see what was written meanwhile.
//! - **Many keys are one trip.** [`Cache::get_or_load_many`] reads them in one, takes the leases on what is missing in one,
//!   loads it with one call, and caches it in one.
//! - **Absence is remembered**, for its own shorter time: what does not exist does not cost a load each time.
//! - **No entry without an end.** The TTL is set with the value in one command, and drawn by jitter, so that what was
//!   cached together does not end together.
//! - **One unreadable entry is one miss**: corrupt bytes, another type, an older release's shape. It is replaced.
//! - **One key, one shape**, whichever call wrote it.
//! - **What is asked for is known**, with [`access`](CacheBuilder::access): which keys of all processes, how often, and
//!   which in vain, at no command for a lookup. On it stand, if you ask for them, a [TTL by how often a key is asked
//!   for](CacheBuilder::adaptive_ttl), [prefetching](Cache::prefetch), [warming](Cache::predictive_warmer) and an
//!   [optimizer](Cache::optimizer). Their docs say what each was worth on a trace, also where that is little.
//!
//! # Where that ends
//!
//! - Redis replicates asynchronously: a failover may take an invalidation back that was acknowledged. Each process notices
//!   it ([`EventKind::Replaced`](russet_core_conn::EventKind::Replaced) or
//!   [`Promoted`](russet_core_conn::EventKind::Promoted)), drops what it keeps in its memory, and repeats what it has said
//!   itself in the last five minutes, the last 5,000 at most: [`Stats::failovers`] and [`Stats::repeated`]. Before that
//!   is done, what is out of date may be given; and where whoever said it has died too, until its TTL ends. It takes the
//!   handle's right to `INFO`.
//! - A handle with [`Durability::Replicas`](russet_core_conn::Durability) of all replicas that may be promoted invalidates
//!   with their acknowledgement, and a failover takes nothing of it back; its user needs the right `+wait`. Loads, leases
//!   and fills wait for nobody. On a cluster a removal that finds the key gone already, by another that no replica has
//!   yet, is no safer than that one.
//! - Versions of the journal come from the server's clock. Where a failover loses some, and the new primary's clock is
//!   behind by more than it took, tags that are invalidated before it has caught up may leave valid what was loaded before.
//! - A loader that reads a replica of the origin may load what is out of date already.
//! - What invalidates by tag, or all, lies on one node of a cluster for each cache, with its journal: one write does it,
//!   whole or not at all, and one question every half of `max_staleness` is all that following it costs. While that node
//!   is away, lookups in caches with a journal go on as if all of Redis were.
//! - While Redis does not answer, or somebody has held the lease for two of its terms, callers of one process share
//!   a load that nobody else knows of. It is not cached.
//! - Two caches of different types must not share a name in one key space: each would find the other's entries
//!   unreadable, and replace them.
//!
//! What goes wrong with caches, and what a test sees of it here, has a page each in the [guide].
//!
//! # What happens when
//!
//! | | a lookup with a loader |
//! |---|---|
//! | many miss at once | one loads, all have its value |
//! | the loader fails | all who wait have its error, or their stale value; the next one tries again, with a stale value after [`grace_backoff`](CacheBuilder::grace_backoff) |
//! | the loader panics | [`LoadError::Aborted`], or the stale value; the lease is given back |
//! | the loader is slow | the stale value after [`soft_timeout`](CacheBuilder::soft_timeout), if there is one; [`LoadError::Timeout`] after [`hard_timeout`](CacheBuilder::hard_timeout), if that is set; the load goes on, its lease is renewed, and it fills |
//! | the process that loads dies | another loads when its lease has ended |
//! | it is stopped, and goes on after its lease | its fill is refused |
//! | the key is removed or written meanwhile | its fill is refused |
//! | the message that wakes is lost | looks by itself every 50 to 100 ms |
//! | Redis is away, hung, full | asks the loader, caches nothing |
//! | the same, and many ask | [so many](CacheBuilder::origin_limit) at a time, the others wait; too many are [`LoadError::Overloaded`] |
//! | it was away for a removal or the like | that is repeated until it is taken; until then, this process uses nothing of what it is about |
//! | it was restarted, or a replica promoted | the memory of each process begins anew, and what it has said of late is said again |
//!
//! # Keys
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `{prefix:p}:cache.<name>:<segment>:…` | string | one entry, the lease on loading it, or both | by its TTL |
//! | `{prefix:q}:cache-journal:<name>` | hash | the journal's incarnation, its version, and what is invalid altogether | with the cache |
//! | `{prefix:q}:cache-tags:<name>` | zset | up to 100,000 tags, by the version that made them invalid | with the cache |
//! | `{prefix:q}:cache-log:<name>` | stream | about the last 10,000 invalidations, of up to 100 keys or tags each | with the cache |
//! | `{prefix:r}:cache-behind:<name>:<lane>` | hash | what is pending in a lane of a write-behind buffer, by entity, its clock, fence and counts; bounded by [`capacity`](WriteBehindBuilder::capacity) | with the buffer |
//! | `{prefix:r}:cache-fresh:<name>:<lane>` | zset | the entities that wait to be committed, by when the first write came | when they are |
//! | `{prefix:r}:cache-retry:<name>:<lane>` | zset | those that are tried again, by when | when they are committed |
//! | `{prefix:r}:cache-since:<name>:<lane>` | zset | those that are tried again, by when the first write came | when they are committed |
//! | `{prefix:r}:cache-dead:<name>:<lane>` | zset | those that nobody tries any more, by since when | when they are redriven or discarded |
//! | `{prefix:q}:cache-workers:<name>` | hash | the workers of a write-behind buffer, by until when each counts as there | a [lease](WriteBehindBuilder::lease) after the last worker |
//! | `{prefix:q}:cache-hot:<name>` | zset | up to 4,000 keys that are asked for, by how often | seven half-lives (of a day) after the last merge |
//! | `{prefix:q}:cache-missed:<name>` | zset | up to 4,000 that were not cached, by how often | the same |
//! | `{prefix:q}:cache-recent:<name>` | zset | up to 4,000, by when they were asked for last | the same |
//! | `{prefix:q}:cache-stats:<name>` | hash | statistics of all processes | the same |
//! | `{prefix}:layout` | hash | the layout version and number of partitions | with the key space |
//!
//! The channel `{prefix}:cache.<name>` wakes those who wait; a cache subscribes to it when it waits for the first time.
//! The journal is there where one is kept, and `{prefix}:cache-log.<name>` tells of what is new in it. Where it is evicted
//! or lost, nothing is revived: all entries from before are invalid. A write-behind buffer has 16 lanes, the lease on each of
//! which is `{prefix:s}:lease:cache-behind:<name>:<lane>`; `{prefix}:cache-behind.<name>` tells of those with a whole batch or
//! without an owner, and of workers who come and go.
//! The keys of statistics are there where there is [access insight](CacheBuilder::access).
//!
//! # Features
//!
//! `lz4`, `zstd`, `json`: those [compressions](Compression) and that [format](Format) of a [`codec`](CacheBuilder::codec).
//! None is used unless it is chosen; whoever reads needs those that are written with.
//!
//! `test-util`: `Cache::in_memory` on a `Memory`, for unit tests of what is built on a cache, without a server. It passes
//! this crate's own contract tests, and its time can be moved.
//!
//! `metrics`: counters and histograms by the `metrics` facade. [`Cache::stats`] has the counts without it.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `russet_cache_lookups_total` | counter | `cache`, `result`: `hit`, `absent`, `stale`, `miss`, `unreadable`, `unavailable`, `local` |
//! | `russet_cache_bypassed_total` | counter | `cache`: lookups for which the process's own memory was not used, because nobody vouched for it |
//! | `russet_cache_loads_total` | counter | `cache`, `result`: `ok`, `error` |
//! | `russet_cache_load_seconds` | histogram | `cache`: one loader call |
//! | `russet_cache_fills_total` | counter | `cache`, `result`: `ok`, `error`, `refused` |
//! | `russet_cache_behind_writes_total` | counter | `buffer`, `result`: `ok`, `gone`, `full`, `error` |
//! | `russet_cache_behind_entities_total` | counter | `buffer`, `result`: `committed`, `redelivered`, `failed`, `dead`; `away`, `deposed` (batches) |
//! | `russet_cache_behind_commit_seconds` | histogram | `buffer`: one call of a sink |
//! | `russet_cache_failovers_total` | counter | `cache`: another process was found to serve |
//! | `russet_cache_repeated_total` | counter | `cache`: acknowledged invalidations that are repeated for it |

mod access;
mod adaptive;
mod behind;
mod builder;
mod cache;
mod entry;
mod error;
mod failover;
mod fleet;
mod flight;
pub mod guide;
mod invalidate;
mod invalidation;
mod journal;
mod keys;
mod lead;
mod load;
mod local;
mod lookup;
mod many;
#[cfg(feature = "test-util")]
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(any(test, feature = "test-util"))]
mod model;
mod moment;
mod optimizer;
mod origin;
mod owed;
mod pace;
mod pages;
mod policy;
mod predict;
mod prefetch;
mod read;
mod scripts;
mod seal;
mod single;
mod stats;
mod store;
mod sweep;
mod times;
mod tracked;
mod update;
mod wakes;
mod warm;
mod write;

pub use russet_core_conn::{Codec, Compression, Format};

pub use self::access::{Access, Accessed, CacheKey};
pub use self::adaptive::AdaptiveTtl;
pub use self::behind::{
    Batch, BehindError, BehindStats, Change, CommitError, Committed, Dead, Entities, Left, Op,
    Patch, Pending, ReadError, Sink, Worker, WorkerBuilder, WorkerStats, WriteBehind,
    WriteBehindBuilder,
};
pub use self::builder::CacheBuilder;
pub use self::cache::Cache;
pub use self::error::{Error, LoadError, WriteError};
pub use self::fleet::Size;
pub use self::invalidation::{Invalid, Invalidation};
pub use self::load::{Load, LoadContext, Reason};
pub use self::lookup::{Freshness, Lookup, Tier};
#[cfg(feature = "test-util")]
pub use self::memory::Memory;
pub use self::optimizer::{Advice, Optimizer, Remedy, Report};
pub use self::pages::ListPage;
pub use self::policy::RefreshAhead;
pub use self::predict::Predictive;
pub use self::prefetch::Prefetch;
pub use self::stats::Stats;
pub use self::times::LoadTimes;
pub use self::warm::{Progress, Warmed, Warmer, Warming};
pub use self::write::{Related, Written};
