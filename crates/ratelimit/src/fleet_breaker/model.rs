//! What the scripts do, on plain data: a property test compares them with it on real servers, and the model check is made
//! of its steps.
//!
//! A method does what the script of its name does, and answers as that.

use std::collections::BTreeMap;

use super::script::{Beat, Ending, Kind, Rules, Said, Status};

mod check;
mod property;

/// What Redis holds of one breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Model {
    pub(super) kept: Option<Kept>,
    /// What was published.
    pub(super) told: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    pub(super) kind: Kind,
    pub(super) generation: u64,
    pub(super) since: u64,
    pub(super) until: u64,
    /// Permits, by when they end, in the order in which they were given.
    pub(super) permits: Option<Vec<(u64, u64)>>,
    pub(super) successes: Option<u32>,
    pub(super) counted: Option<u64>,
    pub(super) heard: Option<u64>,
    pub(super) swept: Option<u64>,
    pub(super) nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) at: u64,
    pub(super) votes: bool,
    pub(super) failures: u64,
    pub(super) of: u64,
}

impl Kept {
    fn new(kind: Kind, generation: u64, now: u64) -> Self {
        Self {
            kind,
            generation,
            since: now,
            until: 0,
            permits: None,
            successes: None,
            counted: None,
            heard: None,
            swept: None,
            nodes: BTreeMap::new(),
        }
    }

    /// Of the hash.
    fn fields(&self) -> usize {
        let some = [self.permits.is_some(), self.successes.is_some(), self.swept.is_some()];
        let beaten = if self.heard.is_some() { 2 } else { 0 };
        4 + beaten + some.into_iter().filter(|some| *some).count() + self.nodes.len()
    }

    fn said(&self, now: u64) -> Said {
        let open = self.kind == Kind::Open;
        Said {
            kind: self.kind,
            generation: self.generation,
            age: now.saturating_sub(self.since),
            left: if open { self.until.saturating_sub(now) } else { 0 },
        }
    }

    fn become_(&mut self, kind: Kind, generation: u64, now: u64, until: u64) {
        (self.kind, self.generation, self.since, self.until) = (kind, generation, now, until);
        (self.permits, self.successes) = (Some(Vec::new()), Some(0));
    }

    /// Forgets who has not spoken for as long as a node counts.
    fn sweep(&mut self, now: u64, mine: &str, rules: &Rules) {
        self.nodes.retain(|node, entry| *node == mine || now < entry.at + rules.there);
        for (_, entry) in self.nodes.iter_mut().filter(|(node, _)| *node != mine) {
            entry.at = entry.at.min(now);
        }
        self.swept = Some(now);
    }
}

impl Model {
    pub(super) fn beat(&mut self, now: u64, beat: Beat<'_>, rules: &Rules) -> Said {
        let kept = self.kept.get_or_insert_with(|| Kept::new(Kind::Closed, beat.drawn, now));
        kept.since = kept.since.min(now);
        if kept.kind == Kind::Open {
            kept.until = kept.until.min(now + rules.open_for);
        }
        let silent = kept.heard.is_none_or(|heard| heard > now || now - heard > rules.fresh);
        if silent {
            kept.counted = Some(now);
        }
        kept.heard = Some(now);
        let settled = kept.counted.is_some_and(|counted| now - counted >= rules.settling);
        let votes =
            beat.votes && kept.kind == Kind::Closed && beat.known == kept.generation && settled;
        let known = kept.nodes.contains_key(beat.node);
        let is_full = |kept: &Kept| !known && kept.fields() >= rules.fields as usize;
        let due = kept.swept.is_none_or(|swept| swept > now || now - swept >= rules.there);
        if votes || is_full(kept) || due {
            kept.sweep(now, beat.node, rules);
        }
        if !is_full(kept) {
            let Beat { node, known, votes: said, failures, .. } = beat;
            kept.nodes.insert(node.to_owned(), Node { at: now, votes: said, failures, of: known });
            let generation = kept.generation;
            let voters = kept
                .nodes
                .values()
                .filter(|node| node.votes && node.of == generation && now - node.at < rules.fresh);
            if votes && voters.count() * 2 > kept.nodes.len() {
                (kept.kind, kept.generation) = (Kind::Open, beat.drawn);
                (kept.since, kept.until) = (now, now + rules.open_for);
                self.told.push(Kind::Open as u8);
            }
        }
        kept.said(now)
    }

