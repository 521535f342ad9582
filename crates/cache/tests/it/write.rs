//! Writing through: what is cached is never older than what was written.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use russet_cache::{Cache, Freshness, Load, LoadContext, Related, Tier, WriteError, Written};
use russet_core_conn::{KeySpace, Redis};
use russet_testkit::shared::Topology;
use russet_testkit::{Proxy, Server, contract};
use tokio::task::JoinSet;

use crate::support::{At, Route, is_quiet, route, routes, space, unprobed, url, users};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An origin of one row.
#[derive(Debug, Clone, Default)]
struct Row(Arc<Mutex<Option<u32>>>);

impl Row {
    fn now(&self) -> Option<u32> {
        *self.0.lock().unwrap()
    }

    async fn read(self, takes: Duration) -> Result<Option<Route>, Infallible> {
        let now = self.now().map(route);
        tokio::time::sleep(takes).await;
        Ok(now)
    }

    /// Waits, writes, and waits again.
    async fn write(
        self,
        fare: Option<u32>,
        [before, after]: [Duration; 2],
    ) -> Result<Option<Route>, Infallible> {
        tokio::time::sleep(before).await;
        *self.0.lock().unwrap() = fare;
        tokio::time::sleep(after).await;
        Ok(fare.map(route))
    }
}

async fn ask(cache: &Cache<Route>, row: &Row) -> (Option<u32>, Tier) {
    let row = row.clone();
    let found = cache.get_or_load("k", move |_| row.read(Duration::ZERO)).await.unwrap();
    (found.value().map(|route| route.fare), found.tier())
}

contract!(what_is_written_is_cached_and_what_it_concerns_is_not);
pub(crate) async fn what_is_written_is_cached_and_what_it_concerns_is_not(at: impl Into<At>) {
    let (redis, space) = space(at, "write").await;
    let [cache, other] =
        [(); 2].map(|()| routes(&redis, &space).journal(ms(400)).local(10).build().unwrap());
    let row = Row::default();
    let write = async |fare| {
        let row = row.clone();
        cache.write("k", move || row.write(fare, [Duration::ZERO; 2])).await.unwrap()
    };
    // What was not there is, and what was remembered to be absent, too.
    assert_eq!(ask(&cache, &row).await, (None, Tier::Origin));
    assert_eq!(ask(&other, &row).await, (None, Tier::Redis));
    assert_eq!(write(Some(1)).await.freshness(), Freshness::Loaded);
    assert_eq!(ask(&cache, &row).await, (Some(1), Tier::Local));
    let begun = Instant::now();
    while ask(&other, &row).await.0 != Some(1) {
        assert!(begun.elapsed() < ms(400));
    }
    write(Some(2)).await;
    assert_eq!(ask(&cache, &row).await, (Some(2), Tier::Local));
    write(None).await;
    assert_eq!(ask(&cache, &row).await, (None, Tier::Local));

    for key in ["list", "other"] {
        cache.insert(key, route(1)).await.unwrap();
    }
    cache.insert("tagged", Load::value(route(1)).tags(["t"])).await.unwrap();
    let written = |fare| Written::from(route(fare)).related(["list"]).invalidates(["t"]);
    cache.write("k", move || async move { Ok::<_, Infallible>(written(3)) }).await.unwrap();
    assert!(cache.get("list").await.unwrap().is_none());
    assert!(cache.get("tagged").await.unwrap().is_none());
    assert!(cache.get("other").await.unwrap().is_some());
    assert_eq!(cache.get("k").await.unwrap().unwrap().value(), Some(&route(3)));
    // An update has as much to say, also where it is refused itself.
    for (version, news) in [(1, true), (1, false)] {
        cache.insert("list", route(1)).await.unwrap();
        cache.insert("tagged", Load::value(route(1)).tags(["t"])).await.unwrap();
        assert_eq!(cache.update("k", version, written(4)).await.unwrap(), news);
        assert!(cache.get("list").await.unwrap().is_none());
        assert!(cache.get("tagged").await.unwrap().is_none());
        assert_eq!(cache.get("k").await.unwrap().unwrap().value(), Some(&route(4)));
    }
}

