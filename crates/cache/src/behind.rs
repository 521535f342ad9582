//! Write-behind: acknowledged when it is in Redis, committed to a database later. What it promises is said of
//! [`WriteBehind`].
//!
//! The design: an entity's writes are merged as they come, by the script that takes them, into one state in the hash of its
//! lane; a sorted set says when it is due, is tried again or has died. There is no log of single writes, with a consumer
//! group over it: with one owner a lane, which the lease gives, a group would decide nothing, and a log would have to be
//! merged by whoever reads it, hold an entity as often as it is written, and put what is dead beside what was written
//! since. So there is one place for an entity, and nothing to be overtaken: not by a retry, not by a redrive.
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
