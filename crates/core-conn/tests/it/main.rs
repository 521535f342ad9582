//! The core against real servers, well and under fault.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod breaker;
mod close;
mod deadlines;
mod desync;
mod lifecycle;
mod once;
mod order;
mod own_reply;
mod ready;
mod registry;
mod restart;
mod scripts;
mod support;