contract!(what_a_write_is_said_to_concern_waits_for_it);
pub(crate) async fn what_a_write_is_said_to_concern_waits_for_it(at: impl Into<At>) {
    let (redis, space) = space(at, "write-with").await;
    let related = || Related::default().keys(["list", "k", "list"]);
    let tags = || routes(&redis, &space).journal(ms(400));
    for (cache, related) in [(routes(&redis, &space), related()), (tags(), related().tags(["t"]))] {
        let cache = cache.build().unwrap();
        let row = Row(Arc::new(Mutex::new(Some(1))));
        let asks = async |key: &'static str| {
            let row = row.clone();
            let load = move |_| row.read(Duration::ZERO);
            cache.get_or_load(key, load).await.unwrap().value().map(|route| route.fare)
        };
        cache.remove("k").await.unwrap();
        cache.insert("list", route(0)).await.unwrap();
        let writes = row.clone();
        let write = cache.write_with("k", related, move || writes.write(Some(2), [ms(150); 2]));
        let (written, list, late) = tokio::join!(
            write,
            async {
                tokio::time::sleep(ms(50)).await;
                assert_eq!(row.now(), Some(1));
                // It waits, rather than to load what is going to be out of date.
                asks("list").await
            },
            async {
                tokio::time::sleep(ms(200)).await;
                asks("list").await
            }
        );
        written.unwrap();
        assert_eq!((list, late), (Some(2), Some(2)));
        assert_eq!(cache.get("k").await.unwrap().unwrap().value(), Some(&route(2)));
        // One that fails leaves nothing to wait for.
        let fails = || async { Err::<Route, _>("no") };
        let related = Related::default().keys(["list"]);
        let failed = cache.write_with("k", related, fails).await;
        assert!(matches!(failed, Err(WriteError::Origin("no"))), "{failed:?}");
        let begun = Instant::now();
        assert_eq!(asks("list").await, Some(2));
        assert!(begun.elapsed() < ms(2_500), "{:?}", begun.elapsed());
    }
}

contract!(a_write_that_fails_leaves_nothing);
pub(crate) async fn a_write_that_fails_leaves_nothing(at: impl Into<At>) {
    let (redis, space) = space(at, "write-fails").await;
    let cache = routes(&redis, &space).build().unwrap();
    cache.insert("k", route(1)).await.unwrap();
    let failed = cache.write("k", || async { Err::<Route, _>("no") }).await;
    assert!(matches!(failed, Err(WriteError::Origin("no"))), "{failed:?}");
    let row = Row(Arc::new(Mutex::new(Some(2))));
    assert_eq!(ask(&cache, &row).await, (Some(2), Tier::Origin));
    async fn broken() -> Result<Route, Infallible> {
        panic!("on purpose")
    }
    let failed = cache.write("k", broken).await;
    assert!(matches!(failed, Err(WriteError::Aborted)), "{failed:?}");
    assert_eq!(ask(&cache, &row).await, (Some(2), Tier::Origin));
    // With something stale to use, that is used meanwhile.
    let cache = routes(&redis, &space).grace(ms(60_000)).build().unwrap();
    cache.insert("k", route(3)).await.unwrap();
    let (reader, slow) = (cache.clone(), row.clone());
    let (written, stale) =
        tokio::join!(cache.write("k", move || slow.write(Some(4), [ms(100); 2])), async {
            tokio::time::sleep(ms(50)).await;
            let load = |_| async { Err::<Route, _>("it is not to be asked") };
            reader.get_or_load("k", load).await
        });
    assert_eq!(written.unwrap().value(), Some(&route(4)));
    let stale = stale.unwrap();
    assert_eq!((stale.value(), stale.freshness()), (Some(&route(3)), Freshness::Stale));
    assert_eq!(ask(&cache, &row).await.0, Some(4));
}

