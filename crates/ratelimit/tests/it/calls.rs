//! What can be asked of one limit.

use std::time::{Duration, Instant};

use russet_ratelimit::{Acquired, Error, Processed, Quota, Reason, Source};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use crate::support::{all, limiter};

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

contract!(each_algorithm_admits_its_limit_and_tells_what_is_left);
async fn each_algorithm_admits_its_limit_and_tells_what_is_left(at: Topology) {
    let (limiter, _space) = limiter(at, "calls").await;
    for (n, quota) in all(5).into_iter().enumerate() {
        let limit = limiter.limit(&format!("l{n}"), quota).unwrap();
        let peeked = limit.peek("u").await.unwrap();
        assert!(peeked.is_allowed() && peeked.remaining == 5 && peeked.granted == 0, "{quota:?}");
        for left in (2..5).rev() {
            let decision = limit.check("u").await.unwrap();
            assert!(decision.is_allowed(), "{quota:?}: {decision:?}");
            assert_eq!((decision.remaining, decision.granted), (left, 1), "{quota:?}");
            assert_eq!(decision.levels[0].used, 5 - left);
            assert!(decision.retry_after.is_none() && decision.reset_after > Duration::ZERO);
        }
        let decision = limit.check_n("u", 3).await.unwrap();
        assert!(!decision.is_allowed(), "{quota:?}: {decision:?}");
        assert_eq!((decision.remaining, decision.granted), (2, 0));
        assert_eq!((decision.reason(), decision.source), (Reason::OverLimit, Source::Redis));
        assert_eq!(&*decision.limiting().unwrap().name, format!("l{n}"));
        assert!(decision.retry_after > Some(Duration::ZERO));
        // Another subject has all of it, and the denial has spent nothing.
        assert_eq!(limit.peek(("u", "v")).await.unwrap().remaining, 5);
        assert_eq!(limit.status("u").await.unwrap().remaining, 2);
        let Err(Error::Unsatisfiable { cost: 6, most: 5, .. }) = limit.check_n("u", 6).await else {
            panic!("{quota:?}");
        };
        assert!(limit.reset("u").await.unwrap());
        assert!(limit.status("u").await.unwrap().full);
    }
}

contract!(as_much_as_fits_is_granted);
async fn as_much_as_fits_is_granted(at: Topology) {
    let (limiter, _space) = limiter(at, "most").await;
    for (n, quota) in all(5).into_iter().enumerate() {
        let limit = limiter.limit(&format!("l{n}"), quota).unwrap();
        let granted = async |units| limit.at_most("u", units).await.map(|said| said.granted);
        if n == 1 {
            let Err(Error::Unsupported { .. }) = granted(1).await else { panic!("of a queue") };
            continue;
        }
        assert_eq!(granted(3).await.unwrap(), 3);
        assert_eq!(granted(9).await.unwrap(), 2);
        let none = limit.at_most("u", 1).await.unwrap();
        assert!(!none.is_allowed() && none.granted == 0 && none.retry_after.is_some(), "{quota:?}");
    }
}

contract!(what_is_reserved_is_given_back_once);
async fn what_is_reserved_is_given_back_once(at: Topology) {
    let (limiter, space) = limiter(at, "refund").await;
    for (n, quota) in all(5).into_iter().enumerate() {
        let limit = limiter.limit(&format!("l{n}"), quota).unwrap();
        limit.check("u").await.unwrap();
        let reserved = limit.reserve("u", 3).await.unwrap();
        assert_eq!(limit.status("u").await.unwrap().remaining, 1);
        assert!(reserved.refund().await.unwrap(), "{quota:?}");
        space.hygiene().await;
        assert_eq!(limit.status("u").await.unwrap().remaining, 4, "{quota:?}");
        let denied = {
            let _all = limit.reserve("u", 4).await.unwrap();
            limit.reserve("u", 1).await.unwrap()
        };
        assert!(!denied.decision().is_allowed());
        assert!(denied.refund().await.unwrap());
        assert_eq!(limit.status("u").await.unwrap().remaining, 0, "{quota:?}");
        space.hygiene().await;
    }
    // A second refund of a bucket gives nothing: others may have been admitted for it.
    let limit = limiter.limit("twice", Quota::gcra(10, HOUR, 10).unwrap()).unwrap();
    let [one, other] = [limit.reserve("u", 3).await.unwrap(), limit.reserve("u", 3).await.unwrap()];
    assert!(one.refund().await.unwrap());
    assert!(!other.refund().await.unwrap());
    assert_eq!(limit.status("u").await.unwrap().remaining, 7);
}

