//! One lane: what is in it is committed by its owner.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::{Backoff, Fence};

use super::commit::{Fate, kind_of};
use super::counters::Became;
use super::crew::Crew;
use super::seats::Seat;
use crate::scripts::behind::{Failed, OnLane, Taken};

/// Of what is kept with an entity, in bytes.
const LONGEST_REASON: usize = 500;

/// Why a lane is let go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Drained,
    /// A later owner was there.
    Deposed,
    /// It is another worker's share.
    Surplus,
}

impl Crew {
    /// Until the lane is let go: what is in it, while it is this worker's.
    pub(super) async fn commit_all(&self, lane: usize, fence: Fence, seat: &mut Seat<'_>) -> End {
        let inner = &self.buffer.inner;
        let (lane_number, on, fence) = (lane, self.buffer.on(lane), fence.number());
        let (mut failures, mut absences) = (0, 0);
        loop {
            let draining = self.draining.is_cancelled();
            if !draining && seat.leave() {
                return End::Surplus;
            }
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
                        () = seat.surplus() => {}
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
pub(super) fn pause(failures: u32) -> Duration {
    Backoff::default().before(failures).unwrap_or(Duration::from_secs(2))
}
