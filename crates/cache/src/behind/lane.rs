//! One lane: owned by one process at a time, which commits what is in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use russet_core_conn::{Acquired, Backoff, Fence, Ran};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::buffer::WriteBehind;
use super::commit::{Commits, Fate, kind_of};
use super::counters::{Became, Counters};
use crate::keys::Lane;
use crate::scripts::behind::{Failed, OnLane, Taken};

/// Of what is kept with an entity, in bytes.
const LONGEST_REASON: usize = 500;

/// What one worker's lanes share.
pub(super) struct Crew {
    pub(super) buffer: WriteBehind,
    /// By the kind, as it stands before the key.
    pub(super) sinks: HashMap<Bytes, Box<dyn Commits>>,
    /// One for each lane: it has a whole batch.
    pub(super) wakes: Vec<Notify>,
    /// Nothing waits for its time any more; who finds nothing ends.
    pub(super) draining: CancellationToken,
}

/// Why a lane is let go.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Drained,
    /// A later owner was there.
    Deposed,
}

/// Counts while it is there.
struct Held<'a>(&'a Counters);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lanes.fetch_sub(1, Relaxed);
    }
}

impl Crew {
    /// Until it is drained: whether it was, or is another's.
    pub(super) async fn tend(self: Arc<Self>, lane: usize) -> bool {
        let inner = &self.buffer.inner;
        let name = Lane::lease(&inner.name, lane);
        let mut failures = 0;
        loop {
            let pause = match inner.leases.try_acquire(name).await {
                Ok(Acquired::Held(lease)) => {
                    failures = 0;
                    inner.counters.lanes.fetch_add(1, Relaxed);
                    let held = Held(&inner.counters);
                    let ran = lease.run(|fence| self.commit_all(lane, fence)).await;
                    drop(held);
                    match ran {
                        Ran::Done { output: End::Drained, .. } => return true,
                        Ran::Done { output: End::Deposed, .. } => Duration::from_millis(100),
                        Ran::Cut(loss) => {
                            tracing::info!(lane, ?loss, "a lane of a write-behind buffer was lost");
                            Duration::ZERO
                        }
                    }
                }
                Ok(Acquired::Busy(_)) if self.draining.is_cancelled() => return false,
                // Not all at once, when it ends.
                Ok(Acquired::Busy(busy)) => {
                    let share: f64 = rand::rng().random_range(1.0..1.1);
                    busy.retry_after.mul_f64(share) + Duration::from_millis(1)
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(lane, %error, "the lease on a lane could not be asked for");
                    pause(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.draining.cancelled(), if !self.draining.is_cancelled() => {}
            }
        }
    }

    async fn commit_all(&self, lane: usize, fence: Fence) -> End {
        let inner = &self.buffer.inner;
        let (lane_number, on, fence) = (lane, self.buffer.on(lane), fence.number());
        let (mut failures, mut absences) = (0, 0);
        loop {
            let draining = self.draining.is_cancelled();
            let patience = if draining { Duration::ZERO } else { inner.options.flush };
            // Before it looks: what is told meanwhile is not missed.
            let woken = self.wakes[lane_number].notified();
            let pause = match on.take(fence, inner.options.batch, patience).await {
                Ok(Err(_)) => return End::Deposed,
                Ok(Ok((taken, _))) if !taken.is_empty() => {
                    failures = 0;
                    let settled = self.commit(on, lane_number, fence, taken, absences + 1).await;
                    match settled {
                        Ok(Some(Settled { away: None })) => {
                            absences = 0;
                            continue;
                        }
                        Ok(Some(Settled { away: Some(delay) })) => {
                            absences += 1;
                            delay
                        }
                        Ok(None) => return End::Deposed,
                        Err(error) => {
                            failures += 1;
                            tracing::warn!(%error, "what was committed could not be acknowledged");
                            pause(failures)
                        }
                    }
                }
                Ok(Ok(_)) if draining => return End::Drained,
                Ok(Ok((_, left))) => {
                    let pause =
                        left.map_or(inner.options.flush, |left| left.min(inner.options.flush));
                    tokio::select! {
                        () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {}
                        () = woken => {}
                        () = self.draining.cancelled() => {}
                    }
                    continue;
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(%error, "what is pending could not be asked for");
                    pause(failures)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Gives it to the sinks, and tells Redis; `None` where the lane has another owner.
    async fn commit(
        &self,
        on: OnLane<'_>,
        lane: usize,
        fence: u64,
        taken: Vec<Taken>,
        absences: u32,
    ) -> Result<Option<Settled>, russet_core_conn::Error> {
        let inner = &self.buffer.inner;
        let mut kinds: HashMap<Bytes, Vec<Taken>> = HashMap::new();
        for one in taken {
            kinds.entry(kind_of(&one.entity)).or_default().push(one);
        }
        let number = u16::try_from(lane).unwrap_or(u16::MAX);
        let (mut committed, mut failed, mut away) = (Vec::new(), Vec::new(), None);
        for (kind, taken) in kinds {
            let fates = match self.sinks.get(&kind) {
                Some(sink) => sink.commit(&taken, number, fence).await,
                None => Vec::new(),
            };
            let mut fates = fates.into_iter();
            for Taken { entity, version, tries, .. } in taken {
                match fates.next() {
                    Some(Fate::Committed) => committed.push((entity, version)),
                    Some(Fate::Away(reason)) => away = Some(reason),
                    Some(Fate::Failed(mut reason)) => {
                        reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
                        let tries = tries.saturating_add(1);
                        let delay = inner.options.retry.before(tries);
                        failed.push(Failed { entity, version, tries, delay, reason });
                    }
                    None => {
                        let reason = "no sink is there for its kind".to_owned();
                        failed.push(Failed { entity, version, tries, delay: None, reason });
                    }
                }
            }
        }
        let (done, undone) = (committed.len() as u64, failed.len() as u64);
        if done > 0 && on.ack(fence, committed).await?.is_err() {
            inner.counters.became(Became::Deposed, 1);
            return Ok(None);
        }
        inner.counters.became(Became::Committed, done);
        if undone > 0 {
            tracing::warn!(lane, undone, reason = %failed[0].reason, "entities could not be committed");
            let Ok(dead) = on.fail(fence, failed).await? else { return Ok(None) };
            inner.counters.became(Became::Failed, undone);
            inner.counters.became(Became::Dead, dead);
        }
        let away = away.map(|reason| {
            inner.counters.became(Became::Away, 1);
            tracing::warn!(lane, reason, "a sink is away");
            // Without an end: the last delay again and again.
            let delays =
                (1..=absences).rev().find_map(|attempt| inner.options.retry.before(attempt));
            delays.unwrap_or(inner.options.flush)
        });
        Ok(Some(Settled { away }))
    }
}

/// All that was taken is committed, put off or dead; except where a sink is away, for so long at least.
struct Settled {
    away: Option<Duration>,
}

/// Before Redis is asked again.
fn pause(failures: u32) -> Duration {
    Backoff::default().before(failures).unwrap_or(Duration::from_secs(2))
}
