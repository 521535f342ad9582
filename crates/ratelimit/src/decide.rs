//! One decision, from levels to what became of each.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use futures_util::future::join_all;
use russet_core_conn::Redis;
use smallvec::{SmallVec, smallvec};

use crate::decision::{Decision, Reason, Source};
use crate::denials::{Denials, Denied};
use crate::error::Error;
use crate::fallback::{StandIn, goes_on};
use crate::judge::{Judge, LevelState};
use crate::level::Level;
use crate::limiter::{Inner, Limiter};
use crate::lists::Listed;
use crate::metrics;
use crate::outage::is_outage;
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
    let mut states = check(limiter, levels, mode)?;
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
    let moment = Moment { sent, forgotten: levels.iter().map(forgotten).collect() };
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
        return Ok(Judge { levels, states, steps: &steps, mode }.judge(said.granted, &facts));
    }
    let spread = Spread { limiter, redis, levels, states, steps: &mut steps, mode, goes_on };
    // Boxed: the common case need not be as large.
    Box::pin(spread.decide(counted)).await
}

/// A decision of which nothing is known of Redis.
#[cold]
fn without_redis(
    inner: &Inner,
    levels: &[Level],
    mode: Mode,
    error: &russet_core_conn::Error,
) -> Outcome {
    inner.failed(error);
    let mut states: SmallVec<[LevelState; 2]> = levels.iter().map(LevelState::of).collect();
    let mut steps = steps(levels, &states);
    let mut facts: SmallVec<[(u64, Facts); 4]> = smallvec![(0, Facts::default()); steps.len()];
    let failed: SmallVec<[usize; 4]> = (0..steps.len()).collect();
    let mut stand_in = StandIn { inner, levels, states: &mut states, steps: &mut steps, mode };
    if let Some(level) = stand_in.closed(&failed) {
        return stand_in.denial(level);
    }
    let elsewhere = if mode == Mode::Most { u64::MAX } else { 1 };
    let granted = stand_in.decide(&failed, elsewhere, &mut facts);
    let judge = Judge { levels, states: &states, steps: &steps, mode };
    let mut outcome = judge.judge(granted, &facts);
    outcome.decision.source = Source::Fallback;
    // Nothing of it is in Redis.
    outcome.receipts.clear();
    outcome
}

/// As much as fits of what one level costs, to be spent later; what it is without Redis is not this one's to say.
pub(crate) async fn ahead(limiter: &Limiter, level: &Level) -> Result<Outcome, Error> {
    let (inner, levels) = (&*limiter.inner, std::slice::from_ref(level));
    let mut states = check(limiter, levels, Mode::Most)?;
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
        states.push(LevelState::of(level));
    }
    Ok(states)
}

