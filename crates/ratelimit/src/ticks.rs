//! Times as the scripts count them: in ticks of 125 ns since 2024, which a double holds exactly until 2059. In whole
//! microseconds, a rate of 700,000 in a second would be one of 500,000.

use std::time::Duration;

/// In a millisecond.
pub(crate) const MILLI: u64 = 8_000;

/// The most that any sum of times may be: a year, and as much again for debts.
pub(crate) const LONGEST: u64 = 366 * 86_400 * 1_000 * MILLI;

/// In whole ticks, not less.
pub(crate) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(125)).unwrap_or(u64::MAX)
}

pub(crate) fn time(ticks: u64) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(125))
}

/// In whole milliseconds, not less.
pub(crate) fn millis(ticks: u64) -> u64 {
    ticks.div_ceil(MILLI)
}
