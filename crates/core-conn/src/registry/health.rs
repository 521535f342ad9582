//! How one entry is asked for a sign of life.

use std::time::{Duration, Instant};

use super::report::Health;
use crate::{Error, Redis, ServerError};

/// Asks for one answer; never waits for a connection that is known to be away, nor among those who do.
pub(super) async fn ask(redis: &Redis, within: Duration) -> Health {
    if let Some(error) = redis.to.away() {
        return unhealthy(redis, error);
    }
    let began = Instant::now();
    let was_connected = redis.to.is_connected();
    let left = || within.saturating_sub(began.elapsed());
    let latency = match ping(redis, within).await {
        Ok(latency) if was_connected => latency,
        // That was the time to connect. If there is some left it shows how long an answer takes.
        Ok(latency) => ping(redis, left()).await.unwrap_or(latency),
        Err(error) => return unhealthy(redis, error),
    };
    Health::Healthy { latency, evicts: evicts(redis, left()).await }
}

/// Not known is no reason to be unwell.
async fn evicts(redis: &Redis, within: Duration) -> Option<bool> {
    let info = redis.with_deadline(within).without_waiting().info().await;
    info.ok()?.evicts()
}

/// The line that asked is one of ours, and is not told.
fn unhealthy(redis: &Redis, error: Error) -> Health {
    let context = redis.context(Some("PING"), None, error.attempt());
    Health::Unhealthy { error: error.with(context) }
}

async fn ping(redis: &Redis, within: Duration) -> Result<Duration, Error> {
    let began = Instant::now();
    match redis.with_deadline(within).without_waiting().ping().await {
        // It is there, and this user is not one to ask it.
        Err(error) if matches!(error.server(), Some(ServerError::NoPerm(_))) => Ok(began.elapsed()),
        answer => answer,
    }
}
