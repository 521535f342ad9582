//! The state of one subject under one limit.

use std::collections::BTreeSet;

use super::{Look, live, signed, weighted};
use crate::rule::{Facts, Rule};
use crate::scripts::{Receipt, name};
use crate::ticks::MILLI;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) enum State {
    #[default]
    Nothing,
    Bucket {
        arrival: u64,
        refunds: u64,
    },
    Window {
        spent: u64,
        stop: u64,
    },
    Counter {
        start: u64,
        ticks: u64,
        spent: u64,
        last: u64,
    },
    /// The newest part first.
    Strict {
        newest: u64,
        ticks: u64,
        parts: Vec<u64>,
    },
    Set(BTreeSet<(u64, String)>),
    Block(u64),
}

impl State {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    /// Of a block.
    pub(super) fn end(&self) -> u64 {
        if let Self::Block(end) = self { *end } else { 0 }
    }

    /// What is spent in a window that is not over.
    pub(super) fn window(&self, now: u64) -> Option<u64> {
        match self {
            Self::Window { spent, stop } if *stop > now => Some(*spent),
            _ => None,
        }
    }

    /// What is found, and how many units fit; with how many `asked` for the facts tell of waiting.
    pub(super) fn look(
        self,
        rule: &Rule,
        now: u64,
        (cost, asked, left): (u64, u64, u64),
        forced: bool,
    ) -> (Look, i64) {
        let limit = signed(rule.limit() - left.min(rule.limit()));
        match *rule {
            Rule::Bucket { each, .. } | Rule::Queue { each, .. } => {
                let (arrival, refunds) = match self {
                    Self::Bucket { arrival, refunds } => (arrival, refunds),
                    _ => (0, 0),
                };
                let mut ahead = arrival.saturating_sub(now);
                let most = if forced { rule.period() } else { rule.most(cost, left) };
                let room = (signed(most) - signed(ahead)).div_euclid(signed(each));
                let mended = room < 0 && ahead > rule.kept() * MILLI;
                if mended {
                    ahead = rule.kept() * MILLI / 2;
                }
                let (state, facts) =
                    (Self::Bucket { arrival: now + ahead, refunds }, Facts([ahead, refunds, 0]));
                (Look { facts, state, mended }, room)
            }
            Rule::Window { ticks, refill, aligned, .. } => {
                let (mut spent, mut stop) = match self {
                    Self::Window { spent, stop } => (spent, stop),
                    _ => (0, 0),
                };
                let mut mended = false;
                if stop > 0 && stop <= now {
                    let over = 1 + (now - stop) / ticks;
                    spent = spent.saturating_sub(over * refill);
                    stop += over * ticks;
                } else if stop > now + ticks {
                    (stop, mended) = (now + ticks, true);
                }
                if spent == 0 {
                    stop = now + ticks - if aligned { now % ticks } else { 0 };
                }
                let state = Self::Window { spent, stop };
                (Look { facts: Facts([spent, stop, 0]), state, mended }, limit - signed(spent))
            }
            Rule::Counter { ticks, .. } => {
                let start = now - now % ticks;
                let (mut spent, mut last, mut mended) = (0, 0, false);
                if let Self::Counter { start: of, ticks: long, spent: then, last: before } = self {
                    if long != ticks || of > start {
                        spent = if of + 2 * long > now { then + before } else { 0 };
                        mended = true;
                    } else if of == start {
                        (spent, last) = (then, before);
                    } else if of + ticks == start {
                        last = then;
                    }
                }
                let state = Self::Counter { start, ticks, spent, last };
                let room = limit - signed(spent) - signed(weighted(start, ticks, last, now));
                (Look { facts: Facts([spent, last, 0]), state, mended }, room)
            }
            Rule::Strict { part, parts: count, .. } => strict(self, now, asked, limit, part, count),
            Rule::Log { ticks, .. } | Rule::Permits { ticks, .. } => {
                let set = if let Self::Set(set) = self { set } else { BTreeSet::new() };
                let last = now + ticks;
                let ends: Vec<u64> = live(&set, now).map(|(end, _)| last.min(*end) - now).collect();
                let room = limit - ends.len() as i64;
                let place = usize::try_from(signed(asked) - room - 1).ok();
                let wait = place.and_then(|place| ends.get(place)).copied().unwrap_or(0);
                let reset = ends.last().copied().unwrap_or(0);
                let facts = Facts([ends.len() as u64, wait, reset]);
                let mended = set.last().is_some_and(|(end, _)| *end > last);
                (Look { facts, state: Self::Set(set), mended }, room)
            }
        }
    }

    /// With so many units more; and what is too far ahead brought up to now, if it was seen.
    pub(super) fn spend(self, rule: &Rule, now: u64, units: u64, id: &str, seen: bool) -> Self {
        match (self, rule) {
            (
                Self::Bucket { arrival, refunds },
                Rule::Bucket { each, .. } | Rule::Queue { each, .. },
            ) => Self::Bucket { arrival: arrival + units * each, refunds },
            (Self::Window { spent, stop }, _) => Self::Window { spent: spent + units, stop },
            (Self::Counter { start, ticks, spent, last }, _) => {
                Self::Counter { start, ticks, spent: spent + units, last }
            }
            (Self::Strict { newest, ticks, mut parts }, _) => {
                parts[0] += units;
                Self::Strict { newest, ticks, parts }
            }
            (Self::Set(set), Rule::Log { ticks, .. } | Rule::Permits { ticks, .. }) => {
                let last = if seen { now + ticks } else { u64::MAX };
                let near = live(&set, now).map(|(end, id)| (last.min(*end), id.clone()));
                let mut set: BTreeSet<_> = near.collect();
                set.extend((1..=units).map(|n| (now + ticks, format!("{id}:{n}"))));
                Self::Set(set)
            }
            (state, _) => state,
        }
    }

