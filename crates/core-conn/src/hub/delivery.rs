//! What a subscriber is told.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::topic::{Kind, Topic};
use crate::Error;

/// What a subscriber is told, in the order in which it happened.
///
/// After `Away`, `Gap` and `Missed` there may be messages that this subscriber never gets: whatever they would have
/// told must be read where it is kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// At this place, exactly so many messages that had arrived were dropped: because this subscriber was too slow for
    /// them, or because they were longer than [`max_message`](super::HubBuilder::max_message).
    Missed(u64),
    /// The connection is gone, for this reason. Until the `Gap` nothing arrives.
    Away(Error),
    /// The server has confirmed the subscription again. What was published in the gap is lost, and nobody knows how
    /// much that was; what is read from now on is no older than the next message.
    Gap(Gap),
    /// The server refuses the subscription after a loss, for this reason, which will not go by itself. Nothing follows.
    Refused(Error),
}

/// A time in which messages may have been lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Connections lost in it: more than 1 where the subscriber had not yet heard of the one before.
    pub losses: u32,
    /// All that was published before has been delivered, or told as missed. This is the last moment of which the
    /// heartbeat proved that, not the one at which the loss was noticed.
    pub since: Instant,
    /// All that was published after is delivered, or told.
    pub until: Instant,
}

impl Gap {
    /// How long it was.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.until.saturating_duration_since(self.since)
    }

    /// Two gaps between which the subscriber heard nothing.
    pub(super) fn and(self, later: Self) -> Self {
        Self { losses: self.losses.saturating_add(later.losses), until: later.until, ..self }
    }
}

/// A message. Clones share it, and so do all subscribers that get it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Arc<Content>);

#[derive(PartialEq, Eq)]
struct Content {
    topic: Topic,
    channel: Bytes,
    payload: Bytes,
}

impl Message {
    /// The payload is copied, so that it holds no more memory than it has bytes.
    pub(super) fn new(topic: &Topic, channel: &[u8], payload: &[u8]) -> Self {
        let channel = match topic.kind {
            Kind::Pattern => Bytes::copy_from_slice(channel),
            Kind::Channel | Kind::Sharded => topic.name.clone(),
        };
        let payload = Bytes::copy_from_slice(payload);
        Self(Arc::new(Content { topic: topic.clone(), channel, payload }))
    }

    /// The channel that it was published to.
    #[must_use]
    pub fn channel(&self) -> &[u8] {
        &self.0.channel
    }

    /// The pattern by which it came, if it came by one.
    #[must_use]
    pub fn pattern(&self) -> Option<&[u8]> {
        (self.0.topic.kind == Kind::Pattern).then_some(self.0.topic.as_bytes())
    }

    /// What was published. A clone shares the bytes.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.channel.len() + self.0.payload.len()
    }
}

/// Never what was published, or where.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.0.topic.kind)
            .field("bytes", &self.0.payload.len())
            .finish_non_exhaustive()
    }
}
