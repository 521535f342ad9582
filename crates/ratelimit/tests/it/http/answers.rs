//! What a client is told.

use std::time::Duration;

use http::{Request, StatusCode};
use russet_ratelimit::Quota;
use russet_ratelimit::composite::Priority;
use russet_ratelimit::http::{Headers, RateLimitLayer};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use super::support::{Site, user};
use crate::support::limiter;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

contract!(every_level_is_told_and_a_denial_is_a_problem);
async fn every_level_is_told_and_a_denial_is_a_problem(at: Topology) {
    let (limiter, _space) = limiter(at, "http").await;
    let users = limiter.limit("user", Quota::gcra(2, HOUR, 2).unwrap()).unwrap();
    let all = limiter.limit("all \"v1\"", Quota::fixed(50, MINUTE).unwrap()).unwrap();
    let shadow = limiter.builder("new", Quota::fixed(1, HOUR).unwrap()).shadow(true);
    let shadow = shadow.build().unwrap();
    let layer = RateLimitLayer::builder(&limiter)
        .level(&users, user)
        .level(&all, |_| Some(()))
        .level(&shadow, user)
        .build();
    let site = Site::new(&layer.unwrap());
    let policies =
        [("user".to_owned(), Some(2), Some(3_600)), ("all \"v1\"".to_owned(), Some(50), Some(60))];
    for left in [1, 0] {
        let answer = site.get("u1").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, Some("served")));
        assert_eq!(answer.policies(), policies);
        let limits = answer.limits();
        assert_eq!(
            limits.iter().map(|limit| limit.1).collect::<Vec<_>>(),
            [Some(left), Some(48 + left)]
        );
        assert!(
            limits[0].2 <= Some((2 - left) * 1_800) && limits[0].2 > Some((2 - left) * 1_800 - 60)
        );
        assert!(limits[1].2 <= Some(60), "{limits:?}");
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!(answer.header("x-ratelimit-limit"), None);
    }
    let denied = site.get("u1").await;
    denied.is_problem(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded");
    assert_eq!(denied.body["violated-policies"], serde_json::json!(["user"]));
    assert_eq!(denied.policies(), policies);
    let retry = denied.number("retry-after").unwrap();
    assert!((1_700..=1_800).contains(&retry), "{retry}");
    // Only of the one that denies: its time is that of Retry-After, never later.
    assert_eq!(denied.limits(), [("user".to_owned(), Some(0), Some(retry as i64))]);
    assert_eq!(site.calls(), 2);
    // It has spent nothing elsewhere.
    assert_eq!(all.status(()).await.unwrap().used, 2);
    assert_eq!(site.get("u2").await.status, 200);
}

#[tokio::test]
async fn older_fields_are_told_if_they_are_asked_for() {
    let (limiter, _space) = limiter(Topology::Server, "legacy").await;
    let users = limiter.limit("user", Quota::gcra(3, HOUR, 1).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter).level(&users, user).headers(Headers::Legacy);
    let site = Site::new(&layer.build().unwrap());
    for status in [200, 429] {
        let answer = site.get("u1").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.number("x-ratelimit-limit"), Some(1));
        assert_eq!(answer.number("x-ratelimit-remaining"), Some(0));
        let reset = answer.number("x-ratelimit-reset").unwrap();
        assert!((1_100..=1_200).contains(&reset), "{reset}");
        assert!(
            answer.header("ratelimit").is_none() && answer.header("ratelimit-policy").is_none()
        );
        assert_eq!(answer.header("retry-after").is_some(), status == 429);
    }
}

#[tokio::test]
async fn windows_are_told_as_they_were_asked_for() {
    let (limiter, _space) = limiter(Topology::Server, "windows").await;
    let second = Duration::from_secs(1);
    let quotas = [
        // Of which each unit is rounded up to a tick.
        (Quota::gcra(7, second, 7), 7, Some(1)),
        (Quota::gcra(100, MINUTE, 20), 20, Some(12)),
        (Quota::strict_of(5, second, 7), 5, Some(1)),
        (Quota::counter(9, Duration::from_millis(1_500)), 9, Some(2)),
        (Quota::log(3, Duration::from_millis(999)), 3, None),
        (Quota::interval(100, 10, second), 100, Some(10)),
        (Quota::queue(6, 1, second, MINUTE), 6, Some(6)),
        (Quota::fixed(i32::MAX as u64, MINUTE), i32::MAX.into(), Some(60)),
    ];
    for (n, (quota, q, w)) in quotas.into_iter().enumerate() {
        let name = format!("l{n}");
        let limit = limiter.limit(&name, quota.unwrap()).unwrap();
        let layer = RateLimitLayer::builder(&limiter).level(&limit, user).build().unwrap();
        let answer = Site::new(&layer).get("u").await;
        assert_eq!(answer.policies(), [(name, Some(q), w)]);
    }
}

