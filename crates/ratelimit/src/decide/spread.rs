//! Levels in several slots of a cluster.

use futures_util::future::join_all;
use russet_core_conn::Redis;
use smallvec::SmallVec;

use super::{Of, Outcome};
use crate::decision::Source;
use crate::error::Error;
use crate::fallback::StandIn;
use crate::judge::{Judge, LevelState};
use crate::level::Level;
use crate::limiter::{Inner, Limiter};
use crate::outage::is_outage;
use crate::rule::Facts;
use crate::scripts::{self, Mode, Receipt, Said, Step};

/// All of them are asked at once, and who has spent gives back where another denies.
pub(super) struct Spread<'a> {
    pub(super) limiter: &'a Limiter,
    pub(super) redis: &'a Redis,
    pub(super) levels: &'a [Level],
    pub(super) states: &'a mut [LevelState],
    pub(super) steps: &'a mut [Of],
    pub(super) mode: Mode,
    pub(super) exact: bool,
    /// Where some do not answer.
    pub(super) goes_on: bool,
}

impl Spread<'_> {
    pub(super) async fn decide(self, counted: usize) -> Result<Outcome, Error> {
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
        let Self { levels, states, steps, mode, exact, .. } = self;
        Judge { levels, states, steps, mode: *mode, kept: *exact }
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
