//! The limiters.

use crate::Result;
use limitador::{AsyncRateLimiter, limit::Limit, storage::{AsyncStorage, redis::AsyncRedisStorage}};
use std::{sync::Arc, time::Duration};
use trypema::{RateLimiterBuilder, WindowSize, redis::RedisRateLimiterProvider};

/// How a table calls limitador.
pub const LIMITADOR: &str = "limitador 0.12, AsyncRedisStorage";

/// How a table calls trypema.
pub const TRYPEMA: &str = "trypema 2, absolute over Redis";

/// Of limitador's limit.
pub const NAMESPACE: &str = "bench";

/// limitador with exact counters in Redis, which its docs have for what must not be written behind; one limit for each user.
///
/// # Errors
/// No server at the URL.
pub async fn limitador(url: &str, limit: u64, per: Duration) -> Result<Arc<AsyncRateLimiter>> {
    let storage = AsyncRedisStorage::new(url).await?;
    let limiter = AsyncRateLimiter::new_with_storage(AsyncStorage::with_counter_storage(Box::new(storage)));
    let user = "user".try_into()?;
    limiter.add_limit(Limit::new(NAMESPACE, limit, per.as_secs(), [], [user]));
    Ok(Arc::new(limiter))
}

/// trypema over Redis, with windows of a minute and its own defaults.
///
/// # Errors
/// No server at the URL.
pub async fn trypema(url: &str) -> Result<Arc<RedisRateLimiterProvider>> {
    let connection = redis::Client::open(url)?.get_connection_manager().await?;
    let builder = RedisRateLimiterProvider::builder(connection);
    Ok(builder.window_size(WindowSize::minutes(1)?).build()?)
}
