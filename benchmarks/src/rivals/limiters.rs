//! The limiters.

use crate::Result;
use governor::{DefaultKeyedRateLimiter, Quota};
use std::num::NonZeroU32;
use std::sync::Arc;
use trypema::{RateLimiterBuilder, WindowSize, redis::RedisRateLimiterProvider};

/// How a table calls governor.
pub const GOVERNOR: &str = "governor 0.10, in this process alone";

/// How a table calls trypema.
pub const TRYPEMA: &str = "trypema 2, absolute over Redis";

/// trypema over Redis, with windows of a minute and its own defaults. It asks for Redis 7.2; what is used here is in 7.0.
///
/// # Errors
/// No server at the URL.
pub async fn trypema(url: &str) -> Result<Arc<RedisRateLimiterProvider>> {
    let connection = redis::Client::open(url)?.get_connection_manager().await?;
    let builder = RedisRateLimiterProvider::builder(connection);
    Ok(builder.window_size(WindowSize::minutes(1)?).build()?)
}

/// governor, which knows of no other process, with so many a second for each key.
#[must_use]
pub fn governor(rate: NonZeroU32) -> Arc<DefaultKeyedRateLimiter<String>> {
    Arc::new(DefaultKeyedRateLimiter::keyed(Quota::per_second(rate)))
}
