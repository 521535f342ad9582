//! How long entries live, and what is done at which point of their lives.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rand::RngExt;

use crate::adaptive::AdaptiveTtl;
use crate::load::Load;
use crate::scripts::{Due, Times};

/// What the server can add to its time, and more than anything is cached for.
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// When a lookup that finds a fresh value has it refreshed in the background, so that nobody has to wait for it later.
/// There is no timer: what nobody asks for is not refreshed. One lookup of all processes does it.
///
/// ```
/// use russet_cache::RefreshAhead;
///
/// let at_four_fifths = RefreshAhead::default();
/// let by_chance = RefreshAhead::xfetch(1.0);
/// # let _ = (at_four_fifths, by_chance);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefreshAhead(Rule);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    At(f64),
    XFetch(f64),
}

/// At 0.8 of the time to live.
impl Default for RefreshAhead {
    fn default() -> Self {
        Self::at(0.8)
    }
}

impl RefreshAhead {
    /// Once this share of its time to live has passed, above 0 and below 1.
    #[must_use]
    pub fn at(share: f64) -> Self {
        Self(Rule::At(share))
    }

    /// By chance, the more likely the less time is left and the longer its load took: where
    /// `took × beta × −ln(random)` is not less than what is left. `beta` above 0; 1 is the optimum for loads that take
    /// the same time each, and more refreshes earlier (Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic
    /// Cache Stampede Prevention", VLDB 2015).
    #[must_use]
    pub fn xfetch(beta: f64) -> Self {
        Self(Rule::XFetch(beta))
    }

    pub(crate) fn problem(self) -> Option<String> {
        match self.0 {
            Rule::At(share) if share > 0.0 && share < 1.0 => None,
            Rule::XFetch(beta) if beta > 0.0 && beta.is_finite() => None,
            Rule::At(share) => Some(format!("at {share}")),
            Rule::XFetch(beta) => Some(format!("beta {beta}")),
        }
    }

    /// How long a process keeps what is fresh for so much longer: where it is told when it is to be refreshed, no longer
    /// than until then.
    pub(crate) fn kept(self, times: Times) -> Duration {
        match self.0 {
            Rule::At(share) => times.left.saturating_sub(times.ttl.mul_f64(1.0 - share)),
            Rule::XFetch(_) => times.left,
        }
    }

    /// Drawn for one lookup that a process could answer itself, so long before the end of what took so long to load.
    pub(crate) fn is_drawn(self, left: Duration, took: Duration) -> bool {
        match self.0 {
            // It is not kept for longer.
            Rule::At(_) => false,
            Rule::XFetch(_) => {
                let roll = u128::from(self.drawn().roll);
                left.as_nanos() * 1_000 <= took.as_nanos() * roll
            }
        }
    }

    /// For one lookup.
    fn drawn(self) -> Due {
        let thousandths = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "neither negative nor large"
            )]
            let whole = (share * 1_000.0).ceil() as u64;
            whole
        };
        match self.0 {
            Rule::At(share) => Due { ahead: thousandths(1.0 - share), roll: 0 },
            Rule::XFetch(beta) => {
                // Above zero, so that its logarithm is finite.
                let chance: f64 = 1.0 - rand::rng().random::<f64>();
                Due { ahead: 0, roll: thousandths((beta * -chance.ln()).min(1e9)) }
            }
        }
    }
}

/// The options of a lookup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) ttl: Duration,
    pub(crate) absent_ttl: Duration,
    pub(crate) jitter: f64,
    /// How long a value may be used after its time.
    pub(crate) grace: Duration,
    /// For how long nobody tries again after a load has failed and there was a stale value.
    pub(crate) backoff: Duration,
    /// How long a lookup that has a stale value waits for a better one.
    pub(crate) soft: Duration,
    /// How long a lookup waits at all.
    pub(crate) hard: Option<Duration>,
    pub(crate) ahead: Option<RefreshAhead>,
    pub(crate) lease: Duration,
    /// By how often a key is asked for, in the place of `ttl`.
    pub(crate) adaptive: Option<AdaptiveTtl>,
    /// Whether `ttl` is this handle's own.
    pub(crate) own_ttl: bool,
    /// Whether lookups are counted: not where nobody asked for them.
    pub(crate) counts: bool,
}

/// A time to live that was chosen while the cache is in use.
#[derive(Debug, Default)]
pub(crate) struct Chosen(AtomicU64);

impl Chosen {
    pub(crate) fn set(&self, ttl: Duration) {
        self.0.store(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        Some(self.0.load(Relaxed)).filter(|millis| *millis > 0).map(Duration::from_millis)
    }
}

/// Before who waits for another looks again, if nobody has told: drawn from half of it to all.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Policy {
    /// Whether entries keep their own times.
    pub(crate) fn is_timed(&self) -> bool {
        !self.grace.is_zero() || self.ahead.is_some()
    }

    pub(crate) fn due(&self) -> Due {
        self.ahead.map_or_else(Due::default, RefreshAhead::drawn)
    }

    /// How long to wait for others: a leader that dies is followed by another, who gets a whole lease.
    pub(crate) fn patience(&self) -> Duration {
        self.lease * 2 + LOOK_AGAIN
    }

    /// Before the next look at what somebody has the lease for so long on.
    pub(crate) fn step(left: Duration) -> Duration {
        let share: f64 = rand::rng().random_range(0.5..=1.0);
        LOOK_AGAIN.mul_f64(share).min(left + Duration::from_millis(1))
    }

    /// A load's time to live, its own if it has one, in whole milliseconds, from one to ten years.
    pub(crate) fn ttl_of<V>(&self, load: &Load<V>, ttl: Option<Duration>) -> Duration {
        let ttl = ttl.unwrap_or(if load.value.is_some() { self.ttl } else { self.absent_ttl });
        let chance: f64 = rand::rng().random();
        let ttl = ttl.min(LONGEST_TTL).mul_f64(1.0 - self.jitter * chance);
        Duration::from_millis(u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
            .max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_until_a_part_of_its_own_time_has_passed() {
        let [ttl, none] = [1_000, 0].map(Duration::from_secs);
        let kept = |ahead: RefreshAhead, left: u64, ttl: Duration| {
            ahead.kept(Times { left: Duration::from_secs(left), ttl, took: none }).as_secs()
        };
        let at = RefreshAhead::at(0.75);
        assert_eq!(kept(at, 1_000, ttl), 750);
        assert_eq!(kept(at, 300, ttl), 50);
        assert_eq!(kept(at, 200, ttl), 0, "it is due");
        assert_eq!(kept(at, 200, none), 200, "it is never refreshed");
        assert_eq!(kept(RefreshAhead::xfetch(1.0), 200, ttl), 200);
    }
}