contract!(threads, of_many_writers_none_leaves_the_older_value);
pub(crate) async fn of_many_writers_none_leaves_the_older_value(at: impl Into<At>) {
    let (redis, space) = space(at, "writers").await;
    let make = || routes(&redis, &space).journal(ms(2_000)).local(10).build().unwrap();
    let caches = [make(), make()];
    let row = Row::default();
    let mut filled = 0;
    for round in 0..40_u32 {
        let mut tasks = JoinSet::new();
        for number in 0..8_u32 {
            let (cache, row) = (caches[number as usize % 2].clone(), row.clone());
            let [start, before, after, read] = [(); 4].map(|()| ms(rand::random_range(0..4)));
            tasks.spawn(async move {
                tokio::time::sleep(start).await;
                if number < 5 {
                    let fare = Some(round * 100 + number);
                    cache.write("k", move || row.write(fare, [before, after])).await.unwrap();
                } else {
                    cache.get_or_load("k", move |_| row.read(read)).await.unwrap();
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        for cache in &caches {
            // What another process wrote last is known there in time, and here at once.
            let begun = Instant::now();
            loop {
                let (fare, tier) = ask(cache, &row).await;
                filled += u32::from(tier != Tier::Origin);
                if fare == row.now() {
                    break;
                }
                assert!(begun.elapsed() < ms(2_000), "{fare:?} instead of {:?}", row.now());
            }
        }
        // In Redis itself nothing is older.
        let plain = make();
        assert_eq!(ask(&plain, &row).await.0, row.now());
    }
    assert!(filled > 40, "{filled}");
}

contract!(a_writer_that_dies_leaves_nothing_older_either);
async fn a_writer_that_dies_leaves_nothing_older_either(at: Topology) {
    let (redis, space) = space(at, "writer-dies").await;
    let row = Row(Arc::new(Mutex::new(Some(1))));
    let lease = ms(300);
    let make = move |redis: &Redis, space: &KeySpace| {
        routes(redis, space).journal(ms(400)).lease(lease).build().unwrap()
    };
    let cache = make(&redis, &space);
    assert_eq!(ask(&cache, &row).await, (Some(1), Tier::Origin));
    cache.insert("list", route(1)).await.unwrap();
    cache.insert("tagged", Load::value(route(1)).tags(["t"])).await.unwrap();
    let tracked = cache.get("tagged").await.unwrap();
    assert!(tracked.is_some());
    // Another process, as far as the cache knows: its runtime ends while it waits for its origin's answer.
    let (url, prefix, dying) = (redis.clone(), space.clone(), row.clone());
    let died = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asks = dying.clone();
        runtime.block_on(async move {
            let cache = make(&url.duplicate(), &prefix);
            let related = Related::default().keys(["list"]).tags(["t"]);
            let write = move || dying.write(Some(2), [ms(0), ms(60_000)]);
            let write = cache.write_with("k", related, write);
            let written = async {
                while asks.now() != Some(2) {
                    tokio::time::sleep(ms(1)).await;
                }
            };
            tokio::select! {
                _ = write => panic!("the origin has not answered"),
                () = written => {}
            }
        });
    });
    died.await.unwrap();
    let begun = Instant::now();
    assert_eq!(ask(&cache, &row).await.0, Some(2));
    assert!(begun.elapsed() < lease * 2, "{:?}", begun.elapsed());
    // Nor of what it had named before: that is known elsewhere as late as the journal allows.
    assert!(cache.get("list").await.unwrap().is_none());
    while cache.get("tagged").await.unwrap().is_some() {
        assert!(begun.elapsed() < ms(400) + lease, "{:?}", begun.elapsed());
        tokio::time::sleep(ms(5)).await;
    }
}

/// The proxy counts the trips.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_takes_as_many_trips_as_it_says() {
    let server = Server::builder().acl_file(users("trips")).start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let space = KeySpace::new("trips").unwrap();
    let [none, keys] = [Related::default(), Related::default().keys(["a", "b", "c"])];
    let both = keys.clone().tags(["t", "u"]);
    for (journal, related, trips) in
        [(false, &none, 2), (false, &keys, 3), (true, &none, 4), (true, &both, 5)]
    {
        let redis = unprobed(Redis::builder(&url(proxy.addr())));
        let cache = routes(&redis, &space);
        let cache = if journal { cache.journal(ms(60_000)) } else { cache };
        let cache = cache.build().unwrap();
        let write = async || {
            let origin = || async { Ok::<_, Infallible>(route(1)) };
            cache.write_with("k", related.clone(), origin).await.unwrap();
        };
        // The layout is agreed upon, the journal begun, and the scripts are known.
        write().await;
        proxy.until(is_quiet).await.unwrap();
        proxy.reset_counters();
        // One trip's requests are apart from the next trip's.
        proxy.delay_replies(ms(100));
        write().await;
        assert_eq!(proxy.counters().trips, trips, "{:?}", proxy.counters());
        proxy.delay_replies(Duration::ZERO);
        redis.close().await;
        proxy.until(|counters| counters.open == 0).await.unwrap();
        proxy.reset_counters();
    }
}

contract!(an_update_is_for_what_is_older_and_there);
pub(crate) async fn an_update_is_for_what_is_older_and_there(at: impl Into<At>) {
    let (redis, space) = space(at, "update").await;
    let grace = || routes(&redis, &space).grace(ms(60_000));
    let tags = || grace().journal(ms(400)).local(10);
    for cache in [routes(&redis, &space), grace(), tags()].map(|made| made.build().unwrap()) {
        cache.remove("k").await.unwrap();
        let fare = async || cache.get("k").await.unwrap().map(|found| found.value().unwrap().fare);
        // What is not there is not made.
        assert!(!cache.update("k", 7, route(7)).await.unwrap());
        assert_eq!(fare().await, None);
        // What has no version is older than any.
        cache.insert("k", route(0)).await.unwrap();
        assert!(cache.update("k", 5, route(5)).await.unwrap());
        assert!(!cache.update("k", 4, route(4)).await.unwrap());
        assert!(!cache.update("k", 5, route(4)).await.unwrap());
        assert_eq!(fare().await, Some(5));
        assert!(cache.update("k", 1 << 40, route(6)).await.unwrap());
        assert!(!cache.update("k", u64::from(u32::MAX), route(4)).await.unwrap());
        assert_eq!(fare().await, Some(6));
        // That of a load counts as well, and so does the absence of a value.
        cache.insert("k", Load::value(route(8)).version(u64::MAX - 1)).await.unwrap();
        assert!(!cache.update("k", 1 << 41, route(4)).await.unwrap());
        assert!(cache.update("k", u64::MAX, None).await.unwrap());
        assert!(cache.get("k").await.unwrap().unwrap().value().is_none());

        // What is being loaded may be older: it does not fill.
        cache.remove("k").await.unwrap();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let loads = tokio::spawn({
            let cache = cache.clone();
            async move {
                let load = |_: LoadContext<Route>| async move {
                    begun.send(()).unwrap();
                    tokio::time::sleep(ms(50)).await;
                    Ok::<_, Infallible>(route(1))
                };
                cache.get_or_load("k", load).await.unwrap()
            }
        });
        begins.await.unwrap();
        assert!(!cache.update("k", 2, route(2)).await.unwrap());
        assert_eq!(loads.await.unwrap().value(), Some(&route(1)));
        assert_eq!(fare().await, None);
    }
}
