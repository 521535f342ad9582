//! Limits that belong together.

use std::net::IpAddr;
use std::time::Duration;

use russet_ratelimit::composite::{
    CostWithBurst, Endpoint, Geographic, Priority, SustainedBurst, Tenants,
};
use russet_ratelimit::{Error, Quota, Reason};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use crate::support::limiter;

const HOUR: Duration = Duration::from_secs(3_600);
#[cfg(feature = "test-util")]
const MINUTE: Duration = Duration::from_secs(60);

/// In ticks. The beginning is that of a minute.
#[cfg(feature = "test-util")]
const SECOND: u64 = 8_000_000;
#[cfg(feature = "test-util")]
const BEGINNING: u64 = 60 * 12_000_000 * SECOND;

contract!(a_sustained_limit_and_a_burst_say_which_refused);
async fn a_sustained_limit_and_a_burst_say_which_refused(at: Topology) {
    let (limiter, _space) = limiter(at, "burst").await;
    let (sustained, burst) = (Quota::strict(5, HOUR).unwrap(), Quota::gcra(3, HOUR, 3).unwrap());
    let both = SustainedBurst::new(&limiter, "api", sustained, burst).unwrap();
    assert!(both.check_n("u", 2).await.unwrap().is_allowed());
    let denied = both.check_n("u", 2).await.unwrap();
    assert_eq!(&*denied.limiting().unwrap().name, "api.burst");
    assert_eq!(denied.levels[0].used, 2);
}

#[cfg(feature = "test-util")]
contract!(a_burst_regains_by_itself_until_what_is_sustained_refuses);
#[cfg(feature = "test-util")]
async fn a_burst_regains_by_itself_until_what_is_sustained_refuses(at: Topology) {
    let (limiter, _space) = limiter(at, "regains").await;
    let (sustained, burst) = (Quota::strict(5, HOUR).unwrap(), Quota::gcra(3, HOUR, 3).unwrap());
    let both = SustainedBurst::new(&limiter, "api", sustained, burst).unwrap();
    let after = |minutes: u64| limiter.set_time(BEGINNING + 60 * minutes * SECOND);
    let refuses = async |of: &str| {
        let decision = both.check("u").await.unwrap();
        assert!(!decision.is_allowed(), "{decision:?}");
        assert_eq!(&*decision.limiting().unwrap().name, of);
        decision
    };
    after(0);
    assert!(both.check_n("u", 3).await.unwrap().is_allowed());
    for minutes in [20, 40] {
        assert_eq!(refuses("api.burst").await.retry_after, Some(HOUR / 3));
        after(minutes);
        assert!(both.check("u").await.unwrap().is_allowed());
    }
    // The burst has one again, and nothing of it is spent.
    after(60);
    for _ in 0..2 {
        let levels = refuses("api.sustained").await.levels;
        let stand: Vec<_> =
            levels.iter().map(|level| (level.used, level.remaining, level.denies)).collect();
        assert_eq!(stand, [(5, 0, true), (2, 1, false)]);
    }
}

contract!(a_cost_may_take_from_the_pool);
async fn a_cost_may_take_from_the_pool(at: Topology) {
    let (limiter, _space) = limiter(at, "cost").await;
    let costs = CostWithBurst::new(&limiter, "cost", (10, 5), 1, HOUR).unwrap();
    let said = costs.check_n("u", 4).await.unwrap();
    assert_eq!((said.tokens, said.burst_used, said.burst_left), (6, 0, 5));
    let said = costs.check_n("u", 9).await.unwrap();
    assert_eq!((said.tokens, said.burst_used, said.burst_left), (0, 3, 2));
    let said = costs.check_n("u", 3).await.unwrap();
    assert!(!said.decision.is_allowed() && said.decision.retry_after.unwrap() <= HOUR);
    assert_eq!(said.burst_left, 2);
}

