//! Time for local decisions.

use std::time::Instant;

#[cfg(any(test, feature = "test-util"))]
pub use self::manual::ManualClock;

#[cfg(any(test, feature = "test-util"))]
mod manual;

/// Where a local decision takes its time from: the system's monotonic clock, or (feature `test-util`) a `ManualClock`
/// that a test moves.
///
/// For what one process decides for itself: whether a breaker is still open, whether a local copy is still fresh.
/// Whatever is stored in Redis is decided by the server's clock, which no clock here can move.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    #[cfg(any(test, feature = "test-util"))]
    Manual(ManualClock),
}

impl Clock {
    /// The system's monotonic clock. It never goes back, and no correction of the time of day moves it.
    pub fn system() -> Self {
        Self::default()
    }

    /// Now.
    #[inline]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            #[cfg(any(test, feature = "test-util"))]
            Source::Manual(clock) => clock.now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_the_systems() {
        let before = Instant::now();
        let now = Clock::system().now();
        assert!(before <= now && now <= Instant::now());
    }
}
