//! Permits to be one of so many at a time.

use russet_core_conn::Segments;

use crate::error::Error;
use crate::rule::Rule;
use crate::scripts;
use crate::{Decision, Limit, Reservation};

/// Whether there was a permit.
#[derive(Debug)]
#[non_exhaustive]
pub enum Acquired {
    /// It is the caller's.
    Held(Permit),
    /// All are held. [`Decision::retry_after`] is when the next one ends by itself; it may be given back earlier.
    Busy(Decision),
}

/// A permit, held until it is released or its time is over. Dropped, it is released by a task of the runtime; without
/// one, or where the process dies, it ends with its time.
#[derive(Debug)]
pub struct Permit(Option<Reservation>);

impl Limit {
    /// Takes a [permit](crate::Quota::permits), if there is one. One round trip.
    ///
    /// # Errors
    /// [`Error::Unsupported`] of what has no permits; [`Error::Redis`]: where its outcome is unknown, one may be held by
    /// nobody for its time.
    pub async fn acquire(&self, subject: impl Segments) -> Result<Acquired, Error> {
        let rule = self.rule();
        if !matches!(rule, Rule::Permits { .. }) {
            return Err(self.unsupported("acquire", &rule));
        }
        let reservation = self.reserve(subject, 1).await?;
        Ok(match reservation.decision().is_allowed() {
            true => Acquired::Held(Permit(Some(reservation))),
            false => Acquired::Busy(reservation.decision().clone()),
        })
    }
}

impl Permit {
    /// Holds it for its whole time again, from now. Whether it was still held: if not, somebody else may hold it. One
    /// round trip.
    ///
    /// # Errors
    /// [`Error::Redis`].
    pub async fn renew(&self) -> Result<bool, Error> {
        let Some(reservation) = &self.0 else { return Ok(false) };
        let inner = &*reservation.limiter().inner;
        let mut held = true;
        for receipt in reservation.receipts() {
            held &= scripts::renew(&inner.redis, receipt, inner.time()).await?;
        }
        Ok(held)
    }

    /// Gives it back. Whether it was still held. One round trip.
    ///
    /// # Errors
    /// [`Error::Redis`]; it ends with its time then.
    pub async fn release(mut self) -> Result<bool, Error> {
        match self.0.take() {
            Some(reservation) => reservation.refund().await,
            None => Ok(false),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let (Some(reservation), Ok(runtime)) =
            (self.0.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(reservation.refund());
        }
    }
}
