//! Everything here runs against a real server: the one of `RUSSET_SERVER`, or of `PATH`.

mod guardian;
mod proxy;
mod pubsub;
mod server;
#[cfg(feature = "tls")]
mod tls;
