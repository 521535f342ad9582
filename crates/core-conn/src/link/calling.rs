//! A call that is under way, over whichever client.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::seat::Seated;
use super::{LinkError, Reply};

pub(super) enum Calling<'a> {
    #[cfg(feature = "fred")]
    Fred(Seated<'a, ::fred::clients::Client>),
    #[cfg(feature = "redis-rs")]
    RedisRs(Seated<'a, super::redis_rs::Line>),
}

impl Future for Calling<'_> {
    type Output = Result<Reply, LinkError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            #[cfg(feature = "fred")]
            Self::Fred(seated) => Pin::new(seated).poll(cx),
            #[cfg(feature = "redis-rs")]
            Self::RedisRs(seated) => Pin::new(seated).poll(cx),
        }
    }
}
