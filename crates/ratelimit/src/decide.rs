//! One decision, from levels to what became of each.

use futures_util::future::join_all;
use smallvec::SmallVec;

use crate::decision::{Decision, Reason, Source};
use crate::error::Error;
use crate::judge::{Judge, LevelState};
use crate::level::Level;
use crate::limiter::{Inner, Limiter};
use crate::lists::Listed;
use crate::metrics;
use crate::rule::{Facts, Rule};
use crate::scripts::{self, Mode, Receipt, Said, Step, What};

/// A decision, and what can be given back of it.
pub(crate) struct Outcome {
    pub(crate) decision: Decision,
    pub(crate) receipts: Vec<Receipt>,
}

/// The most levels of a decision: it bounds the work of a script.
const MOST: usize = 16;

/// A step, and the level that it belongs to.
pub(crate) struct Of {
    pub(crate) level: usize,
    pub(crate) step: Step,
}

/// All of a decision: what it costs is one round trip where one server holds all keys, and one a slot on a cluster, in
/// parallel, with another where any denies.
pub(crate) async fn decide(
    limiter: &Limiter,
    levels: &[Level],
    mode: Mode,
    receipts: bool,
) -> Result<Outcome, Error> {
    let outcome = ask(limiter, levels, mode, receipts).await;
    if mode != Mode::Peek {
        metrics::decided(&outcome);
    }
    outcome
}

async fn ask(
    limiter: &Limiter,
    levels: &[Level],
    mode: Mode,
    receipts: bool,
) -> Result<Outcome, Error> {
    let states = check(limiter, levels, mode)?;
    if let Some(level) = states.iter().position(|state| state.listed == Some(Listed::Denied)) {
        return Ok(listed(levels, &states, Reason::Denied, Some(level)));
    }
    if states.iter().all(|state| state.listed.is_some()) {
        return Ok(listed(levels, &states, Reason::Allowed, None));
    }
    let inner = &*limiter.inner;
    inner.agree().await?;
    if let ([level], [state], Mode::All, false) = (levels, &states[..], mode, receipts)
        && let Rule::Bucket { each, .. } | Rule::Queue { each, .. } = state.rule
        && !level.limit.inner.blockable
    {
        return alone(inner, level, state, each).await;
    }
    let steps = steps(levels, &states);
    let counted = steps.partition_point(|of| !levels[of.level].limit.inner.shadow);
    let same = steps.iter().all(|of| of.step.key.slot() == steps[0].step.key.slot());
    if same || !inner.splits().await? {
        let all: SmallVec<[&Step; 4]> = steps.iter().map(|of| &of.step).collect();
        let said = scripts::decide(&inner.redis, mode, &all, counted, inner.time()).await?;
        let facts: SmallVec<[(u64, Facts); 4]> =
            said.facts.iter().map(|facts| (said.now, *facts)).collect();
        return Ok(
            Judge { levels, states: &states, steps: &steps, mode }.judge(said.granted, &facts)
        );
    }
    // Boxed: the common case need not be as large.
    Box::pin(spread(inner, levels, &states, &steps, counted, mode)).await
}

/// What is known before anybody is asked.
fn check(
    limiter: &Limiter,
    levels: &[Level],
    mode: Mode,
) -> Result<SmallVec<[LevelState; 2]>, Error> {
    if levels.is_empty() || levels.len() > MOST {
        let problem = levels.len().to_string();
        return Err(Error::Config { field: "levels", problem, allowed: "1 to 16" });
    }
    let mut states = SmallVec::new();
    for level in levels {
        let limit = &*level.limit.inner;
        if !std::sync::Arc::ptr_eq(&limit.limiter.inner, &limiter.inner) {
            let problem = format!("{} is of another limiter", limit.name);
            return Err(Error::Config {
                field: "levels",
                problem,
                allowed: "those of one limiter",
            });
        }
        let rule = limit.quota.load().0;
        let supported = match (mode, rule) {
            (Mode::Most, Rule::Queue { .. }) => Some("at_most"),
            (Mode::Force, Rule::Permits { .. }) => Some("penalize"),
            _ => None,
        };
        if let Some(call) = supported {
            return Err(level.limit.unsupported(call, &rule));
        }
        let most = rule.limit().saturating_sub(level.left);
        // What does not fit into a bucket at once can be had in parts, or be a penalty.
        if level.cost == 0 || (level.cost > most && matches!(mode, Mode::All | Mode::Peek)) {
            let (policy, cost) = (limit.name.clone(), level.cost);
            return Err(Error::Unsatisfiable { policy, cost, most });
        }
        states.push(LevelState { rule, listed: limit.lists.find(&level.subject) });
    }
    Ok(states)
}

/// A decision without Redis.
fn listed(
    levels: &[Level],
    states: &[LevelState],
    reason: Reason,
    limiting: Option<usize>,
) -> Outcome {
    let judge = Judge { levels, states, steps: &[], mode: Mode::Peek };
    let mut outcome = judge.judge(1, &[]);
    let decision = &mut outcome.decision;
    (decision.source, decision.reason, decision.limiting) = (Source::List, reason, limiting);
    match limiting {
        Some(level) => {
            decision.levels[level].denies = true;
            decision.policy = decision.levels[level].name.clone();
        }
        None => decision.granted = levels.iter().map(|level| level.cost).max().unwrap_or(0),
    }
    outcome
}

