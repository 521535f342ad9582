//! What the facts that scripts have said mean for a decision.

use smallvec::SmallVec;

use crate::decide::{Of, Outcome};
use crate::decision::{Decision, LevelDecision, Levels, Reason, Source};
use crate::level::Level;
use crate::lists::Listed;
use crate::rule::{Facts, Meaning, Rule};
use crate::scripts::{Mode, Receipt, What};
use crate::ticks::time;

/// What is known of a level before anybody is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LevelState {
    pub(crate) rule: Rule,
    pub(crate) listed: Option<Listed>,
}

impl LevelState {
    pub(crate) fn of(level: &Level, mode: Mode, exact: bool) -> Self {
        let limit = &*level.limit.inner;
        // A penalty, and the question how somebody stands, are for those on a list, too.
        let listed = match (mode, exact) {
            (Mode::Force, _) | (Mode::Peek, true) => None,
            _ => limit.lists.find(&level.subject),
        };
        Self { rule: limit.quota.load().0, listed }
    }
}

pub(crate) struct Judge<'a> {
    pub(crate) levels: &'a [Level],
    pub(crate) states: &'a [LevelState],
    pub(crate) steps: &'a [Of],
    pub(crate) mode: Mode,
    /// Whether something of it may be given back.
    pub(crate) kept: bool,
}

/// Of one level.
struct Judged {
    meaning: Meaning,
    denies: bool,
    why: Reason,
    spent: u64,
}

