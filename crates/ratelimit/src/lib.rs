//! Rate limits on Redis and Valkey: exact, any number of them in one round trip, and honest about waiting.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use russet_core_conn::{KeySpace, Redis};
//! use russet_ratelimit::{Limiter, Quota};
//!
//! let redis = Redis::builder("redis://localhost").build()?;
//! let limiter = Limiter::new(&redis, &KeySpace::new("shop")?);
//! let api = limiter.limit("api", Quota::gcra(100, Duration::from_secs(60), 20)?)?;
//!
//! let decision = api.check("user-17").await?;
//! if decision.is_allowed() {
//!     println!("{} of {} left", decision.remaining, decision.limit);
//! } else {
//!     println!("come back in {:?}", decision.retry_after);
//! }
//! # Ok(()) }
//! ```
//!
//! # What you can rely on
//!
//! - **One decision, one script, the server's clock.** Nothing is read and then written by a client. A denial spends
//!   nothing and writes nothing, so that who hammers does not keep itself out.
//! - **Never above the bound** of the algorithm, which its [docs](Quota) state, over all processes.
//! - **All or nothing over [several limits](Limiter::check)** of any mix of algorithms and costs, in one script where one
//!   server holds all keys. On a cluster, slots are asked in parallel, and what some have spent is given back where
//!   another denies: for a moment others may find less than there is, nobody ever finds more.
//! - **Honest waiting.** The same call exactly at `retry_after` is admitted if nobody else spends, and one tick of 125 ns
//!   earlier it is not.
//! - **A cost that can never be met is an error**, not a denial that tells to come back.
//! - **What is given back late does no harm**: a [refund](Reservation::refund) never lets others spend more than is allowed.
//! - **No key without an end**, whichever calls came before.
//! - **Limits can change** while they are used, and what is spent stays spent: [`Limit::change`]; also by themselves,
//!   with load: [`adaptive`].
//! - **Nobody waits for a server that is away**: each round trip of a decision takes 50 ms at most, and soon no time, until
//!   it is back.
//! - **What is known is not asked for**, if you wish: [denials](LimitBuilder::cache_denials) that last, and quota
//!   [leased](Leasing) ahead, with a bound.
//!
//! # Where that ends
//!
//! - Without Redis, or where it takes longer than [50 ms](LimiterBuilder::budget), a decision is what [`Outage`] says: by
//!   default one of this process, by its share of the limit, with nothing spent before. [`Decision::source`] tells. Of a
//!   call with an unknown outcome the cost may be spent.
//! - Redis replicates asynchronously: a failover may forget what was spent last. Each limit then admits at most once more
//!   what it admits at once, [permits](Quota::permits) included. [`Redis::with_durability`](russet_core_conn::Redis::with_durability)
//!   waits for replicas, for a round trip more.
//! - If the server's clock is set back, or a replica whose clock is behind is promoted, what is further ahead than it
//!   could be is brought back to one period from now: that is the only thing a denial ever writes. If it is set forward, what was
//!   spent is regained early.
//! - Where the server evicts keys, a limit begins anew. Use one with `noeviction`.
//! - Processes that have different quotas for one name decide each by its own.
//! - Permits that their holder does not [renew](Permit::renew) end with their time, also while it goes on.
//!
//! # Which algorithm when
//!
//! | you want | take | in any window it admits | bytes a subject |
//! |---|---|---|---|
//! | an API limit with a small burst | [`Quota::gcra`] | `limit` and the burst | 120 |
//! | a quota for a minute or a day that people can understand | [`Quota::fixed`] | twice the limit, across a border | 136 |
//! | a budget that is refilled now and then | [`Quota::interval`] | the capacity and what is refilled | 136 |
//! | a window without a border, cheaply | [`Quota::counter`] | near the limit; twice of it, if somebody tries to | 152 |
//! | a contract: never more, in whichever window | [`Quota::strict`] | the limit | 216 |
//! | the same for small limits, and a list of what was spent | [`Quota::log`] | the limit, and not one less | 3,176 at 100 units |
//! | calls that wait for their turn | [`Quota::queue`] | `limit` and one begin | 120 |
//! | so many at a time | [`Quota::permits`] | the limit at a time | 3,176 at 100 permits |
//!
//! Bytes are those of `MEMORY USAGE` for a short key on Redis 7.0.
//!
//! # Without Redis
//!
//! | [`Outage`] | a decision while Redis does not answer | for |
//! |---|---|---|
//! | [`Local`](Outage::Local), the default | by the process: the limit, divided by the nodes that there were last; ±20% of it over the fleet, if the load is even | APIs |
//! | [`Closed`](Outage::Closed) | denied, with [`Reason::Outage`] | logins, codes, payments |
//! | [`Open`](Outage::Open) | admitted | fairness |
//! | [`Error`](Outage::Error) | [`Error::Redis`], within the deadline of the handle | who decides for themselves |
//!
//! For a [limiter](LimiterBuilder::on_outage), and for [each limit](LimitBuilder::on_outage).
//!
//! # Who decides
//!
//! | [`Source`] | round trips | when |
//! |---|---|---|
//! | [`Redis`](Source::Redis) | one; on a cluster one a slot, in parallel | else |
//! | [`List`](Source::List) | none | the subject is on a [list](Limit::lists) |
//! | [`DenyCache`](Source::DenyCache) | none | the limit [keeps denials](LimitBuilder::cache_denials), and Redis has denied the same |
//! | [`Lease`](Source::Lease) | none, as a rule | the limit is [leased](LimitBuilder::leased) |
//! | [`Fallback`](Source::Fallback) | none, or one that failed | Redis does not answer |
//!
//! Limits that belong together have constructors in [`composite`]: sustained with burst, costs, priority classes, places,
//! endpoints with their dependencies, tenants.
//!
//! # Calls
//!
//! | call | what it does | on |
//! |---|---|---|
//! | [`check`](Limit::check), [`check_n`](Limit::check_n) | spends, if it fits | all |
//! | [`at_most`](Limit::at_most) | spends what of it fits | all but queues |
//! | [`peek`](Limit::peek), [`status`](Limit::status) | only looks | all |
//! | [`reserve`](Limit::reserve), [`refund`](Reservation::refund) | spends what may be given back | all |
//! | [`penalize`](Limit::penalize) | spends into debt | all but permits |
//! | [`block`](Limit::block), [`unblock`](Limit::unblock) | denies for a while | limits built [`blockable`](LimitBuilder::blockable) |
//! | [`reset`](Limit::reset) | forgets | all |
//! | [`top_up`](Limit::top_up) | gives more | buckets, windows |
//! | [`process`](Limit::process) | waits for its turn | queues |
//! | [`acquire`](Limit::acquire) | takes a permit | permits |
//! | [`statistics`](Limit::statistics) | lists what was spent | logs, permits |
//!
//! # Keys
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `{prefix:p}:limit-bucket.<name>:<segment>:…` | string | the time at which a bucket, a meter or a queue is as new, and how many refunds there were | twice the time that it takes to fill after it was used |
//! | `{prefix:p}:limit-window.<name>:<segment>:…` | string | what is spent in a window, and its end | twice its period after it was used |
//! | `{prefix:p}:limit-counter.<name>:<segment>:…` | string | the start and length of a window, what is spent in it and in the last one | two windows after it was used |
//! | `{prefix:p}:limit-strict.<name>:<segment>:…` | string | the newest part's number, a part's length, and what is spent in each | a window and a part after it was used |
//! | `{prefix:p}:limit-log.<name>:<segment>:…` | zset | what is spent, unit by unit, by its end; bounded by twice the limit | a window after it was used |
//! | `{prefix:p}:limit-permits.<name>:<segment>:…` | zset | the permits that are held, by their end; bounded by the limit | with the last permit |
//! | `{prefix:p}:limit-block.<name>:<segment>:…` | string | until when a subject is blocked | then |
//! | `{prefix}:limit-nodes` | zset | the nodes that share the limits, by their last word | three heartbeats after the last of them |
//! | `{prefix:q}:breaker:<name>` | hash | a fleet's breaker: its state, its nodes and their votes, the permits of its probes | seven days after the last word of a node |
//! | `{prefix}:layout` | hash | the layout version and number of partitions | with the key space |
//!
//! `q` is the partition of the name. The channel `{prefix}:breaker.<name>` tells the nodes of a [breaker](FleetBreaker) that
//! it has changed.
//!
//! `p` is the partition of the segments: limits of one subject share a slot. `acl/ratelimit.acl` has the rights that a user
//! needs.
//!
//! # Features
//!
//! `test-util`: `Limiter::set_time`, so that tests need not wait.
//!
//! `tower`: `FleetBreakerLayer`. `http`: `http::RateLimitLayer`, limits before a service of HTTP. `axum`: that, and an
//! extractor of what was decided.
//!
//! `maxmind`: `composite::MaxMind`, which tells countries by a database of MaxMind.
//!
//! `metrics`: counters and gauges by the `metrics` facade.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `russet_ratelimit_decisions_total` | counter | `policy`, `result`: `admitted`, `shadow` (admitted, though a limit in shadow mode denies), `denied`, `shed`, `error` (no policy); `source`: `redis`, `list`, `breaker`, `deny_cache`, `lease`, `fallback` |
//! | `russet_ratelimit_away` | gauge | 1 while decisions are made without Redis |
//! | `russet_ratelimit_nodes` | gauge | how many nodes share the limits, as this one knows |
//! | `russet_ratelimit_adaptive_limit`, `russet_ratelimit_adaptive_load` | gauges | `policy`: where an [`adaptive`] limit is |
//! | `russet_fleet_breaker_state` | gauge | `breaker`: 0 closed, 1 open, 2 half-open, 3 forced open, 4 disabled, 5 metrics only, as this node knows it |
//! | `russet_fleet_breaker_alone` | gauge | `breaker`: 1 while this node goes by its own breaker, because Redis does not answer |
//! | `russet_fleet_breaker_transitions_total` | counter | `breaker`, `to`: changes that this node saw |
//! | `russet_fleet_breaker_refused_total` | counter | `breaker`: calls of this node that were not made |
//! | `russet_fleet_breaker_probes_total` | counter | `breaker`, `result`: `ok`, `failed`, `given_up`, `late`: probes of this node |

