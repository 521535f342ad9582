//! What a handler knows of its request's limits.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::decide::decide;
use crate::error::Error;
use crate::scripts::Mode;
use crate::{Decision, Level, Limiter};

/// What was decided of a request. A [`RateLimitLayer`](super::RateLimitLayer) puts it into the extensions of the request
/// that it admits, and of the response, also where it does not; with the feature `axum` it is an extractor. Of several
/// layers, a handler has that of the innermost. Cheap to clone.
#[derive(Clone)]
pub struct Limited(Arc<Inner>);

struct Inner {
    limiter: Limiter,
    levels: Vec<Level>,
    decision: ArcSwap<Decision>,
}

impl Limited {
    pub(super) fn new(limiter: Limiter, levels: Vec<Level>, decision: Decision) -> Self {
        Self(Arc::new(Inner { limiter, levels, decision: ArcSwap::from_pointee(decision) }))
    }

    /// How the request's limits stand: what was decided, or what the last [charge](Self::charge) has left.
    pub fn decision(&self) -> Arc<Decision> {
        self.0.decision.load_full()
    }

    /// Spends more, so many units on each level of the request, whether they fit or not: into debt, until twice a limit
    /// is spent. For what a handler knows only when it has done the work, as rows or tokens. The fields of the response
    /// tell what is left then. One round trip, or as many as [`Limiter::check`].
    ///
    /// # Errors
    /// [`Error::Redis`] also where the request itself was decided of without Redis; [`Error::Unsatisfiable`] of no units; those of [`Limiter::check`].
    pub async fn charge(&self, units: u64) -> Result<Arc<Decision>, Error> {
        let Inner { limiter, levels, decision } = &*self.0;
        let levels: Vec<_> = levels.iter().cloned().map(|level| level.cost(units)).collect();
        let charged = Arc::new(decide(limiter, &levels, Mode::Force, true).await?.decision);
        decision.store(charged.clone());
        Ok(charged)
    }

    pub(super) fn levels(&self) -> &[Level] {
        &self.0.levels
    }
}

impl fmt::Debug for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limited").field(&self.0.decision.load()).finish()
    }
}
