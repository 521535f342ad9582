//! A decision of which servers have not answered: by what each level's policy says.

use smallvec::{SmallVec, smallvec};

use crate::Outage;
use crate::decide::{Of, Outcome, steps};
use crate::decision::{Decision, Reason, Source};
use crate::judge::{Judge, LevelState};
use crate::level::Level;
use crate::limiter::Inner;
use crate::local::{Part, share};
use crate::outage::is_outage;
use crate::rule::Facts;
use crate::scripts::{Mode, What};

/// What a level is while Redis is away.
pub(crate) fn policy(inner: &Inner, level: &Level) -> Outage {
    level.limit.inner.outage.unwrap_or(inner.outage)
}

/// Whether such a decision goes on without Redis.
pub(crate) fn goes_on(inner: &Inner, levels: &[Level], mode: Mode, exact: bool) -> bool {
    let stops = |level: &Level| policy(inner, level) == Outage::Error;
    !exact && mode != Mode::Force && !levels.iter().any(stops)
}

/// A decision of which nothing is known of Redis.
#[cold]
pub(crate) fn without_redis(
    inner: &Inner,
    levels: &[Level],
    mode: Mode,
    error: &russet_core_conn::Error,
) -> Outcome {
    inner.failed(error);
    let mut states: SmallVec<[LevelState; 2]> =
        levels.iter().map(|level| LevelState::of(level, mode, false)).collect();
    let mut steps = steps(levels, &states);
    let mut facts: SmallVec<[(u64, Facts); 4]> = smallvec![(0, Facts::default()); steps.len()];
    let failed: SmallVec<[usize; 4]> = (0..steps.len()).collect();
    let mut stand_in = StandIn { inner, levels, states: &mut states, steps: &mut steps, mode };
    if let Some(level) = stand_in.closed(&failed) {
        return stand_in.denial(level);
    }
    let elsewhere = if mode == Mode::Most { u64::MAX } else { 1 };
    let granted = stand_in.decide(&failed, elsewhere, &mut facts);
    let judge = Judge { levels, states: &states, steps: &steps, mode, kept: false };
    let mut outcome = judge.judge(granted, &facts);
    outcome.decision.source = Source::Fallback;
    outcome
}

/// The decision that is made where Redis has failed with this error; without one where the error is the answer.
pub(crate) fn stood_in(
    inner: &Inner,
    level: &Level,
    error: &russet_core_conn::Error,
) -> Option<Decision> {
    let levels = std::slice::from_ref(level);
    let goes_on = goes_on(inner, levels, Mode::All, false) && is_outage(error);
    goes_on.then(|| without_redis(inner, levels, Mode::All, error).decision)
}

/// What those grant whose servers have not answered, and in the place of their answers what they would have said.
pub(crate) struct StandIn<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) levels: &'a [Level],
    pub(crate) states: &'a mut [LevelState],
    pub(crate) steps: &'a mut [Of],
    pub(crate) mode: Mode,
}

impl StandIn<'_> {
    /// Whether any of them denies whatever comes.
    pub(crate) fn closed(&self, failed: &[usize]) -> Option<usize> {
        let levels = failed.iter().map(|at| self.steps[*at].level);
        levels.into_iter().find(|at| {
            let level = &self.levels[*at];
            policy(self.inner, level) == Outage::Closed && !level.limit.inner.shadow
        })
    }

    /// With what the others have granted: what all do.
    pub(crate) fn decide(
        &mut self,
        failed: &[usize],
        elsewhere: u64,
        facts: &mut [(u64, Facts)],
    ) -> u64 {
        let (nodes, now) = (u64::from(self.inner.nodes()), self.inner.elapsed());
        let (mut parts, mut places) = (SmallVec::<[Part; 4]>::new(), SmallVec::<[usize; 4]>::new());
        for at in failed {
            // Of what nobody has said: nothing is spent, and nobody blocked.
            facts[*at] = (0, Facts::default());
            let of = &mut self.steps[*at];
            let level = &self.levels[of.level];
            let What::Spend { rule, cost, left, .. } = &mut of.step.what else { continue };
            if policy(self.inner, level) != Outage::Local {
                continue;
            }
            // What does not fit at once can be had in parts.
            let least = if self.mode == Mode::Most { 1 } else { *cost };
            let all = rule.limit();
            *rule = share(rule, nodes, least);
            *left = (*left * rule.limit() / all).min(rule.limit() - least);
            self.states[of.level].rule = *rule;
            let (rule, cost, left) = (*rule, *cost, *left);
            let shadow = level.limit.inner.shadow;
            parts.push(Part { key: of.step.key.to_bytes(), rule, cost, left, shadow });
            places.push(*at);
        }
        let (granted, said) = self.inner.local.decide(self.mode, &parts, elsewhere, now);
        for (at, said) in places.into_iter().zip(said) {
            facts[at] = (now, said);
        }
        granted
    }

    /// A denial by a level that is closed.
    pub(crate) fn denial(&self, limiting: usize) -> Outcome {
        let judge = Judge {
            levels: self.levels,
            states: self.states,
            steps: &[],
            mode: Mode::Peek,
            kept: false,
        };
        let mut outcome = judge.judge(0, &[]);
        let decision = &mut outcome.decision;
        (decision.source, decision.reason) = (Source::Fallback, Reason::Outage);
        decision.limiting = Some(limiting);
        decision.levels.0[limiting].denies = true;
        decision.levels.0[limiting].remaining = 0;
        let level = &decision.levels[limiting];
        (decision.policy, decision.limit, decision.remaining) =
            (level.name.clone(), level.limit, 0);
        outcome
    }
}

impl Inner {
    /// A decision is made without Redis.
    pub(crate) fn failed(&self, error: &russet_core_conn::Error) {
        tracing::debug!(%error, "a decision without Redis");
        if let Some(breaker) = self.quick.breaker() {
            self.health.failed(error, breaker);
        }
    }
}
