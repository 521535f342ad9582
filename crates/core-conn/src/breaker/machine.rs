//! The machine itself, which knows nothing of errors and futures.
//!
//! What a breaker is lies behind one pointer. A call reads it when it ends, and of it one word when it begins, and takes no
//! lock; only who changes it does. Whoever changes it says from what: a change from what it no longer is does not happen.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::event::{BreakerEvent, BreakerReason, BreakerState};
use super::permit::Ticket;
use super::stage::{Counts, Kind, Probes, Stage};
use super::trip::Rules;
use super::window::PARTS;
use crate::event::{Broadcast, Events};
use crate::{Backoff, Clock, Verdict};

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) name: Arc<str>,
    settings: Settings,
    /// Where the window's ticks begin.
    origin: Instant,
    /// One of the window's ticks, in nanoseconds.
    tick: u64,
    stage: ArcSwap<Stage>,
    /// One more than the stage's generation while it is closed, else 0: what a call needs to know before it begins. It
    /// follows the stage, so a call may begin by what was closed a moment ago, and then counts nowhere.
    closed: AtomicU64,
    /// One change at a time, so that events come in the order of the changes.
    turn: Mutex<()>,
    events: Broadcast<BreakerEvent>,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) rules: Rules,
    pub(super) window: Duration,
    pub(super) open_for: Backoff,
    pub(super) probes: u32,
    pub(super) close_after: u32,
    pub(super) probe_within: Duration,
    pub(super) clock: Clock,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Judged(Verdict),
    GivenUp,
}

impl Machine {
    pub(super) fn new(name: &str, settings: Settings) -> Self {
        let origin = settings.clock.now();
        let kind = Kind::Closed(Counts::new(origin));
        let stage = Stage { generation: 0, openings: 0, kind };
        Self {
            name: name.into(),
            origin,
            tick: (nanos(settings.window) / u64::from(PARTS)).max(1),
            settings,
            closed: AtomicU64::new(stage.closed()),
            stage: ArcSwap::from_pointee(stage),
            turn: Mutex::new(()),
            events: Broadcast::new(),
        }
    }

    /// Lets a call through, or says after what time to try again, if that is known.
    #[inline]
    pub(super) fn admit(&self) -> Result<Ticket, Option<Duration>> {
        match self.closed.load(Acquire).checked_sub(1) {
            Some(generation) => Ok(self.ticket(generation, false)),
            None => self.admit_unless_closed(),
        }
    }

    fn admit_unless_closed(&self) -> Result<Ticket, Option<Duration>> {
        loop {
            let stage = self.stage.load();
            match &stage.kind {
                Kind::Closed(_) | Kind::ForcedClosed => {
                    return Ok(self.ticket(stage.generation, false));
                }
                Kind::ForcedOpen => return Err(None),
                Kind::Open { until } => {
                    let now = self.settings.clock.now();
                    if now < *until {
                        return Err(Some(*until - now));
                    }
                    let probes =
                        Probes::new(self.settings.probes, now + self.settings.probe_within);
                    let (kind, openings) = (Kind::HalfOpen(probes), stage.openings);
                    self.change(&stage, kind, openings, BreakerReason::DelayOver, now);
                }
                Kind::HalfOpen(probes) => {
                    let now = self.settings.clock.now();
                    if now >= probes.until {
                        self.open(&stage, stage.openings + 1, BreakerReason::ProbesUndecided, now);
                    } else if probes.take_place() {
                        return Ok(self.ticket(stage.generation, true));
                    } else {
                        return Err(None);
                    }
                }
            }
        }
    }

    #[inline]
    fn ticket(&self, generation: u64, probe: bool) -> Ticket {
        let started = self.settings.rules.slow_rate.map(|_| self.settings.clock.now());
        Ticket { generation, probe, started }
    }

    /// A call has ended.
    #[inline]
    pub(super) fn end(&self, ticket: Ticket, end: End) {
        let stage = self.stage.load();
        // It began when the breaker was something else: that says nothing of now.
        if stage.generation != ticket.generation {
            return;
        }
        match &stage.kind {
            Kind::Closed(counts) => self.count(&stage, counts, ticket, end),
            Kind::HalfOpen(probes) => self.judge_probe(&stage, probes, ticket, end),
            Kind::Open { .. } | Kind::ForcedOpen | Kind::ForcedClosed => {}
        }
    }

    #[inline]
    fn count(&self, stage: &Arc<Stage>, counts: &Counts, ticket: Ticket, end: End) {
        let rules = &self.settings.rules;
        match end {
            End::Judged(Verdict::Ignored) => return,
            End::Judged(Verdict::Success) => {
                // Looked at first: a write by every call would be every core's concern.
                if counts.streak.load(Relaxed) != 0 {
                    counts.streak.store(0, Relaxed);
                }
                if !rules.count_calls() {
                    return;
                }
            }
            End::Judged(Verdict::Failure) | End::GivenUp => {}
        }
        let now = self.settings.clock.now();
        let slow = self.is_slow(ticket, now);
        if matches!(end, End::GivenUp) && !slow {
            return;
        }
        let (tick, window) = (self.tick(now), &counts.window);
        // The call before its failure: whoever sees the failure sees the call, and no rate is too high.
        if rules.count_calls() {
            window.add_call(tick);
        }
        if slow {
            window.slow.add(tick);
        }
        let mut streak = None;
        if matches!(end, End::Judged(Verdict::Failure)) {
            streak = Some(counts.streak.fetch_add(1, Relaxed) + 1);
            if rules.count_failures() {
                window.failures.add(tick);
            }
        }
        if let Some(reason) = self.is_tripped(counts, tick, streak, slow) {
            self.open_closed(stage, counts, reason, now);
        }
    }

