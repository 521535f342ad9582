//! The rivals, set up as their own docs advise.

use crate::Result;
use fred::prelude::{Builder, Client, ClientLike, Config, ServerConfig};
use redis::cluster_async::ClusterConnection;
use std::time::Duration;

#[cfg(feature = "caches")]
mod caches;
#[cfg(feature = "caches")]
pub use self::caches::{
    CACHED, HITBOX, HITBOX_BACKEND, MULTI_TIER, MULTI_TIER_BYTES, TTL, cached, hitbox, multi_tier,
    multi_tier_redis,
};

#[cfg(feature = "limiters")]
mod limiters;
#[cfg(feature = "limiters")]
pub use self::limiters::{GOVERNOR, TRYPEMA, governor, trypema};

/// How a table calls ours.
pub const RUSSET: &str = if cfg!(feature = "fred") {
    "russet over fred, default options"
} else {
    "russet over redis-rs, default options"
};

/// How a table calls fred.
pub const FRED: &str = "fred 10.1, 1 connection, timeout 500 ms";

/// How a table calls redis-rs.
pub const REDIS_RS: &str = "redis-rs 1.8, MultiplexedConnection";

/// How a table calls fred's client of clusters.
pub const FRED_CLUSTERED: &str = "fred 10.1, clustered, timeout 500 ms";

/// How a table calls redis-rs's client of clusters.
pub const REDIS_RS_CLUSTER: &str = "redis-rs 1.8, cluster-async";

/// The deadline of every side that can have one: russet's default.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// fred's centralized client, RESP3, with a timeout for each command. What else it can be tuned by
/// stays as it is: its docs name the defaults as those for throughput.
///
/// # Errors
/// No server at the URL.
pub async fn fred(url: &str) -> Result<Client> {
    fred_by(Config::from_url_centralized(url)?).await
}

/// fred's clustered client, the same otherwise.
///
/// # Errors
/// No cluster there.
pub async fn fred_clustered(nodes: &[(String, u16)]) -> Result<Client> {
    let hosts = nodes.iter().map(|(host, port)| (host.as_str(), *port)).collect();
    fred_by(Config { server: ServerConfig::new_clustered(hosts), ..Config::default() }).await
}

async fn fred_by(mut config: Config) -> Result<Client> {
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

/// redis-rs's client of clusters, RESP3, with a response timeout. Its clones share one task.
///
/// # Errors
/// No cluster there.
pub async fn redis_rs_cluster(nodes: &[(String, u16)]) -> Result<ClusterConnection> {
    let urls = nodes.iter().map(|(host, port)| format!("redis://{host}:{port}"));
    let client = redis::cluster::ClusterClient::builder(urls)
        .use_protocol(redis::ProtocolVersion::RESP3)
        .response_timeout(DEADLINE)
        .build()?;
    Ok(client.get_async_connection().await?)
}
