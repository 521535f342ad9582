//! Real Redis and Valkey servers as private processes, and a RESP-aware fault proxy, for tests.
//!
//! A test that talks to a mock of Redis shows that the code agrees with the mock. This crate makes the real thing as
//! easy: [`Server`] starts in some milliseconds on a port of its own, can be killed, paused and restarted, and is gone
//! when the test is, however that ends. [`Cluster`] and [`Sentinel`] do the same for many of them. [`Proxy`] stands in
//! front of it and fails on purpose, at a request and a byte of your choice, and counts what really went over the wire.
//! [`Conn`] looks at what is really in the server without the code under test.
//!
//! It knows no client library and works with all of them.
//!
//! # A server
//! ```no_run
//! use russet_testkit::{Error, Fsync, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let server = Server::builder().aof(Fsync::Always).start().await?;
//! // Here the code under test connects to server.url().
//! server.conn().await?.call(&["SET", "k", "v"]).await?;
//!
//! server.pause().await?;      // it hangs: connections stay, nothing is answered
//! server.resume().await?;
//! server.kill().await?;       // it dies
//! server.restart().await?;    // it is back, on the same port, with the same files
//! assert_eq!(server.conn().await?.call(&["GET", "k"]).await?.text(), Some("v"));
//! # Ok(())
//! # }
//! ```
//!
//! The binary is the one that `RUSSET_SERVER` names, else `redis-server`, else `valkey-server` on `PATH`: see
//! [`find_server`]. Suites that need no server of their own share one: see [`shared`].
//!
//! # Replicas
//! ```no_run
//! # async fn run() -> russet_testkit::Result<()> {
//! use russet_testkit::Server;
//!
//! let server = Server::start_with_replicas(1).await?;
//! server.replicas()[0].pause().await?;
//! // Here the code under test asks for an acknowledgement, and must not get one.
//! assert_eq!(server.conn().await?.call(&["WAIT", "1", "50"]).await?.int(), Some(0));
//! # Ok(())
//! # }
//! ```
//!
//! # A cluster
//! ```no_run
//! # async fn run() -> russet_testkit::Result<()> {
//! use russet_testkit::{Cluster, slot_of};
//!
//! let cluster = Cluster::start(3, 1).await?;   // 3 primaries, each with 1 replica
//! // Here the code under test connects to cluster.url().
//! let slot = slot_of("user:1");
//! let (from, to) = (cluster.primary_of(slot).await?, cluster.add_node().await?);
//!
//! let open = cluster.open_slots([slot], &from, &to).await?;
//! open.move_keys().await?;    // now the source answers ASK
//! open.assign().await?;       // and now MOVED
//!
//! cluster.failover(slot + 1).await?;          // a replica takes over, nothing is lost
//! cluster.kill_primary_of(slot + 1).await?;   // the primary dies
//! cluster.promoted(slot + 1).await?;          // and this takes its place
//! # Ok(())
//! # }
//! ```
//!
//! Built with [`ClusterBuilder::partitions`], it can be cut in two, with clients on one side or on both: see
//! [`Cluster::cut_off`]. In a [`Network`] of its own, which takes root, the system itself loses the packets.
//!
//! # Sentinel
//! ```no_run
//! # async fn run() -> russet_testkit::Result<()> {
//! use russet_testkit::Sentinel;
//!
//! let sentinel = Sentinel::start(2, 3).await?;   // a primary, 2 replicas, 3 sentinels
//! // Here the code under test connects to sentinel.url().
//! sentinel.failover().await?;
//! sentinel.kill_primary().await?;
//! let new = sentinel.promoted().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Faults
//! ```no_run
//! use russet_testkit::{Conn, Error, Match, Proxy, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let server = Server::start().await?;
//! let proxy = Proxy::start(server.addr()).await?;
//! proxy.cut_after(Match::name("INCR"));
//!
//! // Here the code under test connects to proxy.url().
//! let mut client = Conn::open(&proxy.url()).await?;
//! assert!(matches!(client.call(&["INCR", "n"]).await, Err(Error::Closed)));
//!
//! proxy.struck().await?;
//! // The client saw an error, and yet the write was applied.
//! assert_eq!(server.conn().await?.call(&["GET", "n"]).await?.text(), Some("1"));
//! assert_eq!((proxy.requests("INCR"), proxy.lost()), (1, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees and limits
//! - Servers listen on 127.0.0.1 only, and never outlive the process that started them: a guardian (`/bin/sh`, in a
//!   process group of its own) kills the server and removes its folder when the test is dropped, panics, aborts or is
//!   killed -9. Only killing both the test and the guardian at once leaves something behind.
//! - Each wait is bounded: a server is ready within 10 s or an error with the end of its log, a call of [`Conn`] ends
//!   within 5 s, an event of a proxy comes within 10 s, a change of a cluster or under Sentinel is seen by all within
//!   20 s, or an error says what was seen last.
//! - Unix only: signals, process groups and `/bin/sh` are what it is made of.
//! - The nodes of a cluster talk among themselves without TLS, and so do a server and its replicas. Servers under Sentinel
//!   and the sentinels talk by TLS where they have it.
//! - [`Proxy`] does not decrypt TLS, and does not follow MONITOR or replication.
//!
//! # Features
//! - `tls`: servers with TLS, with certificates made on the fly. A server binary that was built without TLS gives
//!   [`Error::Unsupported`].

mod builder;
mod cluster;
mod conn;
mod error;
mod find;
mod frame;
mod many;
mod network;
mod patience;
mod port;
mod process;
mod proxy;
mod replicas;
mod reply;
mod sentinel;
mod server;
pub mod shared;
pub mod soak;
mod test_process;
#[cfg(feature = "tls")]
mod tls;
pub mod trace;
mod url;

pub use builder::{Builder, Eviction, Fsync};
pub use cluster::{Clients, Cluster, ClusterBuilder, NodeView, OpenSlots, View, slot_of};
pub use conn::{Conn, encode};
pub use error::{Error, Result};
pub use find::{Flavor, Version, find_server};
pub use network::Network;
pub use proxy::{Counters, Fault, Match, Proxy};
pub use reply::Reply;
pub use sentinel::{Sentinel, SentinelBuilder};
pub use server::Server;
pub use shared::prefix;
pub use test_process::TestProcess;
#[cfg(feature = "tls")]
pub use tls::{Certificates, Identity, Pem, Tls};
