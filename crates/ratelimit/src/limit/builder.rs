//! Options, validated by `build()`.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{Inner, Limit};
use crate::denials::Denials;
use crate::error::Error;
use crate::keys::Keys;
use crate::leases::Leases;
use crate::lists::Lists;
#[cfg(doc)]
use crate::{Decision, Source};
use crate::{Leasing, Limiter, Outage, Quota};

/// Options for a limit: from [`Limiter::builder`].
#[derive(Debug)]
#[must_use]
pub struct LimitBuilder {
    limiter: Limiter,
    name: Box<str>,
    quota: Quota,
    shadow: bool,
    blockable: bool,
    outage: Option<Outage>,
    denials: Option<Duration>,
    leasing: Option<Leasing>,
}

impl LimitBuilder {
    pub(crate) fn new(limiter: &Limiter, name: &str, quota: Quota) -> Self {
        let (limiter, name) = (limiter.clone(), name.into());
        let (outage, denials, leasing) = (None, None, None);
        Self { limiter, name, quota, shadow: false, blockable: false, outage, denials, leasing }
    }

    /// Shadow mode: it stops nobody, and spends only what fits, so that its figures are those that it would have.
    /// [`Decision::shadow`] says where it would have denied. Default: not.
    pub fn shadow(mut self, shadow: bool) -> Self {
        self.shadow = shadow;
        self
    }

    /// Subjects can be [blocked](Limit::block) for a while. Default: not, because each decision looks for a block then,
    /// which costs the server about a tenth more.
    pub fn blockable(mut self) -> Self {
        self.blockable = true;
        self
    }

    /// What a decision is while Redis does not answer. Default: what the [limiter](crate::LimiterBuilder::on_outage) says.
    pub fn on_outage(mut self, outage: Outage) -> Self {
        self.outage = Some(outage);
        self
    }

    /// Denials are answered from this process's memory until their [`retry_after`](crate::Decision::retry_after), at most
    /// for so long: Redis is not asked again by who can't be admitted. [`Source::DenyCache`]. Default: they are not, since
    /// what another process gives back is then found later: its `reset`, `refund`, `top_up`, `unblock`, a change of its
    /// quota let nobody through here before this time is over. Of this process they do at once.
    ///
    /// It denies the same only: the same subject, cost and [rest](crate::Level::leaving); and never for longer than Redis
    /// would have. Of a decision over several levels, the one that denies longest is kept, and denies every decision that it
    /// is part of; `retry_after` is then that of the levels that are known to deny, and the others show nothing spent, as
    /// nobody asks for them. What was shed for a higher class is not kept. 65,536 subjects at most, of those that there is no
    /// room for Redis is asked.
    pub fn cache_denials(mut self, longest: Duration) -> Self {
        self.denials = Some(longest);
        self
    }

    /// `check` and `check_n` spend what this process has taken from Redis ahead. For few subjects that are asked for all the
    /// time. [`Leasing`] has what that promises. Default: they do not.
    pub fn leased(mut self, leasing: Leasing) -> Self {
        self.leasing = Some(leasing);
        self
    }

    /// Validates, and makes the limit. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Config`] for a name of none or more than 64 bytes.
    pub fn build(self) -> Result<Limit, Error> {
        if self.name.is_empty() || self.name.len() > 64 {
            let problem = format!("{:?}", self.name);
            return Err(Error::Config { field: "name", problem, allowed: "1 to 64 bytes" });
        }
        if self.denials.is_some_and(|longest| longest.is_zero()) {
            let (problem, allowed) = ("0 s".to_owned(), "more than nothing");
            return Err(Error::Config { field: "cache_denials", problem, allowed });
        }
        if let Some(leasing) = &self.leasing {
            leasing.validate(&self.quota.0, self.shadow, self.blockable)?;
        }
        let inner = Arc::new(Inner {
            keys: Keys::new(&self.limiter.inner.space, &self.name),
            limiter: self.limiter,
            name: self.name.into(),
            quota: ArcSwap::from_pointee(self.quota),
            lists: Lists::default(),
            shadow: self.shadow,
            blockable: self.blockable,
            outage: self.outage,
            denials: self.denials.map(Denials::new),
            leases: self.leasing.map(Leases::new),
        });
        let limiter = &*inner.limiter.inner;
        if inner.leases.is_some() {
            limiter.keeper.leases(&inner);
        }
        let outage = self.outage.unwrap_or(limiter.outage);
        if !limiter.fleet.fixed && (outage == Outage::Local || inner.leases.is_some()) {
            limiter.keeper.needed();
        }
        Ok(Limit { inner })
    }
}
