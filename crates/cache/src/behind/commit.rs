//! What was taken from a lane, given to a sink, and what became of each entity.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use russet_core_conn::Segments;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::change::Change;
use super::counters::Became;
use super::entities::Entities;
use super::sink::{Batch, CommitError, Committed, Sink};
use crate::scripts::behind::Taken;

/// What became of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    Failed(String),
    /// The sink is away.
    Away(String),
}

/// The sink of one sort of entity, whatever that is.
pub(super) trait Commits: Send + Sync {
    /// A fate for each.
    fn commit<'a>(&'a self, taken: &'a [Taken], lane: u16, fence: u64) -> BoxFuture<'a, Vec<Fate>>;
}

pub(super) struct Typed<K, V, S> {
    pub(super) entities: Entities<K, V>,
    pub(super) sink: S,
}

impl<K, V, S> Commits for Typed<K, V, S>
where
    K: Segments + Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    S: Sink<K, V>,
{
    fn commit<'a>(&'a self, taken: &'a [Taken], lane: u16, fence: u64) -> BoxFuture<'a, Vec<Fate>> {
        Box::pin(async move {
            let mut fates: Vec<Option<Fate>> = vec![None; taken.len()];
            let (mut changes, mut places) = (Vec::new(), Vec::new());
            // Those that have failed come last, and alone: they must not take others along.
            let mut order: Vec<usize> = (0..taken.len()).collect();
            order.sort_by_key(|at| taken[*at].tries > 0);
            for at in order {
                match self.change(&taken[at]) {
                    Ok(change) => {
                        changes.push(change);
                        places.push(at);
                    }
                    Err(unreadable) => fates[at] = Some(Fate::Failed(unreadable)),
                }
            }
            let committed = self.isolate(&mut changes, lane, fence).await;
            for (at, fate) in places.iter().zip(committed) {
                fates[*at] = Some(fate);
            }
            if let Err(error) = self.uncache(&changes, &places, &fates).await {
                // They stay pending, and come again.
                tracing::warn!(%error, "what was committed may still be cached");
                let away = Fate::Away(error.to_string());
                return vec![away; taken.len()];
            }
            fates.into_iter().map(|fate| fate.unwrap_or(Fate::Committed)).collect()
        })
    }
}

impl<K, V, S> Typed<K, V, S>
where
    K: Segments + Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    S: Sink<K, V>,
{
    fn change(&self, taken: &Taken) -> Result<Change<K, V>, String> {
        let Taken { write, version, again, tries, name, .. } = taken;
        let unreadable = |error: &dyn std::fmt::Display| format!("it can't be read: {error}");
        let key = self.entities.buffer.inner.codec.decode(name);
        let key = key.map_err(|error| unreadable(&error))?;
        let op = self.entities.op(write.clone()).map_err(|error| unreadable(&error))?;
        Ok(Change { key, op, version: *version, redelivered: *again, failures: *tries })
    }

    /// Halves what fails until that stands alone.
    async fn isolate(&self, changes: &mut [Change<K, V>], lane: u16, fence: u64) -> Vec<Fate> {
        let mut fates = vec![Fate::Committed; changes.len()];
        let unspoilt = changes.iter().take_while(|change| change.failures == 0).count();
        let mut todo: VecDeque<Range<usize>> = VecDeque::new();
        todo.extend((unspoilt > 0).then_some(0..unspoilt));
        todo.extend((unspoilt..changes.len()).map(|at| at..at + 1));
        while let Some(range) = todo.pop_front() {
            let batch = Batch { changes: &changes[range.clone()], lane, fence };
            match self.once(batch).await {
                Ok(Committed { except }) => {
                    for (at, reason) in except {
                        if let Some(fate) = fates[range.clone()].get_mut(at) {
                            *fate = Fate::Failed(reason);
                        }
                    }
                }
                Err(CommitError::Away(reason)) => {
                    for range in std::iter::once(range).chain(todo) {
                        fates[range].fill(Fate::Away(reason.clone()));
                    }
                    break;
                }
                Err(CommitError::Failed(reason)) if range.len() == 1 => {
                    fates[range.start] = Fate::Failed(reason);
                }
                Err(CommitError::Failed(_)) => {
                    // It may have committed some of it after all, as where it gave no answer in time.
                    changes[range.clone()].iter_mut().for_each(|change| change.redelivered = true);
                    let middle = range.start + range.len() / 2;
                    todo.push_front(middle..range.end);
                    todo.push_front(range.start..middle);
                }
            }
        }
        fates
    }

    async fn once(&self, batch: Batch<'_, K, V>) -> Result<Committed, CommitError> {
        let inner = &self.entities.buffer.inner;
        let patience = inner.options.commit_timeout;
        let again = batch.changes.iter().filter(|change| change.redelivered).count();
        inner.counters.became(Became::Redelivered, again as u64);
        let begun = Instant::now();
        let commit = AssertUnwindSafe(self.sink.commit(batch)).catch_unwind();
        let done = match tokio::time::timeout(patience, commit).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(CommitError::Failed("the sink panicked".into())),
            Err(_) => Err(CommitError::Failed(format!("the sink gave no answer in {patience:?}"))),
        };
        inner.counters.commit(begun.elapsed());
        done
    }

    /// While it is pending still: who loads it from here on finds what was committed.
    async fn uncache(
        &self,
        changes: &[Change<K, V>],
        places: &[usize],
        fates: &[Option<Fate>],
    ) -> Result<(), crate::Error> {
        let Some(cache) = &self.entities.cache else { return Ok(()) };
        let committed = changes.iter().zip(places);
        let committed = committed.filter(|(_, at)| fates[**at] == Some(Fate::Committed));
        cache.remove_many(committed.map(|(change, _)| &change.key)).await.map(drop)
    }
}

/// Of a sort that no sink is there for.
pub(super) fn kind_of(entity: &Bytes) -> Bytes {
    let end = entity.iter().skip(1).position(|byte| *byte == b':');
    entity.slice(..end.map_or(entity.len(), |at| at + 1))
}
