//! The core against real servers, well and under fault.
//!
//! What a call is to be is tested on one server, under Sentinel and on a cluster (`contract!`). On one server only:
//!
//! | modules | because | of the others |
//! |---|---|---|
//! | `address`, `client`, `info`, `ready`, `registry`, `secrets` | who answers makes no difference | |
//! | `cancel`, `close`, `deadlines`, `desync`, `lifecycle`, `once`, `order`, `restart`, `soak` | they break one connection at a chosen place; a handle has the same for each node | `cluster::{failover, partition, redirects, reshard}`, `sentinel::failover`: the same promises under the faults that these have |
//! | `credentials`, `tls` | they are about how a connection begins | `cluster::{credentials, rights, tls}`, `sentinel::tls` |
//! | `dedicated`, `durability` | what is lost depends on who takes over | `cluster::durability`, `sentinel::failover` |
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
