//! The layer among others.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use russet_ratelimit::Quota;
use russet_ratelimit::http::{Headers, Limited, RateLimitLayer};
use russet_testkit::contract;
use russet_testkit::shared::Topology;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::support::{Site, read, user};
use crate::support::limiter;

const HOUR: Duration = Duration::from_secs(3_600);

fn request() -> Request<Empty<Bytes>> {
    Request::get("/").header("x-user", "u").body(Empty::new()).unwrap()
}

/// Can be called once each time that it was ready.
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request<Empty<Bytes>>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called, and not ready");
        ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn the_service_that_is_ready_is_called() {
    let (limiter, _space) = limiter(Topology::Server, "ready").await;
    let users = limiter.limit("user", Quota::fixed(2, HOUR).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter).level(&users, user).build().unwrap();
    let mut service = layer.layer(Strict { ready: false });
    for status in [200, 200, 429] {
        let response = service.ready().await.unwrap().call(request()).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
    }
}

#[tokio::test]
async fn a_place_of_the_service_is_free_again_after_a_denial() {
    let (limiter, _space) = limiter(Topology::Server, "places").await;
    let users = limiter.limit("user", Quota::fixed(1, HOUR).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter).level(&users, user).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(layer)
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Strict { ready: false });
    for _ in 0..3 {
        service.ready().await.unwrap().call(request()).await.unwrap();
    }
}

#[tokio::test]
async fn layers_in_one_another_each_say_how_they_stand() {
    let (limiter, _space) = limiter(Topology::Server, "nested").await;
    let all = limiter.limit("all", Quota::fixed(9, HOUR).unwrap()).unwrap();
    let users = limiter.limit("user", Quota::fixed(3, HOUR).unwrap()).unwrap();
    let outer = RateLimitLayer::builder(&limiter).level(&all, |_| Some(())).headers(Headers::Both);
    let inner = RateLimitLayer::builder(&limiter).level(&users, user).headers(Headers::Both);
    // A handler has what the innermost has decided.
    let policy = |request: Request<Empty<Bytes>>| {
        let limited: &Limited = request.extensions().get().unwrap();
        ready(Ok::<_, Infallible>(Response::new(format!("{:?}", limited.decision().policy))))
    };
    let (inner, outer) = (inner.build().unwrap(), outer.build().unwrap());
    let service = ServiceBuilder::new().layer(outer).layer(inner).service(service_fn(policy));
    let response = service.oneshot(request()).await.unwrap();
    let limited: &Limited = response.extensions().get().unwrap();
    assert_eq!(&*limited.decision().policy, "all");
    let answer = read(response).await;
    assert_eq!(answer.body, "user");
    let limit = |name: &str, left| (name.to_owned(), Some(left), Some(3_600));
    assert_eq!(answer.policies(), [limit("user", 3), limit("all", 9)]);
    assert_eq!(answer.limits().iter().map(|limit| limit.1).collect::<Vec<_>>(), [Some(2), Some(8)]);
    assert_eq!(answer.number("x-ratelimit-remaining"), Some(2));
}

#[tokio::test]
async fn a_request_waits_for_its_turn_in_a_queue() {
    let (limiter, _space) = limiter(Topology::Server, "queue").await;
    let tenth = Duration::from_millis(100);
    let queue = limiter.limit("q", Quota::queue(3, 1, tenth, HOUR).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter).level(&queue, user).build().unwrap();
    let (site, begun) = (Site::new(&layer), Instant::now());
    let mut answers = Vec::new();
    for answer in futures_util::future::join_all((0..4).map(|_| site.get("u"))).await {
        answers.push(answer.status);
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 200, 200, 429]);
    assert!(begun.elapsed() > tenth, "two have waited");
}

#[tokio::test]
async fn denials_can_be_answered_in_another_way() {
    let (limiter, _space) = limiter(Topology::Server, "custom").await;
    let users = limiter.limit("user", Quota::fixed(1, HOUR).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter).level(&users, user).denied(|decision| {
        let body = format!("\"{} had enough\"", decision.policy);
        let response = Response::builder().status(420).header("retry-after", "99999");
        response.body(body.into()).unwrap()
    });
    let site = Site::new(&layer.build().unwrap());
    site.get("u").await;
    let denied = site.get("u").await;
    assert_eq!((denied.status, denied.body.as_str()), (420, Some("user had enough")));
    assert_eq!(denied.number("retry-after"), Some(99_999));
    assert_eq!(denied.limits().len(), 1);
}

contract!(what_a_handler_charges_is_spent_and_told);
async fn what_a_handler_charges_is_spent_and_told(at: Topology) {
    let (limiter, _space) = limiter(at, "charge").await;
    let users = limiter.limit("user", Quota::gcra(10, HOUR, 10).unwrap()).unwrap();
    let all = limiter.limit("all", Quota::strict(20, HOUR).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter).level(&users, user).level(&all, |_| Some(()));
    let handler = service_fn(async |request: Request<Empty<Bytes>>| {
        let limited: Limited = request.extensions().get().cloned().unwrap();
        assert_eq!(limited.decision().remaining, 9);
        let charged = limited.charge(14).await.unwrap();
        assert_eq!((charged.remaining, charged.levels[0].used), (0, 15));
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let layer = layer.build().unwrap();
    let answer = read(layer.layer(handler).oneshot(request()).await.unwrap()).await;
    let left: Vec<_> = answer.limits().into_iter().map(|(name, left, _)| (name, left)).collect();
    assert_eq!(left, [("user".to_owned(), Some(0)), ("all".to_owned(), Some(5))]);
    assert_eq!(users.status("u").await.unwrap().used, 15);
    assert_eq!(all.status(()).await.unwrap().used, 15);
    let denied = Site::new(&layer).get("u").await;
    denied.is_problem(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded");
    assert!(denied.number("retry-after").unwrap() > 5 * 360);
}
