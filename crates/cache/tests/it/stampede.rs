//! Many who miss one key: one load for all of them, and what was invalidated meanwhile is not filled.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russet_cache::{Cache, Reason, Tier};
use russet_testkit::contract;
use russet_testkit::shared::Topology;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{At, Origin, Route, route, routes, space};

mod failures;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An origin that answers when it is let, with what it held when it was asked.
#[derive(Clone)]
struct Gate {
    origin: Origin,
    open: Arc<Semaphore>,
}

impl Gate {
    fn closed() -> Self {
        Self { origin: Origin::default(), open: Arc::new(Semaphore::new(0)) }
    }

    fn open(&self) {
        self.open.add_permits(1);
    }

    /// Asks it for this fare.
    fn load(&self, fare: u32) -> impl Future<Output = Result<Route, Infallible>> + Send + 'static {
        let this = self.clone();
        async move {
            this.origin.give(()).await?;
            this.open.acquire().await.unwrap().forget();
            Ok(route(fare))
        }
    }

    async fn asked(&self, times: usize) {
        while self.origin.calls() < times {
            tokio::time::sleep(ms(1)).await;
        }
    }
}

/// A lookup in a task of its own.
fn lookup(
    cache: &Cache<Route>,
    load: impl Future<Output = Result<Route, Infallible>> + Send + 'static,
) -> tokio::task::JoinHandle<u32> {
    let cache = cache.clone();
    tokio::spawn(async move {
        let found = cache.get_or_load("k", |_| load).await.unwrap();
        found.value().unwrap().fare
    })
}

contract!(threads, a_thousand_who_miss_are_one_load);
pub(crate) async fn a_thousand_who_miss_are_one_load(at: impl Into<At>) {
    let (redis, space) = space(at, "stampede").await;
    // Each has its own flights, as another process has.
    let caches = [(); 4].map(|()| routes(&redis, &space).build().unwrap());
    let origin = Origin::default();
    let mut tasks = JoinSet::new();
    for number in 0..1_000 {
        let (cache, origin) = (caches[number % 4].clone(), origin.clone());
        tasks.spawn(async move {
            let load = |_| async move {
                tokio::time::sleep(ms(200)).await;
                origin.give(route(7)).await
            };
            cache.get_or_load("k", load).await.unwrap()
        });
    }
    while let Some(found) = tasks.join_next().await {
        assert_eq!(found.unwrap().value(), Some(&route(7)));
    }
    assert_eq!(origin.calls(), 1);
    let stats = caches.map(|cache| cache.stats());
    assert_eq!(stats.iter().map(|stats| stats.fills).sum::<u64>(), 1);
    assert!(stats.iter().map(|stats| stats.joined).sum::<u64>() > 900, "{stats:?}");
    assert!(stats.iter().map(|stats| stats.waits).sum::<u64>() >= 3, "{stats:?}");
}

contract!(who_waits_is_woken_by_the_fill);
/// Looks by itself come 50 ms apart at the least, and the first one before the fill.
pub(crate) async fn who_waits_is_woken_by_the_fill(at: impl Into<At>) {
    let (redis, space) = space(at, "woken").await;
    let caches = [(); 2].map(|()| routes(&redis, &space).build().unwrap());
    let mut quick = 0;
    for round in 0..20 {
        caches[0].remove("k").await.unwrap();
        let gate = Gate::closed();
        let leads = lookup(&caches[0], gate.load(round));
        gate.asked(1).await;
        let before = caches[1].stats().waits;
        let waits = lookup(&caches[1], async { unreachable!("somebody leads") });
        while caches[1].stats().waits < before + 2 {
            tokio::time::sleep(ms(1)).await;
        }
        let begun = Instant::now();
        gate.open();
        assert_eq!((leads.await.unwrap(), waits.await.unwrap()), (round, round));
        quick += usize::from(begun.elapsed() < ms(25));
    }
    assert!(quick >= 15, "only {quick} of 20 were woken");
}

