//! How long to wait before the next attempt to connect, and when to stop.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use crate::Error;
use crate::builder::DAY;

type Rule = dyn Fn(u32, &Error) -> ControlFlow<String, Duration> + Send + Sync;

/// The delays between attempts to connect.
///
/// ```
/// # use std::time::Duration;
/// use russet_core_conn::Backoff;
///
/// let patient = Backoff::exponential(Duration::from_millis(50), Duration::from_secs(2));
/// let brief = patient.clone().max_attempts(10).jitter(0.5);
/// ```
///
/// Attempts are counted from 1. The count starts again only after the connection has stayed ready for
/// [`stable_after`](Self::stable_after), so a server that accepts and dies again and again is still met with growing
/// delays. A delay is a day at most.
#[derive(Clone)]
pub struct Backoff {
    shape: Shape,
    jitter: f64,
    max_attempts: Option<u32>,
    max_elapsed: Option<Duration>,
    stable_after: Duration,
}

#[derive(Clone)]
enum Shape {
    Constant(Duration),
    Linear { step: Duration, max: Duration },
    Exponential { first: Duration, max: Duration },
    Custom(Arc<Rule>),
}

impl Backoff {
    /// The same delay each time.
    pub fn constant(delay: Duration) -> Self {
        Self::of(Shape::Constant(delay))
    }

    /// `step × attempt`, at most `max`.
    pub fn linear(step: Duration, max: Duration) -> Self {
        Self::of(Shape::Linear { step, max })
    }

    /// `first`, then twice the one before, at most `max`.
    pub fn exponential(first: Duration, max: Duration) -> Self {
        Self::of(Shape::Exponential { first, max })
    }

    /// A rule of your own: from the attempt and the last error to a delay, or to the end with a reason. Jitter and
    /// the two maxima hold for it as well.
    pub fn custom(
        rule: impl Fn(u32, &Error) -> ControlFlow<String, Duration> + Send + Sync + 'static,
    ) -> Self {
        Self { jitter: 0.0, ..Self::of(Shape::Custom(Arc::new(rule))) }
    }

    fn of(shape: Shape) -> Self {
        Self {
            shape,
            jitter: 0.5,
            max_attempts: None,
            max_elapsed: None,
            stable_after: Duration::from_secs(5),
        }
    }

    /// The share of each delay that is left to chance, 0 to 1: the delay is drawn from `delay × (1 − share)` to
    /// `delay`. Default: 0.5 (0 for [`custom`](Self::custom)), so that a fleet does not come back as one.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Give up after this many attempts. Default: never.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Give up this long after the connection was lost. Default: never.
    #[must_use]
    pub fn max_elapsed(mut self, time: Duration) -> Self {
        self.max_elapsed = Some(time);
        self
    }

    /// How long a connection must have been ready before the count of attempts starts again. Default: 5 s.
    #[must_use]
    pub fn stable_after(mut self, time: Duration) -> Self {
        self.stable_after = time;
        self
    }

    /// How long to wait before this attempt (from 1), for whoever tries something else than to connect: drawn, with its
    /// jitter; `None` after the last one. A [`custom`](Self::custom) rule has none, since it asks for an error of this
    /// crate, and [`max_elapsed`](Self::max_elapsed) is not looked at.
    pub fn before(&self, attempt: u32) -> Option<Duration> {
        let over = self.max_attempts.is_some_and(|max| attempt > max);
        (!over && !matches!(self.shape, Shape::Custom(_))).then(|| self.endless_delay(attempt))
    }

