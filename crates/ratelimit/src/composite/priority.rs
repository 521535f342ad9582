//! Classes of which the lowest is shed first.

use std::time::Duration;

use russet_core_conn::Segments;

use crate::error::Error;
use crate::level::{Higher, Level};
use crate::{Decision, Limit, Limiter, Quota};

/// Priority classes: each has a limit of its own, in the same windows, and is shed before its limit where a higher one needs
/// the room: the lowest first, and the more of it the more the higher one has spent. Such a denial has the
/// [reason](crate::Decision::reason) [`Shed`](crate::Reason::Shed).
#[derive(Debug, Clone)]
pub struct Priority {
    limiter: Limiter,
    /// The highest first.
    classes: Vec<(Box<str>, Limit)>,
    steps: Vec<(u64, u64)>,
}

/// Above how much of its own limit a class is shed, where more than how much of a higher one's is spent; in percent.
const STEPS: [(u64, u64); 3] = [(80, 50), (50, 75), (20, 90)];

impl Priority {
    /// `high` with 1,000 a minute, `medium` with 100 and `low` with 10. Low is shed above 80% of its limit where more than
    /// half of another's is spent, above 50% where more than 75% is, and above 20% where more than 90% is; medium above 80%
    /// where more than 75% of high is spent, and above 50% where more than 90% is.
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
        PriorityBuilder { limiter, name, per, classes: Vec::new(), steps: Vec::new() }
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
        // A class begins to be shed a step later than the one below it, and as gently.
        let later = self.classes.len() - 1 - at;
        let steps = self.steps.iter().zip(self.steps.iter().skip(later));
        for ((own, _), (_, others)) in steps {
            level.higher.extend(self.classes[..at].iter().map(|(_, higher)| Higher {
                of: higher.clone(),
                above: higher.quota().limit() * others / 100,
                limit: limit.quota().limit() * own / 100,
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
    steps: Vec<(u64, u64)>,
}

impl PriorityBuilder {
    /// Adds a class with a limit of its own; the highest comes first.
    pub fn class(mut self, class: &str, limit: u64) -> Self {
        self.classes.push((class.into(), limit));
        self
    }

    /// Adds a step, up to 4: the lowest class is shed above `own` percent of its limit where more than `others` percent of a
    /// higher class's is spent; the one above it from the next step on, and so forth. The first call takes the place of
    /// the defaults: 80 and 50, 50 and 75, 20 and 90.
    pub fn shed(mut self, own: u64, others: u64) -> Self {
        self.steps.push((own, others));
        self
    }

    /// Validates, and makes the classes. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Config`] without 1 to 8 classes of different names, for shares above 100 percent or steps of which a later
    /// one is not stricter under more load, for what [`Quota::fixed`] refuses.
    pub fn build(self) -> Result<Priority, Error> {
        let Self { limiter, name, per, classes: given, mut steps } = self;
        if steps.is_empty() {
            steps = STEPS.to_vec();
        }
        let twice = |at: usize| given[..at].iter().any(|(name, _)| *name == given[at].0);
        if given.is_empty() || given.len() > 8 || (0..given.len()).any(twice) {
            let problem = format!("{} classes", given.len());
            let allowed = "1 to 8 of different names";
            return Err(Error::Config { field: "class", problem, allowed });
        }
        let share = |(own, others): &(u64, u64)| *own <= 100 && *others <= 100;
        let grows = |pair: &[(u64, u64)]| pair[1].0 < pair[0].0 && pair[1].1 > pair[0].1;
        if steps.len() > 4 || !steps.iter().all(share) || !steps.windows(2).all(grows) {
            let problem = format!("{steps:?}");
            let allowed =
                "1 to 4 steps up to 100 percent, each with less of its own under more load";
            return Err(Error::Config { field: "shed", problem, allowed });
        }
        let mut classes = Vec::new();
        for (class, limit) in given {
            let limit = limiter.limit(&format!("{name}.{class}"), Quota::fixed(limit, per)?)?;
            classes.push((class, limit));
        }
        Ok(Priority { limiter, classes, steps })
    }
}
