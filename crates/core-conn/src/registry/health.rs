//! How one entry is asked for a sign of life.

use std::time::{Duration, Instant};

use super::report::Health;
use crate::{Error, Redis, ServerError};

/// Asks for one answer; never waits for a connection that is known to be away, nor among those who do.
pub(super) async fn ask(redis: &Redis, within: Duration) -> Health {
    if let Some(error) = redis.inner.node.away() {
        return unhealthy(redis, error);
    }
    let began = Instant::now();
    let was_connected = redis.inner.node.is_connected();
    match ping(redis, within).await {
        Ok(latency) if was_connected => Health::Healthy { latency },
        // That was the time to connect. If there is some left it shows how long an answer takes.
        Ok(latency) => {
            let again = ping(redis, within.saturating_sub(began.elapsed())).await;
            Health::Healthy { latency: again.unwrap_or(latency) }
        }
        Err(error) => unhealthy(redis, error),
    }
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
