//! One decision, from levels to what became of each.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use russet_core_conn::Redis;
use smallvec::SmallVec;

use self::here::{Moment, denied, keep_denial, local};
use self::spread::Spread;
use crate::decision::{Decision, Reason, Source};
use crate::error::Error;
use crate::fallback::{goes_on, without_redis};
use crate::judge::{Judge, LevelState};
use crate::level::Level;
use crate::limiter::{Inner, Limiter};
use crate::lists::Listed;
use crate::metrics;
use crate::outage::is_outage;
use crate::rule::{Facts, Rule};
use crate::scripts::{self, Mode, Receipt, Step, What};

pub(crate) use self::spread::refund;

mod here;
mod spread;

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
/// parallel, with another where any denies. An `exact` one is made by Redis, or is an error.
pub(crate) async fn decide(
    limiter: &Limiter,
    levels: &[Level],
    mode: Mode,
    exact: bool,
) -> Result<Outcome, Error> {
    let outcome = ask(limiter, levels, mode, exact).await;
    if mode != Mode::Peek {
        metrics::decided(&outcome);
    }
    outcome
}

async fn ask(
    limiter: &Limiter,
    levels: &[Level],
    mode: Mode,
    exact: bool,
) -> Result<Outcome, Error> {
    let mut states = check(limiter, levels, mode, exact)?;
    if let Some(level) = states.iter().position(|state| state.listed == Some(Listed::Denied)) {
        return Ok(local(levels, &states, Source::List, Reason::Denied, Some(level)));
    }
    if states.iter().all(|state| state.listed.is_some()) {
        return Ok(local(levels, &states, Source::List, Reason::Allowed, None));
    }
    let sent = Instant::now();
    if let (Mode::All, false) = (mode, exact)
        && let Some(denied) = denied(levels, &states, sent)
    {
        return Ok(denied);
    }
    limiter.keep();
    let inner = &*limiter.inner;
    let goes_on = goes_on(inner, levels, mode, exact);
    let redis = if goes_on { &inner.quick } else { &inner.redis };
    let moment = Moment::new(levels, sent);
    let answer = by_redis(limiter, redis, levels, &mut states, mode, (exact, goes_on)).await;
    match answer {
        Ok(outcome) => {
            if outcome.decision.source == Source::Redis {
                inner.health.answered(inner.quick.breaker());
                if inner.latency.wanted.load(Relaxed) {
                    inner.latency.took(sent.elapsed());
                }
                if mode == Mode::All && outcome.decision.limiting.is_some() {
                    keep_denial(levels, &outcome.decision, &moment);
                }
            }
            Ok(outcome)
        }
        Err(Error::Redis(error)) if goes_on && is_outage(&error) => {
            Ok(without_redis(inner, levels, mode, &error))
        }
        Err(error) => Err(error),
    }
}

async fn by_redis(
    limiter: &Limiter,
    redis: &Redis,
    levels: &[Level],
    states: &mut [LevelState],
    mode: Mode,
    (exact, goes_on): (bool, bool),
) -> Result<Outcome, Error> {
    let inner = &*limiter.inner;
    inner.agree_by(redis).await?;
    if let ([level], [state], Mode::All, false) = (levels, &*states, mode, exact)
        && let Rule::Bucket { each, .. } | Rule::Queue { each, .. } = state.rule
        && !level.limit.inner.blockable
    {
        return alone(inner, redis, level, state, each).await;
    }
    let mut steps = steps(levels, states);
    let counted = steps.partition_point(|of| !levels[of.level].limit.inner.shadow);
    let same = steps.iter().all(|of| of.step.key.slot() == steps[0].step.key.slot());
    if same || !inner.splits(redis).await? {
        let all: SmallVec<[&Step; 4]> = steps.iter().map(|of| &of.step).collect();
        let said = scripts::decide(redis, mode, &all, counted, inner.time()).await?;
        let facts: SmallVec<[(u64, Facts); 4]> =
            said.facts.iter().map(|facts| (said.now, *facts)).collect();
        let judge = Judge { levels, states, steps: &steps, mode, kept: exact };
        return Ok(judge.judge(said.granted, &facts));
    }
    let steps = &mut steps;
    let spread = Spread { limiter, redis, levels, states, steps, mode, exact, goes_on };
    // Boxed: the common case need not be as large.
    Box::pin(spread.decide(counted)).await
}

/// As much as fits of what one level costs, to be spent later; what it is without Redis is not this one's to say.
pub(crate) async fn ahead(limiter: &Limiter, level: &Level) -> Result<Outcome, Error> {
    let (inner, levels) = (&*limiter.inner, std::slice::from_ref(level));
    let mut states = check(limiter, levels, Mode::Most, false)?;
    limiter.keep();
    let asked = by_redis(limiter, &inner.quick, levels, &mut states, Mode::Most, (true, false));
    let answer = asked.await;
    match &answer {
        Ok(_) => inner.health.answered(inner.quick.breaker()),
        Err(Error::Redis(error)) if is_outage(error) => inner.failed(error),
        Err(_) => {}
    }
    answer
}

/// What is known before anybody is asked.
fn check(
    limiter: &Limiter,
    levels: &[Level],
    mode: Mode,
    exact: bool,
) -> Result<SmallVec<[LevelState; 2]>, Error> {
    if levels.is_empty() || levels.len() > MOST {
        let problem = levels.len().to_string();
        return Err(Error::Config { field: "levels", problem, allowed: "1 to 16" });
    }
    let mut states = SmallVec::<[LevelState; 2]>::new();
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
        states.push(LevelState::of(level, mode, exact));
    }
    for (at, level) in levels.iter().enumerate() {
        let (of, kind) = (&level.limit.inner.name, states[at].rule.name());
        let same = |(other, state): (&Level, &LevelState)| {
            other.limit.inner.name == *of
                && state.rule.name() == kind
                && other.subject == level.subject
        };
        // Each would be decided as if the other were not there.
        if levels[..at].iter().zip(&states).any(same) {
            let problem = format!("{of} twice for one subject");
            return Err(Error::Config {
                field: "levels",
                problem,
                allowed: "a limit once for a subject, at the cost of both",
            });
        }
    }
    Ok(states)
}

/// One bucket, as nearly every decision is.
async fn alone(
    inner: &Inner,
    redis: &Redis,
    level: &Level,
    state: &LevelState,
    each: u64,
) -> Result<Outcome, Error> {
    let rule = state.rule;
    let key = level.limit.inner.keys.state(&rule, &level.subject);
    let most = rule.most(level.cost, level.left);
    let cost = level.cost * each;
    let (fits, ahead) = scripts::gcra(redis, &key, cost, most, rule.kept(), inner.time()).await?;
    let what = What::Spend { rule, cost: level.cost, left: level.left, id: 0 };
    let steps = [Of { level: 0, step: Step { key, what } }];
    let judge = Judge {
        levels: std::slice::from_ref(level),
        states: std::slice::from_ref(state),
        steps: &steps,
        mode: Mode::All,
        kept: false,
    };
    Ok(judge.judge(u64::from(fits), &[(0, Facts([ahead, 0, 0]))]))
}

/// What the scripts are given: those that count before those in the shadow.
pub(crate) fn steps(levels: &[Level], states: &[LevelState]) -> SmallVec<[Of; 4]> {
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
