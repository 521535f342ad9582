//! An endpoint, and what it depends on.

use std::time::Duration;

use russet_core_conn::Segments;

use crate::error::Error;
use crate::level::Level;
use crate::{Decision, Limit, Limiter, Quota};

/// An endpoint: a limit for each user, one for all of them, and those of what it calls, in one decision. A denial names
/// the level: `<name>.user`, `<name>`, or the dependency's. Every level says what is spent.
#[derive(Debug, Clone)]
pub struct Endpoint {
    limiter: Limiter,
    user: Limit,
    all: Limit,
    dependencies: Vec<(Limit, u64)>,
}

impl Endpoint {
    /// Options, with 100 a minute for a user and 1,000 for all.
    ///
    /// # Errors
    /// Those of [`Limiter::limit`].
    pub fn builder(limiter: &Limiter, name: &str) -> Result<EndpointBuilder, Error> {
        let minute = Duration::from_secs(60);
        let (user, all) = (Quota::fixed(100, minute)?, Quota::fixed(1_000, minute)?);
        let dependencies = Vec::new();
        Ok(EndpointBuilder { limiter: limiter.clone(), name: name.into(), user, all, dependencies })
    }

    /// Checks all levels, and spends a unit of each, or nothing.
    ///
    /// # Errors
    /// Those of [`Limiter::check`].
    pub async fn check(&self, user: impl Segments) -> Result<Decision, Error> {
        let mut levels: Vec<Level> = vec![self.user.of(user), self.all.of(())];
        let dependencies = self.dependencies.iter();
        levels.extend(dependencies.map(|(limit, units)| limit.of(()).cost(*units)));
        self.limiter.check(&levels).await
    }
}

/// Options for an endpoint: from [`Endpoint::builder`].
#[derive(Debug)]
#[must_use]
pub struct EndpointBuilder {
    limiter: Limiter,
    name: Box<str>,
    user: Quota,
    all: Quota,
    dependencies: Vec<(Limit, u64)>,
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

    /// Calls something with a limit of its own (100 a minute is a start), which other endpoints may share, so many times
    /// for each request.
    pub fn depends_on(mut self, dependency: &Limit, calls: u64) -> Self {
        self.dependencies.push((dependency.clone(), calls));
        self
    }

    /// Makes the limits. Nothing is sent.
    ///
    /// # Errors
    /// Those of [`Limiter::limit`].
    pub fn build(self) -> Result<Endpoint, Error> {
        let Self { limiter, name, user, all, dependencies } = self;
        Ok(Endpoint {
            user: limiter.limit(&format!("{name}.user"), user)?,
            all: limiter.limit(&name, all)?,
            dependencies,
            limiter,
        })
    }
}
