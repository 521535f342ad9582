//! An endpoint, and what it depends on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use russet_core_conn::Segments;

use crate::decide::Outcome;
use crate::decision::{LevelDecision, Levels, Reason, Source};
use crate::error::Error;
use crate::level::Level;
use crate::metrics;
use crate::{Decision, FleetBreaker, Limit, Limiter, Quota, Rejected};

/// An endpoint: a limit for each user, one for all of them, and those of what it calls, in one decision. A denial names
/// the level: `<name>.user`, `<name>`, or the dependency's. Every level says what is spent.
///
/// While a [breaker](EndpointBuilder::behind) of what it calls is open, nobody is admitted, and nothing is asked of Redis.
#[derive(Clone)]
pub struct Endpoint {
    limiter: Limiter,
    user: Limit,
    all: Limit,
    dependencies: Vec<(Limit, u64)>,
    breakers: Vec<Refuses>,
}

/// Whether a breaker is open, whatever the errors of its calls are.
type Refuses = Arc<dyn Fn() -> Option<Rejected> + Send + Sync>;

impl Endpoint {
    /// Options, with 100 a minute for a user and 1,000 for all.
    ///
    /// # Errors
    /// Those of [`Limiter::limit`].
    pub fn builder(limiter: &Limiter, name: &str) -> Result<EndpointBuilder, Error> {
        let minute = Duration::from_secs(60);
        let (user, all) = (Quota::fixed(100, minute)?, Quota::fixed(1_000, minute)?);
        let (limiter, name) = (limiter.clone(), name.into());
        let (dependencies, breakers) = (Vec::new(), Vec::new());
        Ok(EndpointBuilder { limiter, name, user, all, dependencies, breakers })
    }

    /// Checks all levels, and spends a unit of each, or nothing.
    ///
    /// Where a breaker is open, the decision has one level, which is called as that. A breaker that opens afterwards, or
    /// that is half-open and has no permit left, refuses the call itself: what was spent for it stays spent.
    ///
    /// # Errors
    /// Those of [`Limiter::check`].
    pub async fn check(&self, user: impl Segments) -> Result<Decision, Error> {
        let refused = self.breakers.iter().filter_map(|refuses| refuses());
        // The one that does so longest; where nobody knows, that is longer than any other.
        let longest = |refused: &Rejected| refused.retry_after.unwrap_or(Duration::MAX);
        if let Some(refused) = refused.max_by_key(longest) {
            let outcome = Ok(Outcome { decision: open(refused), receipts: Vec::new() });
            metrics::decided(&outcome);
            return outcome.map(|outcome| outcome.decision);
        }
        let mut levels: Vec<Level> = vec![self.user.of(user), self.all.of(())];
        let dependencies = self.dependencies.iter();
        levels.extend(dependencies.map(|(limit, units)| limit.of(()).cost(*units)));
        self.limiter.check(&levels).await
    }
}

/// The decision of a breaker.
fn open(Rejected { breaker, retry_after, .. }: Rejected) -> Decision {
    let reset_after = retry_after.unwrap_or_default();
    let (limit, used, remaining) = (0, 0, 0);
    let level = LevelDecision {
        name: breaker.clone(),
        limit,
        used,
        remaining,
        retry_after,
        reset_after,
        denies: true,
        shadow: false,
    };
    Decision {
        policy: breaker,
        limit,
        remaining,
        granted: 0,
        retry_after,
        reset_after,
        delay: Duration::ZERO,
        levels: Levels(smallvec::smallvec![level]),
        source: Source::Breaker,
        shadow: false,
        limiting: Some(0),
        reason: Reason::Open,
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Endpoint");
        debug.field("user", &self.user).field("all", &self.all);
        debug.field("dependencies", &self.dependencies).finish_non_exhaustive()
    }
}

/// Options for an endpoint: from [`Endpoint::builder`].
#[must_use]
pub struct EndpointBuilder {
    limiter: Limiter,
    name: Box<str>,
    user: Quota,
    all: Quota,
    dependencies: Vec<(Limit, u64)>,
    breakers: Vec<Refuses>,
}

impl EndpointBuilder {
    /// What each user may spend.
    pub fn user(mut self, quota: Quota) -> Self {
        self.user = quota;
        self
    }

    /// What all of them may spend.
    pub fn all(mut self, quota: Quota) -> Self {
        self.all = quota;
        self
    }

    /// Calls something with a limit of its own ([`Quota::default`], 100 a minute, is a start), which other endpoints may
    /// share, so many times for each request; named twice, as often as both together.
    pub fn depends_on(mut self, dependency: &Limit, calls: u64) -> Self {
        let mut known = self.dependencies.iter_mut();
        match known.find(|(limit, _)| limit.name() == dependency.name()) {
            Some((_, all)) => *all = all.saturating_add(calls),
            None => self.dependencies.push((dependency.clone(), calls)),
        }
        self
    }

    /// Calls something through this breaker: while it is open, as far as this node knows, nobody is admitted.
    pub fn behind<E: 'static>(mut self, breaker: &FleetBreaker<E>) -> Self {
        let breaker = breaker.clone();
        self.breakers.push(Arc::new(move || breaker.refuses()));
        self
    }

    /// Makes the limits. Nothing is sent.
    ///
    /// # Errors
    /// Those of [`Limiter::limit`].
    pub fn build(self) -> Result<Endpoint, Error> {
        let Self { limiter, name, user, all, dependencies, breakers } = self;
        Ok(Endpoint {
            user: limiter.limit(&format!("{name}.user"), user)?,
            all: limiter.limit(&name, all)?,
            dependencies,
            breakers,
            limiter,
        })
    }
}

impl fmt::Debug for EndpointBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("EndpointBuilder");
        debug.field("name", &self.name).field("user", &self.user).field("all", &self.all);
        debug.field("dependencies", &self.dependencies).finish_non_exhaustive()
    }
}
