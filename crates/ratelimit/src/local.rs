//! Limits that are kept in the process, for as long as Redis is away: a share of each.
//!
//! Not by `governor`: it counts by GCRA only, and a window that is counted so admits twice of it in the first one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::rule::{Facts, Rule};
use crate::scripts::Mode;
use crate::ticks::LONGEST;

/// The most subjects, each at a limit.
const MOST: usize = 100_000;

/// What is spent in this process.
#[derive(Debug, Default)]
pub(crate) struct Local(Mutex<HashMap<Bytes, State>>);

/// Of a bucket, when it is full again; of a window, what is spent in it, and its end.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    spent: u64,
    until: u64,
}

/// One level of a decision.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) key: Bytes,
    /// A share, as [`share`] makes it.
    pub(crate) rule: Rule,
    pub(crate) cost: u64,
    pub(crate) left: u64,
    pub(crate) shadow: bool,
}

/// The share of one of so many nodes in a rule: the same rate over all of them, and never too small for this cost and what
/// is left to others.
pub(crate) fn share(rule: &Rule, nodes: u64, cost: u64) -> Rule {
    let of = |units: u64| ((units + nodes / 2) / nodes).max(1);
    // So long that all shares together are what the limit is.
    let stretched = |ticks: u64, units: u64, share: u64| {
        let ticks = u128::from(ticks) * u128::from(share) * u128::from(nodes) / u128::from(units);
        u64::try_from(ticks).unwrap_or(LONGEST).clamp(1, LONGEST)
    };
    let window = |limit: u64, ticks: u64| {
        let share = of(limit);
        let ticks = stretched(ticks, limit, share);
        Rule::Window { limit: share.max(cost), ticks, refill: share, aligned: false }
    };
    match *rule {
        Rule::Bucket { capacity, each } => {
            Rule::Bucket { capacity: of(capacity).max(cost), each: stretched(each, 1, 1) }
        }
        Rule::Queue { capacity, each, longest } => {
            Rule::Queue { capacity: of(capacity).max(cost), each: stretched(each, 1, 1), longest }
        }
        Rule::Window { limit, ticks, refill, .. } if refill < limit => {
            Rule::Bucket { capacity: of(limit).max(cost), each: stretched(ticks, refill, 1) }
        }
        Rule::Window { limit, ticks, .. }
        | Rule::Counter { limit, ticks }
        | Rule::Log { limit, ticks }
        | Rule::Permits { limit, ticks } => window(limit, ticks),
        Rule::Strict { limit, part, parts } => window(limit, part * parts),
    }
}

impl State {
    fn facts(&mut self, rule: &Rule, now: u64) -> Facts {
        match *rule {
            Rule::Window { ticks, refill, .. } => {
                if self.until <= now {
                    let over = 1 + (now - self.until) / ticks;
                    self.spent = self.spent.saturating_sub(over.saturating_mul(refill));
                    self.until += over * ticks;
                }
                if self.spent == 0 {
                    self.until = now + ticks;
                }
                Facts([self.spent, self.until, 0])
            }
            _ => Facts([self.until.saturating_sub(now), 0, 0]),
        }
    }

    fn spend(&mut self, rule: &Rule, units: u64, now: u64) {
        match *rule {
            Rule::Bucket { each, .. } | Rule::Queue { each, .. } => {
                self.until = self.until.max(now).saturating_add(units.saturating_mul(each));
            }
            _ => self.spent += units,
        }
    }
}

impl Local {
    /// One decision over all of these, which share what `elsewhere` has granted: how much is granted, and the facts
    /// before that.
    pub(crate) fn decide(
        &self,
        mode: Mode,
        parts: &[Part],
        elsewhere: u64,
        now: u64,
    ) -> (u64, SmallVec<[Facts; 4]>) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = mode == Mode::Most;
        let (mut granted, mut rooms) = (elsewhere, SmallVec::<[u64; 4]>::new());
        let mut facts = SmallVec::new();
        for Part { key, rule, cost, left, shadow } in parts {
            let mut state = states.get(key).copied().unwrap_or_default();
            let said = state.facts(rule, now);
            let asked = if most { 1 } else { *cost };
            let read = rule.read(said, now, asked, 0, *left);
            let room = match (read.wait > 0, most) {
                (true, _) => 0,
                (false, true) => read.remaining.min(*cost),
                (false, false) => 1,
            };
            if !shadow {
                granted = granted.min(room);
            }
            rooms.push(room);
            facts.push(said);
        }
        if granted == 0 || mode == Mode::Peek {
            return (granted, facts);
        }
        for (Part { key, rule, cost, .. }, room) in parts.iter().zip(rooms) {
            let units = if most { granted.min(*cost) } else { *cost };
            // In the shadow.
            if room < if most { units } else { 1 } {
                continue;
            }
            make_room(&mut states, now);
            let state = states.entry(key.clone()).or_default();
            state.facts(rule, now);
            state.spend(rule, units, now);
        }
        (granted, facts)
    }
}

