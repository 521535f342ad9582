//! Classes of which the lowest is shed first.

use std::time::Duration;

use russet_core_conn::Segments;

use crate::error::Error;
use crate::level::{Higher, Level};
use crate::{Decision, Limit, Limiter, Quota};

/// Priority classes: each has a limit of its own, in the same windows, and the lowest one is shed before its limit where
/// a higher one needs the room. Such a denial has the [reason](crate::Decision::reason)
/// [`Shed`](crate::Reason::Shed).
#[derive(Debug, Clone)]
pub struct Priority {
    limiter: Limiter,
    /// The highest first.
    classes: Vec<(Box<str>, Limit)>,
    own: u64,
    others: u64,
}

impl Priority {
    /// `high` with 1,000 a minute, `medium` with 100 and `low` with 10; low is shed above 80% of its limit where more than
    /// half of another's is spent.
    ///
    /// # Errors
    /// Those of [`PriorityBuilder::build`].
    pub fn standard(limiter: &Limiter, name: &str) -> Result<Self, Error> {
        let builder = Self::builder(limiter, name, Duration::from_secs(60));
        builder.class("high", 1_000).class("medium", 100).class("low", 10).build()
    }

    /// Options; the windows are aligned, and this long.
    pub fn builder(limiter: &Limiter, name: &str, per: Duration) -> PriorityBuilder {
        let (limiter, name) = (limiter.clone(), name.into());
        PriorityBuilder { limiter, name, per, classes: Vec::new(), own: 80, others: 50 }
    }

    /// Spends a unit of this class. One round trip: all classes of a subject share a slot.
    ///
    /// # Errors
    /// [`Error::UnknownClass`], and those of [`Limiter::check`].
    pub async fn check(&self, class: &str, subject: impl Segments) -> Result<Decision, Error> {
        self.limiter.check(&[self.level(class, subject)?]).await
    }

    /// This class for one subject, for decisions over several levels.
    ///
    /// # Errors
    /// [`Error::UnknownClass`].
    pub fn level(&self, class: &str, subject: impl Segments) -> Result<Level, Error> {
        let Some(at) = self.classes.iter().position(|(name, _)| **name == *class) else {
            let known = self.classes.iter().map(|(name, _)| name.to_string()).collect();
            return Err(Error::UnknownClass { class: class.to_owned(), known });
        };
        let limit = &self.classes[at].1;
        let mut level = limit.of(subject);
        if at + 1 == self.classes.len() {
            let reduced = limit.quota().limit() * self.own / 100;
            level.higher.extend(self.classes[..at].iter().map(|(_, higher)| Higher {
                of: higher.clone(),
                above: higher.quota().limit() * self.others / 100,
                limit: reduced,
            }));
        }
        Ok(level)
    }
}

/// Options for priority classes: from [`Priority::builder`].
#[derive(Debug)]
#[must_use]
pub struct PriorityBuilder {
    limiter: Limiter,
    name: Box<str>,
    per: Duration,
    classes: Vec<(Box<str>, u64)>,
    own: u64,
    others: u64,
}

impl PriorityBuilder {
    /// Adds a class with a limit of its own; the highest comes first.
    pub fn class(mut self, class: &str, limit: u64) -> Self {
        self.classes.push((class.into(), limit));
        self
    }

    /// The lowest class is shed above `own` percent of its limit where more than `others` percent of a higher class's is
    /// spent. Default: 80 and 50.
    pub fn shed(mut self, own: u64, others: u64) -> Self {
        (self.own, self.others) = (own, others);
        self
    }

    /// Validates, and makes the classes. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Config`] without 1 to 8 classes of different names, for shares above 100 percent, for what
    /// [`Quota::fixed`] refuses.
    pub fn build(self) -> Result<Priority, Error> {
        let Self { limiter, name, per, classes: given, own, others } = self;
        let twice = |at: usize| given[..at].iter().any(|(name, _)| *name == given[at].0);
        if given.is_empty() || given.len() > 8 || (0..given.len()).any(twice) {
            let problem = format!("{} classes", given.len());
            let allowed = "1 to 8 of different names";
            return Err(Error::Config { field: "class", problem, allowed });
        }
        if own > 100 || others > 100 {
            let problem = format!("{own} and {others}");
            return Err(Error::Config { field: "shed", problem, allowed: "up to 100 percent" });
        }
        let mut classes = Vec::new();
        for (class, limit) in given {
            let limit = limiter.limit(&format!("{name}.{class}"), Quota::fixed(limit, per)?)?;
            classes.push((class, limit));
        }
        Ok(Priority { limiter, classes, own, others })
    }
}