    fn open_closed(
        &self,
        stage: &Arc<Stage>,
        counts: &Counts,
        reason: BreakerReason,
        now: Instant,
    ) {
        let stable = self.settings.open_for.is_stable(now.saturating_duration_since(counts.since));
        let openings = if stable { 1 } else { stage.openings + 1 };
        self.open(stage, openings, reason, now);
    }

    fn is_tripped(
        &self,
        counts: &Counts,
        tick: u32,
        streak: Option<u32>,
        slow: bool,
    ) -> Option<BreakerReason> {
        let (rules, window) = (&self.settings.rules, &counts.window);
        if let Some(streak) = streak {
            if rules.consecutive.is_some_and(|most| streak >= most) {
                return Some(BreakerReason::Consecutive { failures: streak });
            }
            // Failures are read before calls, for the same reason.
            let failures = window.failures.sum(tick);
            if rules.failures.is_some_and(|most| failures >= most) {
                return Some(BreakerReason::Failures { failures });
            }
            if let Some(rate) = rules.failure_rate {
                let calls = window.calls(tick);
                if rate.is_reached(failures, calls) {
                    return Some(BreakerReason::FailureRate { failures, calls });
                }
            }
        }
        if let Some((_, rate)) = rules.slow_rate.filter(|_| slow) {
            let slow = window.slow.sum(tick);
            let calls = window.calls(tick);
            if rate.is_reached(slow, calls) {
                return Some(BreakerReason::SlowRate { slow, calls });
            }
        }
        None
    }

    fn judge_probe(&self, stage: &Arc<Stage>, probes: &Probes, ticket: Ticket, end: End) {
        let now = self.settings.clock.now();
        let verdict = match end {
            End::Judged(Verdict::Ignored) => Verdict::Ignored,
            _ if self.is_slow(ticket, now) => Verdict::Failure,
            End::Judged(verdict) => verdict,
            End::GivenUp => Verdict::Ignored,
        };
        match verdict {
            Verdict::Failure => {
                self.open(stage, stage.openings + 1, BreakerReason::ProbeFailed, now);
            }
            Verdict::Success if probes.succeeded() >= self.settings.close_after => {
                let kind = Kind::Closed(Counts::new(now));
                self.change(stage, kind, stage.openings, BreakerReason::ProbesSucceeded, now);
            }
            Verdict::Success | Verdict::Ignored => probes.give_back(),
        }
    }

    fn is_slow(&self, ticket: Ticket, now: Instant) -> bool {
        let rule = self.settings.rules.slow_rate.zip(ticket.started);
        rule.is_some_and(|((over, _), started)| now.saturating_duration_since(started) >= over)
    }

    #[inline]
    fn tick(&self, now: Instant) -> u32 {
        let tick = nanos(now.saturating_duration_since(self.origin)) / self.tick;
        #[expect(clippy::cast_possible_truncation, reason = "ticks wrap, after 310 days or more")]
        {
            tick as u32
        }
    }

    fn open(&self, from: &Arc<Stage>, openings: u32, reason: BreakerReason, now: Instant) {
        let until = now + self.settings.open_for.endless_delay(openings);
        self.change(from, Kind::Open { until }, openings, reason, now);
    }

    /// Makes it that, unless it is no longer what it is to be changed from.
    fn change(
        &self,
        from: &Arc<Stage>,
        kind: Kind,
        openings: u32,
        reason: BreakerReason,
        now: Instant,
    ) -> bool {
        let to = Stage { generation: from.generation + 1, openings, kind };
        let breaker = self.name.clone();
        let event = BreakerEvent { breaker, from: from.state(now), to: to.state(now), reason };
        {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            if !Arc::ptr_eq(from, &self.stage.load()) {
                return false;
            }
            let closed = to.closed();
            self.stage.store(Arc::new(to));
            self.closed.store(closed, Release);
            self.events.send(event.clone());
        }
        told(&event);
        true
    }

    /// Opens it, if it is closed.
    pub(super) fn trip(&self) {
        let stage = self.stage.load();
        if let Kind::Closed(counts) = &stage.kind {
            self.open_closed(&stage, counts, BreakerReason::Told, self.settings.clock.now());
        }
    }

    /// Makes it this, whatever it is.
    pub(super) fn force(&self, to: BreakerState) {
        loop {
            let (stage, now) = (self.stage.load(), self.settings.clock.now());
            if stage.state(now) == to {
                // A reset forgets what was counted.
                let BreakerState::Closed = to else { return };
            }
            let (kind, reason) = match to {
                BreakerState::ForcedOpen => (Kind::ForcedOpen, BreakerReason::Forced),
                BreakerState::ForcedClosed => (Kind::ForcedClosed, BreakerReason::Forced),
                _ => (Kind::Closed(Counts::new(now)), BreakerReason::Reset),
            };
            if self.change(&stage, kind, 0, reason, now) {
                return;
            }
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.stage.load().state(self.settings.clock.now())
    }

    pub(super) fn events(&self) -> Events<BreakerEvent> {
        self.events.listen()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn told(event: &BreakerEvent) {
    let BreakerEvent { breaker, from, to, reason } = event;
    if let BreakerState::Open { retry_after } = to {
        tracing::warn!(%breaker, %from, ?reason, ?retry_after, "the breaker opens");
    } else {
        tracing::info!(%breaker, %from, %to, ?reason, "the breaker changes");
    }
    #[cfg(feature = "metrics")]
    metrics::counter!("russet_breaker_transitions_total", "breaker" => breaker.clone(), "to" => to.word())
        .increment(1);
}
