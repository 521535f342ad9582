//! Loads that fail.

use std::convert::Infallible;
use std::sync::Arc;

use russet_cache::LoadError;
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use super::{Gate, ms};
use crate::support::{Route, entries, route, routes, space};

contract!(a_load_that_fails_gives_the_lease_back_and_all_who_joined_its_error);
async fn a_load_that_fails_gives_the_lease_back_and_all_who_joined_its_error(at: Topology) {
    let (redis, space) = space(at, "failed").await;
    let cache = routes(&redis, &space).build().unwrap();
    let gate = Gate::closed();
    let lookup = || {
        let (cache, gate) = (cache.clone(), gate.clone());
        let load = |_| async move {
            gate.load(0).await.unwrap();
            Err::<Route, _>("no database")
        };
        tokio::spawn(async move { cache.get_or_load("k", load).await.unwrap_err() })
    };
    let (leads, joins) = (lookup(), lookup());
    while cache.stats().joined == 0 {
        tokio::time::sleep(ms(1)).await;
    }
    gate.asked(1).await;
    gate.open();
    let (led, joined) = (leads.await.unwrap(), joins.await.unwrap());
    assert_eq!(led, LoadError::Loader("no database".into()));
    assert!(Arc::ptr_eq(&led.into_loader().unwrap(), &joined.into_loader().unwrap()));
    assert_eq!(gate.origin.calls(), 1);
    // Nothing is left of it: the next one need not wait.
    assert!(entries(at, &space).await.is_empty());
}

contract!(a_loader_that_panics_is_an_error_and_gives_the_lease_back);
async fn a_loader_that_panics_is_an_error_and_gives_the_lease_back(at: Topology) {
    let (redis, space) = space(at, "panic").await;
    let cache = routes(&redis, &space).build().unwrap();
    let load =
        |_| async { if true { panic!("on purpose") } else { Ok::<_, Infallible>(route(1)) } };
    assert_eq!(cache.get_or_load("k", load).await.unwrap_err(), LoadError::Aborted);
    let many = |_: Vec<&str>, _| async {
        if true { panic!("on purpose") } else { Ok::<_, Infallible>([("k", route(1))]) }
    };
    assert_eq!(cache.get_or_load_many(["k"], many).await.unwrap_err(), LoadError::Aborted);
    assert!(entries(at, &space).await.is_empty());
}
