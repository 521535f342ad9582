//! A breaker and time that a test moves.

use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::event::Notice;
use crate::{Backoff, ManualClock};

mod concurrent;
mod property;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Opens after three failures in a row for a second, two seconds, …; its clock stands still.
fn third(
    build: impl FnOnce(BreakerBuilder<()>) -> BreakerBuilder<()>,
) -> (Breaker<()>, ManualClock) {
    let clock = ManualClock::new();
    let builder = Breaker::builder_for("third", |()| Verdict::Failure)
        .trips([Trip::Consecutive(3)])
        .open_for(Backoff::linear(ms(1_000), ms(60_000)).jitter(0.0))
        .clock(&clock);
    (build(builder).build().unwrap(), clock)
}

fn fail(breaker: &Breaker<()>, times: usize) {
    for _ in 0..times {
        breaker.try_acquire().unwrap().failure();
    }
}

fn refused<E: fmt::Debug>(breaker: &Breaker<E>) -> Option<Duration> {
    breaker.try_acquire().unwrap_err().retry_after
}

/// Half-open, with its only probe under way.
fn half_open(
    build: impl FnOnce(BreakerBuilder<()>) -> BreakerBuilder<()>,
) -> (Breaker<()>, ManualClock) {
    let (breaker, clock) = third(build);
    fail(&breaker, 3);
    clock.advance(ms(1_000));
    (breaker, clock)
}

/// All events that are waiting.
fn heard(events: &mut Events<BreakerEvent>) -> Vec<BreakerEvent> {
    let mut heard = Vec::new();
    while let Some(Some(notice)) = events.next().now_or_never() {
        let Notice::Event(event) = notice else { panic!("{notice:?}") };
        heard.push(event);
    }
    heard
}

#[test]
fn it_opens_lets_a_probe_through_and_closes() {
    let (breaker, clock) = third(|builder| builder);
    let mut events = breaker.events();
    fail(&breaker, 2);
    breaker.try_acquire().unwrap().success();
    fail(&breaker, 2);
    assert_eq!(breaker.state(), BreakerState::Closed, "a success was between them");
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open { retry_after: ms(1_000) });
    clock.advance(ms(999));
    assert_eq!(refused(&breaker), Some(ms(1)));
    clock.advance(ms(1));
    assert_eq!(
        breaker.state(),
        BreakerState::Open { retry_after: ms(0) },
        "looking changes nothing"
    );

    for _ in 0..2 {
        let probe = breaker.try_acquire().unwrap();
        assert!(probe.is_probe());
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(refused(&breaker), None, "one probe at a time");
        probe.success();
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert!(!breaker.try_acquire().unwrap().is_probe());

    let open = BreakerState::Open { retry_after: ms(1_000) };
    let over = BreakerState::Open { retry_after: ms(0) };
    use BreakerReason::{Consecutive, DelayOver, ProbesSucceeded};
    let (closed, half_open) = (BreakerState::Closed, BreakerState::HalfOpen);
    let changes: Vec<_> =
        heard(&mut events).into_iter().map(|event| (event.from, event.to, event.reason)).collect();
    let expected = [
        (closed, open, Consecutive { failures: 3 }),
        (over, half_open, DelayOver),
        (half_open, closed, ProbesSucceeded),
    ];
    assert_eq!(changes, expected);
    drop(breaker);
    assert!(matches!(events.next().now_or_never(), Some(None)), "events end with the breaker");
}

