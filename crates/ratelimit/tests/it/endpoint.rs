//! An endpoint and the breakers of what it calls.

use std::time::Duration;

use russet_ratelimit::composite::Endpoint;
use russet_ratelimit::{FleetBreaker, Limiter, Quota, Reason, Source};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use crate::fleet_breaker::support::{
    Down, becomes, fleet, is_closed, is_open, ms, node, open, ripe,
};
use crate::support::space;

const HOUR: Duration = Duration::from_secs(3_600);

contract!(threads, an_open_breaker_of_a_dependency_refuses_and_spends_nothing);
async fn an_open_breaker_of_a_dependency_refuses_and_spends_nothing(at: Topology) {
    let (redis, space) = space(at, "behind").await;
    let limiter = Limiter::new(&redis, &space);
    let nodes = fleet(&redis, &space, 1).await;
    let other: FleetBreaker<Down> =
        FleetBreaker::builder(&redis, &space, "other", "n").build().unwrap();
    let database = limiter.limit("database", Quota::fixed(4, HOUR).unwrap()).unwrap();
    let endpoint = Endpoint::builder(&limiter, "search").unwrap().depends_on(&database, 2);
    let endpoint = endpoint.behind(&other).behind(&nodes[0]).build().unwrap();
    assert!(endpoint.check("u").await.unwrap().is_allowed());

    open(&nodes).await;
    let refused = endpoint.check("u").await.unwrap();
    assert!(!refused.is_allowed() && refused.granted == 0);
    assert_eq!((refused.reason(), refused.source), (Reason::Open, Source::Breaker));
    assert_eq!((&*refused.policy, &*refused.limiting().unwrap().name), ("payments", "payments"));
    let left = refused.retry_after.unwrap();
    assert!(!left.is_zero() && left <= ms(300), "{left:?}");
    assert_eq!(database.status(()).await.unwrap().used, 2);

    // When it was said to, the call that is a probe is admitted; after it, all are.
    tokio::time::sleep(left).await;
    ripe(&nodes[0]).await;
    assert!(endpoint.check("u").await.unwrap().is_allowed());
    nodes[0].acquire().await.unwrap().success();
    becomes(&nodes[0], is_closed).await;
    assert_eq!(database.status(()).await.unwrap().used, 4);

    // Forced open, nobody knows how long.
    other.force_open().await.unwrap();
    let refused = endpoint.check("u").await.unwrap();
    assert_eq!((&*refused.policy, refused.retry_after), ("other", None));
    // The one that refuses longest is named.
    open(&nodes).await;
    assert_eq!(&*endpoint.check("u").await.unwrap().policy, "other");
    other.reset().await.unwrap();
    assert_eq!(&*endpoint.check("u").await.unwrap().policy, "payments");
    for breaker in nodes.iter().chain([&other]) {
        breaker.shutdown().await.unwrap();
    }
}

contract!(threads, a_probe_that_nobody_may_make_is_refused);
async fn a_probe_that_nobody_may_make_is_refused(at: Topology) {
    let (redis, space) = space(at, "no-probe").await;
    let limiter = Limiter::new(&redis, &space);
    let breaker = node(&redis, &space, "n").heartbeat(ms(500)).build().unwrap();
    crate::fleet_breaker::support::joined(&breaker).await;
    let endpoint = Endpoint::builder(&limiter, "search").unwrap().behind(&breaker).build().unwrap();
    crate::fleet_breaker::support::fail(&breaker).await;
    // Its own is open; the fleet's not before nodes have been counted.
    assert!(!is_open(breaker.state().fleet));
    let refused = endpoint.check("u").await.unwrap();
    assert_eq!(refused.reason(), Reason::Open);
    open(std::slice::from_ref(&breaker)).await;
    ripe(&breaker).await;
    let probe = breaker.acquire().await.unwrap();
    // Half-open: who asks for a permit is refused, and from then on the endpoint knows.
    assert!(endpoint.check("u").await.unwrap().is_allowed());
    breaker.acquire().await.map(drop).unwrap_err();
    let refused = endpoint.check("u").await.unwrap();
    assert_eq!(refused.reason(), Reason::Open);
    assert!(refused.retry_after.unwrap() > Duration::ZERO);
    probe.success();
    becomes(&breaker, is_closed).await;
    assert!(endpoint.check("u").await.unwrap().is_allowed());
    breaker.shutdown().await.unwrap();
}
