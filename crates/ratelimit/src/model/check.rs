//! Reserving in two slots and giving back, every interleaving of it: three callers, messages that are late or lost, answers
//! that are lost, crashes.
//!
//! | step | what it stands for |
//! |---|---|
//! | `Ask` | `decide` of a caller: `look.lua` and `take.lua` are sent to both slots |
//! | `Serve` of a `Reserve` | [`Model::decide`], heard by the caller or not |
//! | `GiveUp` | the deadline of a call: its outcome is unknown, and it may be served later |
//! | `Serve` of a `Refund` | [`Model::refund`]: `refund.lua`, sent where the other slot denies or is unknown |
//! | `Crash` | the caller is gone, whatever was granted |

use std::collections::{BTreeMap, BTreeSet};

use russet_core_conn::Key;
use stateright::{Checker, HasDiscoveries, Model as _, Property};

use super::Model;
use crate::rule::{Facts, Rule};
use crate::scripts::{Mode, Receipt, Step, What};

/// One unit every two ticks, and no more at once.
const RULE: Rule = Rule::Bucket { capacity: 1, each: 2 };

const BOUND: &str = "no slot admits more than its bound";
const ADMITTED: &str = "two are admitted";
const BACK: &str = "something is given back in time for another";
const LOST: &str = "what is unknown is spent by nobody";

#[derive(Debug, Clone, Copy)]
struct Protocol {
    callers: usize,
    until: u64,
    bug: Option<Bug>,
}

/// Each of them was a way to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// All is given back, whenever.
    Whole,
    /// What is unknown, too.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Answer {
    Awaited,
    Unknown,
    Denied,
    /// At which time, and what was said.
    Granted(u64, Facts2),
}

type Facts2 = (u64, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Asking([Answer; 2]),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Reserve { caller: usize, slot: usize },
    Refund { slot: usize, then: u64, facts: Facts2 },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    now: u64,
    slots: Model,
    callers: Vec<Phase>,
    messages: BTreeSet<Message>,
    /// When each that was admitted was, in each slot.
    admitted: [Vec<u64>; 2],
    refunded: bool,
    back: bool,
    lost: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Tick,
    Ask(usize),
    Serve(Message, bool),
    GiveUp(usize, usize),
    Crash(usize),
}

fn key(slot: usize) -> Key {
    Key::raw(if slot == 0 { "{a}" } else { "{b}" })
}

impl Protocol {
    fn receipt(&self, state: &State, slot: usize, then: u64, (ahead, refunds): Facts2) -> Receipt {
        let current = state.slots.refunds(&key(slot));
        let (now, refunds) = match self.bug {
            Some(Bug::Whole) => (state.now + 100, current),
            _ => (then, refunds),
        };
        let facts = Facts([ahead, refunds, 0]);
        Receipt { key: key(slot), rule: RULE, spent: 1, id: 0, now, facts }
    }

    /// Where all is answered: admitted, or what was granted is given back.
    fn conclude(&self, state: &mut State, caller: usize) {
        let Phase::Asking(answers) = state.callers[caller] else { return };
        if answers.contains(&Answer::Awaited) {
            return;
        }
        state.callers[caller] = Phase::Done;
        if let [Answer::Granted(one, _), Answer::Granted(other, _)] = answers {
            state.back |= state.refunded;
            for (slot, then) in [one, other].into_iter().enumerate() {
                state.admitted[slot].push(then);
                state.admitted[slot].sort_unstable();
            }
            return;
        }
        for (slot, answer) in answers.into_iter().enumerate() {
            match answer {
                Answer::Granted(then, facts) => {
                    state.messages.insert(Message::Refund { slot, then, facts });
                }
                Answer::Unknown if self.bug == Some(Bug::Unknown) => {
                    let facts = (0, state.slots.refunds(&key(slot)));
                    state.messages.insert(Message::Refund { slot, then: state.now, facts });
                }
                _ => {}
            }
        }
    }