#[test]
fn it_stays_open_longer_each_time_until_it_was_closed_for_long() {
    let (breaker, clock) = third(|builder| builder.close_after(1));
    let opens_for = |breaker: &Breaker<()>| match breaker.state() {
        BreakerState::Open { retry_after } => retry_after,
        state => panic!("{state}"),
    };
    fail(&breaker, 3);
    for seconds in 1..4 {
        assert_eq!(opens_for(&breaker), ms(1_000 * seconds));
        clock.advance(ms(1_000 * seconds));
        fail(&breaker, 1);
    }
    // Closed for less than it takes to be stable (5 s), and for as long.
    for (closed_for, then) in [(4_999, 5_000), (5_000, 1_000)] {
        clock.advance(ms(60_000));
        breaker.try_acquire().unwrap().success();
        assert_eq!(breaker.state(), BreakerState::Closed);
        clock.advance(ms(closed_for));
        fail(&breaker, 3);
        assert_eq!(opens_for(&breaker), ms(then));
    }
}

#[test]
fn it_stays_open_for_a_day_at_most() {
    for delay in [Duration::from_secs(48 * 3_600), Duration::MAX] {
        let (breaker, _) = third(|it| it.open_for(Backoff::constant(delay).jitter(0.0)));
        fail(&breaker, 3);
        assert_eq!(refused(&breaker), Some(Duration::from_secs(24 * 3_600)));
    }
}

#[test]
fn the_time_it_stays_open_is_jittered() {
    let drawn: Vec<_> = (0..100)
        .map(|_| {
            let (breaker, _) = third(|builder| builder.open_for(Backoff::constant(ms(1_000))));
            fail(&breaker, 3);
            refused(&breaker).unwrap()
        })
        .collect();
    assert!(drawn.iter().all(|delay| (ms(500)..=ms(1_000)).contains(delay)), "{drawn:?}");
    assert!(drawn.iter().any(|d| *d < ms(750)) && drawn.iter().any(|d| *d > ms(750)), "{drawn:?}");
}

#[test]
fn what_began_earlier_does_not_count_in_the_next_state() {
    let (breaker, clock) = third(|builder| builder.close_after(1));
    let early: Vec<_> = (0..4).map(|_| breaker.try_acquire().unwrap()).collect();
    let [success, failure, given_up, last] = <[_; 4]>::try_from(early).unwrap();
    fail(&breaker, 3);
    clock.advance(ms(1_000));
    let probe = breaker.try_acquire().unwrap();
    // Of a call that began while it was closed: neither closes it nor opens it, and gives no place back.
    success.success();
    failure.failure();
    drop(given_up);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(refused(&breaker), None);
    probe.success();
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 2);
    last.failure();
    assert_eq!(breaker.state(), BreakerState::Closed, "two failures of this stay");
    fail(&breaker, 1);
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}

#[test]
fn a_probe_that_is_dropped_gives_its_place_back() {
    let (breaker, _clock) = half_open(|builder| builder);
    for _ in 0..10 {
        drop(breaker.try_acquire().unwrap());
        breaker.try_acquire().unwrap().ignore();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }
    // So does a future that is dropped in the middle of its call.
    let mut call = Box::pin(breaker.call(std::future::pending::<Result<(), ()>>));
    assert!(call.as_mut().now_or_never().is_none());
    assert_eq!(refused(&breaker), None);
    drop(call);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let call = breaker.call(|| async { if true { panic!("on purpose") } else { Ok(()) } });
        let _ = call.now_or_never();
    }));
    assert!(panicked.is_err());
    for _ in 0..2 {
        assert!(breaker.call(|| async { Ok(()) }).now_or_never().unwrap().is_ok());
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn a_probe_that_never_ends_does_not_hold_it_half_open() {
    let (breaker, clock) = half_open(|builder| builder.probe_within(ms(3_000)));
    let mut events = breaker.events();
    let hung = breaker.try_acquire().unwrap();
    clock.advance(ms(2_999));
    assert_eq!(refused(&breaker), None);
    clock.advance(ms(1));
    assert_eq!(refused(&breaker), Some(ms(2_000)), "open again, for longer");
    assert_eq!(heard(&mut events)[1].reason, BreakerReason::ProbesUndecided);
    clock.advance(ms(2_000));
    let next = breaker.try_acquire().unwrap();
    hung.failure();
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "the hung one is of an earlier stay");
    next.failure();
    assert_eq!(breaker.state(), BreakerState::Open { retry_after: ms(3_000) });
}

