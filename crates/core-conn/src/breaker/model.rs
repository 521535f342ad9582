//! The breaker as a list of what happened and rules that read it: what the property test compares with.

use std::time::Duration;

use super::{BreakerReason, BreakerState, Trip, Verdict};

/// Times are nanoseconds since the breaker was made.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) options: Options,
    pub(super) now: u64,
    /// What it is, since when, and how often that has changed.
    stay: Stay,
    since: u64,
    number: u64,
    openings: u32,
    /// Calls that ended in this stay and count.
    ended: Vec<Ended>,
    /// Probes that are under way in this stay.
    probing: u32,
    pub(super) changes: Vec<(BreakerState, BreakerState, BreakerReason)>,
}

/// What a case was built with. Delays are `step × openings`.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) trips: Vec<Trip>,
    pub(super) window: u64,
    pub(super) step: u64,
    pub(super) longest: u64,
    pub(super) stable_after: u64,
    pub(super) probes: u32,
    pub(super) close_after: u32,
    pub(super) probe_within: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stay {
    Closed,
    Open { delay: u64 },
    HalfOpen,
    ForcedOpen,
    ForcedClosed,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    at: u64,
    /// None for a call that was given up.
    verdict: Option<Verdict>,
    slow: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Permit {
    number: u64,
    started: u64,
    pub(super) probe: bool,
}

impl Model {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            now: 0,
            stay: Stay::Closed,
            since: 0,
            number: 0,
            openings: 0,
            ended: Vec::new(),
            probing: 0,
            changes: Vec::new(),
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.stay {
            Stay::Closed => BreakerState::Closed,
            Stay::Open { delay } => {
                let left = (self.since + delay).saturating_sub(self.now);
                BreakerState::Open { retry_after: Duration::from_nanos(left) }
            }
            Stay::HalfOpen => BreakerState::HalfOpen,
            Stay::ForcedOpen => BreakerState::ForcedOpen,
            Stay::ForcedClosed => BreakerState::ForcedClosed,
        }
    }

    pub(super) fn acquire(&mut self) -> Result<Permit, Option<Duration>> {
        if self.stay == Stay::HalfOpen && self.now - self.since >= self.options.probe_within {
            self.open(self.openings + 1, BreakerReason::ProbesUndecided);
        }
        if let Stay::Open { delay } = self.stay {
            let passed = self.now - self.since;
            if passed < delay {
                return Err(Some(Duration::from_nanos(delay - passed)));
            }
            self.become_(Stay::HalfOpen, BreakerReason::DelayOver);
        }
        let probe = self.stay == Stay::HalfOpen;
        if self.stay == Stay::ForcedOpen || probe && self.probing == self.options.probes {
            return Err(None);
        }
        self.probing += u32::from(probe);
        Ok(Permit { number: self.number, started: self.now, probe })
    }

    pub(super) fn end(&mut self, permit: Permit, verdict: Option<Verdict>) {
        if permit.number != self.number {
            return;
        }
        let slow = self.options.trips.iter().any(|trip| match trip {
            Trip::SlowRate { over, .. } => u128::from(self.now - permit.started) >= over.as_nanos(),
            _ => false,
        });
        if permit.probe {
            self.probing -= 1;
        }
        if verdict == Some(Verdict::Ignored) || verdict.is_none() && !slow {
            return;
        }
        self.ended.push(Ended { at: self.now, verdict, slow });
        match self.stay {
            Stay::Closed => self.trip(slow, verdict == Some(Verdict::Failure)),
            Stay::HalfOpen if slow || verdict == Some(Verdict::Failure) => {
                self.open(self.openings + 1, BreakerReason::ProbeFailed);
            }
            // All that ended in this stay succeeded.
            Stay::HalfOpen if self.ended.len() == self.options.close_after as usize => {
                self.become_(Stay::Closed, BreakerReason::ProbesSucceeded);
            }
            _ => {}
        }
    }

    fn trip(&mut self, slow_call: bool, failed_call: bool) {
        let part = self.options.window / 16;
        let recent = self.ended.iter().filter(|ended| self.now / part - ended.at / part < 16);
        let recent: Vec<_> = recent.collect();
        let count = |what: &dyn Fn(&Ended) -> bool| {
            recent.iter().filter(|ended| what(ended)).count() as u32
        };
        let calls = count(&|_| true);
        let failures = count(&|ended| ended.verdict == Some(Verdict::Failure));
        let slow = count(&|ended| ended.slow);
        let judged = self.ended.iter().rev().filter_map(|ended| ended.verdict);
        let streak = judged.take_while(|verdict| *verdict == Verdict::Failure).count() as u32;
        let rate = |part: u32, percent: u8, least: u32| {
            calls >= least && f64::from(part) / f64::from(calls) >= f64::from(percent) / 100.0
        };
        // In the order in which the breaker asks them.
        let mut trips = self.options.trips.clone();
        trips.sort_by_key(|trip| match trip {
            Trip::Consecutive(_) => 0,
            Trip::Failures(_) => 1,
            Trip::FailureRate { .. } => 2,
            Trip::SlowRate { .. } => 3,
        });
        let reason = trips.iter().find_map(|trip| match *trip {
            Trip::Consecutive(most) => (failed_call && streak >= most)
                .then_some(BreakerReason::Consecutive { failures: streak }),
            Trip::Failures(most) => {
                (failed_call && failures >= most).then_some(BreakerReason::Failures { failures })
            }
            Trip::FailureRate { percent, calls: least } => (failed_call
                && rate(failures, percent, least))
            .then_some(BreakerReason::FailureRate { failures, calls }),
            Trip::SlowRate { percent, calls: least, .. } => (slow_call
                && rate(slow, percent, least))
            .then_some(BreakerReason::SlowRate { slow, calls }),
        });
        if let Some(reason) = reason {
            self.open_closed(reason);
        }
    }

    fn open_closed(&mut self, reason: BreakerReason) {
        let stable = self.now - self.since >= self.options.stable_after;
        self.open(if stable { 1 } else { self.openings + 1 }, reason);
    }

    fn open(&mut self, openings: u32, reason: BreakerReason) {
        self.openings = openings;
        let delay = (self.options.step * u64::from(openings)).min(self.options.longest);
        self.become_(Stay::Open { delay }, reason);
    }

    pub(super) fn tell(&mut self) {
        if self.stay == Stay::Closed {
            self.open_closed(BreakerReason::Told);
        }
    }

    pub(super) fn force_open(&mut self) {
        self.force(Stay::ForcedOpen, BreakerReason::Forced);
    }

    pub(super) fn force_closed(&mut self) {
        self.force(Stay::ForcedClosed, BreakerReason::Forced);
    }

    pub(super) fn reset(&mut self) {
        self.force(Stay::Closed, BreakerReason::Reset);
    }

    fn force(&mut self, stay: Stay, reason: BreakerReason) {
        if self.stay != stay || stay == Stay::Closed {
            self.openings = 0;
            self.become_(stay, reason);
        }
    }

    fn become_(&mut self, stay: Stay, reason: BreakerReason) {
        let from = self.state();
        self.stay = stay;
        self.since = self.now;
        self.number += 1;
        self.ended.clear();
        self.probing = 0;
        self.changes.push((from, self.state(), reason));
    }
}