    /// What is said, and whether the permit is given.
    pub(super) fn probe(
        &mut self,
        now: u64,
        permit: u64,
        drawn: u64,
        rules: &Rules,
    ) -> Option<(Said, bool)> {
        let kept = self.kept.as_mut()?;
        let said = kept.said(now);
        match kept.kind {
            Kind::Open if said.left == 0 => {
                kept.become_(Kind::HalfOpen, drawn, now, 0);
                self.told.push(Kind::HalfOpen as u8);
            }
            Kind::HalfOpen => {}
            _ => return Some((said, false)),
        }
        let permits = kept.permits.get_or_insert_default();
        permits.iter_mut().for_each(|(_, until)| *until = (*until).min(now + rules.lasts));
        permits.retain(|(_, until)| *until > now);
        let mut mine = permits.iter().any(|(name, _)| *name == permit);
        let first = permits.iter().map(|(_, until)| until - now).min().unwrap_or(rules.lasts);
        if !mine && permits.len() < rules.probes as usize {
            permits.push((permit, now + rules.lasts));
            mine = true;
        }
        let left = if mine { 0 } else { first };
        Some((Said { left, ..kept.said(now) }, mine))
    }

    /// What is said, and whether it counted.
    pub(super) fn report(
        &mut self,
        now: u64,
        permit: u64,
        ending: Ending,
        drawn: u64,
        rules: &Rules,
    ) -> Option<(Said, bool)> {
        let kept = self.kept.as_mut()?;
        let stands = |(name, until): &(u64, u64)| *name == permit && *until > now;
        if !kept.permits.iter().flatten().any(stands) {
            return Some((kept.said(now), false));
        }
        kept.permits.iter_mut().for_each(|permits| permits.retain(|(name, _)| *name != permit));
        let successes = kept.successes.unwrap_or(0) + u32::from(ending == Ending::Well);
        kept.successes = Some(successes);
        if ending == Ending::Badly {
            kept.become_(Kind::Open, drawn, now, now + rules.open_for);
        } else if successes >= rules.close_after {
            kept.become_(Kind::Closed, drawn, now, 0);
        }
        self.told.push(kept.kind as u8);
        Some((kept.said(now), true))
    }

    pub(super) fn force(&mut self, now: u64, kind: Kind, drawn: u64) -> Said {
        let kept = self.kept.get_or_insert_with(|| Kept::new(kind, drawn, now));
        kept.become_(kind, drawn, now, 0);
        self.told.push(kind as u8);
        kept.said(now)
    }

    pub(super) fn leave(&mut self, node: &str) -> bool {
        self.kept.as_mut().is_some_and(|kept| kept.nodes.remove(node).is_some())
    }

    pub(super) fn status(&self, now: u64, rules: &Rules) -> Option<Status> {
        let kept = self.kept.as_ref()?;
        let there = || kept.nodes.values().filter(|node| now < node.at + rules.there);
        let current = || there().filter(|node| node.of == kept.generation);
        let voters = current().filter(|node| node.votes && now < node.at + rules.fresh);
        let permits = kept.permits.iter().flatten().filter(|(_, until)| *until > now);
        Some(Status {
            said: kept.said(now),
            since: kept.since,
            nodes: there().count() as u64,
            votes: voters.count() as u64,
            failures: current().map(|node| node.failures).sum(),
            permits: permits.count() as u64,
            successes: u64::from(kept.successes.unwrap_or(0)),
        })
    }
}
