//! Tenants that share a limit, and have one each.

use std::collections::HashMap;
use std::sync::RwLock;

use crate::error::Error;
use crate::{Decision, Limit, Limiter, Quota};

/// Tenants: a limit for each, of its own plan, and one for all of them together, so that no sum of plans is more than
/// there is.
#[derive(Debug)]
pub struct Tenants {
    limiter: Limiter,
    name: Box<str>,
    all: Limit,
    each: Limit,
    plans: RwLock<HashMap<Box<str>, Limit>>,
}

impl Tenants {
    /// `<name>.all` for all of them, and `<name>.tenant` for each without a plan of its own.
    ///
    /// # Errors
    /// Those of [`Limiter::limit`].
    pub fn new(limiter: &Limiter, name: &str, all: Quota, each: Quota) -> Result<Self, Error> {
        Ok(Self {
            all: limiter.limit(&format!("{name}.all"), all)?,
            each: limiter.limit(&format!("{name}.tenant"), each)?,
            limiter: limiter.clone(),
            name: name.into(),
            plans: RwLock::default(),
        })
    }

    /// Gives a tenant a plan of its own, from this process's next decision on; see
    /// [`Limit::change`] for what it has spent.
    ///
    /// # Errors
    /// Those of [`Limiter::limit`].
    pub fn plan(&self, tenant: &str, quota: Quota) -> Result<(), Error> {
        let limit = self.limiter.limit(&format!("{}.tenant", self.name), quota)?;
        let mut plans = self.plans.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        plans.insert(tenant.into(), limit);
        Ok(())
    }

    /// Spends so many units on the tenant's limit and on that of all, or nothing.
    ///
    /// # Errors
    /// Those of [`Limiter::check`].
    pub async fn check_n(&self, tenant: &str, units: u64) -> Result<Decision, Error> {
        let own = self.of(tenant);
        self.limiter.check(&[own.of(tenant).cost(units), self.all.of(()).cost(units)]).await
    }

    /// Spends one.
    ///
    /// # Errors
    /// As there.
    pub async fn check(&self, tenant: &str) -> Result<Decision, Error> {
        self.check_n(tenant, 1).await
    }

    fn of(&self, tenant: &str) -> Limit {
        let plans = self.plans.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        plans.get(tenant).unwrap_or(&self.each).clone()
    }
}