    fn serve(&self, state: &mut State, message: Message, heard: bool) {
        state.messages.remove(&message);
        match message {
            Message::Reserve { caller, slot } => {
                let what = What::Spend { rule: RULE, cost: 1, left: 0, id: 0 };
                let step = Step { key: key(slot), what };
                let said = state.slots.decide(Mode::All, &[&step], 1, state.now);
                let Phase::Asking(answers) = &mut state.callers[caller] else {
                    state.lost |= said.granted > 0;
                    return;
                };
                if answers[slot] != Answer::Awaited {
                    state.lost |= said.granted > 0;
                } else if heard {
                    let Facts([ahead, refunds, _]) = said.facts[0];
                    answers[slot] = match said.granted {
                        0 => Answer::Denied,
                        _ => Answer::Granted(state.now, (ahead, refunds)),
                    };
                } else {
                    answers[slot] = Answer::Unknown;
                }
                self.conclude(state, caller);
            }
            Message::Refund { slot, then, facts } => {
                let receipt = self.receipt(state, slot, then, facts);
                let before = state.slots.clone();
                state.slots.refund(&[(&receipt, 1)], state.now);
                state.refunded |= before != state.slots;
            }
        }
    }
}

impl stateright::Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 1_000,
            slots: Model { states: BTreeMap::new() },
            callers: vec![Phase::Idle; self.callers],
            messages: BTreeSet::new(),
            admitted: [Vec::new(), Vec::new()],
            refunded: false,
            back: false,
            lost: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < 1_000 + self.until {
            actions.push(Action::Tick);
        }
        for (caller, phase) in state.callers.iter().enumerate() {
            match phase {
                // Who asks first is called 0, and so on.
                Phase::Idle if caller == 0 || state.callers[caller - 1] != Phase::Idle => {
                    actions.push(Action::Ask(caller));
                }
                Phase::Asking(answers) => {
                    if caller == 0 {
                        actions.push(Action::Crash(caller));
                    }
                    // One of them shows it.
                    if caller == 0 && answers[1] == Answer::Awaited {
                        actions.push(Action::GiveUp(caller, 1));
                    }
                }
                Phase::Idle | Phase::Done => {}
            }
        }
        for message in &state.messages {
            actions.push(Action::Serve(*message, true));
            if matches!(message, Message::Reserve { caller: 0, slot: 1 }) {
                actions.push(Action::Serve(*message, false));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Tick => next.now += 1,
            Action::Ask(caller) => {
                next.callers[caller] = Phase::Asking([Answer::Awaited; 2]);
                for slot in 0..2 {
                    next.messages.insert(Message::Reserve { caller, slot });
                }
            }
            Action::Serve(message, heard) => self.serve(&mut next, message, heard),
            Action::GiveUp(caller, slot) => {
                if let Phase::Asking(answers) = &mut next.callers[caller] {
                    answers[slot] = Answer::Unknown;
                }
                self.conclude(&mut next, caller);
            }
            Action::Crash(caller) => next.callers[caller] = Phase::Done,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BOUND, |_, state: &State| {
                state.admitted.iter().all(|times| {
                    let pairs =
                        (0..times.len()).flat_map(|i| (i..times.len()).map(move |j| (i, j)));
                    pairs
                        .into_iter()
                        .all(|(i, j)| (j - i + 1) as u64 * 2 <= 2 + times[j] - times[i])
                })
            }),
            Property::sometimes(ADMITTED, |_, state: &State| state.admitted[0].len() > 1),
            Property::sometimes(BACK, |_, state: &State| state.back),
            Property::sometimes(LOST, |_, state: &State| state.lost),
        ]
    }
}

const STEADY: Protocol = Protocol { callers: 3, until: 3, bug: None };

#[test]
fn no_slot_admits_more_than_its_bound() {
    let never = HasDiscoveries::AllOf(BTreeSet::from(["nothing is called so"]));
    let checker = STEADY.checker().threads(2).finish_when(never).spawn_dfs().join();
    assert!(checker.is_done());
    let found: BTreeSet<_> = checker.discoveries().into_keys().collect();
    println!("{} states", checker.unique_state_count());
    if let Some(path) = checker.discoveries().remove(BOUND) {
        panic!("{:?}", path.into_actions());
    }
    assert_eq!(found, BTreeSet::from([ADMITTED, BACK, LOST]));
}

#[test]
fn each_other_way_to_give_back_is_found_out() {
    for bug in [Bug::Whole, Bug::Unknown] {
        let found = HasDiscoveries::AllOf(BTreeSet::from([BOUND]));
        let protocol = Protocol { bug: Some(bug), ..STEADY };
        let checker = protocol.checker().threads(2).finish_when(found).spawn_bfs().join();
        let path = checker.discoveries().remove(BOUND);
        let path = path.unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("{bug:?}: {:?}", path.into_actions());
    }
}
