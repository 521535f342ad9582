//! Decisions over several levels: all or nothing.

use std::net::IpAddr;
use std::time::Duration;

use russet_core_conn::KeySpace;
use russet_ratelimit::{Error, Ip, Level, Limit, Quota, Reason};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use crate::support::{all, exact, limiter, patient};

const HOUR: Duration = Duration::from_secs(3_600);

contract!(each_level_says_how_it_stands);
async fn each_level_says_how_it_stands(at: Topology) {
    let (limiter, _space) = limiter(at, "levels").await;
    let limit = |name: &str, n| limiter.limit(name, Quota::strict(n, HOUR).unwrap()).unwrap();
    let (user, ip, endpoint) = (limit("user", 3), limit("ip", 1_000), limit("endpoint", 10_000));
    let address: IpAddr = "2001:db8::1".parse().unwrap();
    let levels = [user.of("u17"), ip.of(Ip::new(address)), endpoint.of("/search").cost(10)];
    for used in 1..=3 {
        let decision = limiter.check(&levels).await.unwrap();
        assert!(decision.is_allowed());
        assert_eq!((&*decision.policy, decision.remaining), ("user", 3 - used));
        let said: Vec<_> = decision.levels.iter().map(|level| (level.limit, level.used)).collect();
        assert_eq!(said, [(3, used), (1_000, used), (10_000, 10 * used)]);
    }
    let decision = limiter.check(&levels).await.unwrap();
    let limiting = decision.limiting().unwrap();
    assert_eq!((&*limiting.name, limiting.used), ("user", 3));
    assert_eq!(decision.retry_after, limiting.retry_after);
    assert_eq!((decision.reason(), decision.granted), (Reason::OverLimit, 0));
    assert!(decision.levels[1].retry_after.is_none() && !decision.levels[1].denies);
}

contract!(a_denial_leaves_every_other_level_as_it_was);
async fn a_denial_leaves_every_other_level_as_it_was(at: Topology) {
    let (limiter, _space) = limiter(at, "nothing").await;
    let limits: Vec<Limit> = all(5)
        .into_iter()
        .enumerate()
        .map(|(n, quota)| limiter.limit(&format!("l{n}"), quota).unwrap())
        .collect();
    // In one slot, and in many.
    for spread in [false, true] {
        let subject = |n: usize| format!("{spread}-{}", if spread { n } else { 0 });
        let levels = || -> Vec<Level> {
            limits.iter().enumerate().map(|(n, limit)| limit.of(subject(n)).cost(2)).collect()
        };
        assert!(limiter.check(&levels()).await.unwrap().is_allowed());
        for (denies, limit) in limits.iter().enumerate() {
            // This one has too little left for another.
            limit.check_n(subject(denies), 2).await.unwrap();
            let mut before = Vec::new();
            for (n, limit) in limits.iter().enumerate() {
                before.push(limit.status(subject(n)).await.unwrap().used);
            }
            let decision = limiter.check(&levels()).await.unwrap();
            assert!(!decision.is_allowed(), "{decision:?}");
            assert_eq!(&*decision.limiting().unwrap().name, format!("l{denies}"));
            for (n, limit) in limits.iter().enumerate() {
                let used = limit.status(subject(n)).await.unwrap().used;
                assert_eq!(used, before[n], "{spread} l{denies} l{n}");
            }
            limit.reset(subject(denies)).await.unwrap();
            limit.check_n(subject(denies), 2).await.unwrap();
        }
    }
}

contract!(what_all_of_them_grant_is_granted);
async fn what_all_of_them_grant_is_granted(at: Topology) {
    let (limiter, _space) = limiter(at, "most").await;
    let limit = |name: &str, n| limiter.limit(name, Quota::log(n, HOUR).unwrap()).unwrap();
    let (a, b, c) = (limit("a", 9), limit("b", 4), limit("c", 7));
    let levels = [a.of("x"), b.of("y"), c.of("z")];
    let decision = limiter.at_most(&levels, 6).await.unwrap();
    assert_eq!((decision.granted, decision.is_allowed()), (4, true));
    let mut used = Vec::new();
    for (limit, subject) in [(&a, "x"), (&b, "y"), (&c, "z")] {
        used.push(limit.status(subject).await.unwrap().used);
    }
    assert_eq!(used, [4, 4, 4]);
    let decision = limiter.at_most(&levels, 6).await.unwrap();
    assert_eq!((decision.granted, &*decision.limiting().unwrap().name), (0, "b"));
    assert_eq!(a.status("x").await.unwrap().used, 4);
}

contract!(shadows_among_levels_stop_nobody);
async fn shadows_among_levels_stop_nobody(at: Topology) {
    let (limiter, _space) = limiter(at, "shadows").await;
    let quota = |n| Quota::fixed(n, HOUR).unwrap();
    let shadow = limiter.builder("shadow", quota(1)).shadow(true).build().unwrap();
    let real = limiter.limit("real", quota(2)).unwrap();
    let check = async || limiter.check(&[shadow.of("s"), real.of("r")]).await.unwrap();
    assert!(!check().await.shadow);
    let second = check().await;
    assert!(second.is_allowed() && second.shadow && second.levels[0].denies);
    let third = check().await;
    assert_eq!((third.is_allowed(), &*third.policy), (false, "real"));
    // Neither has spent more than it admits.
    assert_eq!(shadow.status("s").await.unwrap().used, 1);
    assert_eq!(real.status("r").await.unwrap().used, 2);
}

contract!(what_is_left_to_others_is_not_spent);
async fn what_is_left_to_others_is_not_spent(at: Topology) {
    let (limiter, _space) = limiter(at, "left").await;
    for (n, quota) in all(5).into_iter().enumerate() {
        let limit = limiter.limit(&format!("l{n}"), quota).unwrap();
        let low = async || limiter.check(&[limit.of("u").leaving(3)]).await.unwrap();
        assert!(low().await.is_allowed() && low().await.is_allowed());
        assert!(!low().await.is_allowed(), "{quota:?}");
        assert!(limit.check_n("u", 3).await.unwrap().is_allowed(), "{quota:?}");
    }
}

#[tokio::test]
async fn levels_that_cannot_be_are_refused() {
    let limiter = exact(&patient("redis://localhost"), &KeySpace::new("wrong").unwrap());
    let limit = limiter.limit("l", Quota::bucket()).unwrap();
    for levels in [vec![], vec![limit.of("u"); 17]] {
        let Err(Error::Config { field: "levels", .. }) = limiter.check(&levels).await else {
            panic!("{}", levels.len())
        };
    }
    // Each of them would be decided without the other.
    let again = limiter.limit("l", Quota::bucket()).unwrap();
    for twice in [[limit.of("u"), limit.of("u").cost(2)], [limit.of("u"), again.of("u")]] {
        let Err(error) = limiter.check(&twice).await else { panic!("twice") };
        assert!(error.to_string().contains("l twice for one subject"), "{error}");
    }
    let other = exact(&patient("redis://localhost"), &KeySpace::new("other").unwrap());
    let Err(Error::Config { .. }) = other.check(&[limit.of("u")]).await else {
        panic!("another's")
    };
    let Err(Error::Unsatisfiable { .. }) = limit.check_n("u", 0).await else { panic!("nothing") };
}
