//! Whoever commits what is pending.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use russet_core_conn::{Delivery, Segments, Topic};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::buffer::{BehindStats, WriteBehind};
use super::commit::{Commits, Typed};
use super::counters::WorkerStats;
use super::entities::Entities;
use super::error::BehindError;
use super::lane::Crew;
use super::sink::Sink;
use crate::keys::LANES;

/// The options of a [`Worker`]. See [`WriteBehind::worker`].
#[must_use = "nothing happens before `start()`"]
pub struct WorkerBuilder {
    buffer: WriteBehind,
    sinks: HashMap<Bytes, Box<dyn Commits>>,
}

/// Commits what is pending in those lanes of a [`WriteBehind`] that it can have. Any number of processes may have one: each
/// lane is one's at a time, by a lease, and another's when that one has died.
///
/// # Dropping
/// Its tasks end where they wait, with what they are committing: what was committed and not acknowledged comes again, and is
/// [told so](crate::Change::redelivered). Its lanes are given back in the background. [`shutdown`](Self::shutdown) commits
/// what is pending first.
#[derive(Debug)]
pub struct Worker {
    crew: Arc<Crew>,
    lanes: Vec<AbortOnDropHandle<bool>>,
    _listener: AbortOnDropHandle<()>,
}

/// What a worker that was shut down has left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// Lanes that it was not done with when the time was over, of 16.
    pub undrained: u64,
    /// What the whole buffer holds, where Redis said so: also what others write and commit, and what is tried again later.
    pub buffer: Option<BehindStats>,
}

impl WorkerBuilder {
    pub(super) fn new(buffer: &WriteBehind) -> Self {
        Self { buffer: buffer.clone(), sinks: HashMap::new() }
    }

    /// Where the entities of this sort are committed. What no worker that owns their lane has a sink for becomes dead: start
    /// programs that know a new sort before those that write it.
    pub fn sink<K, V>(mut self, entities: &Entities<K, V>, sink: impl Sink<K, V>) -> Self
    where
        K: Segments + Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let kind = Bytes::copy_from_slice(entities.kind.as_bytes());
        self.sinks.insert(kind, Box::new(Typed { entities: entities.clone(), sink }));
        self
    }

    /// Starts it, once Redis has said that it keeps what it is given.
    ///
    /// # Errors
    /// [`BehindError::Evicts`], [`BehindError::PolicyUnknown`], those of Redis. Nothing runs then.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> Result<Worker, BehindError> {
        let Self { buffer, sinks } = self;
        buffer.ready().await?;
        let wakes = (0..LANES).map(|_| Notify::new()).collect();
        let crew = Arc::new(Crew { buffer, sinks, wakes, draining: CancellationToken::new() });
        let task = tokio::spawn(listen(crew.clone()));
        let lanes =
            (0..LANES).map(|lane| AbortOnDropHandle::new(tokio::spawn(crew.clone().tend(lane))));
        Ok(Worker { lanes: lanes.collect(), crew, _listener: AbortOnDropHandle::new(task) })
    }
}

/// Hears of lanes with a whole batch. Where nobody tells, they are committed when their time has come.
async fn listen(crew: Arc<Crew>) {
    let inner = &crew.buffer.inner;
    let all = || crew.wakes.iter().for_each(Notify::notify_one);
    let mut heard = match inner.redis.hub().subscribe(Topic::channel(&inner.channel)).await {
        Ok(heard) => heard,
        Err(error) => {
            tracing::debug!(%error, "nobody tells of whole batches");
            return;
        }
    };
    all();
    while let Some(delivery) = heard.next().await {
        let Delivery::Message(message) = delivery else {
            all();
            continue;
        };
        let lane = std::str::from_utf8(message.payload()).ok().and_then(|text| text.parse().ok());
        if let Some(wake) = lane.and_then(|lane: usize| crew.wakes.get(lane)) {
            wake.notify_one();
        }
    }
}

impl Worker {
    /// What the workers of this handle have done in this process.
    pub fn stats(&self) -> WorkerStats {
        self.crew.buffer.inner.counters.snapshot()
    }

    /// Commits what is pending in its lanes without waiting for its time, gives them back, and says what is left. It takes
    /// `within` at the most, and then ends as if dropped; a deadline of Redis longer where that is away. What has failed
    /// before is left for its own time, or for another worker. How far it is, [`WriteBehind::stats`] tells meanwhile.
    pub async fn shutdown(self, within: Duration) -> Left {
        let Self { crew, mut lanes, .. } = self;
        crew.draining.cancel();
        let drained = tokio::time::timeout(within, join_all(lanes.iter_mut())).await;
        let undrained = match drained {
            Ok(ended) => ended.iter().filter(|ended| ended.is_err()).count(),
            Err(_) => lanes.iter().filter(|lane| !lane.is_finished()).count(),
        };
        drop(lanes);
        let buffer = crew.buffer.stats().await;
        let buffer = buffer.inspect_err(|error| tracing::warn!(%error, "nobody says what is left"));
        Left { undrained: undrained as u64, buffer: buffer.ok() }
    }
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder").field("sinks", &self.sinks.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("sinks", &self.sinks.len()).finish_non_exhaustive()
    }
}
