//! The cache against real servers, well and under fault.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod acl;
mod batch;
mod behind;
mod breaker;
mod coherence;
mod fault;
mod grace;
mod journal;
#[cfg(feature = "test-util")]
mod memory;
mod processes;
mod single;
mod stampede;
mod support;
mod sweep;
mod warm;
mod write;
