//! What the clones of a breaker and its keeper own together.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use russet_core_conn::{Agreed, Breaker, BreakerState, Broadcast, KeySpace, Redis};
use tokio::sync::{Notify, mpsc};

use super::permit::Probe;
use super::script::{Beat, Ending, Place, Rules, Said, draw};
use super::state::{FleetEvent, FleetEventKind, FleetState};
use super::view::{Own, View};

pub(super) struct Shared<E> {
    pub(super) parts: Parts<E>,
    pub(super) agreed: Agreed,
    pub(super) view: ArcSwap<View>,
    /// One change at a time, so that events come in the order of the changes.
    turn: Mutex<()>,
    questions: AtomicU64,
    /// Since the last change.
    failures: AtomicU64,
    pub(super) gate: Gate,
    reports: mpsc::UnboundedSender<Report>,
    /// There may be news.
    pub(super) news: Notify,
    pub(super) events: Broadcast<FleetEvent>,
}

/// How a probe ended, for the keeper to tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) probe: Probe,
    pub(super) ending: Ending,
}

/// What a breaker is made of.
pub(super) struct Parts<E> {
    pub(super) name: Arc<str>,
    pub(super) node: Box<str>,
    pub(super) space: KeySpace,
    pub(super) place: Place,
    pub(super) rules: Rules,
    pub(super) heartbeat: Duration,
    /// How long a probe may take.
    pub(super) probe_within: Duration,
    /// One that takes this long and ends well has failed all the same.
    pub(super) slow: Option<Duration>,
    /// For whoever asks for a permit, and waits for it.
    pub(super) quick: Redis,
    /// For the keeper, for whom nobody waits.
    pub(super) patient: Redis,
    pub(super) own: Breaker<E>,
}

impl<E> Shared<E> {
    pub(super) fn new(parts: Parts<E>, reports: mpsc::UnboundedSender<Report>) -> Self {
        Self {
            parts,
            agreed: Agreed::default(),
            view: ArcSwap::from_pointee(View::new()),
            turn: Mutex::default(),
            questions: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            gate: Gate::default(),
            reports,
            news: Notify::new(),
            events: Broadcast::new(),
        }
    }

    /// The number of a question that is about to be sent.
    pub(super) fn question(&self) -> u64 {
        self.questions.fetch_add(1, AcqRel) + 1
    }

    /// What was answered to a question.
    pub(super) fn hear(&self, question: u64, said: &Said) {
        let _turn = self.turn();
        let (before, now) = (self.view.load_full(), Instant::now());
        let Some((view, own)) = before.after(question, said, now) else { return };
        let changed = before.generation != view.generation;
        if changed {
            self.failures.store(0, Relaxed);
            self.gate.open();
        }
        let (from, to, joined) = (before.state(now), view.state(now), before.alone);
        // Whoever is let through by what it is now is counted from now on.
        match own {
            Own::Stays => {}
            Own::Trips => self.parts.own.trip(),
            Own::Resets => self.parts.own.reset(),
        }
        self.view.store(Arc::new(view));
        if joined {
            self.tell(FleetEventKind::Joined);
        }
        if changed && (before.generation != 0 || to != FleetState::Closed) {
            self.tell(FleetEventKind::Changed { from, to });
        }
    }

    /// Nobody answers any more.
    pub(super) fn be_alone(&self) {
        let _turn = self.turn();
        let before = self.view.load_full();
        if !before.alone {
            self.view.store(Arc::new(View { alone: true, ..(*before).clone() }));
            self.tell(FleetEventKind::Alone);
        }
    }

