//! What a decision is without Redis, by what each limit says: with the breaker forced open, so that nothing is sent.

use std::time::Duration;

use russet_core_conn::{Client, ErrorKind, Redis};
use russet_ratelimit::{
    Error, Level, Limiter, LimiterBuilder, LimiterEvent, Outage, Quota, Reason, Source,
};
use russet_testkit::shared::Topology;
use russet_testkit::{Server, contract};

use crate::support::{Space, space};

const HOUR: Duration = Duration::from_secs(3_600);
const PATIENCE: Duration = Duration::from_secs(10);

fn options(redis: &Redis, space: &russet_core_conn::KeySpace) -> LimiterBuilder {
    Limiter::options(redis, space).budget(PATIENCE).nodes(4)
}

fn go_away(limiter: &Limiter) {
    limiter.breaker().unwrap().force_open();
}

contract!(a_share_of_the_limit_is_local);
async fn a_share_of_the_limit_is_local(at: Topology) {
    let (redis, space) = space(at, "local").await;
    let limiter = options(&redis, &space).build().unwrap();
    let quotas = [
        (Quota::gcra(100, HOUR, 40), 10),
        (Quota::interval(40, 4, HOUR), 10),
        (Quota::fixed(40, HOUR), 10),
        (Quota::counter(40, HOUR), 10),
        (Quota::strict(42, HOUR), 11),
        (Quota::log(40, HOUR), 10),
        (Quota::permits(2, HOUR), 1),
    ];
    go_away(&limiter);
    for (n, (quota, share)) in quotas.into_iter().enumerate() {
        let quota = quota.unwrap();
        let limit = limiter.limit(&format!("l{n}"), quota).unwrap();
        for left in (0..share).rev() {
            let peeked = limit.peek("u").await.unwrap();
            assert!(peeked.is_allowed() && peeked.remaining == left + 1, "{quota:?}: {peeked:?}");
            let decision = limit.check("u").await.unwrap();
            assert_eq!((decision.is_allowed(), decision.source), (true, Source::Fallback));
            assert_eq!((decision.remaining, decision.limit, decision.granted), (left, share, 1));
        }
        let denied = limit.check("u").await.unwrap();
        assert_eq!((denied.is_allowed(), denied.reason()), (false, Reason::OverLimit));
        assert!(denied.retry_after > Some(Duration::ZERO) && denied.source == Source::Fallback);
        assert!(limit.check("v").await.unwrap().is_allowed());
        let most = limit.at_most("w", 1_000_000).await.unwrap();
        assert_eq!((most.granted, most.limit), (share, share), "{quota:?}");
        let Err(Error::Unsatisfiable { .. }) = limit.check_n("u", 43).await.map(drop) else {
            assert_eq!(n, 0, "{quota:?}");
            continue;
        };
    }
    let queue = limiter.limit("q", Quota::queue(8, 1, HOUR, 99 * HOUR).unwrap()).unwrap();
    assert_eq!(queue.check("u").await.unwrap().delay, Duration::ZERO);
    // A turn each is four times as long for one of four.
    let delay = queue.check("u").await.unwrap().delay;
    assert!(delay > 3 * HOUR && delay <= 4 * HOUR, "{delay:?}");
    // Redis decides as before when it is back, and knows nothing of it.
    let limit = limiter.limit("l2", Quota::fixed(40, HOUR).unwrap()).unwrap();
    limiter.breaker().unwrap().reset();
    let decision = limit.check("u").await.unwrap();
    assert_eq!((decision.source, decision.remaining), (Source::Redis, 39));
}

contract!(each_level_goes_by_its_policy);
async fn each_level_goes_by_its_policy(at: Topology) {
    let (redis, space) = space(at, "policies").await;
    let limiter = options(&redis, &space).build().unwrap();
    let limit = |name: &str, outage| {
        let builder = limiter.builder(name, Quota::fixed(8, HOUR).unwrap());
        builder.on_outage(outage).build().unwrap()
    };
    let (local, open) = (limit("local", Outage::Local), limit("open", Outage::Open));
    let (closed, error) = (limit("closed", Outage::Closed), limit("error", Outage::Error));
    let shadow = limiter.builder("shadow", Quota::fixed(8, HOUR).unwrap()).shadow(true);
    let shadow = shadow.on_outage(Outage::Closed).build().unwrap();
    go_away(&limiter);
    let check = async |levels: &[Level]| limiter.check(levels).await;
    let two = [local.of("a"), open.of("b")];
    let decision = check(&two).await.unwrap();
    assert!(
        decision.is_allowed() && decision.levels[0].limit == 2 && decision.levels[1].limit == 8
    );
    let denied = check(&[local.of("a"), open.of("b"), closed.of("c")]).await.unwrap();
    assert_eq!((denied.is_allowed(), denied.reason()), (false, Reason::Outage));
    assert_eq!((denied.source, denied.retry_after), (Source::Fallback, None));
    assert_eq!((&*denied.limiting().unwrap().name, &*denied.policy), ("closed", "closed"));
    // It has spent nothing: there is one left, and then none.
    assert!(check(&[local.of("a"), open.of("b"), shadow.of("c")]).await.unwrap().is_allowed());
    let denied = check(&two).await.unwrap();
    assert_eq!((&*denied.policy, denied.reason()), ("local", Reason::OverLimit));
    for _ in 0..20 {
        assert!(open.check("b").await.unwrap().is_allowed());
    }
    assert_eq!(open.at_most("b", 5).await.unwrap().granted, 5);
    // Whose policy is an error asks as ever.
    let decision = check(&[closed.of("c"), error.of("d")]).await.unwrap();
    assert_eq!((decision.is_allowed(), decision.source), (true, Source::Redis));
}

