//! Waiting for a lease: of each process one task asks, the others wait for their turn.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use tokio::time::{sleep, timeout_at};

use super::Leases;
use super::ask::Ask;
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
    let place = leases.inner.lines.enter(ask.key().to_bytes());
    let Ok(mut turn) = timeout_at(until.into(), place.turn.lock()).await else { return last };
    let mut pace = Pace::new();
    loop {
        let now = Instant::now();
        if now >= until {
            return last;
        }
        let delay = pace.next(&last).min(until - now);
        if turn.called(delay).await {
            sleep(spread()).await;
        }
        last = ask.once().await;
        if is_final(&last) {
            return last;
        }
    }
}

/// Whether asking again is of no use: it is got, or will never be.
fn is_final(last: &Result<Acquired, Error>) -> bool {
    match last {
        Ok(acquired) => matches!(acquired, Acquired::Held(_)),
        Err(error) => !error.is_retryable(),
    }
}

/// Who of this process waits for which lease. A line exists as long as somebody stands in it.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<Bytes, Line>>);

#[derive(Debug)]
struct Line {
    /// First come, first served.
    turn: Arc<tokio::sync::Mutex<Ear>>,
    standing: usize,
}

/// A place in a line.
#[derive(Debug)]
struct Place<'a> {
    lines: &'a Lines,
    key: Bytes,
    turn: Arc<tokio::sync::Mutex<Ear>>,
}

impl Lines {
    fn enter(&self, key: Bytes) -> Place<'_> {
        let mut lines = self.lock();
        let line = lines
            .entry(key.clone())
            .or_insert_with(|| Line { turn: Arc::new(tokio::sync::Mutex::new(Ear)), standing: 0 });
        line.standing += 1;
        Place { lines: self, key, turn: line.turn.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut line) = self.lines.lock().entry(self.key.clone()) {
            line.get_mut().standing -= 1;
            if line.get().standing == 0 {
                line.remove();
            }
        }
    }
}

/// Hears that the lease was given back.
#[derive(Debug)]
struct Ear;

impl Ear {
    /// Waits so long at most; whether it was called before that.
    async fn called(&mut self, longest: Duration) -> bool {
        sleep(longest).await;
        false
    }
}

/// When to ask again: after a growing delay with jitter, and no later than just after the holder's end.
#[derive(Debug)]
struct Pace(Duration);

const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(250);

impl Pace {
    fn new() -> Self {
        Self(SHORTEST)
    }

    fn next(&mut self, last: &Result<Acquired, Error>) -> Duration {
        let chance: f64 = rand::rng().random();
        let delay = self.0.mul_f64(1.0 - 0.5 * chance);
        self.0 = (self.0 * 2).min(LONGEST);
        match last {
            Ok(Acquired::Busy(busy)) => delay.min(busy.retry_after + spread()),
            _ => delay,
        }
    }
}

/// A moment by which processes that were all woken at once differ.
fn spread() -> Duration {
    Duration::from_micros(rand::rng().random_range(0..2_000))
}
