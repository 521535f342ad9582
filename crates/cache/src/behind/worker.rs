//! Whoever commits what is pending.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use russet_core_conn::{Delivery, Segments, Topic};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::buffer::{BehindStats, WriteBehind};
use super::commit::{Commits, Typed};
use super::counters::WorkerStats;
use super::crew::Crew;
use super::entities::Entities;
use super::error::BehindError;
use super::seats::Seats;
use super::sink::Sink;
use crate::keys::LANES;

/// The options of a [`Worker`]. See [`WriteBehind::worker`].
#[must_use = "nothing happens before `start()`"]
pub struct WorkerBuilder {
    buffer: WriteBehind,
    sinks: HashMap<Bytes, Box<dyn Commits>>,
}

/// Commits what is pending in its share of the lanes of a [`WriteBehind`]. Any number of processes may have one: each lane is
/// one's at a time, by a lease, and another's when that one has died. 16 lanes are shared by all workers that are there;
/// more than 16 are there for when others die.
///
/// # Dropping
/// Its tasks end where they wait, with what they are committing: what was committed and not acknowledged comes again, and is
/// [told so](crate::Change::redelivered). Its lanes are given back in the background, where Redis can be reached.
/// [`shutdown`](Self::shutdown) commits what is pending first.
#[derive(Debug)]
pub struct Worker {
    crew: Arc<Crew>,
    lanes: Vec<AbortOnDropHandle<bool>>,
    attends: JoinHandle<()>,
    _gone: DropGuard,
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
        let notifies = || (0..LANES).map(|_| Notify::new()).collect();
        let draining = CancellationToken::new();
        let gone = draining.child_token();
        let _gone = gone.clone().drop_guard();
        let crew = Arc::new(Crew {
            buffer,
            sinks,
            wakes: notifies(),
            freed: notifies(),
            // Where nobody says how many are its own, all are.
            seats: Seats::new(LANES),
            name: format!("{:016x}", rand::random::<u64>()).into(),
            others: Notify::new(),
            draining,
            gone,
        });
        crew.enlist(None).await;
        let listener = AbortOnDropHandle::new(tokio::spawn(listen(crew.clone())));
        let attends = tokio::spawn(crew.clone().attend());
        let lanes =
            (0..LANES).map(|lane| AbortOnDropHandle::new(tokio::spawn(crew.clone().tend(lane))));
        let lanes = lanes.collect();
        Ok(Worker { crew, lanes, attends, _gone, _listener: listener })
    }
}

/// Hears of lanes with a whole batch or without an owner, and of other workers. Where nobody tells, that is found when its
/// time has come.
async fn listen(crew: Arc<Crew>) {
    let inner = &crew.buffer.inner;
    let all = || crew.wakes.iter().chain(&crew.freed).for_each(Notify::notify_one);
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
        let said = std::str::from_utf8(message.payload()).unwrap_or_default();
        let freed = said.strip_prefix("free:").map(|lane| (&crew.freed, lane));
        let (of, lane) = freed.unwrap_or((&crew.wakes, said));
        if said == "workers" {
            crew.others.notify_one();
            // One that went may have given its lanes back unheard.
            crew.freed.iter().for_each(Notify::notify_one);
        } else if let Some(notify) = lane.parse().ok().and_then(|lane: usize| of.get(lane)) {
            notify.notify_one();
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
        let Self { crew, mut lanes, attends, .. } = self;
        crew.draining.cancel();
        let drained = tokio::time::timeout(within, join(join_all(lanes.iter_mut()), attends)).await;
        let drained = drained.map(|(drained, _)| drained);
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
