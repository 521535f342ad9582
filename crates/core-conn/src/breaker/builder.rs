//! Options, validated by `build()`.

use std::fmt;
use std::time::Duration;

use super::machine::{Machine, Settings};
use super::trip::{Rules, Trip};
use super::{Breaker, Judge};
use crate::builder::DAY;
use crate::{Backoff, Clock, Error};

/// The options of a [`Breaker`]. See [`Breaker::builder`].
#[must_use = "nothing happens before `build()`"]
pub struct BreakerBuilder<E = Error> {
    name: String,
    judge: Judge<E>,
    trips: Option<Vec<Trip>>,
    settings: Settings,
}

impl<E> BreakerBuilder<E> {
    pub(super) fn new(name: &str, judge: Judge<E>) -> Self {
        Self { name: name.to_owned(), judge, trips: None, settings: Settings::default() }
    }

    /// By what it opens, instead of by the defaults: [`Trip::Consecutive`] 5, which sees an outage also where calls are
    /// few, and [`Trip::FailureRate`] 50 percent of 20 calls, which sees one through the calls that still succeed.
    pub fn trips(mut self, trips: impl IntoIterator<Item = Trip>) -> Self {
        self.trips = Some(trips.into_iter().collect());
        self
    }

    /// How far back counts and rates look, from 100 ms to a day. It moves on by a sixteenth. Default: 10 s.
    pub fn window(mut self, window: Duration) -> Self {
        self.settings.window = window;
        self
    }

    /// How long it stays open before it lets a probe through: by the number of openings since it was last closed for
    /// [`Backoff::stable_after`]. Default: exponential from 200 ms to 2 s, half of it chance, so that a short outage is
    /// short and a fleet does not probe as one. A [`Backoff`] with a maximum or a rule of its own is refused: a
    /// breaker never gives up.
    pub fn open_for(mut self, delays: Backoff) -> Self {
        self.settings.open_for = delays;
        self
    }

    /// How many probes may be under way at once. Default: 1.
    pub fn probes(mut self, probes: u32) -> Self {
        self.settings.probes = probes;
        self
    }

    /// How many probes must succeed before it closes. One that fails opens it again. Default: 2.
    pub fn close_after(mut self, successes: u32) -> Self {
        self.settings.close_after = successes;
        self
    }

    /// How long it may be half-open before it opens again, seen when the next call comes: for probes that never end.
    /// Should be longer than a call may take. Default: 10 s.
    pub fn probe_within(mut self, time: Duration) -> Self {
        self.settings.probe_within = time;
        self
    }

    /// Where it takes its time from. Default: the system's clock.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.settings.clock = clock.into();
        self
    }

    /// Validates, and makes the breaker.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the option, what is wrong with it and what is allowed.
    pub fn build(mut self) -> Result<Breaker<E>, Error> {
        if let Some(trips) = self.trips {
            self.settings.rules = Rules::parse(&trips)?;
        }
        let times = [
            ("window", self.settings.window, Duration::from_millis(100), "100 ms to a day"),
            ("probe_within", self.settings.probe_within, Duration::from_millis(1), "1 ms to a day"),
        ];
        for (field, time, least, allowed) in times {
            if time < least || time > DAY {
                return Err(Error::config(field, format!("{time:?}"), allowed));
            }
        }
        let counts = [("probes", self.settings.probes), ("close_after", self.settings.close_after)];
        for (field, count) in counts {
            if count == 0 || count > 65_536 {
                return Err(Error::config(field, count.to_string(), "1 to 65536"));
            }
        }
        self.settings.open_for.validate_endless("open_for")?;
        Ok(Breaker::assemble(Machine::new(&self.name, self.settings), self.judge))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            window: Duration::from_secs(10),
            open_for: Backoff::exponential(Duration::from_millis(200), Duration::from_secs(2)),
            probes: 1,
            close_after: 2,
            probe_within: Duration::from_secs(10),
            clock: Clock::system(),
        }
    }
}

impl<E> Clone for BreakerBuilder<E> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            judge: self.judge.clone(),
            trips: self.trips.clone(),
            settings: self.settings.clone(),
        }
    }
}

impl<E> fmt::Debug for BreakerBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerBuilder")
            .field("name", &self.name)
            .field("trips", &self.trips)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_options_are_named() {
        let ok = || Breaker::builder("b");
        assert!(ok().build().is_ok());
        for (builder, field) in [
            (ok().trips([]), "trips"),
            (ok().trips([Trip::Consecutive(0)]), "trips"),
            (ok().window(Duration::from_millis(99)), "window"),
            (ok().window(Duration::from_secs(90_000)), "window"),
            (ok().open_for(Backoff::constant(Duration::ZERO)), "open_for"),
            (ok().open_for(Backoff::default().max_attempts(3)), "open_for"),
            (ok().open_for(Backoff::default().jitter(2.0)), "open_for"),
            (ok().probes(0), "probes"),
            (ok().close_after(0), "close_after"),
            (ok().probe_within(Duration::ZERO), "probe_within"),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
        }
    }
}
