//! A clock for tests.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::{Clock, Source};

/// A clock that stands still until it is moved, for tests (feature `test-util`). Clones are the same clock.
///
/// ```
/// use std::time::Duration;
/// use russet_core_conn::{Clock, ManualClock};
///
/// let hands = ManualClock::new();
/// let clock = Clock::from(&hands);
/// let before = clock.now();
/// hands.advance(Duration::from_secs(3));
/// assert_eq!(clock.now() - before, Duration::from_secs(3));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    start: Instant,
    /// Nanoseconds since the start.
    elapsed: AtomicU64,
}

impl ManualClock {
    /// A clock that shows the time of its making.
    #[expect(
        clippy::new_without_default,
        reason = "a clock made in passing is one that nobody can move"
    )]
    pub fn new() -> Self {
        Self(Arc::new(Hands { start: Instant::now(), elapsed: AtomicU64::new(0) }))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let by = nanos(by);
        // Never refused, so the answer holds nothing.
        let _ = self.0.elapsed.fetch_update(SeqCst, SeqCst, |now| Some(now.saturating_add(by)));
    }

    /// Moves it to a time after its making. It never goes back: an earlier time leaves it where it is.
    pub fn set(&self, since_start: Duration) {
        self.0.elapsed.fetch_max(nanos(since_start), SeqCst);
    }

    /// How far it was moved since its making.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.elapsed.load(SeqCst))
    }

    pub(super) fn now(&self) -> Instant {
        self.0.start + self.elapsed()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl From<&ManualClock> for Clock {
    fn from(clock: &ManualClock) -> Self {
        Self(Source::Manual(clock.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_when_told_and_never_back() {
        let hands = ManualClock::new();
        let (clock, same) = (Clock::from(&hands), Clock::from(&hands.clone()));
        let start = clock.now();
        assert_eq!(clock.now(), start);
        hands.advance(Duration::from_millis(40));
        hands.set(Duration::from_millis(30));
        assert_eq!(hands.elapsed(), Duration::from_millis(40));
        hands.set(Duration::from_millis(50));
        assert_eq!(same.now() - start, Duration::from_millis(50));
        hands.advance(Duration::MAX);
        let end = clock.now();
        hands.advance(Duration::MAX);
        assert!(end > start && clock.now() == end);
    }
}
