//! Invalidations that Redis has not taken are repeated, and nothing of them is used before.

use std::time::{Duration, Instant};

use russet_cache::{Load, Tier};
use russet_core_conn::{KeySpace, Redis};
use russet_testkit::{Match, Proxy, Server};

use crate::support::journal::{STALE, ask, ms, private, until};
use crate::support::{route, routes, url, users};

#[tokio::test]
async fn what_redis_did_not_take_is_repeated_and_not_used_before() {
    let (server, mut conn, cache) = private().await;
    let redis = Redis::builder(&url(server.addr())).deadline(ms(100)).build().unwrap();
    let brief = routes(&redis, &KeySpace::new("own").unwrap());
    let brief = brief.journal(STALE).local(100).budget(ms(100)).without_breaker().build().unwrap();
    for (key, tags) in [(1, &[][..]), (2, &["t"]), (3, &["u"])] {
        ask(&brief, key, 1, tags).await;
    }
    server.pause().await.unwrap();
    assert!(brief.remove(1_u64).await.unwrap_err().is_retryable());
    assert!(brief.invalidate_tags(["t"]).await.unwrap_err().is_retryable());
    assert_eq!(brief.stats().owed, 2);
    assert_eq!(ask(&brief, 1, 2, &[]).await, (2, Tier::Origin));
    server.resume().await.unwrap();
    let begun = Instant::now();
    while brief.stats().owed > 0 {
        // Here it is never used again, whether Redis has heard of it or not.
        for (key, tags) in [(1, &[][..]), (2, &["t"])] {
            assert_ne!(ask(&brief, key, 2, tags).await.0, 1);
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    tokio::time::sleep(STALE).await;
    for cache in [&brief, &cache] {
        let mut fares = Vec::new();
        for key in 1..4 {
            fares.push(ask(cache, key, 2, &[]).await.0);
        }
        assert_eq!(fares, [2, 2, 1]);
    }
    // What is refused for good is not repeated.
    conn.call(&["ACL", "SETUSER", "russet-cache", "-unlink"]).await.unwrap();
    assert!(!brief.remove(1_u64).await.unwrap_err().is_retryable());
    assert_eq!(brief.stats().owed, 0);
}

#[tokio::test]
async fn an_update_that_is_refused_leaves_what_is_owed() {
    let server = Server::builder().acl_file(users("own")).start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = Redis::builder(&url(proxy.addr())).deadline(ms(500)).build().unwrap();
    let cache = routes(&redis, &KeySpace::new("own").unwrap()).build().unwrap();
    cache.insert("k", Load::value(route(5)).version(5)).await.unwrap();
    let refuses = proxy.answer(Match::name("UNLINK").always(), "-LOADING for the test\r\n");
    assert!(cache.remove("k").await.unwrap_err().is_retryable());
    assert!(!cache.update("k", 4, route(4)).await.unwrap());
    assert_eq!(cache.stats().owed, 1);
    // One that is newer makes it needless.
    assert!(cache.update("k", 6, route(6)).await.unwrap());
    assert_eq!(cache.stats().owed, 0);
    refuses.remove();
    assert_eq!(cache.get("k").await.unwrap().unwrap().value(), Some(&route(6)));
}

#[tokio::test]
async fn more_than_can_be_owed_one_by_one_is_everything() {
    let (server, _conn, cache) = private().await;
    let redis = Redis::builder(&url(server.addr())).deadline(ms(100)).build().unwrap();
    let brief = routes(&redis, &KeySpace::new("own").unwrap()).journal(STALE).build().unwrap();
    ask(&brief, 1, 1, &[]).await;
    server.pause().await.unwrap();
    for piece in 0..4_u64 {
        let keys = (0..2_501).map(|key| 10 + piece * 2_501 + key);
        assert!(brief.remove_many(keys).await.is_err());
    }
    assert_eq!(brief.stats().owed, 1);
    server.resume().await.unwrap();
    let begun = Instant::now();
    while brief.stats().owed > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(ms(5)).await;
    }
    until(&cache, 1, 2, &[]).await;
}
