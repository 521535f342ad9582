//! What crosses crates.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod depth;
mod observed;
mod readme;
