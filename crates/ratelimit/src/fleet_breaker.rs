//! A circuit breaker that the nodes of a fleet share.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use russet_core_conn::{BreakerState, Events, KeySpace, Redis, Verdict};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::builder::FleetBreakerBuilder;
pub use self::permit::FleetPermit;
pub use self::rejected::{FleetBreakerError, RefusedBy, Rejected};
pub use self::state::{FleetEvent, FleetEventKind, FleetState, FleetStatus, Standing};
#[cfg(feature = "tower")]
pub use self::tower::{FleetBreakerLayer, FleetBreakerService};

use self::keeper::Keeper;
use self::permit::{Leave, Probe};
use self::script::{Kind, draw};
use self::shared::{Parts, Shared};
use self::view::{Fleet, View};
use crate::error::Error;

mod builder;
mod keeper;
#[cfg(test)]
mod model;
mod permit;
mod rejected;
mod script;
mod shared;
mod state;
#[cfg(feature = "tower")]
mod tower;
mod view;

#[doc = include_str!("fleet_breaker.md")]
pub struct FleetBreaker<E> {
    inner: Arc<Inner<E>>,
    judge: Judge<E>,
}

type Judge<E> = Arc<dyn Fn(&E) -> Verdict + Send + Sync>;

/// What the clones of a breaker own together; the keeper ends with it.
struct Inner<E> {
    shared: Arc<Shared<E>>,
    /// The handle that it was made with.
    redis: Redis,
    keeper: Mutex<Option<JoinHandle<Result<(), russet_core_conn::Error>>>>,
    over: CancellationToken,
    _end: DropGuard,
}

impl<E> FleetBreaker<E> {
    /// Options for a breaker of this name, which all nodes share that use this key space; and for this node's part in it.
    ///
    /// The node's id must be one that it keeps when it is started again, and no other's: that of a pod of a stateful set, of
    /// a host, of a slot. A node has one vote, however often it crashes; two that share an id have one vote together.
    pub fn builder(
        redis: &Redis,
        space: &KeySpace,
        name: &str,
        node: &str,
    ) -> FleetBreakerBuilder<E> {
        FleetBreakerBuilder::new(redis, space, name, node)
    }

    /// Makes the call, if it may be made, and records how it ended; else it is dropped, never begun. Asks Redis nothing
    /// unless the breaker is half-open, or open for its time.
    ///
    /// A probe that takes longer than [`probe_within`](FleetBreakerBuilder::probe_within) counts as failed from then on, and
    /// is waited for all the same. Dropping the future drops the call, which then counts as given up.
    ///
    /// # Errors
    /// [`FleetBreakerError::Rejected`] if it was not made, and else the call's own.
    pub async fn execute<T>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, FleetBreakerError<E>> {
        let permit = self.acquire().await?;
        let Some(left) = permit.time_left() else {
            let result = call.await;
            permit.record(&result);
            return result.map_err(FleetBreakerError::Call);
        };
        let mut call = std::pin::pin!(call);
        if let Ok(result) = tokio::time::timeout(left, call.as_mut()).await {
            permit.record(&result);
            return result.map_err(FleetBreakerError::Call);
        }
        permit.failure();
        call.await.map_err(FleetBreakerError::Call)
    }