    /// What this node says.
    pub(super) fn beat(&self) -> Beat<'_> {
        let view = self.view.load();
        // One that would let a probe through has no opinion any more: perhaps nobody has called for hours.
        let opposes = match self.parts.own.state() {
            BreakerState::Open { retry_after } => !retry_after.is_zero(),
            _ => false,
        };
        Beat {
            node: &self.parts.node,
            known: view.generation,
            votes: view.is_voted_on() && opposes,
            failures: self.failures.load(Acquire),
            drawn: draw(),
        }
    }

    pub(super) fn count_failure(&self, generation: u64) {
        if self.view.load().generation == generation {
            self.failures.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn is_slow(&self, probe: &Probe) -> bool {
        self.parts.slow.is_some_and(|over| probe.began.elapsed() >= over)
    }

    /// Has the keeper tell it. At most as many are on their way as permits were given.
    pub(super) fn report(&self, probe: Probe, ending: Ending) {
        // Where there is no keeper any more, the permit ends by itself.
        let _ = self.reports.send(Report { probe, ending });
    }

    #[cfg_attr(
        not(feature = "metrics"),
        expect(clippy::unused_self, unused_variables, reason = "only metrics count it")
    )]
    pub(super) fn count_probe(&self, ending: Ending, counted: bool) {
        #[cfg(feature = "metrics")]
        {
            let result = match ending {
                _ if !counted => "late",
                Ending::Nothing => "given_up",
                Ending::Well => "ok",
                Ending::Badly => "failed",
            };
            metrics::counter!("russet_fleet_breaker_probes_total", "breaker" => self.parts.name.clone(), "result" => result)
                .increment(1);
        }
    }

    pub(super) fn tell(&self, kind: FleetEventKind) {
        let breaker = &self.parts.name;
        match kind {
            FleetEventKind::Changed { from, to } => {
                if let FleetState::Open { retry_after } = to {
                    tracing::warn!(%breaker, %from, ?retry_after, "the fleet's breaker opens");
                } else {
                    tracing::info!(%breaker, %from, %to, "the fleet's breaker changes");
                }
                #[cfg(feature = "metrics")]
                metrics::counter!("russet_fleet_breaker_transitions_total", "breaker" => breaker.clone(), "to" => to.word())
                    .increment(1);
            }
            FleetEventKind::Alone => {
                tracing::warn!(%breaker, "Redis does not answer: the node goes by its own breaker");
            }
            kind => tracing::debug!(%breaker, ?kind, "a node of the fleet's breaker"),
        }
        #[cfg(feature = "metrics")]
        if matches!(
            kind,
            FleetEventKind::Changed { .. } | FleetEventKind::Alone | FleetEventKind::Joined
        ) {
            self.gauge();
        }
        self.events.send(FleetEvent { breaker: breaker.clone(), kind });
    }

    #[cfg(feature = "metrics")]
    fn gauge(&self) {
        let view = self.view.load();
        let number = f64::from(view.fleet.number());
        metrics::gauge!("russet_fleet_breaker_state", "breaker" => self.parts.name.clone())
            .set(number);
        let alone = if view.alone { 1.0 } else { 0.0 };
        metrics::gauge!("russet_fleet_breaker_alone", "breaker" => self.parts.name.clone())
            .set(alone);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> fmt::Debug for Shared<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.parts.name).finish_non_exhaustive()
    }
}

/// Keeps the calls of a process that find the breaker half-open from asking for permits all at once: one asks, and when it
/// was refused, nobody asks again before there may be news.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Standstill>);

#[derive(Debug, Default)]
struct Standstill {
    asking: bool,
    until: Option<Instant>,
    /// How often there may have been news.
    news: u64,
}

impl Standstill {
    fn closed(&self) -> Option<Duration> {
        self.until?.checked_duration_since(Instant::now())
    }
}

impl Gate {
    /// Leave to ask for a permit, or how long there is none.
    pub(super) fn enter(&self) -> Result<Asking<'_>, Option<Duration>> {
        let mut gate = self.lock();
        if let Some(left) = gate.closed() {
            return Err(Some(left));
        }
        if std::mem::replace(&mut gate.asking, true) {
            return Err(None);
        }
        Ok(Asking { gate: self, news: gate.news })
    }

    /// How long nobody asks.
    pub(super) fn closed(&self) -> Option<Duration> {
        self.lock().closed()
    }

    /// There may be news.
    pub(super) fn open(&self) {
        let mut gate = self.lock();
        gate.until = None;
        gate.news += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Standstill> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that asks for a permit.
pub(super) struct Asking<'a> {
    gate: &'a Gate,
    news: u64,
}

impl Asking<'_> {
    /// It was refused: nobody asks before this time, unless there were news since it asked, or will be.
    pub(super) fn close_until(&self, until: Instant) {
        let mut gate = self.gate.lock();
        if gate.news == self.news {
            gate.until = Some(until);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.gate.lock().asking = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_at_a_time_and_after_a_refusal_nobody_before_there_may_be_news() {
        let (gate, later) = (Gate::default(), Instant::now() + Duration::from_secs(60));
        let asking = gate.enter().unwrap();
        assert!(gate.enter().is_err_and(|left| left.is_none()));
        asking.close_until(later);
        drop(asking);
        assert!(gate.enter().is_err_and(|left| left > Some(Duration::from_secs(50))));
        gate.open();
        let asking = gate.enter().unwrap();
        // While the refusal was on its way.
        gate.open();
        asking.close_until(later);
        drop(asking);
        assert!(gate.enter().is_ok());
    }
}
