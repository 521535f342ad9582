//! The core against real servers, well and under fault.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod close;
mod deadlines;
mod desync;
mod hub;
mod lifecycle;
mod once;
mod order;
mod own_reply;
mod ready;
mod restart;
mod scripts;
mod support;
