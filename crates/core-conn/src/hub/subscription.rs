//! One subscriber.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;

use super::mailbox::Mailbox;
use super::topic::Topic;
use super::{Delivery, Hub};

/// One subscriber of one [`Topic`]: what it hears waits here, within the hub's bounds.
///
/// It keeps the hub and its handle alive. Dropping it unsubscribes; the server is told when the last subscriber of the
/// topic in this process is dropped. It is also a [`Stream`] of deliveries.
#[must_use = "dropping it unsubscribes"]
pub struct Subscription {
    pub(super) hub: Hub,
    pub(super) topic: Topic,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Subscription {
    /// The next that there is to tell. `None` after the hub has ended, or the server has refused, and everything was
    /// read. May be dropped without losing anything.
    pub async fn next(&mut self) -> Option<Delivery> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// What it hears.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether the server has it now, as far as is known: a connection that has just been lost is known by the
    /// heartbeat at the latest. False between [`Delivery::Away`] and [`Delivery::Gap`], also before these are read.
    pub fn is_live(&self) -> bool {
        self.mailbox.is_open()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        // A subscriber to whom much is told lets others run, too.
        let turn = ready!(tokio::task::coop::poll_proceed(cx));
        let next = self.mailbox.poll_next(cx);
        if next.is_ready() {
            turn.made_progress();
        }
        next
    }
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.shared.homes.leave(&self.topic, &self.mailbox);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("kind", &self.topic.kind)
            .field("live", &self.is_live())
            .finish_non_exhaustive()
    }
}
