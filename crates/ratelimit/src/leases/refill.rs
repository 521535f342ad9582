//! Asking Redis for more: one question a subject at a time.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use russet_core_conn::Canonical;

use super::held::{Answer, Held, Lot};
use crate::decide;
use crate::decision::Decision;
use crate::denials::Denied;
use crate::error::Error;
use crate::fallback::stood_in;
use crate::level::Level;
use crate::rule::Rule;
use crate::{Limit, metrics};

/// A process does not ask again for so long after it was denied.
const FLOOR: Duration = Duration::from_millis(10);
/// So often who waits looks again, before it asks for itself.
const ROUNDS: usize = 3;

/// What became of a question, for all who wait for it.
pub(super) type Asking = Shared<BoxFuture<'static, Asked>>;

#[derive(Debug, Clone)]
pub(super) enum Asked {
    Answered,
    Failed(russet_core_conn::Error),
    /// It can't be asked.
    Not,
}

impl Limit {
    /// Waits for what is asked for, and asks where nobody does. `None` where Redis has to decide.
    pub(crate) async fn by_lease(
        &self,
        subject: &Canonical,
        units: u64,
    ) -> Option<Result<Decision, Error>> {
        let inner = &*self.inner.limiter.inner;
        // A larger cost is not waited for: it would have to be there at once.
        let leases = units == 1 && matches!(self.rule(), Rule::Bucket { .. });
        if !leases || !self.inner.lists.are_unused() || inner.time().is_some() {
            return None;
        }
        for _ in 0..ROUNDS {
            // Who asks whether it is back asks for one.
            if inner.health.is_away() {
                return None;
            }
            match self.ask_ahead(subject, units, Instant::now())?.await {
                Asked::Answered => {}
                Asked::Failed(error) => {
                    let level = Level::new(self.clone(), subject.clone());
                    let decision = stood_in(inner, &level, &error);
                    let decision = decision.ok_or(Error::Redis(error));
                    if let Ok(decision) = &decision {
                        metrics::made(decision);
                    }
                    return Some(decision);
                }
                Asked::Not => return None,
            }
            if let Some(decision) = self.at_hand(subject, units) {
                metrics::made(&decision);
                return Some(Ok(decision));
            }
        }
        None
    }

    /// The question that is under way, or a new one, for those who wait for so much. `None` where there is no room.
    pub(super) fn ask_ahead(
        &self,
        subject: &Canonical,
        units: u64,
        now: Instant,
    ) -> Option<impl Future<Output = Asked> + use<>> {
        let leases = self.inner.leases.as_ref()?;
        let mut shard = leases.shard(subject);
        if leases.over.load(Relaxed) {
            return None;
        }
        if !shard.contains_key(subject.as_bytes()) {
            if shard.len() >= leases.leasing.subjects.div_ceil(super::SHARDS) {
                return None;
            }
            shard.insert(subject.as_bytes().into(), Held::new(now));
        }
        let held = shard.get_mut(subject.as_bytes())?;
        held.wanted.fetch_add(units, Relaxed);
        let waits = Waits(held.wanted.clone(), units);
        let asking = match &held.asking {
            Some(asking) => asking.clone(),
            None => {
                let nodes = self.inner.limiter.inner.nodes();
                let most = held.how_many(now, leases.leasing.sync, nodes);
                let asks = ask(self.clone(), subject.clone(), most);
                let asked = tokio::spawn(asks).map(|asked| asked.unwrap_or(Asked::Not));
                held.asking.insert(asked.boxed().shared()).clone()
            }
        };
        drop(shard);
        Some(async move {
            let _waits = waits;
            asking.await
        })
    }
}

/// Somebody waits for so many units.
struct Waits(Arc<AtomicU64>, u64);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}

/// Nobody asks any more, and nothing was said: also where it was given up.
struct Fails<'a>(Option<&'a Limit>, &'a Canonical);

impl Drop for Fails<'_> {
    fn drop(&mut self) {
        let Some(leases) = self.0.and_then(|limit| limit.inner.leases.as_ref()) else { return };
        if let Some(held) = leases.shard(self.1).get_mut(self.1.as_bytes()) {
            held.asking = None;
            held.quiet = Some(Instant::now() + FLOOR);
        }
    }
}

async fn ask(limit: Limit, subject: Canonical, most: u64) -> Asked {
    let mut fails = Fails(Some(&limit), &subject);
    let Some(leases) = &limit.inner.leases else { return Asked::Not };
    let Rule::Bucket { capacity, each } = limit.rule() else { return Asked::Not };
    let forgotten = leases.forgotten.load(Acquire);
    let level = Level::new(limit.clone(), subject.clone()).cost(most.min(capacity));
    let sent = Instant::now();
    let outcome = match decide::ahead(&limit.inner.limiter, &level).await {
        Ok(outcome) => outcome,
        Err(Error::Redis(error)) => return Asked::Failed(error),
        Err(_) => return Asked::Not,
    };
    let now = Instant::now();
    let (decision, mut receipts) = (outcome.decision, outcome.receipts);
    let ends = sent + leases.leasing.sync * 2;
    let lot = receipts.pop().map(|receipt| Lot { units: receipt.spent, ends, receipt });
    let mut shard = leases.shard(&subject);
    let Some(held) = shard.get_mut(subject.as_bytes()) else { return Asked::Not };
    // Whoever was denied before what was given back is not denied by that.
    let still = leases.forgotten.load(Acquire) == forgotten;
    let retry = decision.retry_after.filter(|_| still);
    held.denied = retry.map(|retry| {
        let denied = Denied::new(&decision.levels[0], decision.reason, sent, retry);
        denied.at_least(now + FLOOR)
    });
    held.granted(lot, Answer::new(&decision.levels[0], each, now));
    held.asking = None;
    fails.0 = None;
    Asked::Answered
}
