//! What opens a breaker.

use std::time::Duration;

use crate::Error;

/// A rule by which a breaker opens. It is asked when a call has failed (or was slow), never when one succeeded.
///
/// Counts and rates are of the breaker's [`window`](crate::BreakerBuilder::window); what is
/// [ignored](crate::Verdict::Ignored) is in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trip {
    /// So many failures without a success between them.
    Consecutive(u32),
    /// So many failures in the window.
    Failures(u32),
    /// At least this share of the calls in the window failed, and there were at least so many calls.
    FailureRate {
        /// Percent, 1 to 100.
        percent: u8,
        /// With fewer calls there is no rate.
        calls: u32,
    },
    /// At least this share of the calls in the window were slow, whatever became of them, and there were at least so
    /// many calls. With this rule a slow probe is a failed one, and a call that was given up is slow if it had
    /// taken that long.
    SlowRate {
        /// A call that takes this long is slow.
        over: Duration,
        /// Percent, 1 to 100.
        percent: u8,
        /// With fewer calls there is no rate.
        calls: u32,
    },
}

/// The rules of one breaker, at most one of each kind.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) consecutive: Option<u32>,
    pub(super) failures: Option<u32>,
    pub(super) failure_rate: Option<Rate>,
    pub(super) slow_rate: Option<(Duration, Rate)>,
}

/// Both are whole numbers, so that a rate is reached exactly where it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    percent: u8,
    calls: u32,
}

impl Default for Rules {
    fn default() -> Self {
        let rate = Rate { percent: 50, calls: 20 };
        Self { consecutive: Some(5), failure_rate: Some(rate), ..Self::none() }
    }
}

impl Rules {
    fn none() -> Self {
        Self { consecutive: None, failures: None, failure_rate: None, slow_rate: None }
    }

    pub(super) fn parse(trips: &[Trip]) -> Result<Self, Error> {
        let mut rules = Self::none();
        let bad = |trip: &Trip, allowed| Err(Error::config("trips", format!("{trip:?}"), allowed));
        for trip in trips {
            let (given_twice, possible) = match *trip {
                Trip::Consecutive(failures) => {
                    (rules.consecutive.replace(failures).is_some(), failures > 0)
                }
                Trip::Failures(failures) => {
                    (rules.failures.replace(failures).is_some(), failures > 0)
                }
                Trip::FailureRate { percent, calls } => {
                    let rate = Rate { percent, calls };
                    (rules.failure_rate.replace(rate).is_some(), rate.is_possible())
                }
                Trip::SlowRate { over, percent, calls } => {
                    let rate = Rate { percent, calls };
                    let possible = rate.is_possible() && !over.is_zero();
                    (rules.slow_rate.replace((over, rate)).is_some(), possible)
                }
            };
            if !possible {
                return bad(trip, "counts and times above zero, 1 to 100 percent");
            }
            if given_twice {
                return bad(trip, "one rule of a kind");
            }
        }
        if trips.is_empty() {
            return Err(Error::config("trips", "no rule", "at least one"));
        }
        Ok(rules)
    }

    /// Whether a success has anything to count in the window.
    pub(super) fn count_calls(&self) -> bool {
        self.failure_rate.is_some() || self.slow_rate.is_some()
    }

    /// Whether a failure has anything to count in the window.
    pub(super) fn count_failures(&self) -> bool {
        self.failures.is_some() || self.failure_rate.is_some()
    }
}

impl Rate {
    fn is_possible(self) -> bool {
        (1..=100).contains(&self.percent) && self.calls > 0
    }

    pub(super) fn is_reached(self, part: u32, calls: u32) -> bool {
        calls >= self.calls && u64::from(part) * 100 >= u64::from(calls) * u64::from(self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_reached_exactly_where_it_says() {
        let rate = Rate { percent: 10, calls: 30 };
        assert!(rate.is_reached(3, 30) && !rate.is_reached(3, 31));
        assert!(!rate.is_reached(29, 29), "too few calls for a rate");
        assert!(Rate { percent: 100, calls: 1 }.is_reached(u32::MAX, u32::MAX));
    }

    #[test]
    fn rules_that_can_not_be_are_refused() {
        let slow = |over, percent, calls| Trip::SlowRate { over, percent, calls };
        let ms = Duration::from_millis(1);
        for bad in [
            &[][..],
            &[Trip::Consecutive(0)],
            &[Trip::Failures(0)],
            &[Trip::FailureRate { percent: 0, calls: 1 }],
            &[Trip::FailureRate { percent: 101, calls: 1 }],
            &[Trip::FailureRate { percent: 1, calls: 0 }],
            &[slow(Duration::ZERO, 1, 1)],
            &[slow(ms, 0, 1)],
            &[Trip::Consecutive(5), Trip::Consecutive(6)],
            &[slow(ms, 1, 1), slow(ms, 2, 1)],
        ] {
            let error = Rules::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("trips: ") && error.contains("allowed"), "{error}");
        }
        assert!(Rules::parse(&[Trip::Consecutive(5), Trip::Failures(5), slow(ms, 100, 1)]).is_ok());
    }
}