/// A decision of this process, in which only one level has a say, or none.
fn local(
    levels: &[Level],
    states: &[LevelState],
    source: Source,
    reason: Reason,
    limiting: Option<usize>,
) -> Outcome {
    let judge = Judge { levels, states, steps: &[], mode: Mode::Peek };
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
struct Moment {
    sent: Instant,
    forgotten: SmallVec<[u64; 2]>,
}

fn forgotten(level: &Level) -> u64 {
    level.limit.inner.denials.as_ref().map_or(0, Denials::forgotten)
}

/// Whether one of the levels is known to deny this: of several that do so longest.
fn denied(levels: &[Level], states: &[LevelState], now: Instant) -> Option<Outcome> {
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
fn keep_denial(levels: &[Level], decision: &Decision, moment: &Moment) {
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
struct Spread<'a> {
    limiter: &'a Limiter,
    redis: &'a Redis,
    levels: &'a [Level],
    states: &'a mut [LevelState],
    steps: &'a mut [Of],
    mode: Mode,
    /// Where some do not answer.
    goes_on: bool,
}

impl Spread<'_> {
    async fn decide(self, counted: usize) -> Result<Outcome, Error> {
        let inner = &*self.limiter.inner;
        let slots = self.slots();
        let (redis, mode, steps) = (self.redis, self.mode, &*self.steps);
        let asked = slots.iter().map(|(_, places)| async {
            let part: SmallVec<[&Step; 4]> = places.iter().map(|at| &steps[*at].step).collect();
            let counted = places.iter().filter(|at| **at < counted).count();
            scripts::decide(redis, mode, &part, counted, inner.time()).await
        });
        let answers = join_all(asked).await;
        // What all of them grant; a slot with nothing but shadows grants whatever is asked.
        let mut granted = u64::MAX;
        let (mut facts, mut spent) =
            (vec![(0, Facts::default()); steps.len()], vec![0; steps.len()]);
        let (mut failed, mut errors) = (Vec::new(), Vec::new());
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
                Err(error) => {
                    failed.extend(places);
                    errors.push(error);
                }
            }
        }
        if errors.is_empty() {
            let receipts = self.judge().too_much(&facts, &spent, granted);
            // What can't be given back is regained with time.
            let _ = refund(inner, redis, &receipts).await;
            return Ok(self.judge().judge(granted, &facts));
        }
        let stops = errors.iter().position(|error| !self.goes_on || !is_outage(error));
        if let Some(error) = stops {
            self.all_back(&facts, &spent);
            return Err(errors.swap_remove(error).into());
        }
        inner.failed(&errors[0]);
        let mut stand_in =
            StandIn { inner, levels: self.levels, states: self.states, steps: self.steps, mode };
        if let Some(level) = stand_in.closed(&failed) {
            let denial = stand_in.denial(level);
            self.all_back(&facts, &spent);
            return Ok(denial);
        }
        granted = stand_in.decide(&failed, granted, &mut facts);
        self.back(&facts, &spent, granted);
        let mut outcome = self.judge().judge(granted, &facts);
        outcome.decision.source = Source::Fallback;
        Ok(outcome)
    }

    fn slots(&self) -> Vec<(u16, Vec<usize>)> {
        let mut slots: Vec<(u16, Vec<usize>)> = Vec::new();
        for (at, of) in self.steps.iter().enumerate() {
            let slot = of.step.key.slot();
            match slots.iter_mut().find(|(of, _)| *of == slot) {
                Some((_, places)) => places.push(at),
                None => slots.push((slot, vec![at])),
            }
        }
        slots
    }

    fn judge(&self) -> Judge<'_> {
        Judge { levels: self.levels, states: self.states, steps: self.steps, mode: self.mode }
    }

    fn all_back(&self, facts: &[(u64, Facts)], spent: &[u64]) {
        self.back(facts, spent, 0);
    }

    /// Gives back what is too much, with nobody waiting for it: the time for this decision is over.
    fn back(&self, facts: &[(u64, Facts)], spent: &[u64], granted: u64) {
        let receipts = self.judge().too_much(facts, spent, granted);
        if receipts.is_empty() {
            return;
        }
        let (limiter, redis) = (self.limiter.clone(), self.redis.clone());
        tokio::spawn(async move {
            if let Err(error) = refund(&limiter.inner, &redis, &receipts).await {
                tracing::debug!(%error, "what others have denied can't be given back");
            }
        });
    }
}

/// Slot by slot, in parallel. Whether all of it was given back.
pub(crate) async fn refund(
    inner: &Inner,
    redis: &Redis,
    receipts: &[(Receipt, u64)],
) -> Result<bool, Error> {
    let mut slots: Vec<(u16, Vec<(&Receipt, u64)>)> = Vec::new();
    let splits = receipts.len() > 1 && inner.splits(redis).await?;
    for (receipt, units) in receipts {
        let slot = if splits { receipt.key.slot() } else { 0 };
        match slots.iter_mut().find(|(of, _)| *of == slot) {
            Some((_, of)) => of.push((receipt, *units)),
            None => slots.push((slot, vec![(receipt, *units)])),
        }
    }
    let asked = slots.iter().map(|(_, of)| async {
        let back = scripts::refund(redis, of, inner.time()).await?;
        let due = of.iter().map(|(receipt, units)| receipt.rule.refunded(*units));
        Ok::<_, Error>(back.into_iter().eq(due))
    });
    let mut whole = true;
    for answer in join_all(asked).await {
        whole &= answer?;
    }
    Ok(whole)
}

impl Inner {
    /// A decision is made without Redis.
    fn failed(&self, error: &russet_core_conn::Error) {
        tracing::debug!(%error, "a decision without Redis");
        if let Some(breaker) = self.quick.breaker() {
            self.health.failed(error, breaker);
        }
    }
}
