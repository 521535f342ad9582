//! How much is allowed, and by which algorithm.

use std::time::Duration;

use crate::error::Error;
use crate::rule::Rule;
use crate::ticks::{LONGEST, ticks};

/// How much a subject may spend, and by which algorithm that is counted: parsed, so that what is here can be kept.
///
/// | made by | counts by | admits, of `limit` in any `per` | asks of Redis |
/// |---|---|---|---|
/// | [`gcra`](Self::gcra), [`meter`](Self::meter) | the time at which all would be there again | `burst + limit` | the least |
/// | [`interval`](Self::interval) | units, refilled so many at a time | `capacity + refill` | |
/// | [`fixed`](Self::fixed) | units in a window | `2 × limit`, across a border | |
/// | [`counter`](Self::counter) | two windows, the last one weighted | up to `2 × limit`, if somebody tries to | |
/// | [`strict`](Self::strict) | parts of a window | `limit`, never more; a little less than it might | up to 300 bytes |
/// | [`log`](Self::log) | each unit | `limit`, exactly | 100 bytes a unit |
/// | [`queue`](Self::queue) | the same as `gcra`, but tells when to begin | `limit + 1` begin | the least |
/// | [`permits`](Self::permits) | who holds one | `limit` at a time | 100 bytes a permit |
///
/// Limits are 1 to 2,147,483,647, times 1 ms to 366 days. A rate is kept as the time that each unit takes, in
/// ticks of 125 ns, rounded up: it is never higher than asked for, and lower by less than one part in so many ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(pub(crate) Rule);

/// The highest limit: twice as much, which a debt may be, still fits into 32 bits.
const HIGHEST: u64 = i32::MAX as u64;

const SECOND: Duration = Duration::from_secs(1);

impl Quota {
    /// A bucket of 100, refilled by 10 a second: enough for a person, and not for a loop.
    ///
    /// # Errors
    /// None; it is what it is.
    pub fn bucket() -> Self {
        Self::gcra(10, SECOND, 100).unwrap_or(Self(Rule::Bucket { capacity: 100, each: 800_000 }))
    }

    /// A token bucket that holds up to `burst`, and regains `limit` in each `per`, one by one and evenly (GCRA, the
    /// generic cell rate algorithm of ATM): what [`interval`](Self::interval) does by steps. One time is kept.
    ///
    /// For no more than `limit` in any `per`, ask for a `burst` of `b` and a `limit` of `limit - b`.
    ///
    /// # Errors
    /// [`Error::Config`], naming what is out of range; also for more than one unit a tick (8,000,000 a second).
    pub fn gcra(limit: u64, per: Duration, burst: u64) -> Result<Self, Error> {
        let each = each(limit, per)?;
        amount("burst", burst)?;
        span(burst, each)?;
        Ok(Self(Rule::Bucket { capacity: burst, each }))
    }

    /// A leaky bucket as a meter: holds up to `capacity`, of which `limit` leak out in each `per`; what does not fit is
    /// denied. That is [`gcra`](Self::gcra), seen from the other side.
    ///
    /// # Errors
    /// As there.
    pub fn meter(capacity: u64, limit: u64, per: Duration) -> Result<Self, Error> {
        Self::gcra(limit, per, capacity)
    }

    /// A leaky bucket as a queue: each unit has its turn, one after the other and `limit` in each `per`, and a decision
    /// says how long it has to wait for it ([`delay`](crate::Decision::delay)). Denied where `capacity` are waiting,
    /// or the wait would be longer than `longest`.
    ///
    /// # Errors
    /// As [`gcra`](Self::gcra).
    pub fn queue(
        capacity: u64,
        limit: u64,
        per: Duration,
        longest: Duration,
    ) -> Result<Self, Error> {
        let each = each(limit, per)?;
        amount("capacity", capacity)?;
        span(capacity, each)?;
        Ok(Self(Rule::Queue { capacity, each, longest: ticks(longest).min(LONGEST) }))
    }

    /// A bucket of `capacity` that regains `refill` at the end of each `per`, counted from when it was full.
    ///
    /// # Errors
    /// [`Error::Config`], naming what is out of range.
    pub fn interval(capacity: u64, refill: u64, per: Duration) -> Result<Self, Error> {
        let per = period(per)?;
        amount("capacity", capacity)?;
        amount("refill", refill)?;
        span(capacity.div_ceil(refill), per)?;
        Ok(Self(Rule::Window { limit: capacity, ticks: per, refill, aligned: false }))
    }

    /// `limit` in each window of the length `per`; windows are aligned to 2024-01-01T00:00Z, a Monday, so that all
    /// subjects' windows end together. Another hundred may follow the first at once, across the border.
    ///
    /// # Errors
    /// [`Error::Config`], naming what is out of range.
    pub fn fixed(limit: u64, per: Duration) -> Result<Self, Error> {
        let per = period(per)?;
        amount("limit", limit)?;
        Ok(Self(Rule::Window { limit, ticks: per, refill: limit, aligned: true }))
    }

    /// [`fixed`](Self::fixed), but that each subject's window begins with its first hit.
    ///
    /// # Errors
    /// As there.
    pub fn fixed_from_first_hit(limit: u64, per: Duration) -> Result<Self, Error> {
        Self::interval(limit, limit, per)
    }

    /// `limit` in any window, as far as can be told from two counters: what was spent in the last window is taken to
    /// have been spread evenly over it. Who knows that can spend up to twice as much in one window.
    ///
    /// # Errors
    /// [`Error::Config`], naming what is out of range.
    pub fn counter(limit: u64, per: Duration) -> Result<Self, Error> {
        amount("limit", limit)?;
        Ok(Self(Rule::Counter { limit, ticks: period(per)? }))
    }

