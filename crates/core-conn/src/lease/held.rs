//! A lease that is held.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::grant::Grant;
use super::outcome::{Extended, Loss, Ran, Released};
use super::script::{self, Renewed, Token};
use super::{Fence, builder};
use crate::{Error, Key, Redis};

/// A lease that is yours until it is lost, given back or dropped. From [`Leases`](super::Leases), which says what it
/// promises and what not.
///
/// A task renews it a third of its TTL after the server last confirmed it, and again and again while that fails. It is
/// lost when the server says so, or when its end, counted by this process's clock from when the last confirmed renewal
/// was sent, is nearer than the margin. [`lost`](Self::lost) is then cancelled, [`loss`](Self::loss) says why.
///
/// # Dropping
/// Renewal stops, and [`lost`](Self::lost) is cancelled. The lease is given back in the background, with one try to
/// reach the server, by a task of the runtime in which it was acquired; if that runtime is gone, the lease ends by its
/// TTL. So drop it when the work has stopped, not before. [`release`](Self::release) does the same and tells what the
/// server said.
#[must_use = "a lease that is dropped is given back"]
pub struct Lease {
    grant: Arc<Grant>,
    runtime: Handle,
    /// The server has answered its release.
    answered: bool,
}

impl Lease {
    /// Takes over what was granted, and starts its keeper.
    pub(super) fn new(grant: Grant, runtime: Handle, renewal: bool) -> Self {
        let grant = Arc::new(grant);
        runtime.spawn(grant.clone().keep(renewal));
        Self { grant, runtime, answered: false }
    }

    /// The fencing number: for the resource, which should refuse a lower one than it has seen.
    pub fn fence(&self) -> Fence {
        self.grant.fence
    }

    /// Cancelled when the lease is lost, and also when it is given back or dropped: no work that listens to it goes on
    /// without the lease. The token may be cloned, handed on, and outlive the lease.
    ///
    /// It is cancelled by a task, so a runtime that is held up cancels it late: [`remaining`](Self::remaining) looks at
    /// the clock itself. Where that runtime ends, nobody confirms the lease any more, and it is lost at once.
    pub fn lost(&self) -> CancellationToken {
        self.grant.over.clone()
    }

    /// Waits until the lease is lost, and says why.
    pub async fn loss(&self) -> Loss {
        self.grant.over.cancelled().await;
        // While this is borrowed it was neither given back nor dropped.
        self.grant.loss.get().cloned().unwrap_or(Loss::Unconfirmed { last: None })
    }

    /// For how long it is still held, by this process's clock, the margin taken off; zero once it is lost.
    pub fn remaining(&self) -> Duration {
        self.grant.remaining()
    }

    /// Makes it last at least so long from now: before something that will keep this process from renewing it. Never
    /// makes it shorter. Renewals go on as before, to learn of its loss. One round trip.
    ///
    /// # Errors
    /// A TTL that can't be (50 ms to a day), and those of Redis. The lease is as it was then, or, if the outcome is
    /// unknown, perhaps longer.
    pub async fn extend(&self, ttl: Duration) -> Result<Extended, Error> {
        builder::check_ttl("ttl", ttl)?;
        if self.remaining().is_zero() {
            return Ok(Extended::WasLost);
        }
        match self.grant.confirm(ttl).await? {
            Renewed::Yes { .. } => Ok(Extended::Until(self.remaining())),
            Renewed::No { given } => {
                self.grant.lose(Loss::Ended { given });
                Ok(Extended::WasLost)
            }
        }
    }

    /// Gives it back, and wakes who waits for it. [`lost`](Self::lost) is cancelled before anything is sent. One round
    /// trip; sent again where its connection is lost, since that does no harm. A successor's lease is never touched.
    ///
    /// If this future is dropped, it is given back in the background, as by dropping the lease.
    ///
    /// # Errors
    /// Those of Redis: whether the lease was lost before is then not known. It is tried once more in the background, and
    /// ends by its TTL at the latest.
    pub async fn release(mut self) -> Result<Released, Error> {
        self.grant.over.cancel();
        let Grant { redis, key, token, .. } = &*self.grant;
        let released = script::release(redis, key, token).await?;
        self.answered = true;
        Ok(if released { Released::Yes } else { Released::WasLost })
    }

    /// Runs the work while the lease is held, then gives it back. If the lease is lost first, by the clock, the work's
    /// future is dropped where it waits, or what it gave: for work that must do something to stop, use [`lost`](Self::lost).
    ///
    /// ```no_run
    /// # use russet_core_conn::{Fence, Lease, Ran};
    /// # async fn write_report(_: Fence) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(lease: Lease) {
    /// match lease.run(write_report).await {
    ///     Ran::Done { output, .. } => println!("written: {output:?}"),
    ///     Ran::Cut(loss) => println!("stopped: {loss:?}"),
    /// }
    /// # }
    /// ```
    pub async fn run<F: Future>(self, work: impl FnOnce(Fence) -> F) -> Ran<F::Output> {
        let output = {
            let mut work = pin!(work(self.fence()));
            tokio::select! {
                biased;
                loss = self.loss() => Err(loss),
                output = work.as_mut() => Ok(output),
            }
        };
        // A runtime that was held up has not said so yet.
        let output = match output {
            Ok(_) if self.remaining().is_zero() => Err(self.loss().await),
            output => output,
        };
        match output {
            Ok(output) => Ran::Done { output, released: self.release().await },
            Err(loss) => Ran::Cut(loss),
        }
    }
}

/// Neither its name nor its token.
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("fence", &self.fence())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.grant.over.cancel();
        if !self.answered {
            let Grant { redis, key, token, .. } = &*self.grant;
            farewell(&self.runtime, redis, key, token, self.grant.until_surely_over());
        }
    }
}

/// Gives back in the background what may be the token's, while that is of use; nobody waits for the answer.
pub(super) fn farewell(
    runtime: &Handle,
    redis: &Redis,
    key: &Key,
    token: &Token,
    useful: Duration,
) {
    if useful.is_zero() {
        return;
    }
    let (key, token) = (key.clone(), token.clone());
    let redis = redis.with_deadline(useful.min(LONGEST_FAREWELL));
    // Owned by nobody, and ended by its deadline, the handle's end or the runtime's.
    runtime.spawn(async move {
        if let Err(error) = script::release(&redis, &key, &token).await {
            tracing::debug!(%error, "a lease could not be given back; it ends by its TTL");
        }
    });
}

const LONGEST_FAREWELL: Duration = Duration::from_secs(30);

impl Grant {
    fn until_surely_over(&self) -> Duration {
        (self.term.borrow().ends + self.margin).saturating_duration_since(Instant::now())
    }
}