contract!(what_is_removed_while_it_is_loaded_is_not_filled);
pub(crate) async fn what_is_removed_while_it_is_loaded_is_not_filled(at: impl Into<At>) {
    let (redis, space) = space(at, "removed").await;
    let [one, other] = [(); 2].map(|()| routes(&redis, &space).build().unwrap());
    let before = Gate::closed();
    let leads = lookup(&one, before.load(1));
    before.asked(1).await;
    let joins = lookup(&one, async { unreachable!("somebody leads") });
    while one.stats().joined == 0 {
        tokio::time::sleep(ms(1)).await;
    }
    // The origin changes, and then it is said so.
    assert!(other.remove("k").await.unwrap());
    let after = Gate::closed();
    let late = [&one, &other].map(|cache| lookup(cache, after.load(2)));
    after.asked(1).await;
    before.open();
    assert_eq!(leads.await.unwrap(), 1, "who asked before may have what was there before");
    after.open();
    for late in late {
        assert_eq!(late.await.unwrap(), 2, "who asks after it has been acknowledged may not");
    }
    assert_eq!(joins.await.unwrap(), 2, "nor who asked meanwhile, and can't tell");
    assert_eq!(one.get("k").await.unwrap().unwrap().value(), Some(&route(2)));
    assert_eq!((before.origin.calls(), after.origin.calls()), (1, 1));
    assert_eq!(one.stats().fills_refused, 1);
}

contract!(who_asks_after_a_removal_does_not_wait_for_what_was_under_way);
pub(crate) async fn who_asks_after_a_removal_does_not_wait_for_what_was_under_way(
    at: impl Into<At>,
) {
    let (redis, space) = space(at, "closed").await;
    let cache = routes(&redis, &space).build().unwrap();
    for way in 0..4 {
        let gate = Gate::closed();
        let leads = lookup(&cache, gate.load(1));
        gate.asked(1).await;
        match way {
            0 => drop(cache.remove("k").await.unwrap()),
            1 => drop(cache.remove_many(["k"]).await.unwrap()),
            2 => drop(cache.expire("k").await.unwrap()),
            _ => cache.insert("k", route(2)).await.unwrap(),
        }
        assert_eq!(lookup(&cache, async { Ok(route(2)) }).await.unwrap(), 2);
        gate.open();
        assert_eq!(leads.await.unwrap(), 1);
        assert_eq!(cache.get("k").await.unwrap().unwrap().value(), Some(&route(2)));
        cache.remove("k").await.unwrap();
    }
}

contract!(what_is_written_while_it_is_loaded_stays);
pub(crate) async fn what_is_written_while_it_is_loaded_stays(at: impl Into<At>) {
    let (redis, space) = space(at, "written").await;
    let [one, other] = [(); 2].map(|()| routes(&redis, &space).build().unwrap());
    let gate = Gate::closed();
    let leads = lookup(&one, gate.load(1));
    gate.asked(1).await;
    other.insert("k", route(2)).await.unwrap();
    gate.open();
    assert_eq!(leads.await.unwrap(), 1);
    assert_eq!(one.get("k").await.unwrap().unwrap().value(), Some(&route(2)));
}

contract!(a_caller_that_goes_away_leaves_the_load_to_the_others);
pub(crate) async fn a_caller_that_goes_away_leaves_the_load_to_the_others(at: impl Into<At>) {
    let (redis, space) = space(at, "cancelled").await;
    let cache = routes(&redis, &space).build().unwrap();
    let gate = Gate::closed();
    let leads = lookup(&cache, gate.load(1));
    gate.asked(1).await;
    leads.abort();
    let joins = lookup(&cache, async { unreachable!("somebody leads") });
    while cache.stats().joined == 0 {
        tokio::time::sleep(ms(1)).await;
    }
    gate.open();
    assert_eq!(joins.await.unwrap(), 1);
    assert_eq!(cache.stats().fills, 1);
}