contract!(what_is_shed_blocked_or_never_admitted_is_told_apart);
async fn what_is_shed_blocked_or_never_admitted_is_told_apart(at: Topology) {
    let (limiter, _space) = limiter(at, "reasons").await;
    let classes = Priority::builder(&limiter, "class", HOUR).class("high", 4).class("low", 4);
    let classes = classes.shed(25, 50).build().unwrap();
    let users = limiter.builder("user", Quota::fixed(100, HOUR).unwrap()).blockable();
    let users = users.build().unwrap();
    let class =
        |request: &http::request::Parts| request.headers.get("x-class").map_or("high", |_| "low");
    let layer = RateLimitLayer::builder(&limiter)
        .level(&users, user)
        .priority(&classes, class, |_| Some("shop"))
        .build();
    let site = Site::new(&layer.unwrap());
    let low = || Request::get("/").header("x-user", "u").header("x-class", "low");
    assert_eq!(site.send(low()).await.status, 200);
    for _ in 0..3 {
        assert_eq!(site.get("u").await.status, 200);
    }
    // It has three left of its own, and more than half of the higher class's are spent.
    let shed = site.send(low()).await;
    shed.is_problem(StatusCode::SERVICE_UNAVAILABLE, "temporary-reduced-capacity");
    assert_eq!(shed.body["violated-policies"], serde_json::json!(["class.low"]));
    assert!(shed.number("retry-after").unwrap() <= 3_600);
    assert_eq!(site.get("u").await.status, 200);
    site.get("u").await.is_problem(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded");

    // Longer than the class denies it.
    users.block("bad", 2 * HOUR).await.unwrap();
    let blocked = site.get("bad").await;
    blocked.is_problem(StatusCode::TOO_MANY_REQUESTS, "abnormal-usage-detected");
    let retry = blocked.number("retry-after").unwrap();
    assert!((7_100..=7_200).contains(&retry), "{retry}");

    users.lists().deny("foe");
    let never = site.get("foe").await;
    never.is_problem(StatusCode::FORBIDDEN, "about:blank");
    assert_eq!(never.header("retry-after"), None);
}

/// Over states of which each waits for something else, and not for whole seconds.
#[cfg(feature = "test-util")]
#[tokio::test]
async fn who_waits_for_as_long_as_it_says_is_admitted() {
    const SECOND: u64 = 8_000_000;
    let (limiter, _space) = limiter(Topology::Server, "honest").await;
    let limit = |name: &str, quota: Result<Quota, _>| limiter.limit(name, quota.unwrap()).unwrap();
    let limits = [
        limit("bucket", Quota::gcra(7, Duration::from_secs(13), 3)),
        limit("window", Quota::fixed(2, Duration::from_millis(2_345))),
        limit("strict", Quota::strict(2, Duration::from_millis(3_217))),
        limit("log", Quota::log(2, Duration::from_millis(1_789))),
    ];
    let layer = limits
        .iter()
        .fold(RateLimitLayer::builder(&limiter), |layer, limit| layer.level(limit, user));
    let site = Site::new(&layer.build().unwrap());
    let (mut now, mut denials, mut early) = (700_000_000 * SECOND, 0, 0);
    for n in 0..400_u64 {
        limiter.set_time(now);
        let answer = site.get("u").await;
        if answer.status == 429 {
            denials += 1;
            let wait = answer.number("retry-after").unwrap();
            // A second less is too early, unless it was rounded up by nearly as much.
            limiter.set_time(now + wait.saturating_sub(1) * SECOND);
            let peek: Vec<_> = limits.iter().map(|limit| limit.of("u")).collect();
            early += u64::from(!limiter.peek(&peek).await.unwrap().is_allowed());
            now += wait * SECOND;
            limiter.set_time(now);
            assert_eq!(site.get("u").await.status, 200, "after {wait} s");
        }
        now += n * 7_919 * 1_013 % (SECOND / 2);
    }
    assert!(denials > 50, "{denials}");
    assert_eq!(early, denials, "whole seconds too late");
}
