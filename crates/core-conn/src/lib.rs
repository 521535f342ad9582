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
//! It wraps the `fred` client, of which no type is public, and is what the other russet crates stand on. Use it alone
//! where you want their promises for your own commands and scripts. It is not for you if you need RESP2, a blocking
//! API, or a typed method for each command. It talks to one server; the address says which.
//!
//! # What you can rely on
//!
//! 1. **Each call ends within its deadline** (500 ms unless you say otherwise), waiting and repetitions included,
//!    late by about 5 ms at most plus what the machine is late by.
//! 2. **An error says what became of the command.** [`SendOutcome::NotSent`]: never applied, now or later.
//!    [`SendOutcome::Rejected`]: the server refused. [`SendOutcome::Unknown`]: applied once or not at all.
//! 3. **Nothing that may not be repeated is sent twice.** Each [`Cmd`] and [`Script`] has a [`Class`]; only
//!    [`Class::Read`] and [`Class::Idempotent`] are repeated, when a connection is lost under them.
//! 4. **A caller gets its own reply or an error**, whatever is stored in Redis and whichever futures are dropped; see
//!    [`Cmd`] for how. A probe with a random number checks each connection once a second; a connection that answers it
//!    with anything else is ended, and what is in flight on it becomes [`SendOutcome::Unknown`].
//! 5. **Everything is bounded**: calls in flight, calls that wait, replies that nobody waits for any more, connections
//!    for calls that need their own, events kept for a slow listener, decoded sizes.
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
//!
//! A call whose future is dropped while it waits is not sent. One that is dropped in flight may be applied; its reply
//! reaches nobody.
//!
//! # Reconnecting
//!
//! Attempts follow the [`Backoff`], without end by default. A maximum ends with [`EventKind::GaveUp`]: calls then fail
//! at once with [`ErrorKind::GaveUp`], not sent, until [`Redis::reconnect`]. [`Redis::events`] tells of each step.
//!
//! # Pipelining
//!
//! Concurrent calls share a connection and are written one behind the other without waiting for replies, up to
//! [`in_flight`](RedisBuilder::in_flight) of them; 1 turns it off. [`Redis::pipeline`] sends many commands of one
//! caller at once.
//!
//! # Keys and values
//!
//! [`KeySpace`] builds keys that user input can't break out of, in partitions that a cluster can spread. [`Codec`]
//! turns values into bytes with a version, compressed if asked, and refuses what is corrupt or too large.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `fred` | yes | the link over the `fred` client; at least one link is needed |
//! | `json` | | [`Format::Json`](Format) |
//! | `lz4`, `zstd` | | compression |
//! | `metrics` | | counters and histograms by the `metrics` facade: `russet_redis_calls_total` (`operation`, `outcome`), `russet_redis_call_seconds` (`operation`), `russet_redis_attempts_total` (`operation`) |
//!
//! Each call is a `tracing` span `redis.call` at debug level. No span, metric, event or error holds a key or a value.

#[cfg(not(feature = "fred"))]
compile_error!("choose a link: the feature `fred` (on by default)");

mod address;
mod backoff;
mod builder;
mod call;
mod close;
mod cmd;
mod codec;
mod error;
mod event;
mod flight;
mod hub;
mod keyspace;
mod layout;
mod link;
mod metrics;
mod node;
mod redis;
mod script;
mod table;
mod value;

pub use self::backoff::Backoff;
pub use self::builder::RedisBuilder;
pub use self::close::CloseReport;
pub use self::cmd::{Class, Cmd, IntoArg};
pub use self::codec::{Codec, CodecBuilder, CodecError, Compression, Format};
pub use self::error::{Error, ErrorKind, SendOutcome, ServerError};
pub use self::event::{Event, EventKind, Events, Notice, Purpose, ReadyCheck};
pub use self::hub::{Delivery, Gap, Hub, HubBuilder, HubReport, Message, Subscription, Topic};
pub use self::keyspace::{
    InPartition, Key, KeyError, KeySpace, LAYOUT_VERSION, Part, Partition, Segment, Segments,
};
pub use self::redis::Redis;
pub use self::script::{Script, ScriptCall};
pub use self::value::{FromValue, Value};
