//! What may happen next, and what must hold.

use stateright::{Model, Property};

use super::world::{Lookup, Process, Said, World};

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protocol {
    /// Whether the writers invalidate by tag, or remove the key.
    pub(super) by_tag: [bool; 2],
    /// In ms: of true time at once, and in all.
    pub(super) tick: u64,
    pub(super) until: u64,
    /// How often each process asks Redis for the value.
    pub(super) asks: [u8; 2],
    pub(super) late: Late,
    /// Whether messages come; all are lost otherwise.
    pub(super) messages: bool,
    pub(super) crash: bool,
    pub(super) failover: bool,
    pub(super) bug: Option<Bug>,
}

/// What is on its way for a while: between it and what it answers, anything happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Late {
    /// To claims and fills.
    pub(super) replies: bool,
    /// To questions for news.
    pub(super) answers: bool,
    /// To what is said to be invalid.
    pub(super) notes: bool,
}

/// What is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A fill does not ask whether the lease is there still.
    FillWithoutLease,
    /// A value is sealed with what is known after the origin was read.
    SealAfterLoad,
    /// What is known is good for as long as nothing else is heard.
    IgnoreLostMessage,
    /// It is counted from the answer.
    AgeOfAnswer,
    /// A journal that does not follow what is known is gone on with.
    IgnoreHole,
    /// What was dropped while it was on its way is kept.
    KeepWhatWasDropped,
    /// Who says something does not heed it.
    ForgetOwn,
    /// Who waits does not look by itself.
    WaitForMessage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// A value was filled that is older than a removal that was acknowledged.
    Fill,
    /// One was given, from the memory or from Redis, that is older than was allowed.
    Local,
    Redis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Tick,
    Look(usize),
    Again(usize),
    Load(usize),
    Fill(usize),
    Arrive(usize),
    Ask(usize),
    Answer(usize),
    Hear(usize),
    Say(usize),
    Noted(usize),
    Crash(usize),
    Sync,
    FailOver,
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        // Both have asked.
        let mut world = World::new(self.by_tag);
        for at in 0..2 {
            world.ask(at);
            world.answer(at, self.bug);
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.wrong.is_some() {
            return;
        }
        let late = world.now >= self.until;
        if !late {
            actions.push(Action::Tick);
        }
        if self.failover && !world.failed_over {
            if world.replica.is_none() {
                actions.push(Action::Sync);
            }
            if !late {
                actions.push(Action::FailOver);
            }
        }
        for (at, process) in world.processes.iter().enumerate() {
            match process.lookup {
                Lookup::Idle => {
                    let may_ask = process.asks < self.asks[at] || process.keeps().is_some();
                    if may_ask && world.is_current(at, self.bug) {
                        actions.push(Action::Look(at));
                    }
                }
                Lookup::Waits { .. } => actions.push(Action::Again(at)),
                Lookup::Leads => actions.push(Action::Load(at)),
                Lookup::Loaded { .. } => actions.push(Action::Fill(at)),
                Lookup::Found { .. } | Lookup::Filled { .. } => actions.push(Action::Arrive(at)),
            }
            match process.question {
                Some(_) => actions.push(Action::Answer(at)),
                None => {
                    if !world.is_current(at, self.bug) {
                        actions.push(Action::Ask(at));
                    }
                    if self.messages && process.mail.is_some() {
                        actions.push(Action::Hear(at));
                    }
                }
            }
            let writer = &world.writers[at];
            match (writer.said, &writer.written) {
                (Said::Told, Some(_)) => actions.push(Action::Noted(at)),
                (Said::Told, None) => {}
                _ => actions.push(Action::Say(at)),
            }
            let crashed = world.processes.iter().any(|process| process.crashed);
            if self.crash && !crashed && process.lookup != Lookup::Idle {
                actions.push(Action::Crash(at));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = last.clone();
        match action {
            Action::Tick => next.now += self.tick,
            Action::Look(at) => next.look(at),
            Action::Again(at) => next.again(at),
            Action::Load(at) => next.load(at),
            Action::Fill(at) => next.fill(at, self.bug),
            Action::Arrive(at) => next.arrive(at, self.bug),
            Action::Ask(at) => next.ask(at),
            Action::Answer(at) => next.answer(at, self.bug),
            Action::Hear(at) => next.hear(at),
            Action::Say(by) => next.say(by),
            Action::Noted(by) => next.note(by, self.bug),
            Action::Crash(at) => next.crash(at),
            Action::Sync => next.sync(),
            Action::FailOver => next.fail_over(),
        }
        self.settle(&mut next);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FILL, |_, world: &World| world.wrong != Some(Fault::Fill)),
            Property::always(LOCAL, |_, world: &World| world.wrong != Some(Fault::Local)),
            Property::always(REDIS, |_, world: &World| world.wrong != Some(Fault::Redis)),
            Property::always(STUCK, |protocol: &Self, world: &World| {
                (0..2).all(|at| world.ends(at, protocol.bug))
            }),
            Property::sometimes(REFUSED, |_, world: &World| {
                let refused = |process: &Process| {
                    matches!(process.lookup, Lookup::Filled { filled: false, .. })
                };
                world.processes.iter().any(refused)
            }),
            Property::sometimes(BOTH, |_, world: &World| {
                world.processes.iter().all(|process| process.held.is_some())
            }),
            Property::sometimes(DONE, |_, world: &World| {
                let kept = world.processes.iter().all(|process| {
                    process.held.as_ref().is_some_and(|(value, _)| *value == world.origin)
                });
                kept && world.writers.iter().all(|writer| writer.acknowledged.is_some())
            }),
            Property::sometimes(WAITS, |_, world: &World| {
                world.processes.iter().any(|process| matches!(process.lookup, Lookup::Waits { .. }))
            }),
        ]
    }
}

impl Protocol {
    /// What is not late is there.
    fn settle(&self, world: &mut World) {
        for at in 0..2 {
            if !self.late.answers {
                world.answer(at, self.bug);
            }
            if !self.late.notes {
                world.note(at, self.bug);
            }
            if !self.late.replies {
                world.arrive(at, self.bug);
            }
        }
        world.settle(self.bug);
    }
}

pub(super) const FILL: &str = "no fill after a newer invalidation";
pub(super) const LOCAL: &str = "nothing from a memory that is older than its bound";
pub(super) const REDIS: &str = "nothing from Redis that is older than was allowed";
pub(super) const STUCK: &str = "nobody waits for ever";
pub(super) const REFUSED: &str = "a fill is refused";
pub(super) const BOTH: &str = "both keep the value";
pub(super) const DONE: &str = "both changes are seen by both";
pub(super) const WAITS: &str = "one waits for the other";
