//! The caches.

use super::DEADLINE;
use crate::Result;
use cached::AsyncRedisCache;
use hitbox::policy::PolicyConfig;
use hitbox_redis::{ConnectionMode, RedisBackend};
use multi_tier_cache::{CacheSystem, CacheSystemBuilder, RedisCache, TierConfig};
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};

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
