//! What the scripts do, on plain data: a property test compares them with it on real servers, and the model of reserving
//! and refunding over several slots is made of its steps.
//!
//! A method does what the script of its name does, and answers as that.

use std::collections::{BTreeMap, BTreeSet};

use russet_core_conn::Key;

use crate::rule::{Facts, Rule, Sliding};
use crate::scripts::{Mode, Receipt, Said, Step, What, name};
use crate::ticks::MILLI;

mod check;
mod honest;
mod property;
mod state;

use state::State;

/// What Redis holds of limits. Nothing ends here: what is past its time counts for nothing, there or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    states: BTreeMap<Key, State>,
}

impl Model {
    /// `look.lua`, and with any mode but a peek `take.lua`
    pub(crate) fn decide(&mut self, mode: Mode, steps: &[&Step], counted: usize, now: u64) -> Said {
        let mut pressed = i64::MAX;
        let (mut fits, mut short, mut least) = (true, false, i64::from(u32::MAX) + 1);
        let mut looked = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let state = self.states.get(&step.key).cloned().unwrap_or_default();
            let (look, room, cost) = match &step.what {
                What::Block => {
                    let left = state.end().saturating_sub(now);
                    (Look::of(left), if left > 0 { -1 } else { i64::MAX }, 0)
                }
                What::Watch { ticks: _, above, limit } => {
                    let spent = state.window(now).unwrap_or(0);
                    if spent > *above {
                        pressed = pressed.min(signed(*limit));
                    }
                    (Look::of(spent), i64::MAX, 0)
                }
                What::Spend { rule, cost, left, .. } => {
                    let forced = mode == Mode::Force;
                    let asked = if mode == Mode::Most { 1 } else { *cost };
                    let (look, mut room) = state.look(rule, now, (*cost, asked, *left), forced);
                    let limit = signed(rule.limit() - (*left).min(rule.limit()));
                    if matches!(rule, Rule::Window { .. }) {
                        room -= (limit - pressed).max(0);
                        pressed = i64::MAX;
                    }
                    (look, room, signed(*cost))
                }
            };
            short |= cost > room;
            if at < counted {
                least = least.min(room);
                fits &= cost <= room;
            }
            looked.push((look, room));
        }
        // The script asks when entries end only then.
        let asked = mode == Mode::Peek || (short && mode != Mode::Force);
        let shown = looked.iter().zip(steps).map(|((look, _), step)| {
            let set = matches!(
                step.what,
                What::Spend { rule: Rule::Log { .. } | Rule::Permits { .. }, .. }
            );
            let Facts([first, second, third]) = look.facts;
            Facts(if set && !asked { [first, 0, 0] } else { [first, second, third] })
        });
        let facts = shown.collect();
        let granted = match mode {
            Mode::All | Mode::Peek => u64::from(fits),
            Mode::Most => u64::try_from(least).unwrap_or(0),
            Mode::Force => 1,
        };
        if mode != Mode::Peek {
            for (at, (step, (look, room))) in steps.iter().zip(looked).enumerate() {
                let What::Spend { rule, cost, id, .. } = &step.what else { continue };
                let cost = signed(*cost);
                let spend = match mode {
                    _ if granted == 0 => 0,
                    Mode::Most => cost.min(signed(granted)),
                    Mode::Force => cost.min(room + signed(rule.limit())).max(0),
                    _ => cost,
                };
                let spend = if at >= counted && spend > room { 0 } else { spend };
                let set = matches!(look.state, State::Set(_));
                if spend > 0 || (look.mended && (asked || !set)) {
                    let state =
                        look.state.spend(rule, now, spend.unsigned_abs(), &name(*id), asked);
                    self.states.insert(step.key.clone(), state);
                }
            }
        }
        Said { granted, now, facts }
    }

    /// `gcra.lua`
    pub(crate) fn gcra(
        &mut self,
        key: &Key,
        (rule, units): (&Rule, u64),
        left: u64,
        now: u64,
    ) -> (bool, u64) {
        let what = What::Spend { rule: *rule, cost: units, left, id: 0 };
        let step = Step { key: key.clone(), what };
        let said = self.decide(Mode::All, &[&step], 1, now);
        (said.granted > 0, said.facts[0].0[0])
    }

    /// `refund.lua`: how much each has given back, in units or ticks.
    pub(crate) fn refund(&mut self, receipts: &[(&Receipt, u64)], now: u64) -> Vec<u64> {
        let one = |(receipt, units): &(&Receipt, u64)| {
            let Some(state) = self.states.get_mut(&receipt.key) else {
                // A bucket has regained all.
                let bucket = matches!(receipt.rule, Rule::Bucket { .. } | Rule::Queue { .. });
                return if bucket { receipt.rule.refunded(*units) } else { 0 };
            };
            let back = state.refund(receipt, *units, now);
            if state.is_nothing() {
                self.states.remove(&receipt.key);
            }
            back
        };
        receipts.iter().map(one).collect()
    }

    /// `top_up.lua`: how much was given, in units.
    pub(crate) fn top_up(&mut self, key: &Key, rule: &Rule, units: u64, now: u64) -> u64 {
        self.states.get_mut(key).map_or(0, |state| state.top_up(rule, units, now))
    }

    /// `block.lua`
    pub(crate) fn block(&mut self, key: &Key, ticks: u64, now: u64) {
        let end = now + ticks.div_ceil(MILLI) * MILLI;
        let state = self.states.entry(key.clone()).or_insert(State::Block(0));
        *state = State::Block(state.end().max(end));
    }

    /// `entries.lua`
    pub(crate) fn entries(&self, key: &Key, now: u64) -> (u64, Vec<(String, u64)>) {
        let Some(State::Set(set)) = self.states.get(key) else { return (0, Vec::new()) };
        let here = live(set, now).map(|(end, id)| (id.clone(), *end));
        let here: Vec<_> = here.collect();
        (here.len() as u64, here)
    }

    /// `renew.lua`
    pub(crate) fn renew(&mut self, receipt: &Receipt, now: u64) -> bool {
        match self.states.get_mut(&receipt.key) {
            Some(state) => state.renew(receipt, now),
            None => false,
        }
    }

    /// How often a bucket was refunded.
    fn refunds(&self, key: &Key) -> u64 {
        match self.states.get(key) {
            Some(State::Bucket { refunds, .. }) => *refunds,
            _ => 0,
        }
    }

    /// `UNLINK`
    pub(crate) fn unlink(&mut self, key: &Key) -> bool {
        self.states.remove(key).is_some()
    }
}

/// What a level was found to be.
struct Look {
    facts: Facts,
    /// As it is to be spent from.
    state: State,
    /// Of a clock that was set back.
    mended: bool,
}

impl Look {
    fn of(fact: u64) -> Self {
        Self { facts: Facts([fact, 0, 0]), state: State::Nothing, mended: false }
    }
}

/// The entries that have not ended.
fn live(set: &BTreeSet<(u64, String)>, now: u64) -> impl Iterator<Item = &(u64, String)> {
    set.iter().filter(move |(end, _)| *end > now)
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

/// What is weighted of the last window.
fn weighted(start: u64, ticks: u64, last: u64, now: u64) -> u64 {
    Sliding { start, ticks }.weighted(last, now)
}
