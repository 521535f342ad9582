//! What the tests of caches with a journal share.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use russet_cache::{Cache, Invalidation, Load, Tier};
use russet_core_conn::{Events, KeySpace, Notice};
use russet_testkit::{Conn, Server};

use super::{Backend, Route, patient, route, routes, url, users};

pub(crate) const STALE: Duration = Duration::from_millis(400);

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn tracked(redis: &Backend, space: &KeySpace) -> Cache<Route> {
    routes(redis, space).journal(STALE).build().unwrap()
}

pub(crate) fn local(redis: &Backend, space: &KeySpace) -> Cache<Route> {
    routes(redis, space).journal(STALE).local(1_000).build().unwrap()
}

/// What the cache says, and loads otherwise.
pub(crate) async fn ask(cache: &Cache<Route>, key: u64, fare: u32, tags: &[&str]) -> (u32, Tier) {
    let load = Load::value(route(fare)).tags(tags);
    let found = cache.get_or_load(key, move |_| async move { Ok::<_, Infallible>(load) }).await;
    let found = found.unwrap();
    (found.value().unwrap().fare, found.tier())
}

/// Asks until the answer is this one, for no longer than it may take; how long it took.
pub(crate) async fn until(cache: &Cache<Route>, key: u64, fare: u32, tags: &[&str]) -> Duration {
    let begun = Instant::now();
    loop {
        let asked = begun.elapsed();
        if ask(cache, key, fare, tags).await.0 == fare {
            return begun.elapsed();
        }
        assert!(asked <= STALE, "stale after {asked:?}");
        tokio::time::sleep(ms(2)).await;
    }
}

pub(crate) async fn next(events: &mut Events<Invalidation>) -> Invalidation {
    let next = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
    match next.unwrap().unwrap() {
        Notice::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

/// A private server, and a cache on it that keeps values.
pub(crate) async fn private() -> (Server, Conn, Cache<Route>) {
    let server = Server::builder().acl_file(users("own")).start().await.unwrap();
    let conn = server.conn().await.unwrap();
    let redis = patient(&url(server.addr()));
    let cache = routes(&redis, &KeySpace::new("own").unwrap())
        .journal(STALE)
        .local(100)
        .budget(ms(100))
        .without_breaker()
        .build()
        .unwrap();
    (server, conn, cache)
}
