//! The judge, judged.

use std::time::{Duration, Instant};

use russet_storefront::ledger::{Ledger, Verdict};
use russet_storefront::origin::ProductId;

const TTL: Duration = Duration::from_secs(3_600);
const STALENESS: Duration = Duration::from_secs(1);
const ID: ProductId = ProductId { route: 1, number: 2 };

/// Two routes with one and two departures. The product `ID` first costs 300.
fn ledger() -> (Ledger, Instant) {
    // Far enough from the clock's beginning to look back.
    (
        Ledger::new(vec![100, 200, 300], &[1, 2], TTL, STALENESS),
        Instant::now() + Duration::from_secs(60),
    )
}

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn change(ledger: &Ledger, fare: u32, begin: Instant, end: Instant) {
    ledger.changing(ID, fare, 0, begin);
    ledger.written(ID, end);
    assert!(ledger.settled(ID, end, end));
}

#[test]
fn a_fare_that_was_never_changed() {
    let (ledger, t) = ledger();
    assert_eq!(ledger.check(ID, 300, 0, t, t), Verdict::Right);
    assert_eq!(ledger.check(ID, 200, 0, t, t), Verdict::Wrong { age: None });
    for foreign in [
        ProductId { route: 0, number: 2 },
        ProductId { route: 2, number: 1 },
        ProductId { route: 1, number: 0 },
    ] {
        assert_eq!(ledger.check(foreign, 200, 0, t, t), Verdict::Wrong { age: None });
    }
}

#[test]
fn while_it_changes_both_fares_are_right() {
    let (ledger, t) = ledger();
    ledger.changing(ID, 310, 0, t);
    ledger.written(ID, t);
    let (before, after) = (t + s(1.0), t + s(2.0));
    assert_eq!(ledger.check(ID, 300, 0, before, after), Verdict::Right);
    assert_eq!(ledger.check(ID, 310, 0, before, after), Verdict::Right);
    assert_eq!(
        ledger.check(ID, 310, 0, t - s(2.0), t - s(1.0)),
        Verdict::Wrong { age: None },
        "too early"
    );
    assert!(ledger.settled(ID, t, t + s(3.0)));
    assert_eq!(
        ledger.check(ID, 300, 0, t + s(2.9), t + s(9.0)),
        Verdict::Right,
        "it began before the end"
    );
}

#[test]
fn an_old_fare_without_a_reason_is_wrong() {
    let (ledger, t) = ledger();
    change(&ledger, 310, t, t + s(0.1));
    let later = t + s(1.1);
    assert_eq!(ledger.check(ID, 310, 0, later, later), Verdict::Right);
    assert_eq!(ledger.check(ID, 300, 0, later, later), Verdict::Wrong { age: Some(s(1.0)) });
}

#[test]
fn the_memory_of_another_instance_may_be_behind_for_so_long() {
    let (ledger, t) = ledger();
    change(&ledger, 310, t, t + s(0.1));
    let soon = t + s(0.1) + STALENESS;
    assert_eq!(ledger.check(ID, 300, 1, soon, soon), Verdict::Late { age: STALENESS });
    assert!(
        matches!(ledger.check(ID, 300, 0, soon, soon), Verdict::Wrong { .. }),
        "its own change"
    );
    let later = soon + s(0.001);
    assert!(matches!(ledger.check(ID, 300, 1, later, later), Verdict::Wrong { .. }), "too long");
}

#[test]
fn an_own_change_since_is_seen_at_once() {
    let (ledger, t) = ledger();
    change(&ledger, 310, t, t + s(0.1));
    ledger.changing(ID, 320, 1, t + s(0.2));
    ledger.written(ID, t + s(0.2));
    assert!(ledger.settled(ID, t + s(0.2), t + s(0.3)));
    let soon = t + s(0.5);
    assert!(matches!(ledger.check(ID, 300, 1, soon, soon), Verdict::Wrong { .. }));
    assert!(matches!(ledger.check(ID, 310, 0, soon, soon), Verdict::Late { .. }));
    assert!(matches!(ledger.check(ID, 310, 1, soon, soon), Verdict::Wrong { .. }));
}

#[test]
fn an_outage_since_is_a_reason() {
    let (ledger, t) = ledger();
    change(&ledger, 310, t, t + s(0.1));
    ledger.outage(t + s(5.0));
    let later = t + s(6.0);
    assert!(matches!(ledger.check(ID, 300, 0, later, later), Verdict::Late { .. }));
    change(&ledger, 320, t + s(6.5), t + s(6.6));
    let later = t + s(8.0);
    assert!(
        matches!(ledger.check(ID, 310, 0, later, later), Verdict::Late { .. }),
        "what was sent just before the connection was lost may arrive after the removal"
    );
    change(&ledger, 330, t + s(9.0), t + s(9.1));
    let later = t + s(10.0);
    assert!(
        matches!(ledger.check(ID, 320, 0, later, later), Verdict::Wrong { .. }),
        "removed again since"
    );
}

#[test]
fn a_fare_that_comes_back_is_right_again() {
    let (ledger, t) = ledger();
    change(&ledger, 310, t, t + s(0.1));
    change(&ledger, 300, t + s(1.0), t + s(1.1));
    assert_eq!(ledger.check(ID, 300, 0, t + s(2.0), t + s(2.0)), Verdict::Right);
    assert_eq!(ledger.current(ID), Some(300));
    assert_eq!(ledger.changed(), [(ID, 300)]);
}

#[test]
fn a_change_that_failed_leaves_nothing() {
    let (ledger, t) = ledger();
    ledger.changing(ID, 310, 0, t);
    ledger.abandoned(ID);
    assert_eq!(ledger.check(ID, 310, 0, t + s(1.0), t + s(1.0)), Verdict::Wrong { age: None });
    assert_eq!(ledger.check(ID, 300, 0, t + s(1.0), t + s(1.0)), Verdict::Right);
}

#[test]
fn a_removal_settles_only_what_was_written_before_it() {
    let (ledger, t) = ledger();
    ledger.changing(ID, 310, 0, t);
    ledger.written(ID, t);
    let removal = t + s(0.1);
    ledger.changing(ID, 320, 0, t + s(0.05));
    ledger.written(ID, t + s(0.15));
    assert!(!ledger.settled(ID, removal, t + s(0.2)), "the second one is still open");
    let later = t + s(1.0);
    assert_eq!(
        ledger.check(ID, 310, 0, later, later),
        Verdict::Right,
        "until its removal is acknowledged"
    );
    assert!(matches!(ledger.check(ID, 300, 0, later, later), Verdict::Wrong { .. }));
}
