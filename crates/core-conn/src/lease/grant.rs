//! What was granted, and the task that keeps it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::Fence;
use super::outcome::Loss;
use super::script::{self, Lifetime, Renewed, Token};
use crate::{Error, Key, Redis};

/// One grant of a lease, shared by its holder and its keeper.
pub(super) struct Grant {
    pub(super) redis: Redis,
    pub(super) key: Key,
    pub(super) token: Token,
    pub(super) fence: Fence,
    pub(super) life: Lifetime,
    pub(super) margin: Duration,
    pub(super) term: watch::Sender<Term>,
    pub(super) loss: OnceLock<Loss>,
    /// Lost, given back or dropped.
    pub(super) over: CancellationToken,
}

/// What has been confirmed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    /// When it ends for us: the margin before the server may give it to another, or earlier.
    pub(super) ends: Instant,
    /// When it is to be confirmed again: a third of the TTL later, also where it ends far later, because the server may
    /// have forgotten it or been given another time.
    due: Instant,
}

impl Term {
    /// By an answer to what was sent then, since the server can't have begun earlier. More left than was asked for does
    /// not count: a clock of the server that was set back adds it, and one that is set right takes it away.
    pub(super) fn new(
        sent: Instant,
        (left, asked): (Duration, Duration),
        (life, margin): (Lifetime, Duration),
    ) -> Self {
        let left = left.min(asked);
        let due = left.saturating_sub(life.ttl * 2 / 3).min(life.ttl / 3);
        Self { ends: sent + left.saturating_sub(margin), due: sent + due }
    }
}

impl Grant {
    /// Renews it in time, until it is over. Dropping or giving back the lease ends this task.
    pub(super) fn keep(self: Arc<Self>, renewal: bool) -> impl Future<Output = ()> + Send {
        // Made before the task is: one that its runtime drops without ever running it keeps nothing, either.
        let kept = Kept(self);
        async move {
            let kept = kept;
            kept.0.until_over(renewal).await;
        }
    }

    async fn until_over(&self, renewal: bool) {
        let last = Mutex::new(None);
        let renewals = async {
            match renewal {
                true => self.renewals(&last).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.over.cancelled() => {}
            // Also after a pause of this process, in which everything came due: no renewal may come first.
            () = self.end() => {
                let last = last.lock().unwrap_or_else(PoisonError::into_inner).take();
                self.lose(Loss::Unconfirmed { last });
            }
            loss = renewals => self.lose(loss),
        }
    }

    /// Waits for its end, as late as it may become.
    async fn end(&self) {
        let mut term = self.term.subscribe();
        loop {
            let end = term.borrow_and_update().ends;
            tokio::select! {
                biased;
                // First: what was moved in time is not over, however late that is seen. Its sender is in `self`.
                _ = term.changed() => {}
                () = sleep_until(end.into()) => return,
            }
        }
    }

    /// Renews whenever a third of its TTL has passed since the last confirmation, until it is refused.
    async fn renewals(&self, last: &Mutex<Option<Error>>) -> Loss {
        let mut term = self.term.subscribe();
        let mut failed = 0;
        loop {
            let due = term.borrow_and_update().due;
            tokio::select! {
                () = sleep_until(due.into()) => {}
                _ = term.changed() => continue,
            }
            let failure = match self.confirm(self.life.ttl).await {
                Ok(Renewed::Yes { .. }) => None,
                Ok(Renewed::No { given }) => return Loss::Ended { given },
                Err(error) => Some(error),
            };
            failed = if failure.is_some() { failed + 1 } else { 0 };
            if let Some(error) = &failure {
                tracing::warn!(fence = self.fence.number(), %error, failed, "a lease was not renewed");
            }
            *last.lock().unwrap_or_else(PoisonError::into_inner) = failure;
            if failed > 0 {
                tokio::time::sleep(pause(failed)).await;
            }
        }
    }

    /// One renewal. An end that is later already stays.
    pub(super) async fn confirm(&self, ttl: Duration) -> Result<Renewed, Error> {
        let sent = Instant::now();
        let redis = self.redis.with_deadline(self.redis.deadline().min(self.remaining()));
        let life = Lifetime { ttl, ..self.life };
        let renewed = script::renew(&redis, &self.key, (&self.token, self.fence), life).await?;
        if let Renewed::Yes { left } = renewed {
            let new = Term::new(sent, (left, ttl), (self.life, self.margin));
            self.term.send_modify(|term| {
                *term = Term { ends: new.ends.max(term.ends), due: new.due.max(term.due) };
            });
        }
        Ok(renewed)
    }

    pub(super) fn remaining(&self) -> Duration {
        if self.over.is_cancelled() {
            return Duration::ZERO;
        }
        self.term.borrow().ends.saturating_duration_since(Instant::now())
    }

    /// The first reason counts.
    pub(super) fn lose(&self, loss: Loss) {
        if !self.over.is_cancelled() && self.loss.set(loss).is_ok() {
            tracing::warn!(fence = self.fence.number(), loss = ?self.loss, "a lease was lost");
            self.over.cancel();
        }
    }
}

/// Ends with the keeper. Also where the runtime ends first: nobody confirms the lease any more, so it is lost.
struct Kept(Arc<Grant>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.lose(Loss::Unconfirmed { last: None });
    }
}

/// How long to wait after so many failures in a row: from 10 ms, doubling, at most 250 ms, half of it chance.
fn pause(failed: u32) -> Duration {
    let longest = Duration::from_millis(10 << failed.saturating_sub(1).min(5)).min(LONGEST_PAUSE);
    let chance: f64 = rand::rng().random();
    longest.mul_f64(1.0 - 0.5 * chance)
}

const LONGEST_PAUSE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    /// Extended in time, and its keeper had no turn before the old end had passed, too.
    #[tokio::test]
    async fn an_end_that_was_moved_in_time_is_not_one() {
        let redis = Redis::builder("redis://localhost").build().unwrap();
        let (ms, hour) = (Duration::from_millis, Duration::from_secs(3600));
        let until = |ends| Term { ends, due: ends };
        // What goes first of two things that are due may be a matter of chance.
        for _ in 0..20 {
            let begun = Instant::now();
            let grant = Grant {
                redis: redis.clone(),
                key: Key::raw("lease"),
                token: Token::draw(),
                fence: Fence::new(1),
                life: Lifetime { ttl: ms(50), memory: hour },
                margin: ms(5),
                term: watch::Sender::new(until(begun + ms(10))),
                loss: OnceLock::new(),
                over: CancellationToken::new(),
            };
            let mut end = std::pin::pin!(grant.end());
            assert!(end.as_mut().now_or_never().is_none());
            grant.term.send_replace(until(begun + hour));
            sleep_until((begun + ms(15)).into()).await;
            assert!(end.as_mut().now_or_never().is_none(), "it was moved by an hour");
            grant.term.send_replace(until(Instant::now()));
            end.await;
        }
    }
}
