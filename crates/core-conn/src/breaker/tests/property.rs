//! The breaker beside its model, over what can happen in any order.

use proptest::prelude::*;

use super::super::model::{Model, Options};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Acquire,
    /// One of the permits that are held, and how its call ends; `None`: it is dropped.
    End(prop::sample::Index, Option<Verdict>),
    Advance(u64),
    Trip,
    ForceOpen,
    ForceClosed,
    Reset,
}

const MS: u64 = 1_000_000;

fn trips() -> impl Strategy<Value = Vec<Trip>> {
    let rate = || (1_u8..=100, 1_u32..8);
    let kinds = (
        prop::option::of((1_u32..5).prop_map(Trip::Consecutive)),
        prop::option::of((1_u32..8).prop_map(Trip::Failures)),
        prop::option::of(rate().prop_map(|(percent, calls)| Trip::FailureRate { percent, calls })),
        prop::option::of(rate().prop_map(|(percent, calls)| Trip::SlowRate {
            over: ms(30),
            percent,
            calls,
        })),
    );
    kinds
        .prop_map(|(a, b, c, d)| [a, b, c, d].into_iter().flatten().collect::<Vec<_>>())
        .prop_filter("at least one rule", |trips| !trips.is_empty())
        .prop_shuffle()
}

fn options() -> impl Strategy<Value = Options> {
    let times = (100_u64..400, 20_u64..200, 50_u64..500, 1_u64..300);
    (trips(), times, 1_u32..4, 1_u32..4).prop_map(
        |(trips, (window, step, stable_after, probe_within), probes, close_after)| Options {
            trips,
            window: window * MS,
            step: step * MS,
            longest: 3 * step * MS,
            stable_after: stable_after * MS,
            probes,
            close_after,
            probe_within: probe_within * MS,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        3 => Just(Some(Verdict::Success)),
        4 => Just(Some(Verdict::Failure)),
        1 => Just(Some(Verdict::Ignored)),
        1 => Just(None),
    ];
    prop_oneof![
        40 => Just(Step::Acquire),
        40 => (any::<prop::sample::Index>(), verdict).prop_map(|(at, end)| Step::End(at, end)),
        20 => (0..60 * MS).prop_map(Step::Advance),
        3 => (100 * MS..800 * MS).prop_map(Step::Advance),
        1 => Just(Step::Trip),
        1 => Just(Step::ForceOpen),
        1 => Just(Step::ForceClosed),
        2 => Just(Step::Reset),
    ]
}

fn breaker(options: &Options, clock: &ManualClock) -> Breaker<()> {
    let ns = Duration::from_nanos;
    let delays = Backoff::linear(ns(options.step), ns(options.longest));
    Breaker::builder_for("property", |()| Verdict::Failure)
        .trips(options.trips.clone())
        .window(ns(options.window))
        .open_for(delays.jitter(0.0).stable_after(ns(options.stable_after)))
        .probes(options.probes)
        .close_after(options.close_after)
        .probe_within(ns(options.probe_within))
        .clock(clock)
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn it_does_as_its_model(options in options(), steps in prop::collection::vec(step(), 1..150)) {
        let clock = ManualClock::new();
        let breaker = breaker(&options, &clock);
        let (mut events, mut model) = (breaker.events(), Model::new(options));
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Acquire => match (breaker.try_acquire(), model.acquire()) {
                    (Ok(permit), Ok(expected)) => {
                        prop_assert_eq!(permit.is_probe(), expected.probe);
                        held.push((permit, expected));
                    }
                    (Err(open), Err(expected)) => prop_assert_eq!(open.retry_after, expected),
                    (found, expected) => prop_assert!(false, "{:?}, not {:?}", found, expected),
                },
                Step::End(_, _) if held.is_empty() => {}
                Step::End(at, verdict) => {
                    let (permit, expected) = held.swap_remove(at.index(held.len()));
                    match verdict {
                        Some(Verdict::Success) => permit.success(),
                        Some(Verdict::Failure) => permit.failure(),
                        Some(Verdict::Ignored) => permit.ignore(),
                        None => drop(permit),
                    }
                    model.end(expected, verdict);
                }
                Step::Advance(by) => {
                    clock.advance(Duration::from_nanos(by));
                    model.now += by;
                }
                Step::Trip => {
                    breaker.trip();
                    model.tell();
                }
                Step::ForceOpen => {
                    breaker.force_open();
                    model.force_open();
                }
                Step::ForceClosed => {
                    breaker.force_closed();
                    model.force_closed();
                }
                Step::Reset => {
                    breaker.reset();
                    model.reset();
                }
            }
            prop_assert_eq!(breaker.state(), model.state());
            let changes = heard(&mut events).into_iter().map(|event| (event.from, event.to, event.reason));
            prop_assert_eq!(changes.collect::<Vec<_>>(), std::mem::take(&mut model.changes));
        }
    }
}
