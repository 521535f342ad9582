//! The protocol of a lease, every interleaving of it: two processes, one server, messages that are lost, doubled by
//! asking again, and late, crashes, pauses, clock steps, a failover that loses the last write.
//!
//! | step | what it stands for |
//! |---|---|
//! | `Serve` of `Acquire`, `Renew`, `Release` | `lease_acquire.lua`, `lease_renew.lua`, `lease_release.lua` |
//! | `Ask`, `Ask` again | an attempt of an acquire; the same token after a lost reply |
//! | `Notice` | the keeper's clock: the end, by the time of the last confirmed renewal's sending |
//! | `Act` | a write to the fenced resource. Not held to the clock: the process may have been paused since it looked |
//! | `Tick` | true time, and every process's monotonic clock |
//! | `Step` | somebody sets the server's clock |
//! | `Failover` | a replica without the last write is promoted, a tick later |

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model, Property};

use self::state::{Message, Phase, Process, Resource, State, TTL};
use super::model::Kept;

mod state;

/// What may go wrong beside lost messages, pauses and crashes, and for how long the model is looked at.
#[derive(Debug, Clone, Copy)]
struct Protocol {
    ticks: u64,
    step: Option<i64>,
    failover: bool,
    /// Acquires of each process.
    acquires: u8,
    grants: usize,
    /// Under way at once.
    messages: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Tick,
    Step,
    Failover,
    Ask(usize),
    Renew(usize),
    Notice(usize),
    Release(usize),
    Crash(usize),
    Act(usize),
    Serve(Message, bool),
    Lose(Message),
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let idle = Process { phase: Phase::Idle, begun: 0 };
        vec![State {
            now: 0,
            offset: 0,
            stepped: false,
            failed_over: false,
            kept: Kept::default(),
            replica: Kept::default(),
            processes: [idle; 2],
            messages: BTreeSet::new(),
            grants: Vec::new(),
            resource: Resource::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let late = state.now >= self.ticks;
        if !late {
            actions.push(Action::Tick);
        }
        // Before the first grant there is nothing to upset.
        let granted = !state.grants.is_empty();
        if self.step.is_some() && !state.stepped && granted {
            actions.push(Action::Step);
        }
        if self.failover && !state.failed_over && !late && granted {
            actions.push(Action::Failover);
        }
        // The first to ask is called 0.
        let first_has_asked = state.processes[0].begun > 0;
        for (n, process) in state.processes.iter().enumerate() {
            let may_ask = process.begun < self.acquires && (n == 0 || first_has_asked);
            match process.phase {
                Phase::Idle if may_ask => actions.push(Action::Ask(n)),
                Phase::Asking { .. } => actions.extend([Action::Ask(n), Action::Release(n)]),
                Phase::Holding { .. } => {
                    let look = match state.believes(process) {
                        true => Action::Renew(n),
                        false => Action::Notice(n),
                    };
                    actions.extend([look, Action::Release(n), Action::Act(n)]);
                    // The other's crash shows nothing else.
                    if n == 0 {
                        actions.push(Action::Crash(n));
                    }
                }
                Phase::Idle | Phase::Dead => {}
            }
        }
        for message in &state.messages {
            // One that is never served is lost, too; but it takes a place.
            if state.messages.len() == self.messages {
                actions.push(Action::Lose(*message));
            }
            actions.push(Action::Serve(*message, false));
            if state.is_awaited(message) {
                actions.push(Action::Serve(*message, true));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Tick => next.now += 1,
            Action::Step => {
                next.offset += self.step?;
                next.stepped = true;
            }
            Action::Failover => {
                next.kept = next.replica;
                next.now += 1;
                next.failed_over = true;
            }
            Action::Ask(n) => {
                let process = &mut next.processes[n];
                let token = match process.phase {
                    Phase::Asking { token } => token,
                    _ => {
                        process.begun += 1;
                        u8::try_from(n).ok()? * self.acquires + process.begun
                    }
                };
                process.phase = Phase::Asking { token };
                next.messages.insert(Message::Acquire { token, sent: last.now });
            }
            Action::Renew(n) => {
                let Phase::Holding { token, fence, .. } = next.processes[n].phase else {
                    return None;
                };
                next.messages.insert(Message::Renew { token, fence, sent: last.now });
            }
            Action::Notice(n) => next.processes[n].phase = Phase::Idle,
            Action::Release(n) => {
                let (Phase::Asking { token } | Phase::Holding { token, .. }) =
                    next.processes[n].phase
                else {
                    return None;
                };
                next.processes[n].phase = Phase::Idle;
                next.messages.insert(Message::Release { token });
            }
            Action::Crash(n) => next.processes[n].phase = Phase::Dead,
            Action::Act(n) => {
                let Phase::Holding { token, fence, .. } = next.processes[n].phase else {
                    return None;
                };
                next.act(token, fence);
            }
            Action::Serve(message, heard) => next.serve(message, heard),
            Action::Lose(message) => {
                next.messages.remove(&message);
            }
        }
        if !self.failover {
            next.replica = Kept::default();
        }
        next.forget();
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(GROW, |_, state: &State| state.grants.is_sorted_by(|a, b| a.1 < b.1)),
            Property::always(FOOLED, |_, state: &State| !state.resource.fooled),
            Property::always(TRUE, |_, state: &State| {
                state.processes.iter().all(|process| match process.phase {
                    Phase::Holding { token, .. } if state.believes(process) => {
                        state.kept.owner == token && state.kept.until > state.clock()
                    }
                    _ => true,
                })
            }),
            Property::sometimes(TWO, |_, state: &State| {
                state.processes.iter().all(|process| state.believes(process))
            }),
            Property::sometimes(LATE, |_, state: &State| {
                state.processes.iter().any(|process| match process.phase {
                    Phase::Holding { fence, .. } => fence < state.resource.highest,
                    _ => false,
                })
            }),
            Property::sometimes(DEAD, |_, state: &State| {
                state.grants.len() > 1
                    && state.processes[0].phase == Phase::Dead
                    && state.believes(&state.processes[1])
            }),
            Property::sometimes(LONG, |_, state: &State| {
                state.now > TTL && state.grants.len() == 1 && state.believes(&state.processes[0])
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.messages.len() <= self.messages && state.grants.len() <= self.grants
    }
}

const GROW: &str = "numbers grow";
const FOOLED: &str = "the resource is never fooled";
const TRUE: &str = "who believes to hold it does";
const TWO: &str = "two believe to hold it";
const LATE: &str = "the resource refuses a late one";
const DEAD: &str = "a dead holder's lease is given to another";
const LONG: &str = "renewed beyond its TTL";

/// What every world shows: nothing here is true for want of anything that happens.
const SHOWN: [&str; 3] = [LATE, DEAD, LONG];

/// Looks at all of it, and expects that these are found and nothing else.
fn finds(protocol: Protocol, found: &[&'static str]) -> u64 {
    let never = HasDiscoveries::AllOf(BTreeSet::from(["nothing is called so"]));
    let checker = protocol.checker().threads(2).finish_when(never).spawn_dfs().join();
    assert!(checker.is_done());
    let discoveries = checker.discoveries();
    let expected: BTreeSet<_> = found.iter().chain(&SHOWN).copied().collect();
    for (name, path) in &discoveries {
        assert!(expected.contains(name), "{name}: {:?}", path.clone().into_actions());
    }
    assert_eq!(discoveries.into_keys().collect::<BTreeSet<_>>(), expected);
    checker.unique_state_count() as u64
}

/// Nothing goes wrong but processes and messages.
const STEADY: Protocol =
    Protocol { ticks: 3, step: None, failover: false, acquires: 1, grants: 3, messages: 2 };
const FORWARD: Protocol = Protocol { step: Some(4), messages: 1, ..STEADY };
const BACK: Protocol = Protocol { step: Some(-4), messages: 1, ..STEADY };
const FAILOVER: Protocol = Protocol { failover: true, messages: 1, ..STEADY };

#[test]
fn whoever_looks_at_its_clock_knows_whether_it_holds_it() {
    finds(STEADY, &[]);
}

#[test]
fn a_clock_set_forward_makes_two_holders_that_the_resource_tells_apart() {
    finds(FORWARD, &[TRUE, TWO]);
}

#[test]
fn a_clock_set_back_makes_no_second_holder_and_numbers_grow() {
    finds(BACK, &[]);
}

#[test]
fn a_failover_that_loses_the_grant_makes_two_holders_that_the_resource_tells_apart() {
    finds(FAILOVER, &[TRUE, TWO]);
}

/// The limit that the docs state: the new server's clock is behind.
#[test]
fn a_failover_after_a_clock_was_set_back_may_repeat_a_number() {
    let found = HasDiscoveries::AllOf(BTreeSet::from([GROW]));
    let both = Protocol { step: Some(-4), ..FAILOVER };
    let checker = both.checker().threads(2).finish_when(found).spawn_bfs().join();
    assert!(checker.discoveries().contains_key(GROW));
}

#[test]
#[ignore = "soak"]
fn soak_lease_protocol() {
    let larger = |protocol: Protocol| Protocol { ticks: 4, messages: 2, ..protocol };
    let again = |protocol: Protocol| Protocol { acquires: 2, messages: 1, ..protocol };
    let mut states = 0;
    for (protocol, found) in
        [(STEADY, &[][..]), (FORWARD, &[TRUE, TWO]), (BACK, &[]), (FAILOVER, &[TRUE, TWO])]
    {
        states += finds(larger(protocol), found) + finds(again(protocol), found);
    }
    crate::support::record("lease_protocol", "none", &[("states", states)], &[]);
}