    pub(super) fn refund(&mut self, receipt: &Receipt, units: u64, now: u64) -> u64 {
        let Receipt { rule, spent: all, now: then, facts: Facts([first, second, _]), .. } = receipt;
        match (&mut *self, rule) {
            (
                Self::Bucket { arrival, refunds },
                Rule::Bucket { each, .. } | Rule::Queue { each, .. },
            ) => {
                let made = then + first + all * each;
                let behind = matches!(rule, Rule::Queue { .. }) && *arrival != made;
                if refunds != second || behind {
                    return 0;
                }
                let ahead = (units * each).min(made.saturating_sub(now));
                if ahead > 0 && *arrival - ahead <= now {
                    *self = Self::Nothing;
                } else if ahead > 0 {
                    (*arrival, *refunds) = (*arrival - ahead, *refunds + 1);
                }
                units * each
            }
            (Self::Window { spent, stop }, _) if stop == second => take(spent, units),
            (Self::Counter { start, ticks, spent, last }, Rule::Counter { ticks: long, .. }) => {
                let of = then - then % long;
                match () {
                    () if ticks != long => 0,
                    () if *start == of => take(spent, units),
                    () if *start == of + *ticks => take(last, units),
                    () => 0,
                }
            }
            (Self::Strict { newest, ticks, parts }, Rule::Strict { part, .. }) => {
                let place = newest.checked_sub(then / part).and_then(|at| usize::try_from(at).ok());
                match place.and_then(|at| parts.get_mut(at)) {
                    Some(spent) if ticks == part => take(spent, units),
                    _ => 0,
                }
            }
            (Self::Set(set), _) => {
                let ids = all - units + 1..=*all;
                let ids: Vec<_> = ids.map(|n| format!("{}:{n}", name(receipt.id))).collect();
                let before = set.len();
                set.retain(|(_, id)| !ids.contains(id));
                let back = (before - set.len()) as u64;
                if set.is_empty() {
                    *self = Self::Nothing;
                }
                back
            }
            _ => 0,
        }
    }

    pub(super) fn top_up(&mut self, rule: &Rule, units: u64, now: u64) -> u64 {
        match (self, rule) {
            (Self::Bucket { arrival, refunds }, Rule::Bucket { each, .. }) => {
                let much = units.min(2 * rule.limit()) * each;
                let given = much.min(arrival.saturating_sub(now));
                (*arrival, *refunds) = (*arrival - given, *refunds + 1);
                given / each
            }
            (Self::Window { spent, stop }, Rule::Window { ticks, refill, .. }) => {
                if *stop <= now {
                    let over = 1 + (now - *stop) / ticks;
                    *spent = spent.saturating_sub(over * refill);
                    *stop += over * ticks;
                }
                take(spent, units)
            }
            _ => 0,
        }
    }

    pub(super) fn renew(&mut self, receipt: &Receipt, now: u64) -> bool {
        let Self::Set(set) = self else { return false };
        let mine = |id: &str| {
            let place = id.strip_prefix(&name(receipt.id)).and_then(|rest| rest.strip_prefix(':'));
            place.is_some_and(|n| n.parse::<u64>().is_ok_and(|n| n <= receipt.spent))
        };
        let held = set.iter().filter(|(end, id)| *end > now && mine(id)).count() as u64;
        if held < receipt.spent {
            return false;
        }
        let end = now + receipt.rule.period();
        let renewed = |(then, id): &(u64, String)| (if mine(id) { end } else { *then }, id.clone());
        *set = set.iter().map(renewed).collect();
        true
    }
}

fn take(from: &mut u64, units: u64) -> u64 {
    let some = units.min(*from);
    *from -= some;
    some
}

fn strict(state: State, now: u64, asked: u64, limit: i64, part: u64, count: u64) -> (Look, i64) {
    let index = now / part;
    let places = usize::try_from(count + 1).unwrap_or(0);
    let (mut parts, mut mended) = (vec![0; places], false);
    if let State::Strict { newest, ticks, parts: old } = state {
        let shift = index.checked_sub(newest);
        match shift.filter(|_| ticks == part && old.len() == parts.len()) {
            Some(shift) => {
                let shift = usize::try_from(shift).unwrap_or(places).min(places);
                parts[shift..].copy_from_slice(&old[..places - shift]);
            }
            None if (newest + old.len() as u64) * ticks > now => {
                parts[0] = old.iter().sum();
                mended = true;
            }
            None => {}
        }
    }
    let spent: u64 = parts.iter().sum();
    let room = limit - signed(spent);
    // When what was spent in this part is out of every window.
    let ends = |place: usize| (index - place as u64 + count + 1) * part - now;
    let need = u64::try_from(signed(asked) - room).unwrap_or(0);
    let gone = |place: usize| parts[place..].iter().sum::<u64>();
    let place = (0..places).rev().find(|place| gone(*place) >= need).unwrap_or(0);
    let wait = if need > 0 { ends(place) } else { 0 };
    let reset = parts.iter().position(|units| *units > 0).map_or(0, ends);
    let facts = Facts([spent, wait, reset]);
    (Look { facts, state: State::Strict { newest: index, ticks: part, parts }, mended }, room)
}