contract!(a_large_cost_is_spent_to_its_last_unit);
async fn a_large_cost_is_spent_to_its_last_unit(at: Topology) {
    let (limiter, _space) = limiter(at, "large").await;
    // More than a script gives a command at once.
    let cost = 2_500;
    for (name, quota) in
        [("log", Quota::log(cost + 1, HOUR)), ("permits", Quota::permits(cost + 1, HOUR))]
    {
        let limit = limiter.limit(name, quota.unwrap()).unwrap();
        let reserved = limit.reserve("u", cost).await.unwrap();
        assert_eq!((reserved.decision().granted, reserved.decision().remaining), (cost, 1));
        assert_eq!(limit.status("u").await.unwrap().used, cost, "{name}");
        assert!(!limit.check_n("u", 2).await.unwrap().is_allowed());
        assert!(limit.check("u").await.unwrap().is_allowed());
        assert!(reserved.refund().await.unwrap());
        assert_eq!(limit.status("u").await.unwrap().used, 1, "{name}");
    }
}

contract!(penalties_go_into_debt_by_one_limit_at_most);
async fn penalties_go_into_debt_by_one_limit_at_most(at: Topology) {
    let (limiter, _space) = limiter(at, "penalty").await;
    for (n, quota) in all(5).into_iter().enumerate() {
        let limit = limiter.limit(&format!("l{n}"), quota).unwrap();
        if n == 7 {
            let Err(Error::Unsupported { .. }) = limit.penalize("u", 1).await else {
                panic!("of permits")
            };
            continue;
        }
        assert_eq!(limit.penalize("u", 7).await.unwrap(), 7, "{quota:?}");
        assert_eq!(limit.status("u").await.unwrap().used, 7, "{quota:?}");
        assert_eq!(limit.penalize("u", 7).await.unwrap(), 3, "{quota:?}");
        let denied = limit.check("u").await.unwrap();
        assert!(!denied.is_allowed() && denied.levels[0].used == 10, "{quota:?}: {denied:?}");
    }
}

contract!(a_block_denies_until_it_ends);
async fn a_block_denies_until_it_ends(at: Topology) {
    let (limiter, _space) = limiter(at, "block").await;
    for (n, quota) in all(5).into_iter().enumerate() {
        let limit = limiter.builder(&format!("l{n}"), quota).blockable().build().unwrap();
        limit.check("u").await.unwrap();
        limit.block("u", MINUTE).await.unwrap();
        limit.block("u", Duration::from_secs(1)).await.unwrap();
        let denied = limit.check("u").await.unwrap();
        assert_eq!((denied.is_allowed(), denied.reason()), (false, Reason::Blocked));
        let retry = denied.retry_after.unwrap();
        assert!(retry <= MINUTE && retry > MINUTE / 2, "{retry:?}");
        assert!(limit.check("v").await.unwrap().is_allowed());
        assert!(limit.unblock("u").await.unwrap() && !limit.unblock("u").await.unwrap());
        assert_eq!(limit.check("u").await.unwrap().levels[0].used, 2, "{quota:?}");
    }
    let plain = limiter.limit("plain", Quota::bucket()).unwrap();
    let error = plain.block("u", MINUTE).await.unwrap_err().to_string();
    assert!(error.starts_with("blockable") && error.contains("allowed"), "{error}");
}