    pub(crate) fn validate(&self, field: &'static str) -> Result<(), Error> {
        let allowed = "a delay above zero, a first delay no longer than the longest";
        let bad = match &self.shape {
            Shape::Constant(delay) => delay.is_zero(),
            Shape::Linear { step, max } => step.is_zero() || step > max,
            Shape::Exponential { first, max } => first.is_zero() || first > max,
            Shape::Custom(_) => false,
        };
        if bad {
            return Err(Error::config(field, format!("{self:?}"), allowed));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::config(field, format!("jitter {}", self.jitter), "0 to 1"));
        }
        if self.max_attempts == Some(0) {
            let allowed = "1 or more; leave it out for no maximum";
            return Err(Error::config(field, "max_attempts 0", allowed));
        }
        Ok(())
    }

    /// The same, for what never stops and has no error to ask a rule about.
    pub(crate) fn validate_endless(&self, field: &'static str) -> Result<(), Error> {
        let custom = matches!(self.shape, Shape::Custom(_));
        if custom || self.max_attempts.is_some() || self.max_elapsed.is_some() {
            let allowed = "constant, linear or exponential, without a maximum";
            return Err(Error::config(field, format!("{self:?}, which may end"), allowed));
        }
        self.validate(field)
    }

    pub(crate) fn is_stable(&self, ready_for: Duration) -> bool {
        ready_for >= self.stable_after
    }

    /// The delay before attempt `attempt` (from 1), `elapsed` after the loss, or why there is none.
    pub(crate) fn delay(
        &self,
        attempt: u32,
        elapsed: Duration,
        last: &Error,
    ) -> ControlFlow<String, Duration> {
        if self.max_attempts.is_some_and(|max| attempt > max) {
            return ControlFlow::Break(format!("the maximum of attempts; last error: {last}"));
        }
        if self.max_elapsed.is_some_and(|max| elapsed > max) {
            return ControlFlow::Break(format!("the maximum of time; last error: {last}"));
        }
        let delay = match &self.shape {
            Shape::Custom(rule) => match rule(attempt, last) {
                ControlFlow::Continue(delay) => self.by_chance(delay),
                ControlFlow::Break(reason) => {
                    return ControlFlow::Break(format!("{reason}; last error: {last}"));
                }
            },
            _ => self.endless_delay(attempt),
        };
        ControlFlow::Continue(delay)
    }

    /// The delay of what never stops; none for a rule of the user's own, which needs an error to judge.
    pub(crate) fn endless_delay(&self, attempt: u32) -> Duration {
        let delay = match &self.shape {
            Shape::Constant(delay) => *delay,
            Shape::Linear { step, max } => step.saturating_mul(attempt).min(*max),
            Shape::Exponential { first, max } => {
                first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(*max)
            }
            Shape::Custom(_) => Duration::ZERO,
        };
        self.by_chance(delay)
    }

    fn by_chance(&self, delay: Duration) -> Duration {
        let chance: f64 = rand::rng().random();
        delay.min(DAY).mul_f64(1.0 - self.jitter * chance)
    }
}