impl Judge<'_> {
    /// The decision, with so much granted, by what was said at which time.
    pub(crate) fn judge(&self, granted: u64, facts: &[(u64, Facts)]) -> Outcome {
        let mut judged: SmallVec<[Judged; 2]> = self.states.iter().map(untouched).collect();
        let mut pressed = u64::MAX;
        for (of, (now, facts)) in self.steps.iter().zip(facts) {
            let level = &mut judged[of.level];
            match of.step.what {
                What::Block => {
                    if facts.0[0] > 0 {
                        (level.denies, level.why) = (true, Reason::Blocked);
                        level.meaning.wait = facts.0[0];
                    }
                }
                What::Watch { above, limit, .. } => {
                    if facts.0[0] > above {
                        pressed = pressed.min(limit);
                    }
                }
                What::Spend { rule, cost, left, .. } => {
                    let left = left.max(rule.limit().saturating_sub(pressed));
                    self.spend(level, of.level, rule, (cost, left), (*now, *facts), granted);
                    if level.why == Reason::OverLimit && pressed < rule.limit() {
                        let own = rule.read(*facts, *now, cost, 0, 0);
                        if own.wait == 0 {
                            level.why = Reason::Shed;
                        }
                    }
                    pressed = u64::MAX;
                }
            }
        }
        let receipts = if self.kept { self.receipts(&judged, facts) } else { Vec::new() };
        Outcome { decision: self.decision(&judged, granted), receipts }
    }

    fn spend(
        &self,
        level: &mut Judged,
        at: usize,
        rule: Rule,
        (cost, left): (u64, u64),
        (now, facts): (u64, Facts),
        granted: u64,
    ) {
        let asked = if self.mode == Mode::Most { 1 } else { cost };
        let before = rule.read(facts, now, asked, 0, left);
        let fits = before.wait == 0;
        let shadow = self.levels[at].limit.inner.shadow;
        let spent = match self.mode {
            Mode::All if granted > 0 && (fits || !shadow) => cost,
            Mode::Most => {
                let some = cost.min(granted);
                if shadow && some > before.remaining { 0 } else { some }
            }
            Mode::Force => cost.min((2 * rule.limit()).saturating_sub(before.used)),
            Mode::All | Mode::Peek => 0,
        };
        let mut meaning = rule.read(facts, now, asked, spent, left);
        meaning.wait = meaning.wait.max(level.meaning.wait);
        if !fits && !level.denies {
            (level.denies, level.why) = (true, Reason::OverLimit);
        }
        (level.meaning, level.spent) = (meaning, spent);
    }

    fn decision(&self, judged: &[Judged], granted: u64) -> Decision {
        let levels: SmallVec<[LevelDecision; 1]> =
            (judged.iter().zip(self.levels).zip(self.states))
                .map(|((judged, level), state)| LevelDecision {
                    name: level.limit.inner.name.clone(),
                    limit: state.rule.limit(),
                    used: judged.meaning.used,
                    remaining: judged.meaning.remaining,
                    retry_after: judged.denies.then(|| time(judged.meaning.wait)),
                    reset_after: time(judged.meaning.reset),
                    denies: judged.denies,
                    shadow: level.limit.inner.shadow,
                })
                .collect();
        let counts = |at: &usize| !levels[*at].shadow;
        let denied = (0..levels.len()).filter(|at| counts(at) && levels[*at].denies);
        // Of several that deny as long, the first.
        let limiting = denied.rev().max_by_key(|at| judged[*at].meaning.wait);
        let limiting = limiting.filter(|_| granted == 0 || self.mode == Mode::Peek);
        let least = (0..levels.len()).filter(counts).min_by_key(|at| levels[*at].remaining);
        let shown = limiting.or(least).unwrap_or(0);
        let cost = self.levels.iter().map(|level| level.cost).max().unwrap_or(0);
        Decision {
            policy: levels[shown].name.clone(),
            limit: levels[shown].limit,
            remaining: levels[shown].remaining,
            granted: match self.mode {
                _ if limiting.is_some() => 0,
                Mode::Peek => 0,
                Mode::Most => cost.min(granted),
                Mode::All | Mode::Force => cost,
            },
            retry_after: limiting.map(|at| time(judged[at].meaning.wait)),
            reset_after: levels[shown].reset_after,
            delay: match limiting {
                Some(_) => std::time::Duration::ZERO,
                None => time(judged.iter().map(|level| level.meaning.delay).max().unwrap_or(0)),
            },
            source: Source::Redis,
            shadow: levels.iter().any(|level| level.shadow && level.denies),
            reason: limiting.map_or(Reason::Fits, |at| judged[at].why),
            limiting,
            levels: Levels(levels),
        }
    }

    /// What each step has spent.
    fn receipts(&self, judged: &[Judged], facts: &[(u64, Facts)]) -> Vec<Receipt> {
        let spent = |of: &Of| judged[of.level].spent;
        self.steps
            .iter()
            .zip(facts)
            .filter_map(|(of, facts)| receipt(of, *facts, spent(of)))
            .collect()
    }

    /// Where slots have granted more than all of them do: what is to be given back.
    pub(crate) fn too_much(
        &self,
        facts: &[(u64, Facts)],
        granted: &[u64],
        all: u64,
    ) -> Vec<(Receipt, u64)> {
        let mut back = Vec::new();
        if !matches!(self.mode, Mode::All | Mode::Most) {
            return back;
        }
        for (at, of) in self.steps.iter().enumerate() {
            let here = &[(at, granted[at])];
            for (at, granted) in here.iter().filter(|(_, granted)| *granted > all) {
                // As if this slot had been asked alone.
                let mut judged: SmallVec<[Judged; 2]> = self.states.iter().map(untouched).collect();
                if let What::Spend { rule, cost, left, .. } = of.step.what {
                    let level = &mut judged[of.level];
                    self.spend(level, of.level, rule, (cost, left), facts[*at], *granted);
                }
                let spent = judged[of.level].spent;
                let kept = if self.mode == Mode::Most { all.min(spent) } else { 0 };
                if let Some(receipt) = receipt(of, facts[*at], spent) {
                    back.push((receipt, spent - kept));
                }
            }
        }
        back
    }
}

fn receipt(of: &Of, (now, facts): (u64, Facts), spent: u64) -> Option<Receipt> {
    match of.step.what {
        What::Spend { rule, id, .. } if spent > 0 => {
            Some(Receipt { key: of.step.key.clone(), rule, spent, id, now, facts })
        }
        _ => None,
    }
}

fn untouched(state: &LevelState) -> Judged {
    let limit = state.rule.limit();
    let meaning = Meaning { used: 0, remaining: limit, wait: 0, reset: 0, delay: 0 };
    Judged { meaning, denies: false, why: Reason::Fits, spent: 0 }
}
