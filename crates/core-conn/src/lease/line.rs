//! Who of this process waits for which lease, and hears when it is given back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{Mutex as Turn, MutexGuard as Front};
use tokio::time::{sleep_until, timeout_at};

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
            .or_insert_with(|| Line { front: Arc::new(Turn::new(Ear(None))), standing: 0 });
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
pub(super) struct Ear(Option<Subscription>);

impl Ear {
    /// Begins to listen unless it does already; whether it began now.
    pub(super) async fn listen(&mut self, redis: &Redis, key: &Key, until: Instant) -> bool {
        if self.0.is_some() {
            return false;
        }
        let subscribing = redis.hub().subscribe(Topic::sharded(key));
        match timeout_at(until.into(), subscribing).await {
            Ok(Ok(subscription)) => self.0 = Some(subscription),
            Ok(Err(error)) => tracing::debug!(%error, "no news of a lease: it is asked for"),
            Err(_) => {}
        }
        self.0.is_some()
    }

    /// Whether it would hear.
    pub(super) fn hears(&self) -> bool {
        self.0.as_ref().is_some_and(Subscription::is_live)
    }

    /// Waits so long at most; whether it was called before that.
    pub(super) async fn called(&mut self, longest: Duration) -> bool {
        let end = Instant::now() + longest;
        while let Some(subscription) = &mut self.0 {
            let Ok(delivery) = timeout_at(end.into(), subscription.next()).await else {
                return false;
            };
            match delivery {
                // One question is the answer to all that was said.
                Some(Delivery::Message(_) | Delivery::Missed(_) | Delivery::Gap(_)) => {
                    while let Some(Some(_)) = subscription.next().now_or_never() {}
                    return true;
                }
                // It hears nothing for a while.
                Some(Delivery::Away(_)) => {}
                Some(Delivery::Refused(_)) | None => self.0 = None,
            }
        }
        sleep_until(end.into()).await;
        false
    }
}
