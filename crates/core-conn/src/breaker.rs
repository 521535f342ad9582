//! A circuit breaker: who does not answer is not asked for a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::BreakerBuilder;
pub use self::event::{BreakerEvent, BreakerReason, BreakerState};
use self::machine::{Machine, Settings};
pub use self::permit::BreakerPermit;
pub use self::trip::Trip;
pub use self::verdict::Verdict;
use crate::Error;
use crate::event::Events;

mod builder;
mod event;
mod handle;
mod machine;
#[cfg(test)]
mod model;
mod permit;
mod stage;
#[cfg(test)]
mod tests;
mod trip;
mod verdict;
mod window;

/// A local circuit breaker: after some failures calls are refused at once instead of each waiting for its deadline.
/// Cheap to clone; clones are one breaker.
///
/// ```text
///             a rule of Trip                the delay is over
///   closed ───────────────────▶ open ───────────────────────────▶ half-open
///     ▲                          ▲    a probe fails, or too few end     │
///     │                          └──────────────────────────────────────┤
///     └─────────────────────────────────────────────────────────────────┘
///                            enough probes succeed
/// ```
///
/// For what can go on without the other side, and for sparing one that is down the calls of everybody who waits for
/// it. It knows what this process saw, and nothing of other processes. Where every call must be made, have none.
///
/// - Around this crate's calls: [`Redis::with_breaker`](crate::Redis::with_breaker).
/// - Around anything: [`call`](Self::call), or [`try_acquire`](Self::try_acquire) and a permit. `E` is the error of what
///   is called, on which a [`Verdict`] is passed.
///
/// ```
/// use russet_core_conn::{Breaker, BreakerError, Trip, Verdict};
///
/// # #[derive(Debug)] enum RatesError { Timeout, NoSuchCurrency }
/// # async fn fetch_rate(_: &str) -> Result<f64, RatesError> { Ok(1.1) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let rates = Breaker::builder_for("rates", |error: &RatesError| match error {
///     RatesError::Timeout => Verdict::Failure,
///     // They answered.
///     RatesError::NoSuchCurrency => Verdict::Success,
/// })
/// .trips([Trip::Consecutive(3), Trip::FailureRate { percent: 50, calls: 20 }])
/// .build()?;
///
/// match rates.call(|| fetch_rate("EUR")).await {
///     Ok(rate) => println!("{rate}"),
///     Err(BreakerError::Open(open)) => println!("yesterday's rate, for {:?}", open.retry_after),
///     Err(BreakerError::Call(error)) => println!("{error:?}"),
/// }
/// # Ok(()) }
/// ```
///
/// # What counts, and where
///
/// A call counts when it ends, in the stay in a state in which it began, or not at all: what was slow to fail does not
/// open a breaker that has closed since, and its success does not close one that has opened. What a dropped permit
/// counts for is said at [`BreakerPermit`].
///
/// # Probes
///
/// At most [`probes`](BreakerBuilder::probes) calls are let through at once while it is half-open. Dropped ones give
/// their place back, and a stay in half-open that is not decided in
/// [`probe_within`](BreakerBuilder::probe_within) ends in open again, so that no lost or hung probe holds it there.
///
/// # Cost
///
/// Nothing is sent and no task runs: time is looked at when a call comes. While it is closed a call takes no lock and
/// allocates nothing; counting a call for a rate reads the clock once, for slow calls twice.
///
/// The states are those of Nygard, *Release It!* (2007); windows, slow calls and forced states as in resilience4j.
pub struct Breaker<E = Error> {
    machine: Arc<Machine>,
    judge: Judge<E>,
}

type Judge<E> = Arc<dyn Fn(&E) -> Verdict + Send + Sync>;

/// The breaker is open, or half-open with a probe in every place: the call was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the breaker {breaker:?} is open")]
#[non_exhaustive]
pub struct BreakerOpen {
    /// The breaker's name.
    pub breaker: Arc<str>,
    /// After what time a call will be let through as a probe. `None` where that is not a matter of time: probes are
    /// under way, or it was [forced open](Breaker::force_open).
    pub retry_after: Option<Duration>,
}

