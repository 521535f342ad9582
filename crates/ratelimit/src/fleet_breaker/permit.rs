//! Leave to make one call.

use std::fmt;
use std::time::{Duration, Instant};

use russet_core_conn::{BreakerPermit, Verdict};

use super::FleetBreaker;
use super::script::Ending;

/// Leave to make one call, and the duty to say how it ended; of [`FleetBreaker::acquire`].
///
/// Saying so waits for nothing: what the fleet must know is told in the background. Dropping it says that the call was
/// given up (its future was dropped, it panicked): that counts as neither success nor failure, and gives a probe's permit
/// back; where slow calls count, one that was given up after it had become slow counts as slow. What ends after the breaker
/// has become something else, or after a probe's [time](Self::time_left), counts nowhere.
#[must_use = "dropping it says that the call was given up"]
pub struct FleetPermit<'a, E> {
    breaker: &'a FleetBreaker<E>,
    leave: Option<Leave<'a, E>>,
}

pub(super) enum Leave<'a, E> {
    /// Of the node's own breaker, in a generation of the fleet's.
    Own(BreakerPermit<'a, E>, u64),
    /// Of the fleet.
    Probe(Probe),
    /// The fleet was asked for it.
    Asked(Probe),
    /// Nobody's.
    Free,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    pub(super) permit: u64,
    pub(super) began: Instant,
    /// When it has failed.
    pub(super) due: Instant,
    /// When its permit is another's.
    pub(super) until: Instant,
}

impl<'a, E> FleetPermit<'a, E> {
    pub(super) fn new(breaker: &'a FleetBreaker<E>, leave: Leave<'a, E>) -> Self {
        Self { breaker, leave: Some(leave) }
    }

    /// What was asked for is given: the call begins now.
    pub(super) fn given(mut self) -> Self {
        if let Some(Leave::Asked(probe)) = self.leave {
            self.leave = Some(Leave::Probe(Probe { began: Instant::now(), ..probe }));
        }
        self
    }

    /// What was asked for is not given.
    pub(super) fn refused(mut self) {
        self.leave = None;
    }

    /// Whether the call is a probe: of the fleet, or of this node's own breaker.
    pub fn is_probe(&self) -> bool {
        match &self.leave {
            Some(Leave::Own(permit, _)) => permit.is_probe(),
            Some(Leave::Probe(_)) => true,
            Some(Leave::Asked(_) | Leave::Free) | None => false,
        }
    }

    /// For how long a probe of the fleet counts; `None` for any other call.
    pub fn time_left(&self) -> Option<Duration> {
        match &self.leave {
            Some(Leave::Probe(probe)) => Some(probe.due.saturating_duration_since(Instant::now())),
            _ => None,
        }
    }

    /// The call ended with this result, which is judged as the breaker judges.
    pub fn record<T>(self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.success(),
            Err(error) => {
                let verdict = (self.breaker.judge)(error);
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

    /// The call's end says nothing of what was called; a probe's permit is given back.
    pub fn ignore(self) {
        self.end(Verdict::Ignored);
    }

    fn end(mut self, verdict: Verdict) {
        let shared = &self.breaker.inner.shared;
        match self.leave.take() {
            Some(Leave::Own(permit, generation)) => match verdict {
                Verdict::Success => permit.success(),
                Verdict::Failure => {
                    shared.count_failure(generation);
                    permit.failure();
                }
                Verdict::Ignored => permit.ignore(),
            },
            Some(Leave::Probe(probe)) => {
                let ending = match verdict {
                    Verdict::Ignored => Ending::Nothing,
                    Verdict::Failure => Ending::Badly,
                    Verdict::Success if shared.is_slow(&probe) => Ending::Badly,
                    Verdict::Success => Ending::Well,
                };
                shared.report(probe, ending);
            }
            Some(Leave::Asked(_) | Leave::Free) | None => {}
        }
    }
}

impl<E> Drop for FleetPermit<'_, E> {
    fn drop(&mut self) {
        let shared = &self.breaker.inner.shared;
        match self.leave.take() {
            Some(Leave::Probe(probe)) if shared.is_slow(&probe) => {
                shared.report(probe, Ending::Badly);
            }
            Some(Leave::Probe(probe) | Leave::Asked(probe)) => {
                shared.report(probe, Ending::Nothing);
            }
            // The node's own says so itself.
            Some(Leave::Own(..) | Leave::Free) | None => {}
        }
    }
}

impl<E> fmt::Debug for FleetPermit<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetPermit").field("is_probe", &self.is_probe()).finish_non_exhaustive()
    }
}