#[test]
fn slow_calls_count_however_they_end() {
    let slow = Trip::SlowRate { over: ms(100), percent: 50, calls: 4 };
    let (breaker, clock) = third(|builder| builder.trips([slow]));
    let end: [fn(BreakerPermit<'_, ()>); 3] =
        [|permit| permit.success(), |permit| permit.failure(), |permit| drop(permit)];
    for end in end {
        breaker.reset();
        for took in [99, 99, 100] {
            let permit = breaker.try_acquire().unwrap();
            clock.advance(ms(took));
            if took < 100 { permit.success() } else { end(permit) }
        }
        let (quick, slow) = (breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap());
        quick.success();
        assert_eq!(breaker.state(), BreakerState::Closed, "a quarter of four");
        clock.advance(ms(100));
        drop(breaker.try_acquire().unwrap());
        end(slow);
        assert_eq!(breaker.state(), BreakerState::Closed, "two of five");
        let slow = breaker.try_acquire().unwrap();
        clock.advance(ms(100));
        end(slow);
        assert!(matches!(breaker.state(), BreakerState::Open { .. }), "three of six");
        // A slow probe is a failed one, also one that was given up.
        clock.advance(ms(60_000));
        let probe = breaker.try_acquire().unwrap();
        clock.advance(ms(100));
        end(probe);
        assert!(matches!(breaker.state(), BreakerState::Open { .. }));
    }
}

#[test]
fn forced_states_last_until_they_are_reset() {
    let (breaker, clock) = third(|builder| builder);
    let mut events = breaker.events();
    for _ in 0..2 {
        breaker.force_open();
        clock.advance(ms(3_600_000));
        assert_eq!((refused(&breaker), breaker.state()), (None, BreakerState::ForcedOpen));
    }
    for _ in 0..2 {
        breaker.force_closed();
        fail(&breaker, 100);
        assert_eq!(breaker.state(), BreakerState::ForcedClosed);
    }
    breaker.reset();
    fail(&breaker, 2);
    // What was counted is forgotten.
    breaker.reset();
    fail(&breaker, 2);
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 1);
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
    breaker.reset();
    assert_eq!(breaker.state(), BreakerState::Closed);
    let reasons: Vec<_> = heard(&mut events).into_iter().map(|event| event.reason).collect();
    use BreakerReason::{Consecutive, Forced, Reset};
    assert_eq!(reasons, [Forced, Forced, Reset, Reset, Consecutive { failures: 3 }, Reset]);
}

#[test]
fn a_slow_listener_is_told_how_many_changes_it_missed() {
    let (breaker, _clock) = third(|builder| builder);
    let mut events = breaker.events();
    for _ in 0..200 {
        breaker.force_open();
        breaker.reset();
    }
    let first = events.next().now_or_never();
    assert!(matches!(first, Some(Some(Notice::Missed(144)))), "{first:?}");
    assert_eq!(heard(&mut events).len(), 256);
}

#[test]
fn errors_are_judged_and_handed_on() {
    let breaker = Breaker::builder_for("judge", |error: &i32| match error {
        0 => Verdict::Ignored,
        1 => Verdict::Success,
        _ => Verdict::Failure,
    })
    .trips([Trip::Consecutive(2)])
    .build()
    .unwrap();
    let call = |error: i32| {
        breaker.call(|| async move { Err::<(), _>(error) }).now_or_never().unwrap().unwrap_err()
    };
    for error in [2, 1, 2, 0] {
        assert_eq!(call(error), BreakerError::Call(error));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(call(3), BreakerError::Call(3));
    let BreakerError::Open(open) = call(3) else { panic!("it was called") };
    assert!(open.retry_after.is_some_and(|after| after <= ms(200)), "{open:?}");
    assert_eq!(open.to_string(), "the breaker \"judge\" is open");
}
