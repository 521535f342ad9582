//! How many ask the origin at a time while Redis can't say who is to.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{Semaphore, SemaphorePermit};

/// With leases there is one load a key over all processes; without, this process's are bounded.
#[derive(Debug)]
pub(crate) struct Origin {
    places: Semaphore,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// So many wait for each place at most.
const QUEUE: usize = 100;

impl Origin {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            most_waiting: places.saturating_mul(QUEUE),
        }
    }

    /// First come, first served; `None` where too many wait already.
    pub(crate) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        let _one = Waiting::join(self)?;
        // It is never closed.
        self.places.acquire().await.ok()
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a Origin);

impl<'a> Waiting<'a> {
    fn join(origin: &'a Origin) -> Option<Self> {
        let this = Self(origin);
        (origin.waiting.fetch_add(1, Relaxed) < origin.most_waiting).then_some(this)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn so_many_are_in_and_so_many_wait() {
        let origin = Origin::new(2);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let came = join_all((0..250).map(async |_| {
            let Some(_place) = origin.enter().await else { return false };
            most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
            inside.fetch_sub(1, Relaxed);
            true
        }));
        let served = came.await.into_iter().filter(|served| *served).count();
        // Two went in at once, and 200 waited.
        assert_eq!((served, most.into_inner()), (202, 2));
        assert_eq!(origin.waiting.load(Relaxed), 0);
        assert!(origin.enter().await.is_some());
    }
}
