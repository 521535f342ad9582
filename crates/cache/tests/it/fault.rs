//! Redis away, hung, slow, full, forbidden: the loader serves.

use std::time::{Duration, Instant};

use russet_cache::{Cache, Reason, Tier};
use russet_core_conn::{EventKind, KeySpace, Redis, SendOutcome, ServerError};
use russet_testkit::{Builder, Eviction, Server};

use crate::support::{patient, route, routes, url, users};

fn space() -> KeySpace {
    KeySpace::new("fault").unwrap()
}

async fn start(builder: Builder) -> Server {
    builder.acl_file(users("fault")).start().await.unwrap()
}

#[tokio::test]
async fn without_a_server_the_loader_serves_and_the_rest_says_why() {
    let server = start(Server::builder()).await;
    server.kill().await.unwrap();
    let redis =
        Redis::builder(&url(server.addr())).deadline(Duration::from_millis(300)).build().unwrap();
    let cache = routes(&redis, &space()).build().unwrap();
    for _ in 0..20 {
        let found = cache
            .get_or_load("k", |ctx| async move {
                assert_eq!(ctx.reason(), Reason::Unavailable);
                Ok::<_, std::io::Error>(route(1))
            })
            .await
            .unwrap();
        assert_eq!(found.tier(), Tier::Origin);
    }
    let found = cache
        .get_or_load_many([1_u64, 2], |missing, _| async move {
            Ok::<_, std::io::Error>(
                missing.into_iter().map(|key| (key, route(1))).collect::<Vec<_>>(),
            )
        })
        .await
        .unwrap();
    assert_eq!(found.len(), 2);
    for error in [
        cache.get("k").await.unwrap_err(),
        cache.insert("k", route(1)).await.unwrap_err(),
        cache.remove("k").await.unwrap_err(),
        cache.remove_many(["k"]).await.unwrap_err(),
    ] {
        let russet_cache::Error::Redis(error) = error else { panic!("{error}") };
        assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
        assert!(error.is_retryable(), "{error}");
    }
    assert_eq!((cache.stats().fills, cache.stats().loads), (0, 21));
}

#[tokio::test]
async fn no_lookup_waits_for_a_connection_that_is_known_to_be_away() {
    let server = start(Server::builder()).await;
    let redis = patient(&url(server.addr()));
    let mut events = redis.events();
    let cache = routes(&redis, &space()).without_breaker().build().unwrap();
    cache.insert("k", route(1)).await.unwrap();
    server.kill().await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Reconnecting { .. })).await.unwrap();
    // The budget is 10 s.
    let begun = Instant::now();
    for _ in 0..5 {
        let found = cache.get_or_load("k", |_| async { Ok::<_, std::io::Error>(route(2)) }).await;
        assert_eq!(found.unwrap().tier(), Tier::Origin);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_hung_server_costs_the_budget_and_then_nothing() {
    let server = start(Server::builder()).await;
    let redis = Redis::builder(&url(server.addr()))
        .probe(Duration::from_millis(50), Duration::from_millis(200))
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    let mut events = redis.events();
    let budget = Duration::from_millis(100);
    let cache: Cache<u32> = Cache::builder(&redis, &space(), "n").budget(budget).build().unwrap();
    cache.insert("k", 1).await.unwrap();
    server.pause().await.unwrap();
    let started = Instant::now();
    let found = cache.get_or_load("k", |_| async { Ok::<_, std::io::Error>(2) }).await.unwrap();
    assert_eq!(found.value(), Some(&2));
    assert!(
        started.elapsed() >= budget && started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );

    // Once the connection is known to be gone, nobody waits for it.
    events.find(|kind| matches!(kind, EventKind::Closed)).await.unwrap();
    let started = Instant::now();
    for _ in 0..200 {
        cache.get_or_load("k", |_| async { Ok::<_, std::io::Error>(2) }).await.unwrap();
    }
    assert!(started.elapsed() < 100 * budget, "{:?} for 200 lookups", started.elapsed());

    server.resume().await.unwrap();
    redis.with_deadline(Duration::from_secs(10)).ready().await.unwrap();
    // What was loaded meanwhile was not cached: the old entry is still there.
    assert_eq!(cache.get("k").await.unwrap().unwrap().value(), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted_under_load_every_lookup_is_served() {
    let server = start(Server::builder()).await;
    let redis = patient(&url(server.addr()));
    redis.ready().await.unwrap();
    let cache: Cache<u64> = Cache::new(&redis, &space(), "n").unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let tasks: Vec<_> = (0..16_u64)
        .map(|task| {
            let (cache, stopped) = (cache.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut hits = 0_u64;
                while !*stopped.borrow() {
                    for key in 0..20_u64 {
                        let key = task * 100 + key;
                        let found = cache
                            .get_or_load(key, move |_| async move { Ok::<_, std::io::Error>(key) });
                        let found = found.await.unwrap();
                        assert_eq!(found.value(), Some(&key));
                        hits += u64::from(found.is_hit());
                    }
                }
                hits
            })
        })
        .collect();
    let mut events = redis.events();
    for _ in 0..3 {
        server.kill().await.unwrap();
        events.find(|kind| matches!(kind, EventKind::Closed)).await.unwrap();
        server.restart().await.unwrap();
        events.find(|kind| matches!(kind, EventKind::Ready(_))).await.unwrap();
    }
    let before = cache.stats().hits;
    while cache.stats().hits < before + 1_000 {
        tokio::task::yield_now().await;
    }
    stop.send(true).unwrap();
    for task in tasks {
        assert!(task.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_full_server_refuses_the_fill_and_the_caller_is_served() {
    let server = start(Server::builder().maxmemory(0, Eviction::NoEviction)).await;
    let redis = patient(&url(server.addr()));
    let cache = routes(&redis, &space()).build().unwrap();
    cache.insert("before", route(1)).await.unwrap();
    server.conn().await.unwrap().call(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let found =
        cache.get_or_load("k", |_| async { Ok::<_, std::io::Error>(route(1)) }).await.unwrap();
    assert_eq!(found.value(), Some(&route(1)));
    let russet_cache::Error::Redis(error) = cache.insert("k", route(1)).await.unwrap_err() else {
        panic!("not Redis's")
    };
    assert_eq!((error.server(), error.outcome()), (Some(&ServerError::Oom), SendOutcome::Rejected));
}
