//! The same hits beside other caches, each used as its docs advise; 64 tasks.

use std::sync::Arc;

use cached::{AsyncRedisCache, ConcurrentCachedAsync};
use hitbox::{
    CacheContext, CacheKey, CacheStatus, CacheValue, EntityPolicyConfig, KeyPart,
    backend::CacheBackend,
};
use hitbox_redis::RedisBackend;
use multi_tier_cache::{CacheError, CacheManager, CacheSerializer, CacheStrategy, CacheSystem};
use russet_benchmarks::{
    Ops, Result, Row, Side, Suite,
    rivals::{self, CACHED, HITBOX, HITBOX_BACKEND, MULTI_TIER, MULTI_TIER_BYTES},
};
use russet_cache::Cache;

use crate::{
    BATCH, Fare, fare, hit, is_hit,
    memory::{self, LOCAL, Turn},
};

const OURS: &str =
    if cfg!(feature = "fred") { "get_or_load over fred" } else { "get_or_load over redis-rs" };

pub(crate) async fn rows(suite: &mut Suite, cache: &Cache<Fare>, local: &Cache<Fare>) -> Result {
    let url = suite.url().to_owned();

    let cached = rivals::cached(&url).await?;
    for route in 0..BATCH {
        cached.async_cache_set(route, fare(route)).await?;
    }
    row(suite, "vs cached").run((OURS, hit(cache)), (CACHED, cached_hit(&cached))).await?;

    let hitbox = rivals::hitbox(&url)?;
    for route in 0..BATCH {
        load(route).cache(&hitbox).await;
        put(hitbox.backend(), route).await?;
    }
    row(suite, "vs hitbox").run((OURS, hit(cache)), (HITBOX, hitbox_hit(&hitbox))).await?;
    let other = (HITBOX_BACKEND, backend_hit(hitbox.backend()));
    row(suite, "vs hitbox backend").run((OURS, hit(cache)), other).await?;

    // It always has a memory: ours is beside that, and what is in Redis alone beside it without one.
    let other = rivals::multi_tier(&url).await?;
    let other = filled(&other).await?;
    memory::warm(local).await?;
    let theirs = format!("100 x {MULTI_TIER}, from its memory");
    let ours = (LOCAL, memory::hit(local));
    row(suite, "vs multi-tier-cache").run(ours, (&theirs, typed_hit(&other))).await?;
    memory::warm(local).await?;
    let theirs = format!("100 x {MULTI_TIER_BYTES}, from its memory");
    let ours = (LOCAL, memory::hit(local));
    row(suite, "vs multi-tier-cache bytes").run(ours, (&theirs, bytes_hit(&other))).await?;
    is_hit(other.get_stats().l2_hits == 0)?;

    let other = rivals::multi_tier_redis(&url).await?;
    let other = filled(&other).await?;
    let theirs = format!("{MULTI_TIER}, Redis its only tier");
    let ours = (OURS, hit(cache));
    row(suite, "vs multi-tier-cache redis").run(ours, (&theirs, tier_hit(&other))).await
}

fn row<'a>(suite: &'a mut Suite, name: &str) -> Row<'a> {
    // They all stand on redis-rs.
    let link = if cfg!(feature = "fred") { "" } else { ", both over redis-rs" };
    suite.row(format!("{name}{link}")).tasks(64).floor(Some(1.0))
}

fn cached_hit(cache: &AsyncRedisCache<u32, Fare>) -> impl Side {
    let cache = cache.clone();
    move |mut ops: Ops| {
        let cache = cache.clone();
        async move {
            let route = ops.task() as u32 % BATCH;
            while ops.next() {
                let found = cache.async_cache_get(&route).await?;
                is_hit(found.is_some_and(|fare| fare.is_whole()))?;
            }
            Ok(())
        }
    }
}

/// What hitbox caches.
#[hitbox_fn::cached(prefix = "fare")]
async fn load(route: u32) -> Fare {
    fare(route)
}

