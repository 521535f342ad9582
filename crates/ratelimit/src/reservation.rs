//! What is spent, and may be given back.

use crate::decide::refund;
use crate::error::Error;
use crate::level::Level;
use crate::scripts::Receipt;
use crate::{Decision, Limiter};

/// A decision whose cost can be given back: from [`Limit::reserve`](crate::Limit::reserve). Dropped, it is spent.
#[derive(Debug)]
#[must_use = "dropped, it is spent"]
pub struct Reservation {
    limiter: Limiter,
    decision: Decision,
    receipts: Vec<Receipt>,
    /// Of what this process may think that it is denied.
    known: Vec<Level>,
}

impl Reservation {
    pub(crate) fn new(
        limiter: Limiter,
        decision: Decision,
        receipts: Vec<Receipt>,
        levels: &[Level],
    ) -> Self {
        let keeps = |level: &&Level| level.limit.inner.keeps_denials();
        let known = levels.iter().filter(keeps).cloned().collect();
        Self { limiter, decision, receipts, known }
    }

    /// What was decided.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// How many are before it in a queue.
    pub fn position(&self) -> u64 {
        let before = self.receipts.iter().map(|receipt| receipt.rule.waiting(receipt.facts));
        before.max().unwrap_or(0)
    }

    /// Gives back what it has spent, as far as nobody can spend more than is allowed because of it. Whether that was all
    /// of it. One round trip; on a cluster one a slot, in parallel.
    ///
    /// A bucket gives back no more than would still have to be regained, and nothing where another refund or a
    /// [`top_up`](crate::Limit::top_up) has come in between: what is given back late, others may have been admitted
    /// for already. A queue gives back only what is last in it: whoever is behind has been told when to begin, so a place
    /// that is left there passes unused. A window gives back as long as it lasts.
    ///
    /// # Errors
    /// [`Error::Redis`]; what was not given back is regained with time.
    pub async fn refund(self) -> Result<bool, Error> {
        let whole = |receipt: Receipt| {
            let spent = receipt.spent;
            (receipt, spent)
        };
        let receipts: Vec<_> = self.receipts.into_iter().map(whole).collect();
        if receipts.is_empty() {
            return Ok(true);
        }
        let _forgotten: Vec<_> = self.known.iter().map(Level::forgetting).collect();
        let inner = &*self.limiter.inner;
        refund(inner, &inner.redis, &receipts).await
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    pub(crate) fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }
}
