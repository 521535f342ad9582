//! Requests of which nobody can decide.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode};
use russet_core_conn::{KeySpace, Redis};
use russet_ratelimit::composite::Priority;
use russet_ratelimit::http::{OnError, RateLimitLayer, TrustedProxies};
use russet_ratelimit::{Error, Limiter, Outage, Quota};
use russet_testkit::shared::Topology;

use super::support::{Site, user};
use crate::support::{exact, limiter};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_request_that_asks_for_what_there_cannot_be_is_told_so() {
    let (limiter, _space) = limiter(Topology::Server, "wrong").await;
    let users = limiter.limit("user", Quota::fixed(5, HOUR).unwrap()).unwrap();
    let cost = |request: &http::request::Parts| {
        request.headers.get("x-cost").map_or(1, |cost| cost.to_str().unwrap().parse().unwrap())
    };
    let layer = RateLimitLayer::builder(&limiter).level(&users, user).cost(cost).build();
    let site = Site::new(&layer.unwrap());
    let costing = |cost: &str| Request::get("/").header("x-user", "u").header("x-cost", cost);
    let never = site.send(costing("6")).await;
    never.is_problem(StatusCode::BAD_REQUEST, "about:blank");
    assert_eq!(never.body["detail"], "user: a cost of 6; allowed: 1 to 5");
    assert_eq!(site.send(costing("5")).await.limits()[0].1, Some(0));
    // What costs nothing is not limited, and who is nobody has no limit of its own.
    for free in [site.send(costing("0")).await, site.send(Request::get("/")).await] {
        assert_eq!((free.status, free.policies().len()), (200, 0));
    }
    assert_eq!(site.calls(), 3);

    let classes = Priority::standard(&limiter, "class").unwrap();
    let class = |_: &http::request::Parts| "middling";
    let layer = RateLimitLayer::builder(&limiter).priority(&classes, class, user).build().unwrap();
    let unknown = Site::new(&layer).get("u").await;
    unknown.is_problem(StatusCode::BAD_REQUEST, "about:blank");
    assert!(unknown.body["detail"].as_str().unwrap().contains("known: high, medium, low"));
}

#[tokio::test]
async fn a_program_that_is_wrong_is_no_way_around_limits() {
    let (limiter, _space) = limiter(Topology::Server, "program").await;
    let ip = limiter.limit("ip", Quota::fixed(5, HOUR).unwrap()).unwrap();
    // Nobody tells of peers.
    let layer = RateLimitLayer::builder(&limiter).client(&ip, TrustedProxies::hops(1)).build();
    let site = Site::new(&layer.unwrap());
    let unknown = site.get("u").await;
    unknown.is_problem(StatusCode::INTERNAL_SERVER_ERROR, "about:blank");
    assert!(unknown.body.get("detail").is_none());
    let peer = SocketAddr::from(([10, 0, 0, 1], 7));
    assert_eq!(site.send(Request::get("/").extension(peer)).await.status, 200);
    assert_eq!(ip.status("10.0.0.1").await.unwrap().used, 1);

    let permits = limiter.limit("permits", Quota::permits(5, HOUR).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter).level(&permits, user).build().unwrap();
    assert_eq!(Site::new(&layer).get("u").await.status, 500);
    assert_eq!(permits.status("u").await.unwrap().used, 0);

    let error = RateLimitLayer::builder(&limiter).build().unwrap_err().to_string();
    assert!(error.starts_with("level: none"), "{error}");
}

#[tokio::test]
async fn without_redis_it_is_refused_or_admitted_as_was_said() {
    let redis = Redis::builder("redis://127.0.0.1:1").build().unwrap().without_waiting();
    let space = KeySpace::new("nobody").unwrap();
    let limiter = exact(&redis, &space);
    let users = limiter.limit("user", Quota::fixed(5, HOUR).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter).level(&users, user);
    let site = Site::new(&layer.build().unwrap());
    let refused = site.get("u").await;
    refused.is_problem(StatusCode::SERVICE_UNAVAILABLE, "about:blank");
    assert!(refused.body.get("detail").is_none() && refused.header("retry-after").is_none());
    assert_eq!(site.calls(), 0);

    let open = |error: &Error| match error {
        Error::Redis(_) => OnError::Admit,
        error => OnError::usual(error),
    };
    let layer = RateLimitLayer::builder(&limiter).level(&users, user).on_error(open);
    let site = Site::new(&layer.build().unwrap());
    let admitted = site.get("u").await;
    assert_eq!((admitted.status, admitted.policies().len(), site.calls()), (200, 0, 1));

    // By default the process decides, and says so as ever.
    let limiter = Limiter::options(&redis, &space).nodes(1).build().unwrap();
    let users = limiter.limit("user", Quota::gcra(1, HOUR, 1).unwrap()).unwrap();
    let site = Site::new(&RateLimitLayer::builder(&limiter).level(&users, user).build().unwrap());
    assert_eq!(site.get("u").await.limits()[0].1, Some(0));
    let denied = site.get("u").await;
    denied.is_problem(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded");
    assert!(denied.number("retry-after") > Some(3_500));

    let login = limiter.builder("login", Quota::fixed(5, HOUR).unwrap()).on_outage(Outage::Closed);
    let login = login.build().unwrap();
    let site = Site::new(&RateLimitLayer::builder(&limiter).level(&login, user).build().unwrap());
    let closed = site.get("u").await;
    closed.is_problem(StatusCode::SERVICE_UNAVAILABLE, "temporary-reduced-capacity");
    assert_eq!((closed.header("retry-after"), site.calls()), (None, 0));
}