#[cfg(feature = "test-util")]
contract!(the_standard_bucket_for_costs_holds_a_hundred_and_fifty_more);
#[cfg(feature = "test-util")]
async fn the_standard_bucket_for_costs_holds_a_hundred_and_fifty_more(at: Topology) {
    let (limiter, _space) = limiter(at, "costs").await;
    let costs = CostWithBurst::standard(&limiter, "cost").unwrap();
    let spend = async |units| {
        let said = costs.check_n("u", units).await.unwrap();
        let left = (said.tokens, said.burst_used, said.burst_left);
        (said.decision.is_allowed(), left, said.decision.retry_after)
    };
    limiter.set_time(BEGINNING);
    assert_eq!(spend(1).await, (true, (99, 0, 50), None));
    assert_eq!(spend(120).await, (true, (0, 21, 29), None));
    // Ten a second.
    assert_eq!(spend(30).await, (false, (0, 21, 29), Some(Duration::from_millis(100))));
    limiter.set_time(BEGINNING + SECOND);
    assert_eq!(spend(30).await, (true, (0, 41, 9), None));
    let Err(Error::Unsatisfiable { most: 150, .. }) = costs.check_n("u", 151).await else {
        panic!("more than it holds")
    };
}

contract!(the_lowest_class_is_shed_first);
async fn the_lowest_class_is_shed_first(at: Topology) {
    let (limiter, _space) = limiter(at, "priority").await;
    let builder = Priority::builder(&limiter, "p", 100 * HOUR);
    let classes = builder.class("high", 10).class("medium", 10).class("low", 10).build().unwrap();
    let check = async |class: &str| classes.check(class, "u").await.unwrap();
    for _ in 0..8 {
        assert!(check("low").await.is_allowed());
    }
    // Half of it is not more than half.
    for _ in 0..5 {
        assert!(check("high").await.is_allowed());
    }
    assert!(check("low").await.is_allowed());
    assert!(check("high").await.is_allowed());
    let shed = check("low").await;
    assert_eq!((shed.is_allowed(), shed.reason()), (false, Reason::Shed));
    assert!(shed.retry_after.is_some());
    assert!(check("medium").await.is_allowed());
    let Err(Error::UnknownClass { known, .. }) = classes.check("other", "u").await else {
        panic!("there is no such class")
    };
    assert_eq!(known, ["high", "medium", "low"]);
}

contract!(what_is_left_to_higher_classes_grows_with_what_they_spend);
async fn what_is_left_to_higher_classes_grows_with_what_they_spend(at: Topology) {
    let (limiter, _space) = limiter(at, "reserve").await;
    let builder = Priority::builder(&limiter, "p", 100 * HOUR);
    let classes = builder.class("high", 20).class("medium", 10).class("low", 10).build().unwrap();
    let check = async |class: &str| classes.check(class, "u").await.unwrap().is_allowed();
    let mut high = 0;
    for (spent, low, medium) in [(10, 10, 10), (11, 8, 10), (16, 5, 8), (19, 2, 5)] {
        while high < spent {
            assert!(check("high").await);
            high += 1;
        }
        for (class, most) in [("low", low), ("medium", medium)] {
            for (cost, fits) in [(most, true), (most + 1, false)] {
                if cost > 10 {
                    continue;
                }
                let level = classes.level(class, "u").unwrap().cost(cost);
                let said = limiter.peek(&[level]).await.unwrap();
                assert_eq!(said.retry_after.is_none(), fits, "{cost} of {class} at {high}");
            }
        }
    }
    let refused = |own, others| {
        let builder = Priority::builder(&limiter, "p", HOUR).class("high", 2).class("low", 1);
        builder.shed(80, 50).shed(own, others).build()
    };
    assert!(refused(50, 75).is_ok());
    for (own, others) in [(80, 75), (50, 50), (101, 75)] {
        let Err(Error::Config { field: "shed", .. }) = refused(own, others) else {
            panic!("{own} {others}")
        };
    }
}

#[cfg(feature = "test-util")]
contract!(the_standard_classes_have_their_numbers);
#[cfg(feature = "test-util")]
async fn the_standard_classes_have_their_numbers(at: Topology) {
    let (limiter, _space) = limiter(at, "classes").await;
    let classes = Priority::standard(&limiter, "p").unwrap();
    limiter.set_time(BEGINNING);
    for (class, limit) in [("high", 1_000), ("medium", 100), ("low", 10)] {
        let decision = classes.check(class, "numbers").await.unwrap();
        assert_eq!((decision.limit, decision.reset_after), (limit, MINUTE), "{class}");
    }
    // Low keeps eight of its ten where more than half of a higher class's is spent, and all where it is half.
    for (higher, half) in [("high", 500), ("medium", 50)] {
        let level = |class, cost| classes.level(class, higher).unwrap().cost(cost);
        for (class, cost) in [(higher, half), ("low", 9), (higher, 1)] {
            let decision = limiter.check(&[level(class, cost)]).await.unwrap();
            assert!(decision.is_allowed(), "{class}: {decision:?}");
        }
        let shed = classes.check("low", higher).await.unwrap();
        assert_eq!((shed.is_allowed(), shed.reason()), (false, Reason::Shed), "{higher}");
        let subject = format!("{higher}-first");
        let first = classes.level(higher, &*subject).unwrap().cost(half + 1);
        assert!(limiter.check(&[first]).await.unwrap().is_allowed());
        for n in 0..10 {
            let decision = classes.check("low", &*subject).await.unwrap();
            assert_eq!(decision.is_allowed(), n < 8, "{higher}, {n}: {decision:?}");
        }
    }
}

