//! Redis that hangs, and the breaker that keeps lookups from waiting for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use russet_cache::{Cache, LoadError, Tier};
use russet_core_conn::{Breaker, BreakerState, KeySpace, Notice, Redis, RedisBuilder};
use russet_testkit::{Server, soak};

use crate::support::{patient, url, users};

const TASKS: u64 = 64;
const BUDGET: Duration = Duration::from_millis(100);
const LOAD: Duration = Duration::from_millis(2);

fn space() -> KeySpace {
    KeySpace::new("breaker").unwrap()
}

/// Whose connection is not found to hang: what is away is known already, and not what this is about.
fn unprobed(server: &Server) -> RedisBuilder {
    let never = Duration::from_secs(3_600);
    Redis::builder(&server.url()).probe(never, never)
}

async fn lookup(cache: &Cache<u64>, key: u64) -> (bool, Duration) {
    let started = Instant::now();
    let load = move |_| async move {
        tokio::time::sleep(LOAD).await;
        Ok::<_, std::io::Error>(key)
    };
    let found = cache.get_or_load(key, load).await.unwrap();
    assert_eq!(found.value(), Some(&key));
    (found.is_hit(), started.elapsed())
}

/// Lookups of 64 tasks for this time: how long each took, in order.
async fn lookups(cache: &Cache<u64>, time: Duration) -> Vec<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..TASKS)
        .map(|key| {
            let (cache, stop) = (cache.clone(), stop.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while !stop.load(SeqCst) {
                    took.push(lookup(&cache, key).await.1);
                }
                took
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, SeqCst);
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all.sort();
    all
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_lookups_cost_their_load_and_when_it_is_back_they_hit() {
    hang(&Server::start().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_redis_hangs() {
    let server = Server::start().await.unwrap();
    let took = hang(&server).await;
    let millis = |time: Duration| time.as_micros().div_ceil(1_000) as u64;
    let figures = [
        ("lookups", took.len() as u64),
        ("p50_ms", millis(percentile(&took, 50))),
        ("p99_ms", millis(percentile(&took, 99))),
    ];
    let sizes = [("tasks", TASKS), ("budget_ms", millis(BUDGET)), ("load_ms", millis(LOAD))];
    soak::record("redis-hangs", &server.version().to_string(), &sizes, &[], &figures);
}

/// How long lookups took while it hung and the breaker was open, in order.
async fn hang(server: &Server) -> Vec<Duration> {
    let redis = unprobed(server).build().unwrap();
    redis.ready().await.unwrap();
    let cache: Cache<u64> = Cache::builder(&redis, &space(), "n").budget(BUDGET).build().unwrap();
    let bare = Cache::builder(&redis, &space(), "n").budget(BUDGET).without_breaker();
    let bare: Cache<u64> = bare.build().unwrap();
    assert!(bare.breaker().is_none());
    let filled = Cache::builder(&redis, &space(), "n").budget(Duration::from_secs(10));
    let filled: Cache<u64> = filled.build().unwrap();
    for key in 0..TASKS {
        lookup(&filled, key).await;
        assert!(lookup(&filled, key).await.0, "it was not filled");
    }

    server.pause().await.unwrap();
    let waited = lookups(&bare, 2 * BUDGET).await;
    assert!(waited[0] >= BUDGET, "it did not hang: {:?}", waited[0]);
    // Those that see it hang, and nobody after them.
    let mut events = cache.breaker().unwrap().events();
    let first = lookups(&cache, BUDGET / 2).await;
    assert!(percentile(&first, 50) >= BUDGET && first.len() < 3 * TASKS as usize, "{first:?}");
    let opening = tokio::time::timeout(Duration::from_secs(10), events.next());
    let Ok(Some(Notice::Event(event))) = opening.await else { panic!("it did not open") };
    assert!(matches!(event.to, BreakerState::Open { .. }), "{event:?}");
    let took = lookups(&cache, Duration::from_secs(1)).await;
    let (p50, p99) = (percentile(&took, 50), percentile(&took, 99));
    assert!(p99 < LOAD + BUDGET / 2, "p50 {p50:?}, p99 {p99:?} of {}", took.len());
    println!("hung, {} lookups: p50 {p50:?}, p99 {p99:?}", took.len());

    server.resume().await.unwrap();
    let resumed = Instant::now();
    while cache.breaker().unwrap().state() != BreakerState::Closed {
        lookup(&cache, 1).await;
        assert!(resumed.elapsed() < Duration::from_secs(10), "{:?}", cache.breaker());
    }
    println!("closed {:?} after it was back", resumed.elapsed());
    assert!(lookup(&cache, 1).await.0);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_from_the_first_lookup_costs_each_its_budget_once() {
    let server = Server::start().await.unwrap();
    let redis = unprobed(&server).build().unwrap();
    redis.ready().await.unwrap();
    server.pause().await.unwrap();
    let cache = Cache::builder(&redis, &space(), "n").budget(BUDGET).without_breaker();
    let cache: Cache<u64> = cache.build().unwrap();
    let took = lookups(&cache, BUDGET / 2).await;
    assert_eq!(took.len(), TASKS as usize, "{took:?}");
    assert!(took[0] >= BUDGET, "it did not hang: {took:?}");
    assert!(took[took.len() - 1] < 10 * BUDGET, "they waited for each other: {took:?}");
}

#[tokio::test]
async fn a_breaker_is_the_caches_own_or_the_one_it_is_given() {
    let redis = Redis::builder("redis://localhost").build().unwrap();
    let named = |cache: &Cache<u64>| cache.breaker().map(|breaker| breaker.name().to_owned());
    let build = |redis: &Redis| Cache::builder(redis, &space(), "own");
    assert_eq!(named(&build(&redis).build().unwrap()).as_deref(), Some("own"));
    let shared = Breaker::new("shared");
    assert_eq!(named(&build(&redis).breaker(&shared).build().unwrap()).as_deref(), Some("shared"));
    let guarded = redis.with_breaker(&shared);
    assert_eq!(named(&build(&guarded).build().unwrap()).as_deref(), Some("shared"));
    // What has no loader to fall back to is asked for all the same.
    let cache: Cache<u64> = build(&redis).breaker(&shared).build().unwrap();
    shared.force_open();
    let error = cache.remove("k").await.unwrap_err().to_string();
    assert!(error.contains("not connected"), "{error}");
    let found = cache.get_or_load("k", |_| async { Ok::<_, std::io::Error>(7) }).await.unwrap();
    assert_eq!((found.value(), cache.stats().unavailable), (Some(&7), 1));
}

#[tokio::test]
async fn without_redis_the_origin_is_asked_by_so_many_at_a_time() {
    let server = Server::builder().acl_file(users("limit")).start().await.unwrap();
    let redis = patient(&url(server.addr()));
    let cache: Cache<u64> = Cache::builder(&redis, &KeySpace::new("limit").unwrap(), "n")
        .origin_limit(3)
        .build()
        .unwrap();
    server.kill().await.unwrap();
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let lookups = (0..400_u64).map(|key| {
        let (cache, inside, most) = (cache.clone(), inside.clone(), most.clone());
        tokio::spawn(async move {
            let load = move |_| async move {
                most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
                inside.fetch_sub(1, SeqCst);
                Ok::<_, Infallible>(key)
            };
            cache.get_or_load(key, load).await
        })
    });
    let mut refused = 0;
    for lookup in Vec::from_iter(lookups) {
        match lookup.await.unwrap() {
            Ok(found) => assert_eq!(found.tier(), Tier::Origin),
            Err(error) => {
                assert!(matches!(error, LoadError::Overloaded), "{error}");
                refused += 1;
            }
        }
    }
    // Three at once, 300 that waited.
    assert_eq!((most.load(SeqCst), refused), (3, 97));
    let batch = |missing: Vec<u64>, _| async move {
        Ok::<_, Infallible>(missing.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
    };
    assert_eq!(cache.get_or_load_many(0..9_u64, batch).await.unwrap().len(), 9);
}
