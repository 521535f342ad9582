//! Nodes, one breaker, and a server.

use std::time::Instant;

use super::super::super::script::{Beat, Ending, Kind, Rules, Said};
use super::super::super::view::{Fleet, Own, View};
use super::super::Model;
use super::protocol::{Bug, Fault};

/// Times are ticks, of which a node beats at each.
pub(super) const OPEN_FOR: u64 = 1;
pub(super) const LASTS: u64 = 2;
pub(super) const FRESH: u64 = 1;
pub(super) const THERE: u64 = 3;
pub(super) const SETTLING: u64 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) redis: Model,
    pub(super) nodes: Vec<Node>,
    pub(super) crashes: u8,
    pub(super) outages: u8,
    /// What was seen: a late report, a permit that ended by itself.
    pub(super) late: bool,
    pub(super) expired: bool,
    /// What must not be and was.
    pub(super) wrong: Option<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) view: View,
    /// Its own breaker is not closed.
    pub(super) own: bool,
    /// The generations in which that opened by what it saw.
    pub(super) failed: Vec<u64>,
    pub(super) beaten: u64,
    /// The answer to a beat, which is on its way, and the number of the question.
    pub(super) mail: Option<(u64, Said)>,
    pub(super) probe: Probe,
    /// Permits that it has asked for.
    pub(super) asks: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Probe {
    None,
    /// The answer is on its way.
    Asked {
        permit: u64,
        until: u64,
        question: u64,
        answer: (Said, bool),
    },
    Runs {
        permit: u64,
        until: u64,
        generation: u64,
    },
    /// It has to be told.
    Ended {
        permit: u64,
        ending: Ending,
    },
}

impl World {
    pub(super) fn new(nodes: usize, base: Instant) -> Self {
        let view = View { question: 0, ..View::new() };
        let node = Node {
            view,
            own: false,
            failed: Vec::new(),
            beaten: 0,
            mail: None,
            probe: Probe::None,
            asks: 0,
        };
        let mut world = Self {
            // Later than anything counts.
            now: 10,
            redis: Model::default(),
            nodes: vec![node; nodes],
            crashes: 0,
            outages: 0,
            late: false,
            expired: false,
            wrong: None,
        };
        for at in 0..nodes {
            world.nodes[at].beaten = world.now - 1;
        }
        world.settle(base);
        world
    }

    pub(super) fn generation(&self) -> u64 {
        self.redis.kept.as_ref().map_or(0, |kept| kept.generation)
    }

    pub(super) fn kind(&self) -> Kind {
        self.redis.kept.as_ref().map_or(Kind::Closed, |kept| kept.kind)
    }

    /// `breaker_beat.lua`
    pub(super) fn beat(&mut self, at: usize, rules: &Rules, bug: Option<Bug>) {
        let (before, kind) = (self.generation(), self.kind());
        let node = &mut self.nodes[at];
        let name = at.to_string();
        let known = match bug {
            Some(Bug::VoteForAny) if before != 0 => before,
            _ => node.view.generation,
        };
        let beat = Beat {
            node: &name,
            known,
            votes: node.own && node.view.is_voted_on(),
            failures: 0,
            drawn: before + 1,
        };
        let said = self.redis.beat(self.now, beat, rules);
        let question = 1 + node.latest();
        node.mail = Some((question, said));
        node.beaten = self.now;
        if kind == Kind::Closed && self.kind() == Kind::Open {
            let failed = self.nodes.iter().filter(|node| node.failed.contains(&before));
            if failed.count() * 2 <= self.nodes.len() {
                self.wrong = Some(Fault::Quorum);
            }
        }
    }

    /// The answer to a beat (`Shared::hear`).
    pub(super) fn hear(&mut self, at: usize, base: Instant) {
        let node = &mut self.nodes[at];
        if let Some((question, said)) = node.mail.take() {
            node.adopt(question, said, base);
        }
    }

    /// Its own breaker opens.
    pub(super) fn fail(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.own = true;
        let generation = node.view.generation;
        if !node.failed.contains(&generation) {
            node.failed.push(generation);
        }
    }

    /// `breaker_probe.lua`
    pub(super) fn ask(&mut self, at: usize, rules: &Rules) {
        let drawn = self.generation() + 1;
        let stood = self.redis.kept.iter().flat_map(|kept| kept.permits.iter().flatten());
        let over = stood.filter(|(_, until)| *until <= self.now).count() > 0;
        let node = &mut self.nodes[at];
        let permit = 1 + at as u64 * 100 + node.asks;
        node.asks += 1;
        let question = 1 + node.latest();
        let Some(answer) = self.redis.probe(self.now, permit, drawn, rules) else { return };
        node.probe = Probe::Asked { permit, until: self.now + LASTS, question, answer };
        self.expired |= over && answer.1 && self.generation() != drawn;
    }

    /// The answer to that.
    pub(super) fn answer(&mut self, at: usize, base: Instant) {
        let node = &mut self.nodes[at];
        let Probe::Asked { permit, until, question, answer: (said, given) } = node.probe else {
            return;
        };
        let generation = said.generation;
        node.probe = if given { Probe::Runs { permit, until, generation } } else { Probe::None };
        node.adopt(question, said, base);
    }

