//! What this process has written and committed, counted.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

#[cfg(feature = "metrics")]
use crate::metrics as names;

/// What the workers of one handle have done in this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Lanes that are theirs now, of 16.
    pub lanes: u64,
    /// Calls of sinks.
    pub commits: u64,
    /// Entities that sinks have committed.
    pub committed: u64,
    /// Entities that were given to a sink once more with the same version.
    pub redelivered: u64,
    /// Times that an entity could not be committed.
    pub failed: u64,
    /// Entities that nobody tries any more since.
    pub dead: u64,
    /// Times that a sink was away.
    pub away: u64,
    /// Batches whose lane had another owner by the time that they were committed.
    pub deposed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    #[cfg(feature = "metrics")]
    buffer: std::sync::Arc<str>,
    pub(super) lanes: AtomicU64,
    commits: AtomicU64,
    committed: AtomicU64,
    redelivered: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    away: AtomicU64,
    deposed: AtomicU64,
}

/// What can become of an entity that was given to a sink, or of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    Committed,
    Redelivered,
    Failed,
    Dead,
    Away,
    Deposed,
}

impl Counters {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only a label"))]
    pub(super) fn new(buffer: &str) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            buffer: buffer.into(),
            ..Self::default()
        }
    }

    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, clippy::unused_self, reason = "only measured")
    )]
    pub(super) fn write(&self, result: &'static str) {
        #[cfg(feature = "metrics")]
        metrics::counter!(names::BEHIND_WRITES, "buffer" => self.buffer.clone(), "result" => result)
            .increment(1);
    }

    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only measured"))]
    pub(super) fn commit(&self, took: Duration) {
        self.commits.fetch_add(1, Relaxed);
        #[cfg(feature = "metrics")]
        metrics::histogram!(names::BEHIND_COMMIT_SECONDS, "buffer" => self.buffer.clone())
            .record(took);
    }

    pub(super) fn became(&self, what: Became, many: u64) {
        let (count, _label) = match what {
            Became::Committed => (&self.committed, "committed"),
            Became::Redelivered => (&self.redelivered, "redelivered"),
            Became::Failed => (&self.failed, "failed"),
            Became::Dead => (&self.dead, "dead"),
            Became::Away => (&self.away, "away"),
            Became::Deposed => (&self.deposed, "deposed"),
        };
        count.fetch_add(many, Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!(names::BEHIND_ENTITIES, "buffer" => self.buffer.clone(), "result" => _label)
            .increment(many);
    }

    pub(super) fn snapshot(&self) -> WorkerStats {
        WorkerStats {
            lanes: self.lanes.load(Relaxed),
            commits: self.commits.load(Relaxed),
            committed: self.committed.load(Relaxed),
            redelivered: self.redelivered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dead: self.dead.load(Relaxed),
            away: self.away.load(Relaxed),
            deposed: self.deposed.load(Relaxed),
        }
    }
}