contract!(a_load_longer_than_its_lease_keeps_it);
pub(crate) async fn a_load_longer_than_its_lease_keeps_it(at: impl Into<At>) {
    let (redis, space) = space(at, "renewed").await;
    let caches = [(); 2].map(|()| routes(&redis, &space).lease(ms(600)).build().unwrap());
    let gate = Gate::closed();
    let leads = lookup(&caches[0], gate.load(1));
    gate.asked(1).await;
    tokio::time::sleep(ms(1_500)).await;
    let waits = lookup(&caches[1], async { unreachable!("somebody leads") });
    tokio::time::sleep(ms(200)).await;
    gate.open();
    assert_eq!((leads.await.unwrap(), waits.await.unwrap()), (1, 1));
}

contract!(who_has_waited_for_two_leases_loads_for_itself_and_does_not_fill);
pub(crate) async fn who_has_waited_for_two_leases_loads_for_itself_and_does_not_fill(
    at: impl Into<At>,
) {
    let (redis, space) = space(at, "contended").await;
    let caches = [(); 2].map(|()| routes(&redis, &space).lease(ms(500)).build().unwrap());
    let gate = Gate::closed();
    let leads = lookup(&caches[0], gate.load(1));
    gate.asked(1).await;
    let begun = Instant::now();
    let load = |ctx: russet_cache::LoadContext<Route>| async move {
        assert_eq!(ctx.reason(), Reason::Contended);
        Ok::<_, Infallible>(route(2))
    };
    let found = caches[1].get_or_load("k", load).await.unwrap();
    assert_eq!((found.value(), found.tier()), (Some(&route(2)), Tier::Origin));
    assert!(begun.elapsed() >= ms(1_000), "{:?}", begun.elapsed());
    assert!(caches[1].get("k").await.unwrap().is_none(), "it filled without the lease");
    gate.open();
    assert_eq!(leads.await.unwrap(), 1);
    assert_eq!(caches[1].get("k").await.unwrap().unwrap().value(), Some(&route(1)));
}

contract!(threads, batches_that_overlap_load_each_key_once);
pub(crate) async fn batches_that_overlap_load_each_key_once(at: impl Into<At>) {
    let (redis, space) = space(at, "batches").await;
    let caches = [(); 4].map(|()| routes(&redis, &space).build().unwrap());
    let asked = Arc::new(std::sync::Mutex::new(Vec::<u32>::new()));
    let mut tasks = JoinSet::new();
    for number in 0..40_u32 {
        let (cache, asked) = (caches[number as usize % 4].clone(), asked.clone());
        tasks.spawn(async move {
            // Each in another order, so that they would wait for one another in a circle.
            let keys: Vec<u32> = (0..50).map(|n| (n * 7 + number * 11) % 50 + number % 5).collect();
            let load = move |missing: Vec<u32>, _| {
                asked.lock().unwrap().extend(&missing);
                async move {
                    tokio::time::sleep(ms(50)).await;
                    Ok::<_, Infallible>(
                        missing.into_iter().map(|key| (key, route(key))).collect::<Vec<_>>(),
                    )
                }
            };
            let found = cache.get_or_load_many(keys.clone(), load).await.unwrap();
            assert!(keys.iter().zip(found).all(|(key, found)| found.value() == Some(&route(*key))));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let mut asked = asked.lock().unwrap().clone();
    asked.sort_unstable();
    assert_eq!(asked, (0..54).collect::<Vec<_>>());
}

contract!(without_the_messages_who_waits_looks_by_itself);
async fn without_the_messages_who_waits_looks_by_itself(at: Topology) {
    let (redis, space) = space(at, "deaf").await;
    // This one may not subscribe.
    let prefix = space.prefix();
    let acl = crate::support::ACL.replace(" +subscribe", "").replace("russet-cache", "deaf-cache");
    let deaf = crate::support::patient(&at.url_as(&acl, prefix, &[]).await.unwrap());
    let (leader, waiter) =
        (routes(&redis, &space).build().unwrap(), routes(&deaf, &space).build().unwrap());
    let gate = Gate::closed();
    let leads = lookup(&leader, gate.load(1));
    gate.asked(1).await;
    let waits = lookup(&waiter, async { unreachable!("somebody leads") });
    while waiter.stats().waits < 3 {
        tokio::time::sleep(ms(1)).await;
    }
    gate.open();
    assert_eq!((leads.await.unwrap(), waits.await.unwrap()), (1, 1));
}
