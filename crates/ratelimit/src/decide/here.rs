//! What is decided in this process, because it is known.

use std::time::Instant;

use smallvec::SmallVec;

use super::Outcome;
use crate::decision::{Decision, Reason, Source};
use crate::denials::{Denials, Denied};
use crate::judge::{Judge, LevelState};
use crate::level::Level;
use crate::scripts::Mode;

/// A decision of this process, in which only one level has a say, or none.
pub(super) fn local(
    levels: &[Level],
    states: &[LevelState],
    source: Source,
    reason: Reason,
    limiting: Option<usize>,
) -> Outcome {
    let judge = Judge { levels, states, steps: &[], mode: Mode::Peek, kept: false };
    let mut outcome = judge.judge(1, &[]);
    let decision = &mut outcome.decision;
    (decision.source, decision.reason, decision.limiting) = (source, reason, limiting);
    match limiting {
        Some(level) => {
            decision.levels.0[level].denies = true;
            decision.policy = decision.levels[level].name.clone();
        }
        None => decision.granted = levels.iter().map(|level| level.cost).max().unwrap_or(0),
    }
    outcome
}

/// When Redis was asked, and how often each level had been forgotten before.
pub(super) struct Moment {
    sent: Instant,
    forgotten: SmallVec<[u64; 2]>,
}

impl Moment {
    pub(super) fn new(levels: &[Level], sent: Instant) -> Self {
        Self { sent, forgotten: levels.iter().map(forgotten).collect() }
    }
}

fn forgotten(level: &Level) -> u64 {
    level.limit.inner.denials.as_ref().map_or(0, Denials::forgotten)
}

/// Whether one of the levels is known to deny this: of several that do so longest.
pub(super) fn denied(levels: &[Level], states: &[LevelState], now: Instant) -> Option<Outcome> {
    let known = levels.iter().enumerate().filter(|(at, _)| states[*at].listed.is_none());
    let known = known.filter_map(|(at, level)| {
        let denials = level.limit.inner.denials.as_ref()?;
        level.limit.inner.limiter.inner.time().is_none().then_some(())?;
        Some((at, denials.find(&level.subject, (level.cost, level.left), now)?))
    });
    let (at, denial) = known.max_by_key(|(_, denial)| denial.told)?;
    let mut outcome = local(levels, states, Source::DenyCache, denial.reason, Some(at));
    let level = denial.level(levels[at].limit.inner.name.clone(), now);
    let decision = &mut outcome.decision;
    (decision.limit, decision.remaining) = (level.limit, level.remaining);
    (decision.retry_after, decision.reset_after) = (level.retry_after, level.reset_after);
    decision.levels.0[at] = level;
    Some(outcome)
}

/// Keeps what denies longest for those who ask the same.
pub(super) fn keep_denial(levels: &[Level], decision: &Decision, moment: &Moment) {
    let Some(at) = decision.limiting else { return };
    let level = &levels[at];
    let (Some(denials), Some(retry)) = (&level.limit.inner.denials, decision.retry_after) else {
        return;
    };
    // What higher classes have spent may be another's next window.
    if level.higher.is_empty() && level.limit.inner.limiter.inner.time().is_none() {
        let denial = Denied::new(&decision.levels[at], decision.reason, moment.sent, retry);
        let of = (level.cost, level.left);
        denials.put(&level.subject, of, denial, moment.forgotten[at]);
    }
}
