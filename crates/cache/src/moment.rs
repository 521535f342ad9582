//! What time it is, and about what time for a fraction of what it costs to know.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use coarsetime::Instant as Coarse;

/// A time of this process, in ns since it first asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

static FIRST: LazyLock<(Instant, Coarse)> = LazyLock::new(|| (Instant::now(), Coarse::now()));

/// More than there is between two steps of the system's coarse clock: a kernel makes a hundred a second at least.
const STEP: Duration = Duration::from_millis(11);

impl Moment {
    /// From here on moments count: an earlier time would be taken for this one.
    pub(crate) fn begin() {
        LazyLock::force(&FIRST);
    }

    pub(crate) fn now() -> Self {
        Self::of(Instant::now())
    }

    /// Not before the time, and at most 22 ms after it. Where the machine was stopped it may be late by as long: what
    /// must hold then, too, needs the exact time or a margin of its own.
    #[inline]
    pub(crate) fn roughly() -> Self {
        Self(FIRST.1.elapsed().as_nanos() + STEP.as_nanos() as u64)
    }

    pub(crate) fn of(instant: Instant) -> Self {
        Self(nanos(instant.saturating_duration_since(FIRST.0)))
    }

    pub(crate) fn instant(self) -> Instant {
        FIRST.0 + Duration::from_nanos(self.0)
    }

    #[must_use]
    pub(crate) fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }

    /// In ns; 0 if it is later than this.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn to_nanos(self) -> u64 {
        self.0
    }

    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
}

/// Whole ones; of what is no number of them any more, nearly the most.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_time_is_never_before_it_and_never_far_behind_it() {
        let end = Instant::now() + Duration::from_millis(100);
        let (mut early, mut all) = (0, 0);
        while Instant::now() < end {
            let (before, rough) = (Moment::now(), Moment::roughly());
            early += u32::from(rough < before);
            all += 1;
            let ahead = rough.since(Moment::now());
            assert!(ahead <= nanos(2 * STEP), "{ahead} ns");
        }
        // A machine may stop for a while.
        assert!(early <= all / 100, "{early} of {all}");
    }
}
