//! Who of this process waits for which lease, and hears when it is given back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use rand::RngExt;
use tokio::sync::{Mutex as Turn, MutexGuard as Front};
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::{Delivery, Key, Redis, Subscription, Topic};

/// The lines, by lease. A line is there as long as somebody stands in it.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<Key, Line>>);

#[derive(Debug)]
struct Line {
    /// First come, first served. Whoever is in front listens, and leaves that to the next.
    front: Arc<Turn<Ear>>,
    standing: usize,
}

/// A place in a line.
pub(super) struct Place<'a> {
    lines: &'a Lines,
    key: Key,
    front: Arc<Turn<Ear>>,
}

impl Lines {
    pub(super) fn enter(&self, key: &Key) -> Place<'_> {
        let mut lines = self.lock();
        let line = lines
            .entry(key.clone())
            .or_insert_with(|| Line { front: Arc::new(Turn::new(Ear::new())), standing: 0 });
        line.standing += 1;
        Place { lines: self, key: key.clone(), front: line.front.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Waits until it is in front.
    pub(super) async fn turn(&self) -> Front<'_, Ear> {
        self.front.lock().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut line) = self.lines.lock().entry(self.key.clone()) {
            line.get_mut().standing -= 1;
            if line.get().standing == 0 {
                line.remove();
            }
        }
    }
}

/// Hears that the lease is given back, if it can. Whether it can decides nothing but how soon one asks.
#[derive(Debug)]
pub(super) struct Ear {
    hears: Option<Subscription>,
    /// Somebody was called and has not asked yet: whoever it was may be gone, and then the next one asks.
    called: bool,
    /// Who was called waits for a random moment of this length, since others are called, too.
    crowd: Duration,
}

const SMALLEST_CROWD: Duration = Duration::from_millis(1);
const LARGEST_CROWD: Duration = Duration::from_millis(32);

impl Ear {
    fn new() -> Self {
        Self { hears: None, called: false, crowd: SMALLEST_CROWD }
    }

    /// Begins to listen unless it does already; whether it began now.
    pub(super) async fn listen(&mut self, redis: &Redis, key: &Key, until: Instant) -> bool {
        if self.hears.is_some() {
            return false;
        }
        let subscribing = redis.hub().subscribe(Topic::sharded(key));
        match timeout_at(until.into(), subscribing).await {
            Ok(Ok(subscription)) => self.hears = Some(subscription),
            Ok(Err(error)) => tracing::debug!(%error, "no news of a lease: it is asked for"),
            Err(_) => {}
        }
        self.hears.is_some()
    }

    /// Whether it would hear.
    pub(super) fn hears(&self) -> bool {
        self.hears.as_ref().is_some_and(Subscription::is_live)
    }

    /// Waits so long at most, or until it was called and a moment more; whether it was called.
    pub(super) async fn called(&mut self, longest: Duration) -> bool {
        let end = Instant::now() + longest;
        while !self.called {
            let Some(subscription) = &mut self.hears else {
                sleep_until(end.into()).await;
                return false;
            };
            let Ok(delivery) = timeout_at(end.into(), subscription.next()).await else {
                return false;
            };
            match delivery {
                Some(Delivery::Message(_) | Delivery::Missed(_) | Delivery::Gap(_)) => {
                    self.called = true;
                }
                // It hears nothing for a while.
                Some(Delivery::Away(_)) => {}
                Some(Delivery::Refused(_)) | None => self.hears = None,
            }
        }
        let chance: f64 = rand::rng().random();
        sleep(self.crowd.mul_f64(chance)).await;
        // One question is the answer to all that was said meanwhile.
        if let Some(subscription) = &mut self.hears {
            while let Some(Some(_)) = subscription.next().now_or_never() {}
        }
        true
    }

    /// Whether the question that followed a call was in vain, which tells how many others are called: so each process
    /// asks as often as does not hurt, however many there are and however often the lease changes hands.
    pub(super) fn was_called(&mut self, in_vain: bool) {
        self.called = false;
        self.crowd = match in_vain {
            true => (self.crowd * 2).min(LARGEST_CROWD),
            false => (self.crowd / 2).max(SMALLEST_CROWD),
        };
    }
}

#[cfg(test)]
mod tests {
    use russet_testkit::Server;
    use tokio::time::timeout;

    use super::*;
    use crate::Cmd;

    #[tokio::test]
    async fn a_call_that_its_hearer_did_not_live_to_follow_is_the_next_ones() {
        let server = Server::start().await.unwrap();
        let redis = Redis::connect(&server.url()).await.unwrap();
        let (key, hour) = (Key::raw("lease"), Duration::from_secs(3600));
        let mut ear = Ear::new();
        ear.crowd = hour;
        assert!(ear.listen(&redis, &key, Instant::now() + Duration::from_secs(10)).await);
        let heard: u64 = redis.run(Cmd::write("SPUBLISH").key(&key).arg("")).await.unwrap();
        assert_eq!(heard, 1);

        // It has heard, waits for its moment, and is gone.
        assert!(timeout(Duration::from_millis(300), ear.called(hour)).await.is_err());
        ear.crowd = Duration::ZERO;
        let next = timeout(Duration::from_secs(10), ear.called(hour)).await;
        assert!(next.expect("the next one is not called"));
        ear.was_called(true);
        assert!(!ear.called(Duration::from_millis(50)).await, "called once, asked twice");
    }
}
