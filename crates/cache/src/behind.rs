//! Write-behind: acknowledged when it is in Redis, committed to a database later. What it promises is said of
//! [`WriteBehind`].
//!
//! The design, and why it is no stream with a group, is said there, too.
//!
//! What holds at all times:
//! - An entity is in the hash if and only if it is in one of the three sets. One that is tried again is in a fourth, by when
//!   its first write came.
//! - Its version only grows, and grows with each write.
//! - It leaves the hash only by an acknowledgement or discard of the very version that is there.
//! - Only the owner with the highest fencing number that has taken anything acknowledges.

mod buffer;
mod builder;
mod change;
mod commit;
mod counters;
mod crew;
mod entities;
mod error;
mod lane;
#[cfg(test)]
mod model;
mod seats;
mod sink;
#[cfg(test)]
mod tests;
mod worker;

pub use self::buffer::{BehindStats, Dead, WriteBehind};
pub use self::builder::WriteBehindBuilder;
pub use self::change::{Change, Op, Patch};
pub use self::counters::WorkerStats;
pub use self::entities::{Entities, Pending, ReadError};
pub use self::error::BehindError;
pub use self::sink::{Batch, CommitError, Committed, Sink};
pub use self::worker::{Left, Worker, WorkerBuilder};
