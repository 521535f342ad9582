//! How a limit is spent ahead.

use std::time::Duration;

use crate::error::Error;
use crate::rule::Rule;

#[doc = include_str!("leasing.md")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leasing {
    pub(crate) sync: Duration,
    pub(crate) subjects: usize,
}

/// [`sync`](Leasing::sync) 1 s, 10,000 [`subjects`](Leasing::subjects).
impl Default for Leasing {
    fn default() -> Self {
        Self { sync: Duration::from_secs(1), subjects: 10_000 }
    }
}

impl Leasing {
    /// With default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For how long a lease is to last, from 10 ms to a minute; it ends after twice of it. The longer, the fewer questions, and
    /// the more is held that others could spend. Default: 1 s.
    #[must_use]
    pub fn sync(mut self, sync: Duration) -> Self {
        self.sync = sync;
        self
    }

    /// For so many subjects at a time in this process, 1 to 1,000,000; others are asked of Redis. Default: 10,000.
    #[must_use]
    pub fn subjects(mut self, subjects: usize) -> Self {
        self.subjects = subjects;
        self
    }

    pub(crate) fn validate(&self, rule: &Rule, shadow: bool, blockable: bool) -> Result<(), Error> {
        let config = |field, problem, allowed| Err(Error::Config { field, problem, allowed });
        let (least, most) = (Duration::from_millis(10), Duration::from_secs(60));
        if self.sync < least || self.sync > most {
            return config("sync", format!("{:?}", self.sync), "10 ms to a minute");
        }
        if !(1..=1_000_000).contains(&self.subjects) {
            return config("subjects", self.subjects.to_string(), "1 to 1,000,000");
        }
        if !matches!(rule, Rule::Bucket { .. }) {
            return config("leased", format!("a {}", rule.name()), "buckets");
        }
        if shadow || blockable {
            let problem = if shadow { "in shadow mode" } else { "blockable" };
            return config(
                "leased",
                problem.to_owned(),
                "limits that are neither shadow nor blockable",
            );
        }
        Ok(())
    }
}
