//! What a failover may have taken back: each process says again what it has said of late.
//!
//! Redis replicates asynchronously, and a server that is restarted has what its disk had: an invalidation that was
//! acknowledged may be gone with the process that acknowledged it, and what it had removed be back. Nothing in Redis tells
//! so. But whoever said it knows, and that there is another process is told by the connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use russet_core_conn::{EventKind, Notice};
use tokio_util::task::AbortOnDropHandle;

use crate::cache::{Cache, Inner};
use crate::owed::Debt;

/// So many are remembered, the last ones: half of what can be owed.
const MOST: usize = 5_000;

/// And for so long: a replica that has heard nothing for longer is not promoted, by the defaults of Sentinel and cluster.
const FOR: Duration = Duration::from_secs(300);

/// What this process has said to be invalid, and Redis has acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    said: Mutex<VecDeque<(Instant, Debt)>>,
    watcher: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Recent {
    pub(crate) fn note(&self, said: impl Iterator<Item = Debt>) {
        let now = Instant::now();
        let mut all = self.lock();
        while all.front().is_some_and(|(then, _)| now.duration_since(*then) > FOR) {
            all.pop_front();
        }
        for debt in said {
            if all.len() >= MOST {
                all.pop_front();
            }
            all.push_back((now, debt));
        }
    }

    /// In the order in which it was said.
    fn said(&self) -> Vec<Debt> {
        let all = self.lock();
        let recent = all.iter().filter(|(then, _)| then.elapsed() <= FOR);
        recent.map(|(_, debt)| debt.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Debt)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Hears of failovers from here on, also where the runtime of the one before has ended.
    pub(crate) fn watch(&self) {
        let mut watcher = self.inner.recent.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if watcher.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let Some(redis) = self.inner.redis.server() else { return };
        let (mut events, policy) = (redis.events(), self.policy);
        let inner = Arc::downgrade(&self.inner);
        *watcher = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(notice) = events.next().await {
                let replaced = match notice {
                    Notice::Event(event) => {
                        matches!(event.kind, EventKind::Replaced | EventKind::Promoted)
                    }
                    // It may have been among those.
                    _ => true,
                };
                if replaced {
                    let Some(inner) = inner.upgrade() else { return };
                    Self { inner, policy }.say_again();
                }
            }
        })));
    }

    /// Until Redis has it, nothing of it is used here, as with what it did not take the first time.
    fn say_again(&self) {
        let inner = &self.inner;
        let said = inner.recent.said();
        tracing::info!(
            invalidations = said.len(),
            "a failover may have lost some: they are repeated"
        );
        inner.counters.failed_over(said.len());
        let owes = !said.is_empty();
        inner.owed.add(said.into_iter(), inner.tracked.is_some());
        inner.distrust();
        if owes {
            self.pay();
        }
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// What others have said may be lost, too: nothing that was kept is used.
    fn distrust(&self) {
        if let Some(tracked) = &self.tracked {
            tracked.journal.distrust(&self.here(tracked));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_last_ones_are_remembered_in_their_order() {
        let recent = Recent::default();
        let tag = |number: usize| Debt::Tag(Bytes::from(number.to_string()));
        recent.note((0..MOST + 2).map(tag));
        recent.note(std::iter::once(Debt::All));
        let said = recent.said();
        assert_eq!((said.len(), &said[0], &said[MOST - 1]), (MOST, &tag(3), &Debt::All));
    }
}
