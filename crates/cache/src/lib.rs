//! russet-cache
mod builder;
mod cache;
mod entry;
mod error;
mod keys;
mod load;
mod lookup;
mod many;
mod stats;

pub use self::builder::CacheBuilder;
pub use self::cache::Cache;
pub use self::error::{Error, LoadError};
pub use self::load::{Load, LoadContext, Reason};
pub use self::lookup::{Freshness, Lookup, Tier};
pub use self::stats::Stats;