/// One bucket, as nearly every decision is.
async fn alone(
    inner: &Inner,
    level: &Level,
    state: &LevelState,
    each: u64,
) -> Result<Outcome, Error> {
    let rule = state.rule;
    let key = level.limit.inner.keys.state(&rule, &level.subject);
    let most = rule.most(level.cost, level.left);
    let cost = level.cost * each;
    let (fits, ahead) =
        scripts::gcra(&inner.redis, &key, cost, most, rule.kept(), inner.time()).await?;
    let what = What::Spend { rule, cost: level.cost, left: level.left, id: 0 };
    let steps = [Of { level: 0, step: Step { key, what } }];
    let judge = Judge {
        levels: std::slice::from_ref(level),
        states: std::slice::from_ref(state),
        steps: &steps,
        mode: Mode::All,
    };
    Ok(judge.judge(u64::from(fits), &[(0, Facts([ahead, 0, 0]))]))
}

/// What the scripts are given: those that count before those in the shadow.
fn steps(levels: &[Level], states: &[LevelState]) -> SmallVec<[Of; 4]> {
    let mut steps = SmallVec::new();
    for shadow in [false, true] {
        for (at, (level, state)) in levels.iter().zip(states).enumerate() {
            let limit = &*level.limit.inner;
            if limit.shadow != shadow || state.listed.is_some() {
                continue;
            }
            let mut push = |key, what| steps.push(Of { level: at, step: Step { key, what } });
            if limit.blockable {
                push(limit.keys.block(&level.subject), What::Block);
            }
            for higher in &level.higher {
                let rule = higher.of.inner.quota.load().0;
                let (above, limit) = (higher.above, higher.limit);
                let what = What::Watch { ticks: rule.period(), above, limit };
                push(higher.of.inner.keys.state(&rule, &level.subject), what);
            }
            let id = match state.rule {
                Rule::Log { .. } | Rule::Permits { .. } => rand::random(),
                _ => 0,
            };
            let what = What::Spend { rule: state.rule, cost: level.cost, left: level.left, id };
            push(limit.keys.state(&state.rule, &level.subject), what);
        }
    }
    steps
}

/// Levels in several slots of a cluster: all are asked at once, and who has spent gives back where another denies.
async fn spread(
    inner: &Inner,
    levels: &[Level],
    states: &[LevelState],
    steps: &[Of],
    counted: usize,
    mode: Mode,
) -> Result<Outcome, Error> {
    let mut slots: Vec<(u16, Vec<usize>)> = Vec::new();
    for (at, of) in steps.iter().enumerate() {
        let slot = of.step.key.slot();
        match slots.iter_mut().find(|(of, _)| *of == slot) {
            Some((_, places)) => places.push(at),
            None => slots.push((slot, vec![at])),
        }
    }
    let asked = slots.iter().map(|(_, places)| async {
        let part: SmallVec<[&Step; 4]> = places.iter().map(|at| &steps[*at].step).collect();
        let counted = places.iter().filter(|at| **at < counted).count();
        scripts::decide(&inner.redis, mode, &part, counted, inner.time()).await
    });
    let answers = join_all(asked).await;
    // What all of them grant; a slot with nothing but shadows grants whatever is asked.
    let mut granted = u64::MAX;
    let (mut facts, mut failed) = (vec![(0, Facts::default()); steps.len()], None);
    let mut spent = vec![0; steps.len()];
    for ((_, places), answer) in slots.iter().zip(answers) {
        match answer {
            Ok(Said { granted: here, now, facts: said }) => {
                if places.iter().any(|at| *at < counted) {
                    granted = granted.min(here);
                }
                for (at, said) in places.iter().zip(said) {
                    (facts[*at], spent[*at]) = ((now, said), here);
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    if failed.is_some() {
        granted = 0;
    }
    let judge = Judge { levels, states, steps, mode };
    let receipts = judge.too_much(&facts, &spent, granted);
    // What can't be given back is regained with time.
    let _ = refund(inner, &receipts).await;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(judge.judge(granted, &facts)),
    }
}

/// Slot by slot, in parallel. Whether all of it was given back.
pub(crate) async fn refund(inner: &Inner, receipts: &[(Receipt, u64)]) -> Result<bool, Error> {
    let mut slots: Vec<(u16, Vec<(&Receipt, u64)>)> = Vec::new();
    let splits = receipts.len() > 1 && inner.splits().await?;
    for (receipt, units) in receipts {
        let slot = if splits { receipt.key.slot() } else { 0 };
        match slots.iter_mut().find(|(of, _)| *of == slot) {
            Some((_, of)) => of.push((receipt, *units)),
            None => slots.push((slot, vec![(receipt, *units)])),
        }
    }
    let asked = slots.iter().map(|(_, of)| async {
        let back = scripts::refund(&inner.redis, of, inner.time()).await?;
        let due = of.iter().map(|(receipt, units)| receipt.rule.refunded(*units));
        Ok::<_, Error>(back.into_iter().eq(due))
    });
    let mut whole = true;
    for answer in join_all(asked).await {
        whole &= answer?;
    }
    Ok(whole)
}
