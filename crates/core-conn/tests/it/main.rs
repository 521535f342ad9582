//! The core against real servers, well and under fault.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod acl;
mod address;
mod breaker;
mod cancel;
mod client;
mod close;
mod cluster;
mod credentials;
mod deadlines;
mod dedicated;
mod desync;
mod durability;
mod errors;
mod hub;
mod info;
mod lease;
mod ledger;
mod lifecycle;
mod log;
mod many;
mod once;
mod order;
mod own_reply;
mod ready;
mod registry;
mod restart;
mod scan;
mod scripts;
mod secrets;
mod sentinel;
mod soak;
mod support;
#[cfg(feature = "tls")]
mod tls;
