//! The rivals, set up as their own docs advise.

use crate::Result;
use fred::prelude::{Builder, Client, ClientLike, Config};
use std::time::Duration;

/// How a table calls ours.
pub const RUSSET: &str = "russet, default options";

/// How a table calls fred.
pub const FRED: &str = "fred 10.1, 1 connection, timeout 500 ms";

/// How a table calls redis-rs.
pub const REDIS_RS: &str = "redis-rs 1.8, MultiplexedConnection";

/// The deadline of every side that can have one: russet's default.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// fred's centralized client, RESP3, with a timeout for each command. What else it can be tuned by
/// stays as it is: its docs name the defaults as those for throughput.
///
/// # Errors
/// No server at the URL.
pub async fn fred(url: &str) -> Result<Client> {
    let mut config = Config::from_url_centralized(url)?;
    config.version = fred::types::RespVersion::RESP3;
    let mut builder = Builder::from_config(config);
    builder.with_performance_config(|performance| performance.default_command_timeout = DEADLINE);
    let client = builder.build()?;
    client.init().await?;
    Ok(client)
}

/// redis-rs's multiplexed connection, RESP3, with a response timeout. Its clones share one socket.
///
/// # Errors
/// No server at the URL.
pub async fn redis_rs(url: &str) -> Result<redis::aio::MultiplexedConnection> {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
    let client = redis::Client::open(format!("{url}?protocol=resp3"))?;
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}
