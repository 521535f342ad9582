//! Rate limits on Redis and Valkey: exact, any number of them in one round trip, and honest about waiting.
//!
//! # Keys
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `{prefix:p}:limit.<name>:<segment>:…` | string, hash or zset, by the algorithm | the state of one subject under one limit | when it is as if it were not there |

mod error;
mod keys;
mod scripts;

pub use self::error::Error;
