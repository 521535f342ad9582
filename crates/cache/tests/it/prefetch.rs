//! What is likely to be asked for next is there already.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russet_cache::{Access, Cache, Prefetch, Reason, RefreshAhead, Tier};
use russet_core_conn::{KeySpace, Redis};
use russet_testkit::shared::Topology;
use russet_testkit::{Server, contract};

use crate::support::{Route, entries, patient, route, routes, space};

/// Remembers what it was asked for, one list a call; keys of 1,000 and more do not exist.
#[derive(Debug, Clone, Default)]
struct Asked(Arc<Mutex<Vec<Vec<u64>>>>);

impl Asked {
    fn take(&self) -> Vec<Vec<u64>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn prefetch(&self, cache: &Cache<Route>) -> Prefetch<Route, u64, String> {
        let asked = self.0.clone();
        cache.prefetch(move |keys: Vec<u64>, _| {
            let asked = asked.clone();
            async move {
                asked.lock().unwrap().push(keys.clone());
                let there = keys.into_iter().filter(|key| *key < 1_000);
                Ok::<_, String>(there.map(|key| (key, route(1))).collect::<Vec<_>>())
            }
        })
    }
}

fn build(redis: &Redis, space: &KeySpace) -> Cache<Route> {
    let access = Access::default().every(Duration::from_secs(3_600));
    routes(redis, space).access(access).build().unwrap()
}

async fn ask(prefetch: &Prefetch<Route, u64, String>, key: u64) -> Tier {
    let tier = prefetch.get_or_load(key).await.unwrap().tier();
    prefetch.settled().await;
    tier
}

contract!(what_is_given_is_loaded_in_one_call_and_only_what_is_absent);
async fn what_is_given_is_loaded_in_one_call_and_only_what_is_absent(at: Topology) {
    let (redis, space) = space(at, "prefetch").await;
    let (cache, asked) = (build(&redis, &space), Asked::default());
    cache.insert(2_u64, route(2)).await.unwrap();
    let prefetch = asked.prefetch(&cache).related(|key| (key + 1..key + 20).collect());
    assert_eq!(ask(&prefetch, 0).await, Tier::Origin);
    // The first five, of which one was there.
    assert_eq!(asked.take(), [vec![0], vec![1, 3, 4, 5]]);
    for key in [1, 3] {
        assert_eq!(prefetch.get_or_load(key).await.unwrap().tier(), Tier::Redis);
    }
    prefetch.settled().await;
    // Nobody asked for what was prefetched.
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (2, 1), "{stats:?}");
    let mut hot: Vec<u64> =
        cache.hot(10).await.unwrap().iter().map(|hot| hot.key.segment(0).unwrap()).collect();
    hot.sort_unstable();
    assert_eq!(hot, [0, 1, 3]);
    // Of what does not exist that is remembered.
    assert_eq!(ask(&prefetch, 999).await, Tier::Origin);
    assert_eq!(ask(&prefetch, 1_001).await, Tier::Redis);
}

contract!(what_is_stale_or_due_is_left_to_who_asks_for_it);
async fn what_is_stale_or_due_is_left_to_who_asks_for_it(at: Topology) {
    let (redis, space) = space(at, "prefetch-stale").await;
    let day = Duration::from_secs(24 * 3_600);
    // Nearly from its beginning on, a value is due.
    let cache = routes(&redis, &space).grace(day).refresh_ahead(RefreshAhead::at(1e-6));
    let (cache, asked) = (cache.build().unwrap(), Asked::default());
    for key in [1_u64, 2] {
        cache.insert(key, route(2)).await.unwrap();
    }
    assert!(cache.expire(1_u64).await.unwrap());
    let prefetch = asked.prefetch(&cache).related(|key| (key + 1..key + 4).collect());
    assert_eq!(ask(&prefetch, 0).await, Tier::Origin);
    assert_eq!(asked.take(), [vec![0], vec![3]]);
    assert_eq!(cache.stats().refreshes, 0);
    // Who asks for it has it refreshed.
    for key in [1, 2] {
        prefetch.get_or_load(key).await.unwrap();
    }
    let refreshed = |key| asked.0.lock().unwrap().contains(&vec![key]);
    while !(refreshed(1) && refreshed(2)) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

contract!(what_followed_before_is_expected_again_and_then_what_is_hot);
async fn what_followed_before_is_expected_again_and_then_what_is_hot(at: Topology) {
    let (redis, space) = space(at, "prefetch-learnt").await;
    let cache = build(&redis, &space).with_ttl(Duration::from_millis(100));
    let asked = Asked::default();
    let prefetch = asked.prefetch(&cache).hot(|key| key.segment(0)).most(3);
    let rounds = async || {
        for key in [1, 2, 3, 10, 11, 12, 13, 14, 15] {
            ask(&prefetch, key).await;
        }
    };
    rounds().await;
    rounds().await;
    for _ in 0..30 {
        ask(&prefetch, 500).await;
    }
    // Now it is known what is hot.
    cache.hot(1).await.unwrap();
    while !entries(at, &space).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    asked.take();
    ask(&prefetch, 14).await;
    let calls = asked.take();
    // What came after it both times; there is no more than that and the hottest.
    assert_eq!(calls[0], [14]);
    assert!(calls[1].contains(&15) && calls[1].len() == 3, "{calls:?}");
    let other = asked.prefetch(&cache).learns(0).hot(|key| key.segment(0)).most(1);
    while !entries(at, &space).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ask(&other, 14).await;
    assert_eq!(asked.take(), [vec![14], vec![500]]);
}

contract!(nothing_is_prefetched_without_a_lease);
async fn nothing_is_prefetched_without_a_lease(at: Topology) {
    let (redis, space) = space(at, "prefetch-lease").await;
    let (cache, asked) = (build(&redis, &space), Asked::default());
    let prefetch = asked.prefetch(&cache).related(|key| vec![key + 1]);
    // Somebody else loads it, and what it loads is removed meanwhile.
    let (slow, begun) = (cache.clone(), Arc::new(tokio::sync::Notify::new()));
    let (begins, ends) = (begun.clone(), Arc::new(AtomicBool::new(false)));
    let end = ends.clone();
    let load = tokio::spawn(async move {
        let load = move |_| async move {
            begins.notify_one();
            while !end.load(SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok::<_, String>(route(7))
        };
        slow.get_or_load(6_u64, load).await.unwrap()
    });
    begun.notified().await;
    prefetch.get_or_load(5).await.unwrap();
    ends.store(true, SeqCst);
    load.await.unwrap();
    prefetch.settled().await;
    assert_eq!(asked.take(), [vec![5]], "it waited for the other");
    assert_eq!(cache.get(6_u64).await.unwrap().unwrap().value(), Some(&route(7)));
}

#[tokio::test]
async fn while_redis_is_away_the_origin_is_asked_for_nothing_more() {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url());
    let cache = build(&redis, &KeySpace::new("shop").unwrap());
    let asked = Asked::default();
    let prefetch = asked.prefetch(&cache).related(|key| vec![key + 1]);
    ask(&prefetch, 1).await;
    assert_eq!(asked.take(), [vec![1], vec![2]]);
    server.kill().await.unwrap();
    let lost = cache.get_or_load(1_u64, |context| async move {
        assert_eq!(context.reason(), Reason::Unavailable);
        Ok::<_, String>(route(1))
    });
    lost.await.unwrap();
    for key in [11, 21] {
        assert_eq!(ask(&prefetch, key).await, Tier::Origin);
    }
    assert_eq!(asked.take(), [vec![11], vec![21]]);
}
