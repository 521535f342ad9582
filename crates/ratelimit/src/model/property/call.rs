//! What is asked for, and when.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::rule::Rule;
use crate::scripts::Mode;
use crate::ticks::MILLI;

/// The limits, and what is done with them, each so many ticks after the one before.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) rules: Vec<Rule>,
    pub(super) steps: Vec<(i64, Call)>,
}

#[derive(Debug, Clone)]
pub(super) enum Call {
    Decide {
        mode: Mode,
        parts: Vec<Part>,
        shadows: usize,
    },
    Gcra {
        limit: usize,
        cost: u64,
        left: u64,
    },
    Refund(Index, u64),
    TopUp(usize, u64),
    Block(usize, u64),
    /// The state, or the block.
    Unlink(usize, bool),
    Entries(usize),
    Renew(Index),
    Change(usize, Rule),
}

#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) limit: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Spend { cost: u64, left: u64, id: u64 },
    Watch { above: u64, limit: u64 },
    Block,
}

/// Long enough that a server ends no key while a case runs.
const SECOND: u64 = 1_000 * MILLI;

pub(super) fn cases(most: usize) -> impl Strategy<Value = Case> {
    // Buckets alone have a script of their own.
    let rules = prop_oneof![
        4 => prop::collection::vec(rule(), 1..=3),
        1 => prop::collection::vec(bucket(), 2..=3),
    ];
    rules.prop_flat_map(move |rules| {
        let step = (after(), call(&rules));
        prop::collection::vec(step, 1..most)
            .prop_map(move |steps| Case { rules: rules.clone(), steps })
    })
}

pub(super) fn rule() -> impl Strategy<Value = Rule> {
    let ticks = || prop_oneof![Just(10 * SECOND), Just(20 * SECOND), 10 * SECOND..30 * SECOND];
    let limit = || 1_u64..12;
    prop_oneof![
        2 => bucket(),
        1 => (limit(), ticks(), limit()).prop_map(|(limit, ticks, refill)| {
            Rule::Window { limit, ticks, refill, aligned: false }
        }),
        1 => (limit(), ticks()).prop_map(|(limit, ticks)| {
            Rule::Window { limit, ticks, refill: limit, aligned: true }
        }),
        1 => (limit(), ticks()).prop_map(|(limit, ticks)| Rule::Counter { limit, ticks }),
        1 => (limit(), SECOND * 2..SECOND * 5, 5_u64..9).prop_map(|(limit, part, parts)| Rule::Strict {
            limit,
            part,
            parts
        }),
        1 => (limit(), ticks()).prop_map(|(limit, ticks)| Rule::Log { limit, ticks }),
        1 => (limit(), ticks()).prop_map(|(limit, ticks)| Rule::Permits { limit, ticks }),
    ]
}

fn bucket() -> impl Strategy<Value = Rule> {
    let each = || 2 * SECOND..20 * SECOND;
    prop_oneof![
        (4_u64..12, each()).prop_map(|(capacity, each)| Rule::Bucket { capacity, each }),
        (4_u64..12, each(), 0..60 * SECOND).prop_map(|(capacity, each, longest)| Rule::Queue {
            capacity,
            each,
            longest
        }),
    ]
}

/// Now and then back: somebody sets the clock, or a replica with another one is promoted.
pub(super) fn after() -> impl Strategy<Value = i64> {
    let second = SECOND.cast_signed();
    prop_oneof![
        4 => Just(0),
        2 => Just(1),
        8 => 0..5 * second,
        4 => 0..40 * second,
        1 => Just(10 * second),
        1 => 0..500 * second,
        1 => -400 * second..0,
    ]
}

fn call(rules: &[Rule]) -> BoxedStrategy<Call> {
    let limits = rules.len();
    let limit = move || 0..limits;
    let gcra = (limit(), 1_u64..12, 0_u64..2).prop_map(|(limit, cost, left)| Call::Gcra {
        limit,
        cost,
        left,
    });
    prop_oneof![
        10 => decide(rules),
        3 => gcra,
        3 => (any::<Index>(), 1_u64..12).prop_map(|(which, units)| Call::Refund(which, units)),
        1 => (limit(), 1_u64..30).prop_map(|(limit, units)| Call::TopUp(limit, units)),
        1 => (limit(), 10 * SECOND..30 * SECOND).prop_map(|(limit, ticks)| Call::Block(limit, ticks)),
        1 => (limit(), any::<bool>()).prop_map(|(limit, block)| Call::Unlink(limit, block)),
        1 => limit().prop_map(Call::Entries),
        1 => any::<Index>().prop_map(Call::Renew),
        1 => (limit(), rule()).prop_map(|(limit, rule)| Call::Change(limit, rule)),
    ]
    .boxed()
}

/// A decision over some of the limits, each of them once.
fn decide(rules: &[Rule]) -> impl Strategy<Value = Call> + use<> {
    let rules = rules.to_vec();
    let mode = prop_oneof![6 => Just(Mode::All), 2 => Just(Mode::Most), 1 => Just(Mode::Force), 2 => Just(Mode::Peek)];
    let some = prop::sample::subsequence((0..rules.len()).collect::<Vec<_>>(), 1..=rules.len());
    let draws = prop::collection::vec((0_u8..6, 1_u64..30, 0_u64..3, any::<u64>()), 3);
    (mode, some, draws, 0_u8..5).prop_map(move |(mode, some, draws, shadow)| {
        let mut parts = Vec::new();
        for (limit, (sort, cost, left, id)) in some.into_iter().zip(draws) {
            if sort == 0 {
                parts.push(Part { limit, what: What::Block });
            }
            let windows = |limit: usize| matches!(rules[limit], Rule::Window { .. });
            if sort == 1 && windows(limit) && limit + 1 < rules.len() && windows(limit + 1) {
                let what = What::Watch { above: cost % 4, limit: 1 + left };
                parts.push(Part { limit, what });
                continue;
            }
            let most = rules[limit].limit();
            let cost = match mode {
                Mode::All | Mode::Peek if cost % 3 > 0 => 1,
                Mode::All | Mode::Peek => 1 + cost % most,
                Mode::Most | Mode::Force => cost,
            };
            let left = if mode == Mode::Force { 0 } else { left };
            parts.push(Part { limit, what: What::Spend { cost, left, id } });
        }
        Call::Decide { mode, parts, shadows: usize::from(shadow == 0) }
    })
}
