//! Calls that wait, counted and bounded.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, ErrorKind};

/// How many calls wait, for a connection or for a place on one, and [`TURNED_AWAY`] for each that was waiting when it
/// closed: one number, so that no call is ever both or neither.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: AtomicU64,
    bound: usize,
}

const TURNED_AWAY: u64 = 1 << 32;

impl Queue {
    pub(crate) fn new(bound: usize) -> Self {
        Self { waiting: AtomicU64::new(0), bound }
    }

    pub(crate) fn enter(&self) -> Result<Waiting<'_>, Error> {
        let bound = u64::try_from(self.bound).unwrap_or(u64::MAX);
        let one_more = |now: u64| (now % TURNED_AWAY < bound).then_some(now + 1);
        match self.waiting.fetch_update(Relaxed, Relaxed, one_more) {
            Ok(_) => Ok(Waiting(&self.waiting)),
            Err(_) => Err(Error::not_sent(ErrorKind::Backpressure { waiting: self.bound })),
        }
    }

    /// Those that were told, and those that are about to be.
    pub(crate) fn left(&self) -> u64 {
        let waiting = self.waiting.load(Relaxed);
        waiting / TURNED_AWAY + waiting % TURNED_AWAY
    }
}

#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a AtomicU64);

impl Waiting<'_> {
    /// What it waits for closes.
    pub(crate) fn turn_away(self) -> Error {
        self.0.fetch_add(TURNED_AWAY - 1, Relaxed);
        std::mem::forget(self);
        Error::not_sent(ErrorKind::Closed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
