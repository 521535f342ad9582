//! Waiting for one's turn in a queue.

use std::time::Duration;

use russet_core_conn::Segments;

use crate::error::Error;
use crate::rule::Rule;
use crate::{Decision, Limit, Reservation};

/// What became of a call through a queue.
#[derive(Debug)]
#[non_exhaustive]
pub enum Processed<T> {
    /// It had its turn, and was run.
    Done {
        /// What it returned.
        output: T,
        /// How many were before it.
        position: u64,
        /// How long it waited.
        wait: Duration,
    },
    /// The queue is full: it was not run.
    Full(Decision),
}

impl Limit {
    /// Takes a place in a [queue](crate::Quota::queue), waits for its turn, and runs the future then. Calls begin at the
    /// queue's rate, over all processes. One round trip.
    ///
    /// Dropped while it waits, its place is given back if it is the last one; else, and without a runtime, or where the
    /// process dies, it passes unused.
    ///
    /// # Errors
    /// [`Error::Unsupported`] of what is no queue; [`Error::Redis`]: it was not run.
    pub async fn process<F: Future>(
        &self,
        subject: impl Segments,
        future: F,
    ) -> Result<Processed<F::Output>, Error> {
        let rule = self.rule();
        if !matches!(rule, Rule::Queue { .. }) {
            return Err(self.unsupported("process", &rule));
        }
        let reservation = self.reserve(subject, 1).await?;
        if !reservation.decision().is_allowed() {
            return Ok(Processed::Full(reservation.decision().clone()));
        }
        let (position, wait) = (reservation.position(), reservation.decision().delay);
        let place = Place(Some(reservation));
        tokio::time::sleep(wait).await;
        place.passed();
        Ok(Processed::Done { output: future.await, position, wait })
    }
}

/// Gives itself back where nobody waits any more.
struct Place(Option<Reservation>);

impl Place {
    fn passed(mut self) {
        self.0 = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (Some(reservation), Ok(runtime)) =
            (self.0.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(reservation.refund());
        }
    }
}
