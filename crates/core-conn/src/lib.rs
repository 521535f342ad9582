//! One Redis or Valkey client for applications: it bounds time and memory, never hands out another call's reply, and
//! tells what became of a write.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use russet_core_conn::{Cmd, KeySpace, Redis};
//!
//! let redis = Redis::connect("redis://localhost").await?;
//! let keys = KeySpace::new("shop")?;
//! let seats: i64 = redis.run(Cmd::write("DECR").key(&keys.key("seats", ("SEA", "LAX")))).await?;
//! # Ok(()) }
//! ```
//!
//! It wraps another client ([`Client`]), of which no type is public, and is what the other russet crates stand on. Use it alone
//! where you want their promises for your own commands and scripts. It is not for you if you need RESP2, a blocking
//! API, or a typed method for each command. It talks to one server, to one that sentinels know, or to a cluster: the
//! URL says which.
//!
//! # What you can rely on
//!
//! 1. **Each call ends within its deadline** (500 ms unless you say otherwise), waiting and repetitions included,
//!    late by about 5 ms at most plus what the machine is late by.
//! 2. **An error says what became of the command**, all attempts together. [`SendOutcome::NotSent`]: never applied,
//!    now or later. [`SendOutcome::Rejected`]: the server refused. [`SendOutcome::Unknown`]: applied once or not at all,
//!    or, where it may be repeated, more than once.
//! 3. **Nothing that may not be repeated is sent twice.** Each [`Cmd`] and [`Script`] has a [`Class`]; only
//!    [`Class::Read`] and [`Class::Idempotent`] are repeated, when a connection is lost under them.
//! 4. **A caller gets its own reply or an error**, whatever is stored in Redis and whichever futures are dropped; see
//!    [`Cmd`] for how. A probe with a random number checks each connection once a second; a connection that answers it
//!    with anything else is ended, and what is in flight on it becomes [`SendOutcome::Unknown`].
//! 5. **Everything is bounded**: calls in flight, calls that wait, replies that nobody waits for any more, connections
//!    for calls that need their own, events kept for a slow listener, messages kept for a slow subscriber, decoded sizes.
//!
//! # What happens to a call
//!
//! | the server | a call waiting for a connection | a call in flight | the next call |
//! |---|---|---|---|
//! | is away | waits until its deadline, then [`NotConnected`](ErrorKind::NotConnected), not sent | | waits the same; [`Redis::without_waiting`] fails at once |
//! | dies | | [`ConnectionLost`](ErrorKind::ConnectionLost), unknown; sent again if it may be | waits for the next connection |
//! | hangs | | [`Deadline`](ErrorKind::Deadline), unknown | the same, until the probe (3 s by default) ends the connection |
//! | is loading its data | waits | | waits |
//! | answers with an error | | [`Server`](ErrorKind::Server), rejected; unknown if raised inside a script | is not affected |
//! | is out of step | | until the probe finds it, the fault of whoever corrupted the stream; then unknown | goes to a new connection |
//! | did not answer, and the handle has a [`Breaker`] | | | [`BreakerOpen`](ErrorKind::BreakerOpen) at once, not sent, but for a probe now and then |
//!
//! A call that needs a connection of its own (a blocking one, a durable write, [`Redis::dedicated`]) waits in the same
//! way while the server is away. Where others are connected, and it can't be, it ends at once, not sent, with the reason.
//!
//! A call whose future is dropped while it waits is not sent. One that is dropped in flight may be applied; its reply
//! reaches nobody.
//!
//! # Under Sentinel
//!
//! `redis-sentinel://` names sentinels, and the primary by its name. Each connection goes where **more than half of the
//! sentinels in the URL** say, and is used for calls once the server itself has said that it has that role (`HELLO`). All are
//! asked at once, and the slow ones are not waited for. Each is listened to: when one tells of another primary
//! (`+switch-master`) all are asked again.
//!
//! | what happens | a call in flight | the next call |
//! |---|---|---|
//! | another primary is named | [`ConnectionLost`](ErrorKind::ConnectionLost), unknown; sent again if it may be | goes to the new one, whether or not the old one lives; nothing more is sent to the old one |
//! | the primary dies | the same | waits until another is named, at most to its deadline: [`NotConnected`](ErrorKind::NotConnected), not sent |
//! | the primary hangs | its deadline, unknown | the same |
//! | a server that is named says that it is a replica | is answered; a write is refused (`READONLY`), was not applied, and is sent again when a primary is found, whatever its class | waits; [`SentinelError::OtherRole`] is the [`cause`](Error::cause) |
//! | half of the sentinels or more are away, or disagree | is answered | is answered as long as the connection lives; to open another fails with [`SentinelError::NoMajority`] |
//! | the sentinels do not know the name | | [`SentinelError::UnknownPrimary`] |
//!
//! What a replica refused of a batch, a [`transaction`](Redis::transaction), or a script or function of class
//! [`Write`](Class::Write) is not sent again: the caller is told. A connection in a caller's hands
//! ([`Redis::dedicated`]) is not moved: its next call fails, not sent. What a failover may take back is [`Durability`]'s
//! to tell. [`RedisBuilder::sentinel_role`] has the other roles.
//!
//! # In a cluster
#![doc = include_str!("cluster.md")]
//!
//! # Errors of the server
#![doc = include_str!("errors.md")]
//!
//! The calls: [`Redis::run`] of a command that goes as it is, is wrapped, is `MGET`, goes alone; [`Redis::script`],
//! [`Redis::pipeline`], [`Redis::get_many`], [`Redis::transaction`], [`Dedicated::run`], [`Watch::exec`], and a write by a handle
//! [`with_durability`](Redis::with_durability). A pipeline has a result for each command; the first error is shown.
//!
//! # Connecting
//!
//! [`Redis::builder`] has the forms of a URL. Who logs in is said by the URL, by options, by the environment
//! ([`RedisBuilder::password_from_env`]) or by a [`CredentialProvider`], which may change it while the program runs.
//! What keeps a handle from connecting is in [`Error::cause`] of each call that fails for it and in the events: a wrong
//! password, an expired certificate ([`TlsError`]), a provider that gives nothing. It is tried again all the same, since
//! others may set it right. [`Redis::info`] tells what server it is.
//!
//! # Reconnecting
//!
//! Attempts follow the [`Backoff`], without end by default. A maximum ends with [`EventKind::GaveUp`]: calls then fail
//! at once with [`ErrorKind::GaveUp`], not sent, until [`Redis::reconnect`]. [`Redis::events`] tells of each step.
//!
//! # Runtimes
//!
//! Connections are kept by tasks of the tokio runtime of the first call, which also watch over the deadlines: a runtime
//! that nobody drives (one of a single thread, between two `block_on`) keeps none. When it ends, what is in flight is
//! lost with it, and the next call begins anew in its own.
//!
//! # Going on without Redis
//!
//! [`Redis::without_waiting`] fails at once while the server is known to be away. [`Redis::with_breaker`] also while it
//! hangs: after a few calls have waited in vain, the next are refused at once, and now and then one is let through to
//! see whether it is back.
//!
//! # Several servers
//!
//! [`Registry`] holds a program's handles by name, asks all of them for their health, and closes them at its end.
//!
//! # Pipelining
//!
//! Concurrent calls share a connection and are written one behind the other without waiting for replies, up to
//! [`in_flight`](RedisBuilder::in_flight) of them; 1 turns it off. [`Redis::pipeline`] sends many commands of one
//! caller at once.
//!
//! # Subscriptions
//!
//! [`Redis::hub`] subscribes any number of listeners to channels, patterns and sharded channels on one connection that is
//! for nothing else. It tells each of them what it missed and every loss of the connection, finds subscriptions that
//! the server has forgotten, and lets none be in another's way. See [`Hub`].
//!
//! # Keys and values
//!
//! [`KeySpace`] builds keys that user input can't break out of, in partitions that a cluster can spread. [`Codec`]
//! turns values into bytes with a version, compressed if asked, and refuses what is corrupt or too large.
//!
//! # Leases
//!
//! [`Leases`] are locks with an end: a fencing number for each grant, renewal, and a token that is cancelled when the
//! lease is lost. Its docs say what no lock with an end can promise.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `fred` | yes | the link over the `fred` client; at least one link is needed |
//! | `redis-rs` | | the link over the `redis` client: see [`Client`] |
//! | `json` | | [`Format::Json`](Format) |
//! | `lz4`, `zstd` | | compression |
//! | `tls` | | `rediss://` by rustls, over aws-lc-rs |
//! | `metrics` | | counters and histograms by the `metrics` facade: `russet_redis_calls_total` (`operation`, `outcome`), `russet_redis_call_seconds` (`operation`), `russet_redis_attempts_total` (`operation`), `russet_breaker_transitions_total` (`breaker`, `to`), `russet_breaker_refused_total` (`breaker`) |
//! | `test-util` | | for tests of what stands on this crate: `ManualClock`, `Error::fake`, `Events::fake`; `RUSSET_CLIENT` chooses the default [`Client`] |
//!
//! Each call is a `tracing` span `redis.call` at debug level. No span, metric, event or error holds a key, a value or a
//! password.

