//! Leave to make one call.

use std::time::Instant;

use super::Breaker;
use super::machine::End;
use crate::{Error, Verdict};

/// What the breaker knows of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    /// Of the stage that let it through. Its end counts in that stage or not at all.
    pub(super) generation: u64,
    pub(super) probe: bool,
    /// Where slow calls count.
    pub(super) started: Option<Instant>,
}

/// Leave to make one call, and the duty to say how it ended; of [`Breaker::try_acquire`].
///
/// Dropping it says that the call was given up (its future was dropped, it panicked): that counts as neither success
/// nor failure, and gives a probe's place back. Where slow calls count, one that was given up after it had become slow
/// counts as slow. What ends after the breaker has become something else counts nowhere.
#[derive(Debug)]
#[must_use = "dropping it says that the call was given up"]
pub struct BreakerPermit<'a, E = Error> {
    breaker: &'a Breaker<E>,
    ticket: Ticket,
}

impl<'a, E> BreakerPermit<'a, E> {
    pub(super) fn new(breaker: &'a Breaker<E>, ticket: Ticket) -> Self {
        Self { breaker, ticket }
    }

    /// Whether the call is a probe of a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.ticket.probe
    }

    /// The call ended with this result, which is judged as the breaker judges.
    #[inline]
    pub fn record<T>(self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.success(),
            Err(error) => {
                let verdict = self.breaker.judge(error);
                self.end(verdict);
            }
        }
    }

    /// The call ended well.
    pub fn success(self) {
        self.end(Verdict::Success);
    }

    /// The call failed.
    pub fn failure(self) {
        self.end(Verdict::Failure);
    }

    /// The call's end says nothing of what was called; a probe's place is given back.
    pub fn ignore(self) {
        self.end(Verdict::Ignored);
    }

    #[cfg(test)]
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    #[inline]
    fn end(self, verdict: Verdict) {
        self.breaker.machine.end(self.ticket, End::Judged(verdict));
        // It holds nothing but a reference, and its drop would say something else.
        std::mem::forget(self);
    }
}

impl<E> Drop for BreakerPermit<'_, E> {
    fn drop(&mut self) {
        self.breaker.machine.end(self.ticket, End::GivenUp);
    }
}
