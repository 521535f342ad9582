//! A limit for one subject, and at which cost.

use russet_core_conn::Canonical;
use smallvec::SmallVec;

use crate::Limit;

/// A limit for one subject, as a part of a decision: from [`Limit::of`].
#[derive(Debug, Clone)]
pub struct Level {
    pub(crate) limit: Limit,
    pub(crate) subject: Canonical,
    pub(crate) cost: u64,
    pub(crate) left: u64,
    /// Windows of higher classes that may press on this one.
    pub(crate) higher: SmallVec<[Higher; 2]>,
}

/// The window of a higher class: where more than `above` is spent in it, this level has the limit `limit`.
#[derive(Debug, Clone)]
pub(crate) struct Higher {
    pub(crate) of: Limit,
    pub(crate) above: u64,
    pub(crate) limit: u64,
}

impl Level {
    pub(crate) fn new(limit: Limit, subject: Canonical) -> Self {
        Self { limit, subject, cost: 1, left: 0, higher: SmallVec::new() }
    }

    /// What is spent on it, in its own units. Default: 1.
    #[must_use]
    pub fn cost(mut self, units: u64) -> Self {
        self.cost = units;
        self
    }

    /// So many units of the limit are left to others, of a higher priority: this one is denied where spending would leave
    /// fewer. Default: none.
    #[must_use]
    pub fn leaving(mut self, units: u64) -> Self {
        self.left = units;
        self
    }

    /// Has this process forget what the subject was denied, when that is dropped: also where it is given up.
    pub(crate) fn forgetting(&self) -> Forgets {
        Forgets(self.limit.clone(), self.subject.clone())
    }
}

/// Something may be given back to the subject.
#[must_use]
pub(crate) struct Forgets(Limit, Canonical);

impl Drop for Forgets {
    fn drop(&mut self) {
        self.0.inner.forget(&self.1);
    }
}