pub mod adaptive;
pub mod composite;
mod decide;
mod decision;
mod denials;
mod error;
mod event;
mod fallback;
mod fleet_breaker;
pub mod guide;
#[cfg(feature = "http")]
pub mod http;
mod ip;
mod judge;
mod keeper;
mod keys;
mod leases;
mod leasing;
mod level;
mod limit;
mod limiter;
mod lists;
mod local;
mod metrics;
#[cfg(test)]
mod model;
mod nodes;
mod outage;
mod permit;
mod queue;
mod quota;
mod reservation;
mod rule;
mod scripts;
mod status;
mod ticks;

pub use self::decision::{Decision, LevelDecision, Levels, Reason, Source};
pub use self::error::Error;
pub use self::event::LimiterEvent;
pub use self::fleet_breaker::{
    FleetBreaker, FleetBreakerBuilder, FleetBreakerError, FleetEvent, FleetEventKind, FleetPermit,
    FleetState, FleetStatus, RefusedBy, Rejected, Standing,
};
#[cfg(feature = "tower")]
pub use self::fleet_breaker::{FleetBreakerLayer, FleetBreakerService};
pub use self::ip::Ip;
pub use self::leasing::Leasing;
pub use self::level::Level;
pub use self::limit::{Limit, LimitBuilder};
pub use self::limiter::{Limiter, LimiterBuilder};
pub use self::lists::Lists;
pub use self::outage::Outage;
pub use self::permit::{Acquired, Permit};
pub use self::queue::Processed;
pub use self::quota::Quota;
pub use self::reservation::Reservation;
pub use self::status::{Logged, Statistics, Status};