    /// It is lost: what may have been given is given back.
    pub(super) fn lose(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Probe::Asked { permit, .. } = node.probe {
            node.probe = Probe::Ended { permit, ending: Ending::Nothing };
        }
    }

    pub(super) fn end(&mut self, at: usize, ending: Ending) {
        let node = &mut self.nodes[at];
        if let Probe::Runs { permit, .. } = node.probe {
            node.probe = Probe::Ended { permit, ending };
        }
    }

    /// `breaker_report.lua`
    pub(super) fn report(&mut self, at: usize, rules: &Rules, bug: Option<Bug>) {
        let Probe::Ended { permit, ending } = self.nodes[at].probe else { return };
        self.nodes[at].probe = Probe::None;
        let (before, now) = ((self.kind(), self.generation()), self.now);
        let stands = self.redis.kept.iter().flat_map(|kept| kept.permits.iter().flatten());
        let stands = stands.filter(|(name, until)| *name == permit && *until > now).count() > 0;
        if let (Some(Bug::CountLate), Some(kept)) = (bug, &mut self.redis.kept) {
            let permits = kept.permits.get_or_insert_default();
            permits.retain(|(name, _)| *name != permit);
            permits.push((permit, now + 1));
        }
        self.redis.report(now, permit, ending, before.1 + 1, rules);
        if let (Some(Bug::ClearPermits), Some(kept)) = (bug, &mut self.redis.kept) {
            kept.permits = Some(Vec::new());
        }
        if !stands {
            self.late |= ending != Ending::Nothing;
            if (self.kind(), self.generation()) != before {
                self.wrong = Some(Fault::Late);
            }
        }
    }

    /// It is started again, under its name.
    pub(super) fn crash(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        (node.view, node.own) = (View::new(), false);
        (node.mail, node.probe) = (None, Probe::None);
        self.crashes += 1;
    }

    /// Redis is away, for longer than a node counts.
    pub(super) fn outage(&mut self) {
        self.now += THERE + 1;
        self.outages += 1;
        for node in &mut self.nodes {
            node.beaten = self.now - 1;
            node.view.alone = true;
        }
    }

    /// What makes no difference from here on is made the same.
    pub(super) fn settle(&mut self, _: Instant) {
        self.redis.told.clear();
        for node in &mut self.nodes {
            node.renumber();
        }
        let running = |generation: u64| {
            let of = |node: &&Node| matches!(node.probe, Probe::Runs { generation: of, until, .. } if of == generation && until > self.now);
            self.nodes.iter().filter(of).count()
        };
        if running(self.generation()) > PROBES as usize {
            self.wrong = Some(Fault::Probes);
        }
    }

    /// Whatever else happens from here on: does it close, if somebody calls and what is called is well?
    pub(super) fn ends(&self, rules: &Rules) -> bool {
        if self.kind() != Kind::HalfOpen {
            return true;
        }
        let mut alone = self.clone();
        alone.now += LASTS;
        for turn in 0..u64::from(rules.close_after) {
            // Those that were well before count, too.
            if alone.kind() == Kind::Closed {
                break;
            }
            let (permit, drawn) = (1_000 + turn, alone.generation() + 1);
            let Some((_, true)) = alone.redis.probe(alone.now, permit, drawn, rules) else {
                return false;
            };
            alone.redis.report(alone.now, permit, Ending::Well, drawn + 1, rules);
        }
        alone.kind() == Kind::Closed
    }
}

pub(super) const PROBES: u32 = 1;

impl Node {
    /// The number of the latest question.
    fn latest(&self) -> u64 {
        let mail = self.mail.map_or(0, |(question, _)| question);
        let asked = match self.probe {
            Probe::Asked { question, .. } => question,
            _ => 0,
        };
        mail.max(asked).max(self.view.question)
    }

    fn adopt(&mut self, question: u64, said: Said, base: Instant) {
        // When it is open to is asked for, and not known.
        let said = Said { left: 0, age: 0, ..said };
        let Some((view, own)) = self.view.after(question, &said, base) else { return };
        self.view = view;
        match own {
            Own::Stays => {}
            Own::Trips => self.own = true,
            Own::Resets => self.own = false,
        }
    }

    /// The questions, in the same order.
    fn renumber(&mut self) {
        let mut all = vec![self.view.question];
        all.extend(self.mail.map(|(question, _)| question));
        if let Probe::Asked { question, .. } = self.probe {
            all.push(question);
        }
        all.sort_unstable();
        let rank = |question: u64| all.iter().position(|other| *other == question).unwrap() as u64;
        self.view.question = rank(self.view.question);
        if let Some((question, said)) = &mut self.mail {
            *question = rank(*question);
            (said.age, said.left) = (0, 0);
        }
        if let Probe::Asked { question, answer: (said, _), .. } = &mut self.probe {
            *question = rank(*question);
            (said.age, said.left) = (0, 0);
        }
    }

    pub(super) fn may_ask(&self) -> bool {
        !self.view.alone && matches!(self.view.fleet, Fleet::Open { .. } | Fleet::HalfOpen)
    }
}