/// Why [`Breaker::call`] has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BreakerError<E> {
    /// The call was not made.
    #[error(transparent)]
    Open(#[from] BreakerOpen),
    /// The call's own error.
    #[error("{0}")]
    Call(E),
}

impl Breaker {
    /// A breaker with default options for calls of this crate: opens after 5 failures in a row, or when half of 20 or
    /// more calls in 10 s failed.
    pub fn new(name: &str) -> Self {
        Self::assemble(Machine::new(name, Settings::default()), Arc::new(Verdict::of))
    }

    /// Options for a breaker for calls of this crate, which are judged by [`Verdict::of`]. The name is for events, logs
    /// and errors.
    pub fn builder(name: &str) -> BreakerBuilder {
        Self::builder_for(name, Verdict::of)
    }
}

impl<E> Breaker<E> {
    /// Options for a breaker for calls with errors of any type, which are judged by this.
    pub fn builder_for(
        name: &str,
        judge: impl Fn(&E) -> Verdict + Send + Sync + 'static,
    ) -> BreakerBuilder<E> {
        BreakerBuilder::new(name, Arc::new(judge))
    }

    fn assemble(machine: Machine, judge: Judge<E>) -> Self {
        Self { machine: Arc::new(machine), judge }
    }

    /// Makes the call, if it may be made, and records how it ended. Dropping the future drops the call, which then
    /// counts as given up.
    ///
    /// # Errors
    /// [`BreakerError::Open`] if it was not made, and else the call's own.
    pub async fn call<T, F>(&self, call: impl FnOnce() -> F) -> Result<T, BreakerError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let permit = match self.try_acquire() {
            Ok(permit) => permit,
            Err(open) => {
                // Whoever goes on without the call may wait for nothing else, and must not keep others from running.
                tokio::task::coop::consume_budget().await;
                return Err(BreakerError::Open(open));
            }
        };
        let result = call().await;
        permit.record(&result);
        result.map_err(BreakerError::Call)
    }

    /// Leave to make one call, for what [`call`](Self::call) does not fit.
    ///
    /// # Errors
    /// The call must not be made.
    #[inline]
    pub fn try_acquire(&self) -> Result<BreakerPermit<'_, E>, BreakerOpen> {
        match self.machine.admit() {
            Ok(ticket) => Ok(BreakerPermit::new(self, ticket)),
            Err(retry_after) => {
                #[cfg(feature = "metrics")]
                metrics::counter!("russet_breaker_refused_total", "breaker" => self.machine.name.clone())
                    .increment(1);
                Err(BreakerOpen { breaker: self.machine.name.clone(), retry_after })
            }
        }
    }

    /// What it does with the next call.
    pub fn state(&self) -> BreakerState {
        self.machine.state()
    }

    /// Refuses every call until [`reset`](Self::reset). For maintenance, and for tests of what goes on without.
    pub fn force_open(&self) {
        self.machine.force(BreakerState::ForcedOpen);
    }

    /// Lets every call through and counts none until [`reset`](Self::reset): as if there were no breaker.
    pub fn force_closed(&self) {
        self.machine.force(BreakerState::ForcedClosed);
    }

    /// Opens it if it is closed, as a rule of [`Trip`] would: for what is known of elsewhere and need not be found out here
    /// by failures.
    pub fn trip(&self) {
        self.machine.trip();
    }

    /// Closed, with nothing counted, whatever it was.
    pub fn reset(&self) {
        self.machine.force(BreakerState::Closed);
    }

    /// Listens to what it becomes from now on.
    pub fn events(&self) -> Events<BreakerEvent> {
        self.machine.events()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.machine.name
    }

    pub(crate) fn judge(&self, error: &E) -> Verdict {
        (self.judge)(error)
    }
}

impl<E> Clone for Breaker<E> {
    fn clone(&self) -> Self {
        Self { machine: self.machine.clone(), judge: self.judge.clone() }
    }
}

impl<E> fmt::Debug for Breaker<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Breaker").field("name", &self.machine.name).field("state", &state).finish()
    }
}