fn hitbox_hit(cache: &hitbox_fn::Cache<RedisBackend>) -> impl Side {
    let cache = cache.clone();
    move |mut ops: Ops| {
        let cache = cache.clone();
        async move {
            let route = ops.task() as u32 % BATCH;
            while ops.next() {
                // It keeps the context in any case, so to ask for it costs nothing.
                let (found, context) = load(route).cache(&cache).with_context().await;
                is_hit(context.status == CacheStatus::Hit && found.is_whole())?;
            }
            Ok(())
        }
    }
}

fn key(route: u32) -> CacheKey {
    CacheKey::new("backend", 0, vec![KeyPart::new("route", Some(route.to_string()))])
}

async fn put(backend: &RedisBackend, route: u32) -> Result {
    let ttl = EntityPolicyConfig { ttl: Some(rivals::TTL), stale_ttl: None };
    let value = CacheValue::from_config(fare(route), &ttl);
    let set = backend.set::<Fare>(&key(route), &value, &mut CacheContext::default().boxed()).await;
    // Its error can't be shared between threads.
    Ok(set.map_err(|error| error.to_string())?)
}

fn backend_hit(backend: &Arc<RedisBackend>) -> impl Side {
    let backend = Arc::clone(backend);
    move |mut ops: Ops| {
        let backend = Arc::clone(&backend);
        async move {
            let key = key(ops.task() as u32 % BATCH);
            while ops.next() {
                let mut context = CacheContext::default().boxed();
                let found = backend.get::<Fare>(&key, &mut context).await;
                let found = found.map_err(|error| error.to_string())?;
                is_hit(found.is_some_and(|found| found.data().is_whole()))?;
            }
            Ok(())
        }
    }
}

/// All its tiers have all keys.
async fn filled(system: &CacheSystem) -> Result<Arc<CacheManager>> {
    let manager = Arc::clone(system.cache_manager());
    for (route, key) in names().iter().enumerate() {
        let bytes = CacheSerializer::default().serialize(&fare(route as u32))?;
        manager.set_with_strategy(key, bytes, CacheStrategy::LongTerm).await?;
    }
    Ok(manager)
}

/// Its keys, made beforehand: it spares it the time.
fn names() -> Vec<String> {
    (0..BATCH).map(|route| format!("fare:{route}")).collect()
}

async fn typed(manager: &CacheManager, key: &str) -> Result<Fare, CacheError> {
    let missing = || async { Err(CacheError::NotFound) };
    manager.get_or_compute_typed(key, CacheStrategy::LongTerm, missing).await
}

fn typed_hit(manager: &Arc<CacheManager>) -> impl Side {
    let manager = Arc::clone(manager);
    move |mut ops: Ops| {
        let (manager, names) = (Arc::clone(&manager), names());
        async move {
            let mut turn = Turn::default();
            while ops.next() {
                for key in &names {
                    is_hit(typed(&manager, key).await?.is_whole())?;
                }
                turn.over().await;
            }
            Ok(())
        }
    }
}

fn bytes_hit(manager: &Arc<CacheManager>) -> impl Side {
    let manager = Arc::clone(manager);
    move |mut ops: Ops| {
        let (manager, names) = (Arc::clone(&manager), names());
        async move {
            let mut turn = Turn::default();
            while ops.next() {
                for key in &names {
                    let found = manager.get(key).await?;
                    is_hit(found.is_some_and(|bytes| bytes.first() == Some(&b'{')))?;
                }
                turn.over().await;
            }
            Ok(())
        }
    }
}

fn tier_hit(manager: &Arc<CacheManager>) -> impl Side {
    let manager = Arc::clone(manager);
    move |mut ops: Ops| {
        let manager = Arc::clone(&manager);
        async move {
            let key = names().swap_remove(ops.task() % BATCH as usize);
            while ops.next() {
                is_hit(typed(&manager, &key).await?.is_whole())?;
            }
            Ok(())
        }
    }
}
