//! A handle whose calls go through a breaker.

use super::{Breaker, BreakerPermit};
use crate::{Error, ErrorKind, Redis};

impl Redis {
    /// The same connections; calls of this handle go through the breaker. While that is open they fail at once as
    /// [`BreakerOpen`](ErrorKind::BreakerOpen), not sent, instead of each waiting for its deadline. For what goes on
    /// without Redis.
    ///
    /// A call counts once, its repetitions included, and so does what travels as one: a script, a transaction, each
    /// batch of a [`pipeline`](Self::pipeline). [`ready`](Self::ready) is not a call. One breaker may serve several
    /// handles, which then know of each other's failures.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use russet_core_conn::{Breaker, ErrorKind, Redis, SendOutcome};
    ///
    /// let breaker = Breaker::new("redis");
    /// let redis = Redis::builder("redis://localhost").build()?.with_breaker(&breaker);
    ///
    /// // Forced open it is what a test needs to see a program go on without Redis.
    /// breaker.force_open();
    /// let error = redis.ping().await.unwrap_err();
    /// assert!(matches!(error.kind(), ErrorKind::BreakerOpen(_)));
    /// assert_eq!(error.outcome(), SendOutcome::NotSent);
    /// # Ok::<_, russet_core_conn::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_breaker(&self, breaker: &Breaker) -> Self {
        let mut redis = self.clone();
        redis.breaker = Some(breaker.clone());
        redis
    }

    /// The breaker of this handle's calls, if there is one.
    pub fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    /// Leave to make a call.
    #[inline]
    pub(crate) fn permit(&self) -> Result<Option<BreakerPermit<'_>>, Error> {
        let permit = self.breaker.as_ref().map(Breaker::try_acquire).transpose();
        permit.map_err(|open| Error::not_sent(ErrorKind::BreakerOpen(open)))
    }
}