    /// `limit` in any window, never more: it is counted in 20 parts, and the part that is partly out of the window counts
    /// whole. Under twice the load it admits about 95% of what could be.
    ///
    /// # Errors
    /// [`Error::Config`], naming what is out of range.
    pub fn strict(limit: u64, per: Duration) -> Result<Self, Error> {
        Self::strict_of(limit, per, 20)
    }

    /// [`strict`](Self::strict) with so many parts, 2 to 32, of four bytes each.
    ///
    /// # Errors
    /// As there.
    pub fn strict_of(limit: u64, per: Duration, parts: u32) -> Result<Self, Error> {
        amount("limit", limit)?;
        if !(2..=32).contains(&parts) {
            return Err(config("parts", parts.to_string(), "2 to 32"));
        }
        let part = period(per)?.div_ceil(parts.into());
        Ok(Self(Rule::Strict { limit, part, parts: parts.into() }))
    }

    /// `limit` in any window, exactly: each unit is remembered, with its time and an id. For at most 100,000.
    ///
    /// # Errors
    /// [`Error::Config`], naming what is out of range.
    pub fn log(limit: u64, per: Duration) -> Result<Self, Error> {
        listed(limit)?;
        Ok(Self(Rule::Log { limit, ticks: period(per)? }))
    }

    /// `limit` at a time: a permit is held until it is given back, or for `hold`, which says how long one may be lost with
    /// a process that died. For at most 100,000.
    ///
    /// # Errors
    /// [`Error::Config`], naming what is out of range.
    pub fn permits(limit: u64, hold: Duration) -> Result<Self, Error> {
        listed(limit)?;
        Ok(Self(Rule::Permits { limit, ticks: period(hold)? }))
    }

    /// The most that can be spent at once.
    pub fn limit(self) -> u64 {
        self.0.limit()
    }

    /// In which time all of it is regained.
    pub fn period(self) -> Duration {
        crate::ticks::time(self.0.period())
    }
}

/// 100 in each minute, aligned.
impl Default for Quota {
    fn default() -> Self {
        let (limit, ticks) = (100, 60_000 * crate::ticks::MILLI);
        Self(Rule::Window { limit, ticks, refill: limit, aligned: true })
    }
}

fn config(field: &'static str, problem: String, allowed: &'static str) -> Error {
    Error::Config { field, problem, allowed }
}

fn amount(field: &'static str, amount: u64) -> Result<(), Error> {
    match amount {
        1..=HIGHEST => Ok(()),
        _ => Err(config(field, amount.to_string(), "1 to 2,147,483,647")),
    }
}

fn listed(limit: u64) -> Result<(), Error> {
    match limit {
        1..=100_000 => Ok(()),
        _ => Err(config("limit", limit.to_string(), "1 to 100,000 where each unit is kept")),
    }
}

fn period(per: Duration) -> Result<u64, Error> {
    match per >= Duration::from_millis(1) && ticks(per) <= LONGEST {
        true => Ok(ticks(per)),
        false => Err(config("per", format!("{per:?}"), "1 ms to 366 days")),
    }
}

/// The ticks that each of so many takes.
fn each(limit: u64, per: Duration) -> Result<u64, Error> {
    let ticks = period(per)?;
    match limit {
        0 => Err(config("limit", "0".into(), "at least 1")),
        _ if limit > ticks => {
            Err(config("limit", format!("{limit} in {per:?}"), "up to 8,000,000 a second"))
        }
        _ => Ok(ticks.div_ceil(limit)),
    }
}

/// That refilling all of it does not take too long.
fn span(units: u64, each: u64) -> Result<(), Error> {
    match units.checked_mul(each) {
        Some(ticks) if ticks <= LONGEST => Ok(()),
        _ => Err(config(
            "per",
            format!("{units} units of {:?}", crate::ticks::time(each)),
            "366 days in all",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_named() {
        let minute = Duration::from_secs(60);
        for (quota, field) in [
            (Quota::fixed(0, minute), "limit"),
            (Quota::fixed(1 << 31, minute), "limit"),
            (Quota::fixed(1, Duration::ZERO), "per"),
            (Quota::fixed(1, Duration::MAX), "per"),
            (Quota::gcra(0, minute, 1), "limit"),
            (Quota::gcra(1, minute, 0), "burst"),
            (Quota::gcra(8_000_001, SECOND, 1), "limit"),
            (Quota::gcra(1, minute, 600_000), "per"),
            (Quota::interval(1, 0, minute), "refill"),
            (Quota::strict_of(1, minute, 33), "parts"),
            (Quota::log(100_001, minute), "limit"),
            (Quota::permits(0, minute), "limit"),
            (Quota::queue(0, 1, minute, minute), "capacity"),
        ] {
            let error = quota.unwrap_err().to_string();
            assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
        }
    }

    #[test]
    fn a_rate_is_never_higher_than_asked_for() {
        let Quota(Rule::Bucket { each, .. }) = Quota::gcra(700_000, SECOND, 1).unwrap() else {
            panic!("no bucket")
        };
        assert_eq!(each, 12);
        assert_eq!(Quota::bucket(), Quota::gcra(10, SECOND, 100).unwrap());
        assert_eq!(Quota::default(), Quota::fixed(100, Duration::from_secs(60)).unwrap());
    }
}