/// From 50 ms, doubling, at most 2 s, half of it chance, and no end: a client that gives up after ten attempts is
/// ended by a plain restart of its server. [`max_attempts`](Self::max_attempts) is there for programs that would
/// rather be restarted themselves.
impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(50), Duration::from_secs(2))
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::Constant(delay) => write!(f, "constant {delay:?}"),
            Shape::Linear { step, max } => write!(f, "linear {step:?} × n up to {max:?}"),
            Shape::Exponential { first, max } => {
                write!(f, "exponential from {first:?} up to {max:?}")
            }
            Shape::Custom(_) => write!(f, "custom"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn delays(backoff: &Backoff, attempts: u32) -> Vec<u64> {
        let last = Error::not_sent(ErrorKind::Closed);
        (1..=attempts)
            .map(|attempt| match backoff.delay(attempt, Duration::ZERO, &last) {
                ControlFlow::Continue(delay) => u64::try_from(delay.as_millis()).unwrap(),
                ControlFlow::Break(reason) => panic!("stopped: {reason}"),
            })
            .collect()
    }

    #[test]
    fn delays_grow_to_their_cap() {
        assert_eq!(delays(&Backoff::constant(ms(7)).jitter(0.0), 3), [7, 7, 7]);
        assert_eq!(delays(&Backoff::linear(ms(50), ms(120)).jitter(0.0), 4), [50, 100, 120, 120]);
        assert_eq!(
            delays(&Backoff::exponential(ms(50), ms(300)).jitter(0.0), 5),
            [50, 100, 200, 300, 300]
        );
        assert_eq!(delays(&Backoff::default().jitter(0.0), 60)[59], 2_000);
    }

    #[test]
    fn no_delay_is_longer_than_a_day() {
        let (ms, day) = (ms(1), 24 * 3_600_000);
        for endless in [
            Backoff::constant(Duration::from_secs(48 * 3_600)),
            Backoff::constant(Duration::MAX),
            Backoff::linear(Duration::MAX, Duration::MAX),
            Backoff::exponential(Duration::MAX, Duration::MAX),
            Backoff::custom(|_, _| ControlFlow::Continue(Duration::MAX)),
        ] {
            assert_eq!(delays(&endless.jitter(0.0), 2), [day, day]);
        }
        let grows = Backoff::exponential(ms, Duration::MAX).jitter(0.0);
        assert_eq!(delays(&grows, 100)[99], day);
    }

    #[test]
    fn jitter_only_shortens_and_by_no_more_than_its_share() {
        let drawn: Vec<_> =
            (0..200).map(|_| delays(&Backoff::constant(ms(100)).jitter(0.5), 1)[0]).collect();
        assert!(drawn.iter().all(|delay| (50..=100).contains(delay)), "{drawn:?}");
        assert!(drawn.iter().any(|delay| *delay < 75) && drawn.iter().any(|delay| *delay > 75));
    }

    #[test]
    fn it_ends_by_attempts_by_time_and_by_rule() {
        let last = Error::not_sent(ErrorKind::Closed);
        let three = Backoff::default().max_attempts(3);
        assert!(three.delay(3, Duration::ZERO, &last).is_continue());
        assert!(three.delay(4, Duration::ZERO, &last).is_break());
        assert!(Backoff::default().max_elapsed(ms(10)).delay(1, ms(11), &last).is_break());
        let rule = Backoff::custom(|attempt, error| match error.kind() {
            ErrorKind::Closed if attempt > 1 => ControlFlow::Break("no more".into()),
            _ => ControlFlow::Continue(Duration::from_millis(3)),
        });
        assert_eq!(delays(&rule, 1), [3]);
        let ControlFlow::Break(reason) = rule.delay(2, Duration::ZERO, &last) else {
            panic!("went on")
        };
        assert!(reason.starts_with("no more"), "{reason}");
    }

    #[test]
    fn others_may_ask_for_its_delays() {
        let three = Backoff::exponential(ms(50), ms(300)).jitter(0.0).max_attempts(3);
        let delays: Vec<_> = (1..=4).map(|attempt| three.before(attempt)).collect();
        assert_eq!(delays, [Some(ms(50)), Some(ms(100)), Some(ms(200)), None]);
        assert_eq!(Backoff::custom(|_, _| ControlFlow::Continue(ms(1))).before(1), None);
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for bad in [
            Backoff::constant(Duration::ZERO),
            Backoff::exponential(ms(2), ms(1)),
            Backoff::default().jitter(1.5),
            Backoff::default().max_attempts(0),
        ] {
            assert!(bad.validate("reconnect").is_err(), "{bad:?}");
        }
        assert!(Backoff::default().validate("reconnect").is_ok());
        assert!(Backoff::default().validate_endless("open_for").is_ok());
        for ends in [
            Backoff::default().max_attempts(3),
            Backoff::default().max_elapsed(ms(3)),
            Backoff::custom(|_, _| ControlFlow::Continue(Duration::ZERO)),
        ] {
            assert!(ends.validate("reconnect").is_ok(), "{ends:?}");
            assert!(ends.validate_endless("open_for").is_err(), "{ends:?}");
        }
    }
}
