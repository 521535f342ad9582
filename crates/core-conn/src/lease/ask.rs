//! One acquire: its token, and what must be given back if nobody waits for the answer.

use std::mem;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::grant::{Grant, Term};
use super::held::{Lease, farewell};
use super::outcome::{Acquired, Busy};
use super::script::{self, Asked, Token};
use super::{Inner, Leases, Options};
use crate::Key;
use crate::error::{Error, SendOutcome};

/// An acquire that is under way, however often it asks. All of its questions carry one token, so whichever of them the
/// server hears, and however often, there is one grant.
pub(super) struct Ask {
    leases: Arc<Inner>,
    key: Key,
    runtime: Handle,
    token: Token,
    /// The server may have heard a question whose answer we don't know.
    open: bool,
}

impl Ask {
    /// Needs a runtime.
    pub(super) fn new(leases: &Leases, key: Key) -> Self {
        Self {
            leases: leases.inner.clone(),
            key,
            runtime: Handle::current(),
            token: Token::draw(),
            open: false,
        }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Asks once. One trip.
    pub(super) async fn once(&mut self) -> Result<Acquired, Error> {
        let leases = self.leases.clone();
        let (redis, Options { life, margin, .. }) = (&leases.redis, leases.options);
        leases.agreed.check(redis, &leases.space).await?;
        loop {
            let sent = Instant::now();
            let before = mem::replace(&mut self.open, true);
            let answer = script::acquire(redis, &self.key, &self.token, life).await;
            let unknown = matches!(&answer, Err(error) if error.outcome() == SendOutcome::Unknown);
            self.open = before || unknown;
            match answer? {
                Asked::Granted { fence, left } => {
                    let lease =
                        self.grant(fence, Term::new(sent, (left, life.ttl), (life, margin)));
                    if !lease.remaining().is_zero() {
                        return Ok(Acquired::Held(lease));
                    }
                    // The answer took as long as the lease lasts. Dropping it gives it back.
                    self.token = Token::draw();
                    return Ok(Acquired::Busy(Busy { fence, retry_after: Duration::ZERO }));
                }
                Asked::Busy { fence, left } => {
                    return Ok(Acquired::Busy(Busy { fence, retry_after: left }));
                }
                // A question whose answer was lost was granted, and that has ended since.
                Asked::Spent => {
                    self.open = false;
                    self.token = Token::draw();
                }
            }
        }
    }

    fn grant(&mut self, fence: super::Fence, term: Term) -> Lease {
        self.open = false;
        let Inner { redis, options, .. } = &*self.leases;
        let grant = Grant {
            redis: redis.clone(),
            key: self.key.clone(),
            token: self.token.clone(),
            fence,
            life: options.life,
            margin: options.margin,
            term: watch::Sender::new(term),
            loss: OnceLock::new(),
            over: CancellationToken::new(),
        };
        Lease::new(grant, self.runtime.clone(), options.renewal)
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if self.open {
            let Inner { redis, options, .. } = &*self.leases;
            farewell(&self.runtime, redis, &self.key, &self.token, options.life.ttl);
        }
    }
}
