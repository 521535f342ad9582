//! The cache against real servers, well and under fault.
// The futures of write-behind are deep.
#![recursion_limit = "256"]
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod access;
mod acl;
mod adaptive;
mod batch;
mod behind;
mod breaker;
#[cfg(all(feature = "json", feature = "lz4", feature = "zstd"))]
mod codec;
mod coherence;
mod failover;
mod fault;
mod grace;
mod journal;
mod local;
#[cfg(feature = "test-util")]
mod memory;
mod optimizer;
mod owed;
mod pages;
mod prefetch;
mod processes;
mod refresh;
mod replay;
mod single;
mod size;
mod stampede;
mod support;
mod sweep;
mod warm;
mod write;
