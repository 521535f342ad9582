//! The harness: ours and a rival in turn on one server, with one runtime and one set of keys a round.
//!
//! A row is one workload. Its two sides run A B B A …, each for the same short time with the same number of
//! tasks, after a warm-up of both, in several rounds, each with clients of its own. What is compared
//! is the ratio of the medians of all of them: times wobble on a shared machine, and one connection is faster
//! than the next by where its memory happens to lie; such ratios hold.
//!
//! ```no_run
//! use russet_benchmarks::{Ops, Suite};
//!
//! fn main() -> std::process::ExitCode {
//!     Suite::main("core", async |suite| {
//!         suite.row("nothing 64").tasks(64).floor(Some(0.95)).run(
//!             ("ours", |mut ops: Ops| async move {
//!                 while ops.next() {
//!                     tokio::task::yield_now().await;
//!                 }
//!                 Ok(())
//!             }),
//!             ("other", |mut ops: Ops| async move {
//!                 while ops.next() {
//!                     tokio::task::yield_now().await;
//!                 }
//!                 Ok(())
//!             }),
//!         ).await
//!     })
//! }
//! ```

mod closed_loop;
mod figures;
pub mod rivals;
mod suite;
pub mod workload;

pub use closed_loop::{Ops, Side};
pub use suite::{Row, Suite, resident};

/// Any error ends the benchmark: a failed operation is not a fast one.
pub type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
