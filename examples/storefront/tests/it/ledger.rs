//! The judge, judged.

use std::time::{Duration, Instant};

use russet_storefront::ledger::{FILL_WINDOW, Ledger, Verdict};
use russet_storefront::origin::ProductId;

const TTL: Duration = Duration::from_secs(3_600);
const ID: ProductId = ProductId { route: 1, number: 2 };

/// Two routes with one and two departures. The product `ID` first costs 300.
fn ledger() -> (Ledger, Instant) {
    // Far enough from the clock's beginning to look back.
    (Ledger::new(vec![100, 200, 300], &[1, 2], TTL), Instant::now() + Duration::from_secs(60))
}

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn change(ledger: &Ledger, fare: u32, begin: Instant, end: Instant) {
    ledger.changing(ID, fare, begin);
    ledger.written(ID);
    assert!(ledger.settled(ID, ledger.pending(ID), end));
}

#[test]
fn a_fare_that_was_never_changed() {
    let (ledger, t) = ledger();
    assert_eq!(ledger.check(ID, 300, t, t), Verdict::Right);
    assert_eq!(ledger.check(ID, 200, t, t), Verdict::Wrong { age: None });
    for foreign in [
        ProductId { route: 0, number: 2 },
        ProductId { route: 2, number: 1 },
        ProductId { route: 1, number: 0 },
    ] {
        assert_eq!(ledger.check(foreign, 200, t, t), Verdict::Wrong { age: None });
    }
}

#[test]
fn while_it_changes_both_fares_are_right() {
    let (ledger, t) = ledger();
    ledger.changing(ID, 310, t);
    ledger.written(ID);
    let (before, after) = (t + s(1.0), t + s(2.0));
    assert_eq!(ledger.check(ID, 300, before, after), Verdict::Right);
    assert_eq!(ledger.check(ID, 310, before, after), Verdict::Right);
    assert_eq!(
        ledger.check(ID, 310, t - s(2.0), t - s(1.0)),
        Verdict::Wrong { age: None },
        "too early"
    );
    assert!(ledger.settled(ID, 1, t + s(3.0)));
    assert_eq!(
        ledger.check(ID, 300, t + s(2.9), t + s(9.0)),
        Verdict::Right,
        "it began before the end"
    );
}

#[test]
fn an_old_fare_without_a_reason_is_wrong() {
    let (ledger, t) = ledger();
    change(&ledger, 310, t, t + s(0.1));
    let later = t + s(1.1);
    assert_eq!(ledger.check(ID, 310, later, later), Verdict::Right);
    assert_eq!(ledger.check(ID, 300, later, later), Verdict::Wrong { age: Some(s(1.0)) });
}

#[test]
fn a_read_just_before_the_change_may_fill_late() {
    let (ledger, t) = ledger();
    ledger.reading([ID], t - s(0.01));
    change(&ledger, 310, t, t + s(0.1));
    let age = s(10.0);
    let later = t + s(0.1) + age;
    assert_eq!(ledger.check(ID, 300, later, later), Verdict::Late { age });
    let too_late = t + s(0.1) + TTL + s(1.0);
    assert_eq!(
        ledger.check(ID, 300, too_late, too_late),
        Verdict::Wrong { age: Some(TTL + s(1.0)) }
    );
}

#[test]
fn a_read_long_before_or_of_another_product_is_no_reason() {
    let (ledger, t) = ledger();
    ledger.reading([ID], t - FILL_WINDOW - s(0.1));
    ledger.reading([ProductId { route: 1, number: 1 }], t);
    change(&ledger, 310, t, t + s(0.1));
    assert!(matches!(ledger.check(ID, 300, t + s(1.0), t + s(1.0)), Verdict::Wrong { .. }));
}

#[test]
fn an_outage_since_is_a_reason() {
    let (ledger, t) = ledger();
    change(&ledger, 310, t, t + s(0.1));
    ledger.outage(t + s(5.0));
    let later = t + s(6.0);
    assert!(matches!(ledger.check(ID, 300, later, later), Verdict::Late { .. }));
    change(&ledger, 320, t + s(6.5), t + s(6.6));
    let later = t + s(8.0);
    assert!(
        matches!(ledger.check(ID, 310, later, later), Verdict::Late { .. }),
        "what was sent just before the connection was lost may arrive after the removal"
    );
    change(&ledger, 330, t + s(9.0), t + s(9.1));
    let later = t + s(10.0);
    assert!(
        matches!(ledger.check(ID, 320, later, later), Verdict::Wrong { .. }),
        "removed again since"
    );
}

#[test]
fn a_fare_that_comes_back_is_right_again() {
    let (ledger, t) = ledger();
    change(&ledger, 310, t, t + s(0.1));
    change(&ledger, 300, t + s(1.0), t + s(1.1));
    assert_eq!(ledger.check(ID, 300, t + s(2.0), t + s(2.0)), Verdict::Right);
    assert_eq!(ledger.current(ID), Some(300));
    assert_eq!(ledger.changed(), [(ID, 300)]);
}

#[test]
fn a_change_that_failed_leaves_nothing() {
    let (ledger, t) = ledger();
    ledger.changing(ID, 310, t);
    ledger.abandoned(ID);
    assert_eq!(ledger.check(ID, 310, t + s(1.0), t + s(1.0)), Verdict::Wrong { age: None });
    assert_eq!(ledger.check(ID, 300, t + s(1.0), t + s(1.0)), Verdict::Right);
}

#[test]
fn a_removal_settles_only_what_was_written_before_it() {
    let (ledger, t) = ledger();
    ledger.changing(ID, 310, t);
    ledger.written(ID);
    let seen = ledger.pending(ID);
    ledger.changing(ID, 320, t + s(0.1));
    assert_eq!(ledger.pending(ID), 1, "a change counts once it is written");
    ledger.written(ID);
    assert!(!ledger.settled(ID, seen, t + s(0.2)), "the second one is still open");
    let later = t + s(1.0);
    assert_eq!(
        ledger.check(ID, 310, later, later),
        Verdict::Right,
        "until its removal is acknowledged"
    );
    assert!(matches!(ledger.check(ID, 300, later, later), Verdict::Wrong { .. }));
}