#[tokio::test]
async fn what_needs_redis_is_an_error_without_it() {
    let server = Server::start().await.unwrap();
    let redis = Redis::builder(&server.url()).build().unwrap();
    let space = Space::own([&server], "errors");
    let limiter = Limiter::new(&redis, &space);
    let limit = limiter.limit("l", Quota::bucket()).unwrap();
    let permits = limiter.limit("p", Quota::permits(1, HOUR).unwrap()).unwrap();
    let exact = limiter.builder("e", Quota::bucket()).on_outage(Outage::Error).build().unwrap();
    limit.check("u").await.unwrap();
    space.hygiene().await;
    server.kill().await.unwrap();
    let redis_is_away = |error: Error| {
        let Error::Redis(error) = error else { panic!("{error}") };
        assert!(error.is_retryable(), "{error}");
    };
    redis_is_away(limit.reserve("u", 1).await.map(drop).unwrap_err());
    redis_is_away(limit.penalize("u", 1).await.unwrap_err());
    redis_is_away(limit.status("u").await.map(drop).unwrap_err());
    redis_is_away(limit.reset("u").await.unwrap_err());
    redis_is_away(permits.acquire("u").await.map(drop).unwrap_err());
    redis_is_away(exact.check("u").await.map(drop).unwrap_err());
    assert_eq!(limit.check("u").await.unwrap().source, Source::Fallback);
    let Err(Error::Unsatisfiable { .. }) = limit.check_n("u", 101).await else { panic!("never") };
}

#[tokio::test]
async fn what_is_no_outage_is_an_error() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let space = Space::own([&server], "wrong");
    let redis = Redis::builder(&server.url()).build().unwrap();
    let limiter = Limiter::options(&redis, &space).budget(PATIENCE).build().unwrap();
    let limit = limiter.limit("l", Quota::bucket()).unwrap();
    limit.check("u").await.unwrap();
    let key = space.key("limit-bucket.l", "u");
    let key = std::str::from_utf8(key.as_bytes()).unwrap();
    conn.call(&["DEL", key]).await.unwrap();
    conn.call(&["LPUSH", key, "a list"]).await.unwrap();
    conn.call(&["PEXPIRE", key, "600000"]).await.unwrap();
    let Err(Error::Redis(error)) = limit.check("u").await else { panic!("of another type") };
    assert!(!error.is_retryable(), "{error}");
    let poor = ["ACL", "SETUSER", "poor", "on", ">secret", "~*", "&*", "+@connection", "+info"];
    assert!(conn.call(&poor).await.unwrap().is_ok());
    let redis = Redis::builder(&format!("redis://poor:secret@{}", server.addr())).build().unwrap();
    let limiter = Limiter::options(&redis, &space).budget(PATIENCE).build().unwrap();
    let limit = limiter.limit("l", Quota::bucket()).unwrap();
    let Err(Error::Redis(error)) = limit.check("v").await else { panic!("without the right") };
    assert!(matches!(error.kind(), ErrorKind::Server(_)), "{error} over {:?}", Client::default());
}

#[tokio::test]
async fn an_outage_is_told_when_it_begins_and_when_it_ends() {
    let server = Server::start().await.unwrap();
    let redis = Redis::builder(&server.url()).build().unwrap();
    let space = Space::own([&server], "told");
    let limiter = Limiter::new(&redis, &space);
    let limit = limiter.limit("l", Quota::gcra(8_000, HOUR / 3_600, 8_000).unwrap()).unwrap();
    let mut events = limiter.events();
    let until = async |source| {
        while limit.check("u").await.unwrap().source != source {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    until(Source::Redis).await;
    server.kill().await.unwrap();
    until(Source::Fallback).await;
    while !limiter.is_away() {
        until(Source::Fallback).await;
    }
    server.restart().await.unwrap();
    while limiter.is_away() {
        until(Source::Redis).await;
    }
    let mut next = async || match events.next().await {
        Some(russet_core_conn::Notice::Event(event)) => event,
        other => panic!("{other:?}"),
    };
    assert!(matches!(next().await, LimiterEvent::Away { .. }));
    assert_eq!(next().await, LimiterEvent::Back);
}

#[test]
fn options_that_cannot_be_are_named() {
    let redis = Redis::builder("redis://localhost").build().unwrap();
    let space = russet_core_conn::KeySpace::new("options").unwrap();
    let ok = || Limiter::options(&redis, &space);
    for (builder, field) in [
        (ok().budget(Duration::ZERO), "budget"),
        (ok().heartbeat(Duration::from_millis(19)), "heartbeat"),
        (ok().node(""), "node"),
        (ok().nodes(0), "nodes"),
        (ok().nodes(10_001), "nodes"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
    }
}
