//! What waits to be read: bounded in number and bytes. The oldest goes first, and what went is told where it was.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use crate::Error;
use crate::hub::delivery::{Delivery, Gap, Message};

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) struct Limits {
    pub(in crate::hub) messages: usize,
    pub(in crate::hub) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    /// What was dropped, before all that waits.
    dropped: Dropped,
    items: VecDeque<Item>,
    bytes: usize,
}

#[derive(Debug)]
enum Item {
    Message(Message),
    Missed(u64),
    Away(Error),
    /// Boxed, so that a message needs no room for it.
    Gap(Box<Gap>),
    Refused(Error),
}

#[derive(Debug, Default)]
struct Dropped {
    messages: u64,
    gap: Option<Box<Gap>>,
    away: Option<Error>,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, dropped: Dropped::default(), items: VecDeque::new(), bytes: 0 }
    }

    #[inline]
    pub(super) fn message(&mut self, message: &Message) {
        self.bytes += message.bytes();
        self.items.push_back(Item::Message(message.clone()));
        // The newest stays, however long it is.
        while self.items.len() > 1
            && (self.items.len() > self.limits.messages || self.bytes > self.limits.bytes)
        {
            self.drop_oldest();
        }
    }

    /// A message that was not kept.
    pub(super) fn missed(&mut self) {
        match self.items.back_mut() {
            Some(Item::Missed(count)) => *count += 1,
            _ => self.items.push_back(Item::Missed(1)),
        }
        while self.items.len() > self.limits.messages {
            self.drop_oldest();
        }
    }

    /// The connection is gone. Since when messages may be missing, and how many losses are not told yet.
    pub(super) fn away(&mut self, since: Instant, error: &Error) -> (Instant, u32) {
        match self.items.pop_back() {
            // It came back and was lost again before the subscriber heard of it, with no message between.
            Some(Item::Gap(gap)) => (gap.since, gap.losses.saturating_add(1)),
            other => {
                self.items.extend(other);
                self.items.push_back(Item::Away(error.clone()));
                (since, 1)
            }
        }
    }

    pub(super) fn gap(&mut self, gap: Gap) {
        self.items.push_back(Item::Gap(Box::new(gap)));
    }

    /// The last of all.
    pub(super) fn refused(&mut self, error: &Error) {
        self.items.push_back(Item::Refused(error.clone()));
    }

    /// Messages that wait.
    pub(super) fn messages(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Message(_))).count()
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<Delivery> {
        if let Some(told) = self.dropped.next() {
            return Some(told);
        }
        let delivery = match self.items.pop_front()? {
            Item::Message(message) => {
                self.bytes -= message.bytes();
                Delivery::Message(message)
            }
            Item::Missed(count) => Delivery::Missed(count),
            Item::Away(error) => Delivery::Away(error),
            Item::Gap(gap) => Delivery::Gap(*gap),
            Item::Refused(error) => Delivery::Refused(error),
        };
        if self.items.is_empty() && self.items.capacity() > 32 {
            // What a burst needed is given back.
            self.items = VecDeque::new();
        }
        Some(delivery)
    }

    fn drop_oldest(&mut self) {
        match self.items.pop_front() {
            Some(Item::Message(message)) => {
                self.bytes -= message.bytes();
                self.dropped.messages += 1;
            }
            Some(Item::Missed(count)) => self.dropped.messages += count,
            Some(Item::Away(error)) => self.dropped.away = Some(error),
            Some(Item::Gap(gap)) => {
                self.dropped.away = None;
                let whole = self.dropped.gap.take().map_or(*gap, |before| before.and(*gap));
                self.dropped.gap = Some(Box::new(whole));
            }
            // Nothing comes after it that could be too much.
            Some(Item::Refused(_)) | None => {}
        }
    }
}

impl Dropped {
    #[inline]
    fn next(&mut self) -> Option<Delivery> {
        if self.messages > 0 {
            return Some(Delivery::Missed(mem::take(&mut self.messages)));
        }
        if let Some(gap) = self.gap.take() {
            return Some(Delivery::Gap(*gap));
        }
        self.away.take().map(Delivery::Away)
    }
}

#[cfg(test)]
mod tests;
