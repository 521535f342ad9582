//! What may happen next, and what must hold.

use std::time::Instant;

use stateright::{Model, Property};

use super::super::super::script::{Ending, Kind, Rules};
use super::world::{FRESH, LASTS, OPEN_FOR, PROBES, Probe, SETTLING, THERE, World};

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protocol {
    pub(super) nodes: usize,
    /// So many of them see failures.
    pub(super) bad: usize,
    /// So many of them make calls while it is half-open, each so often.
    pub(super) callers: usize,
    pub(super) asks: u64,
    pub(super) close_after: u32,
    /// Ticks, all in all.
    pub(super) ticks: u64,
    pub(super) crashes: u8,
    pub(super) outages: u8,
    /// Answers to beats are late, or lost.
    pub(super) late: bool,
    pub(super) bug: Option<Bug>,
    pub(super) base: Instant,
}

/// What is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A vote counts whatever the generation that it was given in.
    VoteForAny,
    /// Whoever speaks first after a silence may be most of the nodes.
    NeverSettle,
    /// A majority of what is counted is not needed.
    OneVote,
    /// A report counts although its permit does not stand.
    CountLate,
    /// With a report all permits are gone.
    ClearPermits,
    /// A permit lasts for ever.
    PermitsForEver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// It was opened, and most of the nodes saw no failure.
    Quorum,
    /// A probe that did not count has changed it.
    Late,
    /// More probes than there may be.
    Probes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Tick,
    Outage,
    Fail(usize),
    Mend(usize),
    Beat(usize),
    Hear(usize),
    Ask(usize),
    Answer(usize),
    Lose(usize),
    End(usize, Ending),
    Report(usize),
    Crash(usize),
}

impl Protocol {
    pub(super) fn rules(&self) -> Rules {
        let never = |bug, time| if self.bug == Some(bug) { 0 } else { time };
        Rules {
            open_for: OPEN_FOR,
            probes: PROBES,
            lasts: if self.bug == Some(Bug::PermitsForEver) { 1_000 } else { LASTS },
            close_after: self.close_after,
            fresh: FRESH + 1,
            there: never(Bug::OneVote, THERE),
            settling: never(Bug::NeverSettle, SETTLING),
            fields: 100,
            kept: 1,
        }
    }
}

const STARTS: u64 = 10;

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.nodes, self.base)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.wrong.is_some() {
            return;
        }
        // Whoever lives beats at each tick.
        let all_beat = world.nodes.iter().all(|node| node.beaten == world.now);
        let ends = STARTS + self.ticks + u64::from(self.outages) * (THERE + 1);
        if all_beat && world.now < ends {
            actions.push(Action::Tick);
            if world.outages < self.outages {
                actions.push(Action::Outage);
            }
        }
        for (at, node) in world.nodes.iter().enumerate() {
            if at < self.bad && node.view.is_voted_on() && node.view.generation != 0 {
                actions.push(if node.own { Action::Mend(at) } else { Action::Fail(at) });
            }
            // Once a tick, and once more when there is something to say.
            let told = world.redis.kept.as_ref().and_then(|kept| kept.nodes.get(&at.to_string()));
            let votes = node.own && node.view.is_voted_on();
            if node.beaten < world.now || told.is_none_or(|told| told.votes != votes) {
                actions.push(Action::Beat(at));
            }
            if node.mail.is_some() {
                actions.push(Action::Hear(at));
            }
            match node.probe {
                Probe::None if at < self.callers && node.asks < self.asks && node.may_ask() => {
                    actions.push(Action::Ask(at));
                }
                Probe::None => {}
                Probe::Asked { .. } => actions.extend([Action::Answer(at), Action::Lose(at)]),
                Probe::Runs { .. } => {
                    let endings = [Ending::Nothing, Ending::Well, Ending::Badly];
                    actions.extend(endings.map(|ending| Action::End(at, ending)));
                }
                Probe::Ended { .. } => actions.push(Action::Report(at)),
            }
            if world.crashes < self.crashes && (node.own || node.probe != Probe::None) {
                actions.push(Action::Crash(at));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let (mut next, rules) = (last.clone(), self.rules());
        match action {
            Action::Tick => next.now += 1,
            Action::Outage => next.outage(),
            Action::Fail(at) => next.fail(at),
            Action::Mend(at) => next.nodes[at].own = false,
            Action::Beat(at) => {
                next.beat(at, &rules, self.bug);
                if !self.late {
                    next.hear(at, self.base);
                }
            }
            Action::Hear(at) => next.hear(at, self.base),
            Action::Ask(at) => next.ask(at, &rules),
            Action::Answer(at) => next.answer(at, self.base),
            Action::Lose(at) => next.lose(at),
            Action::End(at, ending) => next.end(at, ending),
            Action::Report(at) => next.report(at, &rules, self.bug),
            Action::Crash(at) => next.crash(at),
        }
        next.settle(self.base);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(QUORUM, |_, world: &World| world.wrong != Some(Fault::Quorum)),
            Property::always(LATE, |_, world: &World| world.wrong != Some(Fault::Late)),
            Property::always(MOST, |_, world: &World| world.wrong != Some(Fault::Probes)),
            Property::always(STUCK, |protocol: &Self, world: &World| world.ends(&protocol.rules())),
            Property::sometimes(OPENS, |_, world: &World| world.kind() == Kind::Open),
            Property::sometimes(CLOSES, |_, world: &World| {
                world.kind() == Kind::Closed && world.generation() > 1
            }),
            Property::sometimes(IGNORED, |_, world: &World| world.late),
            Property::sometimes(GIVEN, |_, world: &World| world.expired),
        ]
    }
}

pub(super) const QUORUM: &str = "it opens only where most nodes saw failures";
pub(super) const LATE: &str = "a late result changes nothing";
pub(super) const MOST: &str = "no more probes at once than there may be";
pub(super) const STUCK: &str = "it is not half-open for ever";
pub(super) const OPENS: &str = "it opens";
pub(super) const CLOSES: &str = "it closes again";
pub(super) const IGNORED: &str = "a late result is ignored";
pub(super) const GIVEN: &str = "the permit of one that is gone is given to another";
