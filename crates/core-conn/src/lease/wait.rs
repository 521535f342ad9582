//! Waiting for a lease: of all that wait in one process one asks, the others stand in line behind it.

use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::time::timeout_at;

use super::Leases;
use super::ask::Ask;
use super::line::Ear;
use super::outcome::Acquired;
use crate::Error;

/// Asks until the lease is got or the time is over.
pub(super) async fn acquire(
    leases: &Leases,
    mut ask: Ask,
    until: Instant,
) -> Result<Acquired, Error> {
    let mut last = ask.once().await;
    if is_final(&last) || Instant::now() >= until {
        return last;
    }
    let place = leases.inner.lines.enter(ask.key());
    let Ok(mut ear) = timeout_at(until.into(), place.turn()).await else { return last };
    // What was given back before is not heard.
    let mut at_once = ear.listen(&leases.inner.redis, ask.key(), until).await;
    let mut pace = Pace::new(&last);
    loop {
        let longest = pace.next(&ear).min(until.saturating_duration_since(Instant::now()));
        let called = !at_once && ear.called(longest).await;
        if Instant::now() >= until {
            return last;
        }
        at_once = false;
        last = ask.once().await;
        if called {
            ear.was_called(!matches!(last, Ok(Acquired::Held(_))));
        }
        if is_final(&last) {
            return last;
        }
        pace.note(&last);
    }
}

/// Whether asking again is of no use: it is got, or will never be.
fn is_final(last: &Result<Acquired, Error>) -> bool {
    match last {
        Ok(acquired) => matches!(acquired, Acquired::Held(_)),
        Err(error) => !error.is_retryable(),
    }
}

/// When to ask again: after a growing delay with jitter, and no later than just after the holder's end.
#[derive(Debug)]
struct Pace {
    delay: Duration,
    /// When the holder's lease ends, as far as is known.
    ends: Option<Instant>,
}

const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(250);
/// Of whoever is called when the lease is given back, and asks in case that it was not.
const LISTENING: Duration = Duration::from_secs(1);

impl Pace {
    fn new(last: &Result<Acquired, Error>) -> Self {
        let mut pace = Self { delay: SHORTEST, ends: None };
        pace.note(last);
        pace
    }

    fn note(&mut self, last: &Result<Acquired, Error>) {
        self.ends = match last {
            Ok(Acquired::Busy(busy)) => Some(Instant::now() + busy.retry_after),
            _ => None,
        };
    }

    fn next(&mut self, ear: &Ear) -> Duration {
        let chance: f64 = rand::rng().random();
        let longest = if ear.hears() { LISTENING } else { self.delay };
        self.delay = (self.delay * 2).min(LONGEST);
        let delay = longest.mul_f64(1.0 - 0.5 * chance);
        match self.ends {
            Some(ends) => delay.min(ends.saturating_duration_since(Instant::now()) + spread()),
            None => delay,
        }
    }
}

/// A moment by which processes that were all called at once differ.
fn spread() -> Duration {
    Duration::from_micros(rand::rng().random_range(0..2_000))
}
