//! Everything here runs against a real server: the one of `RUSSET_SERVER`, or of `PATH`.

#![expect(clippy::unwrap_used, reason = "in a test they are assertions")]

mod cluster;
mod guardian;
mod proxy;
mod pubsub;
mod replicas;
mod sentinel;
mod server;
mod shared;
#[cfg(feature = "tls")]
mod tls;
