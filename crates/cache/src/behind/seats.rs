//! How many lanes a worker may have, and has.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Of one worker: as many as its share of the lanes.
#[derive(Debug)]
pub(super) struct Seats(watch::Sender<Count>);

#[derive(Debug, Clone, Copy)]
struct Count {
    share: usize,
    taken: usize,
}

/// For one lane; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    seats: &'a Seats,
    /// From when on it counts, where it does not yet.
    counts: Option<Instant>,
    /// It is another's.
    left: bool,
}

impl Seats {
    pub(super) fn new(share: usize) -> Self {
        Self(watch::Sender::new(Count { share, taken: 0 }))
    }

    pub(super) fn share(&self, share: usize) {
        self.0.send_if_modified(|count| std::mem::replace(&mut count.share, share) != share);
    }

    /// Waits until one is free.
    pub(super) async fn take(&self) -> Seat<'_> {
        let mut changes = self.0.subscribe();
        loop {
            // The sender is borrowed, so it is there.
            let _ = changes.wait_for(|count| count.taken < count.share).await;
            if self.change(|count| count.taken < count.share, |taken| taken + 1) {
                return Seat { seats: self, counts: None, left: false };
            }
        }
    }

    /// One above the share, for a lane that nobody took. It counts only after so long: by then whoever had the lane is
    /// known to have gone, and the share has grown.
    pub(super) fn above(&self, after: Duration) -> Seat<'_> {
        Seat { seats: self, counts: Some(Instant::now() + after), left: false }
    }

    fn change(&self, may: impl Fn(&Count) -> bool, to: impl Fn(usize) -> usize) -> bool {
        self.0.send_if_modified(|count| {
            let may = may(count);
            if may {
                count.taken = to(count.taken);
            }
            may
        })
    }
}

impl Seat<'_> {
    /// Whether it is one too many: then it is free.
    pub(super) fn leave(&mut self) -> bool {
        if self.counts.is_some_and(|counts| counts <= Instant::now()) {
            self.counts = None;
            self.seats.change(|_| true, |taken| taken + 1);
        }
        self.left = self.counts.is_none()
            && self.seats.change(|count| count.taken > count.share, |taken| taken - 1);
        self.left
    }

    /// Until it may be one too many.
    pub(super) async fn surplus(&self) {
        if let Some(counts) = self.counts {
            return tokio::time::sleep_until(counts.into()).await;
        }
        let _ = self.seats.0.subscribe().wait_for(|count| count.taken > count.share).await;
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.left && self.counts.is_none() {
            self.seats.change(|_| true, |taken| taken - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn there_are_as_many_as_the_share() {
        let seats = Seats::new(2);
        let take = || seats.take().now_or_never();
        let (mut one, other) = (take().unwrap(), take().unwrap());
        assert!(take().is_none());
        drop(other);
        let mut other = take().unwrap();
        // Of two that are one too many together, one goes.
        assert!(one.surplus().now_or_never().is_none());
        seats.share(1);
        assert!(one.surplus().now_or_never().is_some());
        assert!(one.leave() && !other.leave() && take().is_none());
        drop(one);
        assert!(take().is_none());
        drop(other);
        assert!(take().is_some());
    }

    #[test]
    fn one_above_the_share_counts_later() {
        let seats = Seats::new(1);
        let mut one = seats.take().now_or_never().unwrap();
        let mut above = seats.above(Duration::from_secs(1_000));
        assert!(!above.leave() && !one.leave());
        above.counts = Some(Instant::now());
        assert!(above.leave() && !one.leave());
        drop(above);
        // Where it never counted, nobody's is free when it goes.
        drop(seats.above(Duration::ZERO));
        assert!(seats.take().now_or_never().is_none());
    }
}