    /// Leave to make one call, for what [`execute`](Self::execute) does not fit. At most one round trip, within the
    /// [budget](FleetBreakerBuilder::budget); none unless the breaker is half-open, or open for its time.
    ///
    /// # Errors
    /// The call must not be made.
    pub async fn acquire(&self) -> Result<FleetPermit<'_, E>, Rejected> {
        let leave = self.leave().await;
        if leave.is_err() {
            // Whoever goes on without the call may wait for nothing else, and must not keep others from running.
            tokio::task::coop::consume_budget().await;
            #[cfg(feature = "metrics")]
            metrics::counter!("russet_fleet_breaker_refused_total", "breaker" => self.inner.shared.parts.name.clone())
                .increment(1);
        }
        leave
    }

    async fn leave(&self) -> Result<FleetPermit<'_, E>, Rejected> {
        let shared = &self.inner.shared;
        let (fleet, generation, alone) = {
            let view = shared.view.load();
            (view.fleet, view.generation, view.alone)
        };
        match fleet {
            Fleet::Closed => self.own(generation),
            Fleet::MetricsOnly => {
                Ok(self.own(generation).unwrap_or_else(|_| FleetPermit::new(self, Leave::Free)))
            }
            Fleet::Disabled => Ok(FleetPermit::new(self, Leave::Free)),
            Fleet::ForcedOpen => Err(self.refusal(RefusedBy::Fleet, None)),
            Fleet::Open { until } => match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Err(self.refusal(RefusedBy::Fleet, Some(left))),
                _ if alone => self.own(generation),
                _ => self.probe().await,
            },
            Fleet::HalfOpen if alone => self.own(generation),
            Fleet::HalfOpen => self.probe().await,
        }
    }

    /// Leave by the node's own breaker.
    fn own(&self, generation: u64) -> Result<FleetPermit<'_, E>, Rejected> {
        match self.inner.shared.parts.own.try_acquire() {
            Ok(permit) => Ok(FleetPermit::new(self, Leave::Own(permit, generation))),
            Err(open) => Err(self.refusal(RefusedBy::Node, open.retry_after)),
        }
    }

    /// Leave by the fleet's: a permit for a probe.
    async fn probe(&self) -> Result<FleetPermit<'_, E>, Rejected> {
        let shared = &self.inner.shared;
        let refused = |left: Duration| self.refusal(RefusedBy::Fleet, Some(left));
        let asking = shared.gate.enter().map_err(|left| {
            // Whoever asks has its answer within the budget.
            refused(left.unwrap_or(shared.parts.quick.deadline()))
        })?;
        let (permit, question, sent) = (draw(), shared.question(), Instant::now());
        let until = sent + Duration::from_micros(shared.parts.rules.lasts);
        let probe = Probe { permit, began: sent, due: sent + shared.parts.probe_within, until };
        // Given back if this future is dropped, or the answer is lost.
        let asked = FleetPermit::new(self, Leave::Asked(probe));
        let answer = shared
            .parts
            .place
            .probe(&shared.parts.quick, permit, draw(), &shared.parts.rules)
            .await;
        match answer {
            Ok(Some((said, true))) => {
                shared.hear(question, &said);
                drop(asking);
                Ok(asked.given())
            }
            Ok(Some((said, false))) => {
                asked.refused();
                let left = Duration::from_micros(said.left);
                if said.kind == Kind::HalfOpen {
                    // One may be given back earlier: a message says so, or nobody does.
                    asking.close_until(Instant::now() + left.min(shared.parts.heartbeat));
                }
                shared.hear(question, &said);
                drop(asking);
                match said.kind {
                    Kind::Open | Kind::HalfOpen => Err(refused(left)),
                    Kind::ForcedOpen => Err(self.refusal(RefusedBy::Fleet, None)),
                    Kind::Closed => self.own(said.generation),
                    Kind::Disabled | Kind::MetricsOnly => Ok(FleetPermit::new(self, Leave::Free)),
                }
            }
            Ok(None) => {
                asked.refused();
                shared.news.notify_one();
                Err(refused(shared.parts.heartbeat))
            }
            Err(error) => {
                tracing::debug!(%error, "leave for a probe can't be asked for");
                // Until it is known whether Redis is gone, or that was all: nobody probes.
                asking.close_until(Instant::now() + shared.parts.heartbeat);
                shared.news.notify_one();
                Err(refused(shared.parts.heartbeat))
            }
        }
    }

    /// Whether this node knows that a call would be refused now. Asks Redis nothing, and takes no permit: where a call would
    /// be a probe, it says no.
    pub(crate) fn refuses(&self) -> Option<Rejected> {
        let shared = &self.inner.shared;
        let own = || match shared.parts.own.state() {
            BreakerState::Open { retry_after } if !retry_after.is_zero() => {
                Some(self.refusal(RefusedBy::Node, Some(retry_after)))
            }
            _ => None,
        };
        let view = shared.view.load();
        match view.fleet {
            Fleet::Closed => own(),
            Fleet::MetricsOnly | Fleet::Disabled => None,
            Fleet::ForcedOpen => Some(self.refusal(RefusedBy::Fleet, None)),
            Fleet::Open { until } => match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Some(self.refusal(RefusedBy::Fleet, Some(left))),
                _ if view.alone => own(),
                _ => None,
            },
            Fleet::HalfOpen if view.alone => own(),
            Fleet::HalfOpen => {
                shared.gate.closed().map(|left| self.refusal(RefusedBy::Fleet, Some(left)))
            }
        }
    }

    fn refusal(&self, by: RefusedBy, retry_after: Option<Duration>) -> Rejected {
        Rejected { breaker: self.inner.shared.parts.name.clone(), by, retry_after }
    }

    /// What this node knows. Asks Redis nothing.
    pub fn state(&self) -> Standing {
        let (view, now) = (self.inner.shared.view.load(), Instant::now());
        let View { generation, alone, .. } = **view;
        Standing {
            fleet: view.state(now),
            local: self.inner.shared.parts.own.state(),
            alone,
            generation,
        }
    }

    /// All that Redis knows of it. One round trip.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn status(&self) -> Result<FleetStatus, Error> {
        let (shared, redis) = (&self.inner.shared, &self.inner.redis);
        shared.agreed.check(redis, &shared.parts.space).await?;
        let status = shared.parts.place.status(redis, &shared.parts.rules).await?;
        Ok(FleetStatus::of(status, SystemTime::now()))
    }

    /// Refuses all calls of all nodes, until [`reset`](Self::reset). One round trip; other nodes know of it as soon as the
    /// message arrives, or within a heartbeat.
    ///
    /// # Errors
    /// Those of Redis. If the outcome is unknown, it may be done.
    pub async fn force_open(&self) -> Result<(), Error> {
        self.force(Kind::ForcedOpen).await
    }

    /// Lets all calls of all nodes through and counts none, until [`reset`](Self::reset): as if there were no breaker. One
    /// round trip.
    ///
    /// # Errors
    /// As [`force_open`](Self::force_open).
    pub async fn disable(&self) -> Result<(), Error> {
        self.force(Kind::Disabled).await
    }

    /// Lets all calls of all nodes through and counts them, until [`reset`](Self::reset): [`status`](Self::status) and the
    /// events say who would have voted. For a rule that is tried out. One round trip.
    ///
    /// # Errors
    /// As [`force_open`](Self::force_open).
    pub async fn metrics_only(&self) -> Result<(), Error> {
        self.force(Kind::MetricsOnly).await
    }

    /// Closed, with nothing counted on any node, whatever it was. One round trip.
    ///
    /// # Errors
    /// As [`force_open`](Self::force_open).
    pub async fn reset(&self) -> Result<(), Error> {
        self.force(Kind::Closed).await
    }

    async fn force(&self, kind: Kind) -> Result<(), Error> {
        let (shared, redis) = (&self.inner.shared, &self.inner.redis);
        shared.agreed.check(redis, &shared.parts.space).await?;
        let question = shared.question();
        let said = shared.parts.place.force(redis, kind, draw(), &shared.parts.rules).await?;
        shared.hear(question, &said);
        Ok(())
    }

    /// Listens to what happens to it from now on.
    pub fn events(&self) -> Events<FleetEvent> {
        self.inner.shared.events.listen()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.shared.parts.name
    }

    /// Takes this node out of the fleet: what probes it has still to tell is told, and it counts no more. From then on its
    /// calls go by its own breaker. Two round trips at most, each within a heartbeat. Calling it again does nothing.
    ///
    /// Where the last clone is dropped instead, the same is done in the background.
    ///
    /// # Errors
    /// Those of Redis: the node then counts for 60 heartbeats more, without a vote.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let keeper = {
            let mut keeper = self.inner.keeper.lock().unwrap_or_else(PoisonError::into_inner);
            keeper.take()
        };
        self.inner.over.cancel();
        match keeper {
            // One that was aborted with its runtime, or has panicked, has nothing to say.
            Some(keeper) => keeper.await.unwrap_or(Ok(())).map_err(Error::Redis),
            None => Ok(()),
        }
    }

    fn start(parts: Parts<E>, redis: Redis, judge: Judge<E>, runtime: &Handle) -> Self
    where
        E: 'static,
    {
        let (reports, told) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(parts, reports));
        let over = CancellationToken::new();
        let keeper = runtime.spawn(Keeper::new(shared.clone(), told).keep(over.clone()));
        let inner = Inner {
            shared,
            redis,
            keeper: Mutex::new(Some(keeper)),
            _end: over.clone().drop_guard(),
            over,
        };
        Self { inner: Arc::new(inner), judge }
    }
}

impl<E> Clone for FleetBreaker<E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), judge: self.judge.clone() }
    }
}

impl<E> fmt::Debug for FleetBreaker<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("FleetBreaker");
        debug.field("name", &self.name()).field("state", &self.state()).finish()
    }
}
