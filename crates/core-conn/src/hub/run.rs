//! Messages of one topic that come one behind the other, so that each subscriber's mailbox is opened once for all.

use super::delivery::Message;
use super::topic::{Kind, Topic};

/// Of more bytes it is not made longer: what waits in it is in no queue yet.
const BYTES: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Run {
    topic: Option<Topic>,
    /// How many have subscribed to it.
    subscribers: usize,
    messages: Vec<Message>,
    bytes: usize,
}

impl Run {
    /// Whether a message of this topic belongs to it.
    pub(super) fn goes_on(&self, kind: Kind, topic: &[u8]) -> bool {
        let same = |mine: &Topic| mine.kind == kind && mine.name == topic;
        self.bytes < BYTES && self.topic.as_ref().is_some_and(same)
    }

    pub(super) fn begin(&mut self, (topic, subscribers): (Topic, usize)) {
        self.clear();
        self.topic = Some(topic);
        self.subscribers = subscribers;
    }

    /// To how many it goes.
    pub(super) fn add(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        if let Some(topic) = &self.topic {
            let message = Message::new(topic, channel, payload);
            self.bytes += message.bytes();
            self.messages.push(message);
        }
        self.subscribers
    }

    /// All of it, if there is any.
    pub(super) fn end(&self) -> Option<(&Topic, &[Message])> {
        self.topic
            .as_ref()
            .filter(|_| !self.messages.is_empty())
            .map(|topic| (topic, &self.messages[..]))
    }

    pub(super) fn clear(&mut self) {
        self.topic = None;
        self.messages.clear();
        self.bytes = 0;
    }
}