#[cfg(not(any(feature = "fred", feature = "redis-rs")))]
compile_error!("choose a link: the feature `fred` (on by default) or `redis-rs`");

mod address;
mod backoff;
mod breaker;
mod builder;
mod call;
mod client;
mod clock;
mod close;
mod cluster;
mod cmd;
mod codec;
mod credentials;
mod dedicated;
mod durability;
mod error;
mod event;
mod flight;
mod hub;
mod info;
mod keys;
mod keyspace;
mod layout;
mod lease;
mod link;
mod many;
mod metrics;
mod node;
mod nodes;
mod redis;
mod registry;
mod scan;
mod script;
mod sentinel;
mod striped;
mod table;
mod target;
#[cfg(any(test, feature = "test-util"))]
mod test_util;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod transaction;
mod value;

pub use self::backoff::Backoff;
pub use self::breaker::{
    Breaker, BreakerBuilder, BreakerError, BreakerEvent, BreakerOpen, BreakerPermit, BreakerReason,
    BreakerState, Trip, Verdict,
};
pub use self::builder::RedisBuilder;
pub use self::client::Client;
pub use self::clock::Clock;
#[cfg(any(test, feature = "test-util"))]
pub use self::clock::ManualClock;
pub use self::close::CloseReport;
pub use self::cluster::{ReplicaReads, Standing};
pub use self::cmd::{Arg, Class, Cmd, IntoArg};
pub use self::codec::{Codec, CodecBuilder, CodecError, Compression, Format};
pub use self::credentials::{CredentialProvider, Credentials};
pub use self::dedicated::{Dedicated, Watch};
pub use self::durability::Durability;
pub use self::error::{Error, ErrorKind, SendOutcome, SentinelError, ServerError, TlsError};
pub use self::event::{
    Broadcast, EntryEvent, Event, EventKind, Events, Notice, Purpose, ReadyCheck,
};
pub use self::hub::{Delivery, Gap, Hub, HubBuilder, HubReport, Message, Subscription, Topic};
pub use self::info::{Feature, Module, Product, Role, ServerInfo, ServerVersion, Topology};
pub use self::keyspace::{
    Canonical, InPartition, Key, KeyError, KeySpace, LAYOUT_VERSION, Part, Partition, Segment,
    Segments,
};
pub use self::layout::Agreed;
pub use self::lease::{
    Acquired, Busy, Extended, Fence, Lease, Leases, LeasesBuilder, Loss, Ran, Released,
};
pub use self::redis::Redis;
pub use self::registry::{Health, Registry, RegistryReport};
pub use self::scan::Scan;
pub use self::script::{Script, ScriptCall};
pub use self::sentinel::SentinelRole;
pub use self::striped::Striped;
#[cfg(any(test, feature = "test-util"))]
pub use self::test_util::FakeEvents;
#[cfg(feature = "tls")]
pub use self::tls::Tls;
pub use self::topology::{LinkState, NodeInfo};
pub use self::value::{FromValue, Value};
