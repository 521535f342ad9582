//! Denials that a process remembers.

use std::time::{Duration, Instant};

use russet_ratelimit::{Limit, Limiter, Quota, Reason, Source};
use russet_testkit::shared::Topology;
use russet_testkit::{Server, contract};

use crate::support::{Space, exact, limiter, patient};

const HOUR: Duration = Duration::from_secs(3_600);

fn keeps(limiter: &Limiter, name: &str, quota: Quota) -> Limit {
    limiter.builder(name, quota).cache_denials(HOUR).build().unwrap()
}

async fn source(limit: &Limit) -> (bool, Source) {
    let decision = limit.check("u").await.unwrap();
    (decision.is_allowed(), decision.source)
}

contract!(the_same_is_denied_without_redis);
async fn the_same_is_denied_without_redis(at: Topology) {
    let (limiter, _space) = limiter(at, "denials").await;
    for (n, quota) in crate::support::all(2).into_iter().enumerate() {
        let limit = keeps(&limiter, &format!("l{n}"), quota);
        limit.check_n("u", 2).await.unwrap();
        let said = limit.check("u").await.unwrap();
        let again = limit.check("u").await.unwrap();
        assert_eq!((said.source, again.source), (Source::Redis, Source::DenyCache), "{quota:?}");
        assert_eq!((again.is_allowed(), again.reason()), (false, Reason::OverLimit));
        assert_eq!((again.limit, again.remaining, again.levels.len()), (2, 0, 1));
        assert_eq!(again.limiting(), Some(&again.levels[0]));
        assert!(
            again.retry_after <= said.retry_after
                && again.retry_after > said.retry_after.map(|at| at - HOUR / 60)
        );
        assert!(again.reset_after <= said.reset_after);
        // Another cost is another question, and so is another subject.
        assert_eq!(limit.check_n("u", 2).await.unwrap().source, Source::Redis);
        assert!(limit.check("v").await.unwrap().is_allowed());
        // What is given back in this process is had at once.
        assert!(limit.reset("u").await.unwrap());
        assert_eq!(source(&limit).await, (true, Source::Redis));
        let reserved = limit.reserve("u", 1).await.unwrap();
        assert_eq!(source(&limit).await, (false, Source::Redis));
        assert_eq!(source(&limit).await, (false, Source::DenyCache));
        reserved.refund().await.unwrap();
        assert_eq!(source(&limit).await, (true, Source::Redis));
        assert_eq!(source(&limit).await, (false, Source::Redis));
        assert_eq!(source(&limit).await, (false, Source::DenyCache));
        limit.change(crate::support::all(9)[n]);
        assert_eq!(source(&limit).await.1, Source::Redis);
    }
}

contract!(who_is_denied_here_lets_others_run);
async fn who_is_denied_here_lets_others_run(at: Topology) {
    let (limiter, _space) = limiter(at, "turns").await;
    let limit = keeps(&limiter, "l", Quota::fixed(1, HOUR).unwrap());
    assert!(limit.check("u").await.unwrap().is_allowed());
    assert!(!limit.check("u").await.unwrap().is_allowed());
    let other = tokio::spawn(async {});
    let mut denied = 0;
    while !other.is_finished() {
        assert_eq!(source(&limit).await, (false, Source::DenyCache));
        denied += 1;
        assert!(denied < 100_000, "nobody else runs");
    }
}

contract!(blocks_and_top_ups_are_noticed);
async fn blocks_and_top_ups_are_noticed(at: Topology) {
    let (limiter, _space) = limiter(at, "given").await;
    let quota = Quota::gcra(2, HOUR, 2).unwrap();
    let limit = limiter.builder("l", quota).cache_denials(HOUR).blockable().build().unwrap();
    limit.block("u", HOUR).await.unwrap();
    assert_eq!(source(&limit).await, (false, Source::Redis));
    let blocked = limit.check("u").await.unwrap();
    assert_eq!((blocked.source, blocked.reason()), (Source::DenyCache, Reason::Blocked));
    limit.unblock("u").await.unwrap();
    limit.check_n("u", 2).await.unwrap();
    assert_eq!(source(&limit).await, (false, Source::Redis));
    assert_eq!(source(&limit).await, (false, Source::DenyCache));
    limit.top_up("u", 1).await.unwrap();
    assert_eq!(source(&limit).await, (true, Source::Redis));
}

contract!(a_level_denies_every_decision_that_it_is_part_of);
async fn a_level_denies_every_decision_that_it_is_part_of(at: Topology) {
    let (limiter, _space) = limiter(at, "level").await;
    let one = keeps(&limiter, "one", Quota::fixed(1, HOUR).unwrap());
    let many = limiter.limit("many", Quota::fixed(100, HOUR).unwrap()).unwrap();
    let check = async || limiter.check(&[many.of("all"), one.of("u")]).await.unwrap();
    assert!(check().await.is_allowed());
    let said = check().await;
    assert_eq!((said.source, said.levels[0].used), (Source::Redis, 1));
    let again = check().await;
    assert_eq!((again.source, again.is_allowed()), (Source::DenyCache, false));
    assert_eq!((&*again.policy, again.levels.len()), ("one", 2));
    assert_eq!(&*again.limiting().unwrap().name, "one");
    assert!(again.retry_after.is_some() && again.retry_after <= said.retry_after);
    assert_eq!(source(&one).await, (false, Source::DenyCache));
    assert_eq!(many.status("all").await.unwrap().used, 1);
}

#[tokio::test]
async fn a_denial_lasts_no_longer_than_redis_said_or_the_limit_allows() {
    let (limiter, _space) = limiter(Topology::Server, "lasts").await;
    // One each 20 ms.
    let limit = keeps(&limiter, "honest", Quota::gcra(50, HOUR / 3_600, 1).unwrap());
    for _ in 0..20 {
        let denied = loop {
            let decision = limit.check("u").await.unwrap();
            if !decision.is_allowed() {
                break decision;
            }
        };
        let denied =
            if denied.source == Source::Redis { limit.check("u").await.unwrap() } else { denied };
        let until = Instant::now() + denied.retry_after.unwrap_or_default();
        while Instant::now() < until {
            tokio::time::sleep_until(until.into()).await;
        }
        let then = limit.check("u").await.unwrap();
        assert!(then.is_allowed() && then.source == Source::Redis, "{denied:?} {then:?}");
    }
    let builder = limiter.builder("short", Quota::fixed(1, HOUR).unwrap());
    let short = builder.cache_denials(Duration::from_millis(30)).build().unwrap();
    short.check("u").await.unwrap();
    short.check("u").await.unwrap();
    let denied = short.check("u").await.unwrap();
    assert!(denied.retry_after > Some(Duration::from_secs(1)), "{denied:?}");
    tokio::time::sleep(Duration::from_millis(31)).await;
    assert_eq!(source(&short).await, (false, Source::Redis));
}

#[tokio::test]
async fn who_hammers_costs_redis_nothing() {
    let server = Server::start().await.unwrap();
    let space = Space::own([&server], "hammer");
    let limiter = exact(&patient(&server.url()), &space);
    let limit = keeps(&limiter, "l", Quota::fixed(1, HOUR).unwrap());
    for _ in 0..1_000 {
        limit.check("u").await.unwrap();
    }
    let stats = crate::leases::scripts_run(&mut server.conn().await.unwrap()).await;
    // One admits, one denies; one agrees on the layout; and scripts are sent twice the first time.
    assert!(stats <= 5, "{stats} scripts");
}