contract!(buckets_are_topped_up_to_what_they_hold);
async fn buckets_are_topped_up_to_what_they_hold(at: Topology) {
    let (limiter, _space) = limiter(at, "top-up").await;
    for (n, quota) in all(5).into_iter().enumerate() {
        let limit = limiter.limit(&format!("l{n}"), quota).unwrap();
        if !matches!(n, 0 | 2 | 3) {
            let Err(Error::Unsupported { .. }) = limit.top_up("u", 1).await else {
                panic!("{quota:?}")
            };
            continue;
        }
        assert_eq!(limit.top_up("u", 3).await.unwrap(), 0);
        let reserved = limit.reserve("u", 4).await.unwrap();
        assert_eq!(limit.top_up("u", 2).await.unwrap(), 2);
        assert_eq!(limit.status("u").await.unwrap().remaining, 3, "{quota:?}");
        if n == 0 {
            assert!(!reserved.refund().await.unwrap());
        }
        limit.top_up("u", 99).await.unwrap();
        assert_eq!(limit.status("u").await.unwrap().remaining, 5, "{quota:?}");
    }
}

contract!(a_queue_gives_each_its_turn);
async fn a_queue_gives_each_its_turn(at: Topology) {
    let (limiter, _space) = limiter(at, "queue").await;
    let tenth = Duration::from_millis(100);
    let quota = Quota::queue(3, 1, tenth, HOUR).unwrap();
    let queue = limiter.limit("q", quota).unwrap();
    let begun = Instant::now();
    let calls = (0..3).map(|_| queue.process("u", async { begun.elapsed() }));
    let mut turns = Vec::new();
    for done in futures_util::future::join_all(calls).await {
        let Processed::Done { output, position, wait } = done.unwrap() else { panic!("full") };
        assert!(output >= wait, "{output:?} {wait:?}");
        turns.push((position, wait));
    }
    turns.sort();
    assert_eq!(turns.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(turns[2].1 > tenth, "{turns:?}");
    // Full: the third of three has a whole turn before it.
    let far = limiter.limit("far", Quota::queue(3, 1, HOUR, HOUR).unwrap()).unwrap();
    let [first, second] = [far.reserve("u", 1).await.unwrap(), far.reserve("u", 1).await.unwrap()];
    assert_eq!((first.position(), second.position()), (0, 1));
    let Processed::Full(denied) = far.process("u", async {}).await.unwrap() else { panic!("room") };
    assert!(denied.retry_after.unwrap() < HOUR);
    // Cancelled, its place is another's.
    assert!(second.refund().await.unwrap());
    assert_eq!(far.reserve("u", 1).await.unwrap().position(), 1);
}

contract!(who_leaves_a_queue_moves_nobodys_turn);
async fn who_leaves_a_queue_moves_nobodys_turn(at: Topology) {
    let (limiter, _space) = limiter(at, "turns").await;
    let queue = limiter.limit("q", Quota::queue(9, 1, HOUR, 9 * HOUR).unwrap()).unwrap();
    let take = async || queue.reserve("u", 1).await.unwrap();
    let (first, second, third) = (take().await, take().await, take().await);
    // The others have been told when to begin: whoever comes is behind them.
    assert!(!first.refund().await.unwrap());
    let fourth = take().await;
    assert!(fourth.decision().delay > third.decision().delay);
    assert!(!second.refund().await.unwrap());
    // The last one makes room.
    assert!(fourth.refund().await.unwrap());
    let again = take().await;
    assert!(again.decision().delay > third.decision().delay + HOUR / 2);
    assert_eq!(queue.status("u").await.unwrap().used, 4);
}

contract!(permits_are_held_until_released);
async fn permits_are_held_until_released(at: Topology) {
    let (limiter, _space) = limiter(at, "permits").await;
    let limit = limiter.limit("p", Quota::permits(2, MINUTE).unwrap()).unwrap();
    let take = async || limit.acquire("u").await.unwrap();
    let (Acquired::Held(one), Acquired::Held(other)) = (take().await, take().await) else {
        panic!("there are two")
    };
    let Acquired::Busy(busy) = take().await else { panic!("there is no third") };
    assert!(busy.retry_after.unwrap() <= MINUTE);
    assert!(other.renew().await.unwrap());
    assert_eq!(limit.statistics("u", 10).await.unwrap().count, 2);
    assert!(one.release().await.unwrap());
    assert!(matches!(take().await, Acquired::Held(_)));
    limit.reset("u").await.unwrap();
    assert!(!other.renew().await.unwrap());
    assert!(!other.release().await.unwrap());
}

contract!(a_log_tells_what_is_in_it);
async fn a_log_tells_what_is_in_it(at: Topology) {
    let (limiter, _space) = limiter(at, "log").await;
    let limit = limiter.limit("l", Quota::log(9, HOUR).unwrap()).unwrap();
    limit.check_n("u", 2).await.unwrap();
    limit.check("u").await.unwrap();
    let found = limit.statistics("u", 2).await.unwrap();
    assert_eq!((found.count, found.remaining, found.requests.len()), (3, 6, 2));
    assert_eq!(found.end.duration_since(found.start).unwrap(), HOUR);
    let [first, second] = &found.requests[..] else { panic!("{found:?}") };
    assert!(first.at == second.at && first.id != second.id);
    assert!(first.at <= found.end && found.end.duration_since(first.at).unwrap() < MINUTE);
}

contract!(lists_are_decided_without_redis);
async fn lists_are_decided_without_redis(at: Topology) {
    let (limiter, _space) = limiter(at, "lists").await;
    let limit = limiter.limit("l", Quota::fixed(1, HOUR).unwrap()).unwrap();
    limit.lists().allow("friend");
    limit.lists().deny("foe");
    for _ in 0..3 {
        let decision = limit.check("friend").await.unwrap();
        assert_eq!((decision.is_allowed(), decision.source), (true, Source::List));
        let decision = limit.check("foe").await.unwrap();
        assert_eq!((decision.reason(), decision.retry_after), (Reason::Denied, None));
    }
    // What was spent before, and a penalty, are in Redis whoever is on a list.
    assert_eq!(limit.penalize("foe", 1).await.unwrap(), 1);
    assert_eq!(limit.status("foe").await.unwrap().used, 1);
    assert_eq!(limit.peek("foe").await.unwrap().reason(), Reason::Denied);
    assert!(limit.reset("foe").await.unwrap());
    limit.lists().remove("foe");
    assert_eq!(limit.check("foe").await.unwrap().source, Source::Redis);
}

contract!(a_shadow_stops_nobody_and_says_so);
async fn a_shadow_stops_nobody_and_says_so(at: Topology) {
    let (limiter, _space) = limiter(at, "shadow").await;
    for (n, quota) in all(2).into_iter().enumerate() {
        let limit = limiter.builder(&format!("l{n}"), quota).shadow(true).build().unwrap();
        let shadows = async || {
            let decision = limit.check("u").await.unwrap();
            assert!(decision.is_allowed() && decision.granted == 1, "{decision:?}");
            decision.shadow
        };
        assert!(!shadows().await && !shadows().await && shadows().await, "{quota:?}");
        assert_eq!(limit.status("u").await.unwrap().used, 2);
    }
}

contract!(what_is_spent_stays_spent_when_a_quota_changes);
async fn what_is_spent_stays_spent_when_a_quota_changes(at: Topology) {
    let (limiter, _space) = limiter(at, "change").await;
    for (n, (before, after)) in all(5).into_iter().zip(all(8)).enumerate() {
        let limit = limiter.limit(&format!("l{n}"), before).unwrap();
        limit.check_n("u", 4).await.unwrap();
        limit.change(after);
        let used = limit.status("u").await.unwrap().used;
        // A bucket keeps the time: what took four fifths of an hour does so still.
        assert_eq!(used, if n < 2 { 7 } else { 4 }, "{after:?}");
        limit.change(before);
        assert_eq!(limit.status("u").await.unwrap().used, 4);
    }
    // Of another length, as if it had just been spent.
    for (n, quotas) in [
        [Quota::counter(5, HOUR), Quota::counter(5, 2 * HOUR)],
        [Quota::strict(5, HOUR), Quota::strict_of(5, HOUR, 10)],
    ]
    .into_iter()
    .enumerate()
    {
        let [before, after] = quotas.map(Result::unwrap);
        let limit = limiter.limit(&format!("long{n}"), before).unwrap();
        limit.check_n("u", 4).await.unwrap();
        limit.change(after);
        assert_eq!(limit.check("u").await.unwrap().levels[0].used, 5);
        assert!(!limit.check("u").await.unwrap().is_allowed());
    }
}