contract!(an_address_has_a_share_of_its_countrys_limit);
async fn an_address_has_a_share_of_its_countrys_limit(at: Topology) {
    let (limiter, _space) = limiter(at, "geo").await;
    let resolver = |ip: IpAddr| match ip {
        IpAddr::V4(ip) if ip.octets()[0] == 9 => Some("US".to_owned()),
        IpAddr::V4(ip) if ip.octets()[0] == 8 => Some("FR".to_owned()),
        IpAddr::V4(ip) if ip.octets()[0] == 7 => Some("JP".to_owned()),
        IpAddr::V4(ip) if ip.octets()[0] == 6 => Some("CN".to_owned()),
        IpAddr::V4(ip) if ip.octets()[0] == 5 => Some("EU".to_owned()),
        _ => None,
    };
    let geo = Geographic::standard(&limiter, "geo", resolver).unwrap();
    for (ip, country, share, used) in [
        ("9.0.0.1", 5_000, 50, 1),
        ("8.0.0.1", 3_000, 30, 1),
        ("7.0.0.1", 1_000, 10, 1),
        ("6.0.0.1", 2_000, 20, 1),
        // All of the EU has one limit.
        ("5.0.0.1", 3_000, 30, 2),
        ("::1", 1_000, 10, 1),
    ] {
        let decision = geo.check(ip.parse().unwrap()).await.unwrap();
        let limits: Vec<_> = decision.levels.iter().map(|level| level.limit).collect();
        assert_eq!(limits, [10_000, country, share], "{ip}");
        assert_eq!((&*decision.policy, decision.levels[1].used), ("geo.ip", used));
    }
    // One percent of it is less than one.
    let small = Geographic::builder(&limiter, "small", HOUR, resolver).others(99).build().unwrap();
    for allowed in [true, false] {
        let decision = small.check("8.0.0.1".parse().unwrap()).await.unwrap();
        assert_eq!((decision.is_allowed(), decision.limit), (allowed, 1));
        assert_eq!(&*decision.policy, "small.ip");
    }
}

contract!(an_endpoint_names_the_dependency_that_refuses);
async fn an_endpoint_names_the_dependency_that_refuses(at: Topology) {
    let (limiter, _space) = limiter(at, "endpoint").await;
    let database = limiter.limit("database", Quota::fixed(4, HOUR).unwrap()).unwrap();
    let mail = limiter.limit("mail", Quota::fixed(100, HOUR).unwrap()).unwrap();
    let endpoint = Endpoint::builder(&limiter, "search").unwrap();
    let endpoint = endpoint.depends_on(&database, 2).depends_on(&mail, 1).build().unwrap();
    for _ in 0..2 {
        assert!(endpoint.check("u").await.unwrap().is_allowed());
    }
    let denied = endpoint.check("u").await.unwrap();
    assert_eq!(&*denied.limiting().unwrap().name, "database");
    let used: Vec<_> = denied.levels.iter().map(|level| (&*level.name, level.used)).collect();
    assert_eq!(used, [("search.user", 2), ("search", 2), ("database", 4), ("mail", 2)]);
}

contract!(tenants_have_their_plans_and_share_a_limit);
async fn tenants_have_their_plans_and_share_a_limit(at: Topology) {
    let (limiter, _space) = limiter(at, "tenants").await;
    let quota = |n| Quota::log(n, HOUR).unwrap();
    let tenants = Tenants::new(&limiter, "t", quota(5), quota(1)).unwrap();
    tenants.plan("gold", quota(9)).unwrap();
    assert!(tenants.check("a").await.unwrap().is_allowed());
    assert_eq!(&*tenants.check("a").await.unwrap().limiting().unwrap().name, "t.tenant");
    assert!(tenants.check_n("gold", 4).await.unwrap().is_allowed());
    assert_eq!(&*tenants.check("gold").await.unwrap().limiting().unwrap().name, "t.all");
}