fn make_room(states: &mut HashMap<Bytes, State>, now: u64) {
    if states.len() < MOST {
        return;
    }
    states.retain(|_, state| state.until > now);
    // So that it is looked through seldom.
    if states.len() > MOST / 2 {
        states.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::Quota;

    const SECOND: Duration = Duration::from_secs(1);

    fn part(rule: Rule, cost: u64) -> Part {
        Part { key: Bytes::from_static(b"k"), rule, cost, left: 0, shadow: false }
    }

    fn quotas(limit: u64) -> Vec<Quota> {
        let quotas = [
            Quota::gcra(limit, SECOND, limit.div_ceil(10)),
            Quota::queue(limit, limit, SECOND, SECOND),
            Quota::interval(limit, limit.div_ceil(10), SECOND / 10),
            Quota::fixed(limit, SECOND),
            Quota::counter(limit, SECOND),
            Quota::strict(limit, SECOND),
            Quota::log(limit, SECOND),
            Quota::permits(limit, SECOND),
        ];
        quotas.into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn shares_of_a_fleet_are_the_limit_within_a_fifth() {
        // Each two milliseconds, for ten seconds.
        for nodes in [1, 3, 4, 9] {
            for limit in [7, 40, 100, 333] {
                for Quota(rule) in quotas(limit) {
                    let mut admitted = 0;
                    for _ in 0..nodes {
                        let local = Local::default();
                        let share = share(&rule, nodes, 1);
                        for now in (0..10 * 8_000_000).step_by(16_000) {
                            admitted += local.decide(Mode::All, &[part(share, 1)], 1, now).0;
                        }
                    }
                    let asked = rule_rate(&rule) * 10.0;
                    let off = (admitted as f64 - asked) / asked;
                    assert!(off.abs() <= 0.2, "{rule:?} over {nodes}: {admitted} of {asked}");
                }
            }
        }
    }

    fn rule_rate(rule: &Rule) -> f64 {
        let (units, ticks) = match *rule {
            Rule::Bucket { each, .. } | Rule::Queue { each, .. } => (1, each),
            Rule::Window { ticks, refill, .. } => (refill, ticks),
            Rule::Counter { limit, ticks }
            | Rule::Log { limit, ticks }
            | Rule::Permits { limit, ticks } => (limit, ticks),
            Rule::Strict { limit, part, parts } => (limit, part * parts),
        };
        units as f64 * 8e6 / ticks as f64
    }

    #[test]
    fn all_admit_or_nothing_is_spent() {
        let local = Local::default();
        let key = |key: &'static str, cost| Part {
            key: Bytes::from_static(key.as_bytes()),
            ..part(Quota::fixed(5, SECOND).unwrap().0, cost)
        };
        assert_eq!(local.decide(Mode::All, &[key("a", 2), key("b", 5)], 1, 1).0, 1);
        let (granted, facts) = local.decide(Mode::All, &[key("a", 2), key("b", 1)], 1, 1);
        assert_eq!((granted, facts[0].0[0], facts[1].0[0]), (0, 2, 5));
        // Nor where another server denies.
        assert_eq!(local.decide(Mode::All, &[key("a", 2)], 0, 1).0, 0);
        assert_eq!(local.decide(Mode::Most, &[key("a", 9)], u64::MAX, 1).0, 3);
        // Who is in the shadow stops nobody.
        let shadow = Part { shadow: true, ..key("b", 1) };
        let (granted, facts) = local.decide(Mode::All, &[shadow, key("c", 1)], 1, 1);
        assert_eq!((granted, facts[0].0[0]), (1, 5));
    }

    #[test]
    fn a_cost_that_is_more_than_the_share_is_admitted_and_then_regained() {
        let rule = Quota::gcra(100, SECOND, 100).unwrap().0;
        let (local, share) = (Local::default(), share(&rule, 4, 80));
        assert_eq!(local.decide(Mode::All, &[part(share, 80)], 1, 0).0, 1);
        // At a quarter of the rate.
        let after = 80 * 4 * 80_000;
        assert_eq!(local.decide(Mode::All, &[part(share, 80)], 1, after - 1).0, 0);
        assert_eq!(local.decide(Mode::All, &[part(share, 80)], 1, after).0, 1);
    }

    #[test]
    fn more_subjects_than_there_is_room_for_are_forgotten() {
        let local = Local::default();
        let rule = Quota::fixed(1, SECOND).unwrap().0;
        for n in 0..MOST + 10 {
            let key = Bytes::from(n.to_string());
            assert_eq!(local.decide(Mode::All, &[Part { key, ..part(rule, 1) }], 1, 0).0, 1);
        }
        assert_eq!(local.0.lock().unwrap().len(), 10);
    }

    proptest! {
        #[test]
        fn a_retry_at_its_time_is_admitted_and_not_earlier(
            limit in 1..50_u64,
            which in 0..8_usize,
            nodes in 1..5_u64,
            steps in prop::collection::vec((0..4_000_000_u64, 1..60_u64), 1..20),
        ) {
            let Quota(rule) = quotas(limit)[which];
            let (local, mut now) = (Local::default(), 1);
            for (after, cost) in steps {
                now += after;
                let rule = share(&rule, nodes, cost);
                let (granted, facts) = local.decide(Mode::All, &[part(rule, cost)], 1, now);
                if granted == 0 {
                    let wait = rule.read(facts[0], now, cost, 0, 0).wait;
                    let later = |now| local.decide(Mode::Peek, &[part(rule, cost)], 1, now).0;
                    prop_assert_eq!((later(now + wait - 1), later(now + wait)), (0, 1));
                }
            }
        }
    }
}
