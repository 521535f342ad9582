//! Which lanes are whose: each is one worker's at a time, by a lease, and each worker has its share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use russet_core_conn::{Acquired, Lease, Ran};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::buffer::WriteBehind;
use super::commit::Commits;
use super::counters::Counters;
use super::lane::{End, pause};
use super::seats::{Seat, Seats};
use crate::keys::Lane;
use crate::scripts::behind::Enlisted;

/// What one worker's lanes share.
pub(super) struct Crew {
    pub(super) buffer: WriteBehind,
    /// By the kind, as it stands before the key.
    pub(super) sinks: HashMap<Bytes, Box<dyn Commits>>,
    /// One for each lane: it has a whole batch.
    pub(super) wakes: Vec<Notify>,
    /// One for each lane: another has given it up.
    pub(super) freed: Vec<Notify>,
    pub(super) seats: Seats,
    /// Whoever has a lane here, as the other workers know it.
    pub(super) name: Box<str>,
    /// Others have come or gone.
    pub(super) others: Notify,
    /// Nothing waits for its time any more; who finds nothing ends.
    pub(super) draining: CancellationToken,
    /// Its lanes are for others.
    pub(super) gone: CancellationToken,
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
        let ttl = inner.options.lease;
        // Not all at once.
        let later = |time: Duration| {
            Instant::now()
                + time.mul_f64(rand::rng().random_range(1.0..1.1))
                + Duration::from_millis(1)
        };
        let (mut busy, mut due, mut failures) = (false, later(ttl), 0);
        loop {
            let seat = self.turn(lane, busy, due).await;
            let pause = match inner.leases.try_acquire(Lane::lease(&inner.name, lane)).await {
                Ok(Acquired::Held(lease)) => {
                    let seat = seat.unwrap_or_else(|| self.seats.above(ttl));
                    let ran = self.own(lane, lease, seat).await;
                    (busy, due, failures) = (false, later(ttl), 0);
                    match ran {
                        Ran::Done { output: End::Deposed, .. } => Duration::from_millis(100),
                        Ran::Done { output, .. } => {
                            self.enlist(Some(lane)).await;
                            if output == End::Drained {
                                return true;
                            }
                            Duration::ZERO
                        }
                        Ran::Cut(loss) => {
                            tracing::info!(lane, ?loss, "a lane of a write-behind buffer was lost");
                            due = Instant::now();
                            Duration::ZERO
                        }
                    }
                }
                Ok(Acquired::Busy(_)) if self.draining.is_cancelled() => return false,
                Ok(Acquired::Busy(other)) => {
                    (busy, due) = (true, later(other.retry_after));
                    Duration::ZERO
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(lane, %error, "the lease on a lane could not be asked for");
                    drop(seat);
                    pause(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.draining.cancelled(), if !self.draining.is_cancelled() => {}
            }
        }
    }

    /// Waits until the lane is to be asked for. Where nobody is known to have it: when it is in this worker's share. In any
    /// case when it is due: its owner has not renewed it, or nobody has taken it; and where all is drained.
    async fn turn(&self, lane: usize, mut busy: bool, due: Instant) -> Option<Seat<'_>> {
        loop {
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return None,
                () = tokio::time::sleep_until(due.into()) => return None,
                () = self.freed[lane].notified(), if busy => busy = false,
                seat = self.seats.take(), if !busy => return Some(seat),
            }
        }
    }

    async fn own(&self, lane: usize, lease: Lease, mut seat: Seat<'_>) -> Ran<End> {
        let counters = &self.buffer.inner.counters;
        counters.lanes.fetch_add(1, Relaxed);
        let _held = Held(counters);
        lease.run(|fence| self.commit_all(lane, fence, &mut seat)).await
    }

    /// Says that this worker is there, or goes, and has given up a lane. Where nobody hears it, its share stays as it was.
    pub(super) async fn enlist(&self, freed: Option<usize>) {
        let inner = &self.buffer.inner;
        let goes = self.gone.is_cancelled();
        let enlisted = Enlisted {
            workers: &inner.workers,
            channel: &inner.channel,
            worker: &self.name,
            ttl: if goes { Duration::ZERO } else { inner.options.lease },
            freed,
            at: None,
        };
        match enlisted.enlist(&inner.redis).await {
            Ok((share, workers)) => {
                tracing::debug!(share, workers, "lanes are shared");
                self.seats.share(share);
            }
            Err(error) => tracing::debug!(%error, "which lanes are whose could not be asked for"),
        }
    }

    /// Says again and again that this worker is there, and learns of its share; at last that it goes.
    pub(super) async fn attend(self: Arc<Self>) {
        while !self.gone.is_cancelled() {
            let changed = self.others.notified();
            self.enlist(None).await;
            tokio::select! {
                () = tokio::time::sleep(self.buffer.inner.options.lease / 3) => {}
                () = changed => {}
                () = self.gone.cancelled() => {}
            }
        }
        self.enlist(None).await;
    }
}
