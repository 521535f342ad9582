//! The rivals, set up as their own docs advise.

use crate::Result;
use cached::AsyncRedisCache;
use fred::prelude::{Builder, Client, ClientLike, Config, ServerConfig};
use hitbox::policy::PolicyConfig;
use hitbox_redis::{ConnectionMode, RedisBackend};
use multi_tier_cache::{CacheSystem, CacheSystemBuilder, RedisCache, TierConfig};
use redis::cluster_async::ClusterConnection;
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};

/// How a table calls ours.
pub const RUSSET: &str = "russet, default options";

/// How a table calls fred.
pub const FRED: &str = "fred 10.1, 1 connection, timeout 500 ms";

/// How a table calls redis-rs.
pub const REDIS_RS: &str = "redis-rs 1.8, MultiplexedConnection";

/// How a table calls fred's client of clusters.
pub const FRED_CLUSTERED: &str = "fred 10.1, clustered, timeout 500 ms";

/// How a table calls redis-rs's client of clusters.
pub const REDIS_RS_CLUSTER: &str = "redis-rs 1.8, cluster-async";

/// How a table calls cached's store in Redis.
pub const CACHED: &str = "cached 4.1, AsyncRedisCache, MessagePack";

/// How a table calls hitbox's functions over its backend for Redis.
pub const HITBOX: &str = "hitbox 0.2, #[cached] function over hitbox-redis, bincode";

/// How a table calls that backend without the rest of hitbox.
pub const HITBOX_BACKEND: &str = "hitbox-redis 0.2, the backend's get alone, bincode";

/// How a table calls multi-tier-cache with values of a type, which it decodes at each hit.
pub const MULTI_TIER: &str = "multi-tier-cache 0.6, get_or_compute_typed, JSON";

/// How a table calls it with bytes, which it leaves as they are.
pub const MULTI_TIER_BYTES: &str = "multi-tier-cache 0.6, get, bytes";

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

/// For what the rivals keep: longer than any benchmark takes.
pub const TTL: Duration = Duration::from_secs(3_600);

/// cached's store in Redis: its defaults are one multiplexed connection and redis-rs's timeout, which is
/// [`DEADLINE`] too.
///
/// # Errors
/// No server at the URL.
pub async fn cached<V>(url: &str) -> Result<AsyncRedisCache<u32, V>>
where
    V: Serialize + DeserializeOwned + Send,
{
    Ok(AsyncRedisCache::builder("bench").ttl(TTL).connection_string(url).build().await?)
}

/// hitbox over Redis: its defaults otherwise, which its docs recommend for production.
///
/// # Errors
/// No URL. It connects when it is first used.
pub fn hitbox(url: &str) -> Result<hitbox_fn::Cache<RedisBackend>> {
    let mode = ConnectionMode::single(url);
    let backend = RedisBackend::builder().connection(mode).response_timeout(DEADLINE).build()?;
    let policy = PolicyConfig::builder().ttl(TTL).build();
    Ok(hitbox_fn::Cache::builder().backend(backend).policy(policy).build())
}

/// multi-tier-cache as it comes: moka in front of Redis.
///
/// # Errors
/// No server at the URL.
pub async fn multi_tier(url: &str) -> Result<CacheSystem> {
    Ok(CacheSystem::with_redis_url(url).await?)
}

/// multi-tier-cache with Redis as its only tier.
///
/// # Errors
/// No server at the URL.
pub async fn multi_tier_redis(url: &str) -> Result<CacheSystem> {
    let redis = Arc::new(RedisCache::with_url(url).await?);
    Ok(CacheSystemBuilder::new().with_tier(redis, TierConfig::as_l1()).build().await?)
}
