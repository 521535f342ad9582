//! Whether a denial tells the truth about when to come back, over many states of each algorithm.

use russet_core_conn::{Canonical, KeySpace};
use russet_testkit::soak;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::Model;
use crate::Quota;
use crate::keys::Keys;
use crate::rule::Facts;
use crate::scripts::{Mode, Step, What};

/// How long this step has to wait.
pub(super) fn wait(step: &Step, facts: Facts, now: u64) -> u64 {
    match &step.what {
        What::Block => facts.0[0],
        What::Watch { .. } => 0,
        What::Spend { rule, cost, left, .. } => rule.read(facts, now, *cost, 0, *left).wait,
    }
}

/// So many denials of each algorithm, and the retries after them.
fn denials_are_honest(most: u64) {
    let seconds = std::time::Duration::from_secs;
    let keys = Keys::new(&KeySpace::new("t").unwrap(), "l");
    let mut rng = SmallRng::seed_from_u64(soak::seed());
    for quota in [
        Quota::gcra(10, seconds(1), 25),
        Quota::gcra(7, seconds(60), 3),
        Quota::queue(20, 10, seconds(1), std::time::Duration::from_millis(1_234)),
        Quota::interval(20, 3, seconds(7)),
        Quota::fixed(9, seconds(10)),
        Quota::counter(13, seconds(10)),
        Quota::counter(1_000, std::time::Duration::from_millis(7)),
        Quota::strict(11, seconds(10)),
        Quota::log(8, seconds(10)),
        Quota::permits(5, seconds(10)),
    ] {
        let rule = quota.unwrap().0;
        let key = keys.state(&rule, &Canonical::of(&()));
        let (mut model, mut now, mut denied) = (Model::default(), 800_000_000_000_000_u64, 0);
        while denied < most {
            now += rng.random_range(0..=rule.period() / 4) >> rng.random_range(0..20);
            let cost = 1 + rng.random_range(0..rule.limit()) / rng.random_range(1..=rule.limit());
            let what = What::Spend { rule, cost, left: 0, id: rng.random() };
            let step = Step { key: key.clone(), what };
            let said = model.decide(Mode::All, &[&step], 1, now);
            if said.granted > 0 {
                continue;
            }
            denied += 1;
            let wait = wait(&step, said.facts[0], now);
            for (at, admitted) in [(now + wait - 1, 0), (now + wait, 1)] {
                let said = model.decide(Mode::Peek, &[&step], 1, at);
                assert_eq!(said.granted, admitted, "{rule:?}: {} ticks of {wait}", at - now);
            }
        }
    }
}

#[test]
fn a_denial_tells_when_to_come_back() {
    denials_are_honest(2_000);
}

#[test]
#[ignore = "soak"]
fn soak_ratelimit_honest_waiting() {
    denials_are_honest(100_000);
    soak::record("ratelimit_honest_waiting", "none", &[("denials", 100_000)], &[], &[]);
}
