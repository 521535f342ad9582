//! Who subscribes to what, and what of that the server has.
//!
//! What is wanted changes with the subscribers, what the server has with its confirmations; a topic for which they may
//! differ is on the list of what is to be done. At most one command for a topic is under way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::HubReport;
use super::delivery::Message;
use super::mailbox::{Mailbox, Standing, not_connected, outcome};
use super::topic::{Kind, Topic};
use crate::{Error, ErrorKind};

/// Not `Debug`: it has the names of channels.
pub(super) struct Board {
    topics: [HashMap<Bytes, Entry>; 3],
    todo: VecDeque<Topic>,
    /// What the server could not do now.
    later: Vec<Topic>,
    /// How many topics of each kind the server has confirmed.
    held: [u64; 3],
    line: Line,
    /// All that was published before has arrived.
    since: Instant,
}

#[derive(Default)]
struct Entry {
    mailboxes: Vec<Arc<Mailbox>>,
    wire: OnWire,
    /// It is on the list.
    listed: bool,
}

/// What the server has of a topic.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum OnWire {
    #[default]
    Absent,
    /// It was told to subscribe, and has not answered.
    Asked,
    Held,
    /// It was told to unsubscribe, and has not answered.
    Leaving,
}

enum Line {
    /// With the last error, if there was one.
    Down(Option<Error>),
    Up,
    GaveUp(Error),
    Ended,
}

/// Those to be woken once no lock is held.
pub(super) type Wakers = Vec<Waker>;

impl Board {
    pub(super) fn new() -> Self {
        Self {
            topics: Default::default(),
            todo: VecDeque::new(),
            later: Vec::new(),
            held: [0; 3],
            line: Line::Down(None),
            since: Instant::now(),
        }
    }

    /// Adds a subscriber, who may have what it wants at once.
    pub(super) fn join(
        &mut self,
        topic: &Topic,
        mailbox: &Arc<Mailbox>,
        patient: bool,
    ) -> Result<(), Error> {
        match &self.line {
            Line::Ended => return Err(Error::not_sent(ErrorKind::Closed)),
            Line::GaveUp(error) => return Err(error.clone()),
            Line::Down(Some(error)) if !patient => return Err(not_connected(error, false)),
            Line::Down(_) | Line::Up => {}
        }
        let entry = self.topics[topic.kind as usize].entry(topic.name.clone()).or_default();
        mailbox.place.store(entry.mailboxes.len(), Relaxed);
        entry.mailboxes.push(mailbox.clone());
        match entry.wire {
            // Nobody waits for it yet.
            OnWire::Held => drop(mailbox.open()),
            OnWire::Asked => mailbox.asked(),
            OnWire::Absent | OnWire::Leaving => self.list(topic),
        }
        Ok(())
    }

    /// Takes a subscriber off.
    pub(super) fn leave(&mut self, topic: &Topic, mailbox: &Arc<Mailbox>) {
        let Some(entry) = self.entry(topic) else { return };
        let place = mailbox.place.load(Relaxed);
        if !entry.mailboxes.get(place).is_some_and(|there| Arc::ptr_eq(there, mailbox)) {
            return;
        }
        entry.mailboxes.swap_remove(place);
        if let Some(moved) = entry.mailboxes.get(place) {
            moved.place.store(place, Relaxed);
        }
        if entry.mailboxes.is_empty() {
            self.list(topic);
        }
    }

    /// Takes off the sharded channels that live elsewhere, with their subscribers.
    pub(super) fn take(
        &mut self,
        leaves: impl Fn(&[u8]) -> bool,
        wakers: &mut Wakers,
    ) -> Vec<(Topic, Vec<Arc<Mailbox>>)> {
        let (kind, mut taken) = (Kind::Sharded, Vec::new());
        let moved = Error::unknown(ErrorKind::ConnectionLost("its slot was moved".into()));
        let since = self.since;
        for (name, entry) in &mut self.topics[kind as usize] {
            if !entry.mailboxes.is_empty() && leaves(name) {
                let mailboxes = std::mem::take(&mut entry.mailboxes);
                wakers.extend(mailboxes.iter().filter_map(|mailbox| mailbox.lose(since, &moved)));
                taken.push((Topic { kind, name: name.clone() }, mailboxes));
            }
        }
        taken.iter().for_each(|(topic, _)| self.list(topic));
        taken
    }

    /// Takes on what another has taken off.
    pub(super) fn adopt(
        &mut self,
        topic: &Topic,
        mailboxes: Vec<Arc<Mailbox>>,
        wakers: &mut Wakers,
    ) {
        if matches!(self.line, Line::Ended) {
            let closed = |asked| Error::new(ErrorKind::Closed, outcome(asked));
            return wakers.extend(mailboxes.iter().filter_map(|mailbox| mailbox.end(closed).1));
        }
        let entry = self.topics[topic.kind as usize].entry(topic.name.clone()).or_default();
        for mailbox in mailboxes {
            mailbox.place.store(entry.mailboxes.len(), Relaxed);
            entry.mailboxes.push(mailbox);
        }
        match entry.wire {
            OnWire::Held => {
                wakers.extend(entry.mailboxes.iter().filter_map(|mailbox| mailbox.open()));
            }
            OnWire::Asked => entry.mailboxes.iter().for_each(|mailbox| mailbox.asked()),
            OnWire::Absent | OnWire::Leaving => self.list(topic),
        }
    }

    /// All that was published before this moment has arrived.
    pub(super) fn arrived(&mut self, moment: Instant) {
        self.since = moment;
    }

    /// Whether anybody subscribes to anything.
    pub(super) fn is_used(&self) -> bool {
        self.topics.iter().flat_map(HashMap::values).any(|entry| !entry.mailboxes.is_empty())
    }

    /// The node does not have this sharded channel, or has it no more. It is asked again in a while, if it is not taken
    /// off before.
    pub(super) fn gone(&mut self, topic: &Topic, wakers: &mut Wakers) {
        let Some(entry) = self.entry(topic) else { return };
        let was_held = match entry.wire {
            OnWire::Held => true,
            OnWire::Asked => false,
            // Whose own answer will come, or came.
            OnWire::Leaving | OnWire::Absent => return,
        };
        entry.wire = OnWire::Absent;
        let moved = Error::unknown(ErrorKind::ConnectionLost("its slot was moved".into()));
        let now = Instant::now();
        if was_held {
            wakers.extend(entry.mailboxes.iter().filter_map(|mailbox| mailbox.lose(now, &moved)));
            self.held[topic.kind as usize] -= 1;
        }
        self.later.push(topic.clone());
    }

    fn list(&mut self, topic: &Topic) {
        let Some(entry) = self.entry(topic) else { return };
        if !std::mem::replace(&mut entry.listed, true) {
            self.todo.push_back(topic.clone());
        }
    }

    /// Whether there is anything on the list.
    pub(super) fn has_work(&self) -> bool {
        !self.todo.is_empty()
    }

    /// The next topic for which the server must be told something: to subscribe, or to unsubscribe.
    pub(super) fn order(&mut self) -> Option<(Topic, bool)> {
        while let Some(topic) = self.todo.pop_front() {
            let topics = &mut self.topics[topic.kind as usize];
            let Some(entry) = topics.get_mut(&topic.name) else { continue };
            entry.listed = false;
            match (entry.wire, entry.mailboxes.is_empty()) {
                (OnWire::Absent, false) => {
                    entry.wire = OnWire::Asked;
                    entry.mailboxes.iter().for_each(|mailbox| mailbox.asked());
                    return Some((topic, true));
                }
                (OnWire::Held, true) => {
                    entry.wire = OnWire::Leaving;
                    return Some((topic, false));
                }
                (OnWire::Absent, true) => {
                    topics.remove(&topic.name);
                }
                // As it should be, or it comes back on the list with the answer.
                (OnWire::Held, false) | (OnWire::Asked | OnWire::Leaving, _) => {}
            }
        }
        None
    }

    /// The server has subscribed.
    pub(super) fn subscribed(&mut self, topic: &Topic, wakers: &mut Wakers) {
        if self.hold(topic, wakers) {
            self.held[topic.kind as usize] += 1;
        }
    }

    /// The server did not unsubscribe, and goes on sending what nobody may want. `again`: it may later.
    pub(super) fn kept(&mut self, topic: &Topic, again: bool, wakers: &mut Wakers) {
        self.hold(topic, wakers);
        if again {
            self.later.push(topic.clone());
        }
    }

    /// Some time has passed.
    pub(super) fn try_again(&mut self) {
        for topic in std::mem::take(&mut self.later) {
            self.list(&topic);
        }
    }

    fn hold(&mut self, topic: &Topic, wakers: &mut Wakers) -> bool {
        let Some(entry) = self.entry(topic) else { return false };
        let asked = entry.wire == OnWire::Asked;
        entry.wire = OnWire::Held;
        wakers.extend(entry.mailboxes.iter().filter_map(|mailbox| mailbox.open()));
        // The last one left while the server was being asked.
        if asked && entry.mailboxes.is_empty() {
            self.list(topic);
        }
        true
    }

    /// The server has unsubscribed.
    pub(super) fn unsubscribed(&mut self, topic: &Topic) {
        let Some(entry) = self.entry(topic) else { return };
        entry.wire = OnWire::Absent;
        self.held[topic.kind as usize] -= 1;
        // To be forgotten, or asked for again.
        self.list(topic);
    }

    /// The server does not subscribe. Whether there are subscribers who had it before, and may have it again.
    pub(super) fn refused(&mut self, topic: &Topic, error: &Error, wakers: &mut Wakers) -> bool {
        let topics = &mut self.topics[topic.kind as usize];
        let Some(entry) = topics.get_mut(&topic.name) else { return false };
        if error.is_retryable() && !entry.mailboxes.is_empty() {
            entry.wire = OnWire::Absent;
            wakers.extend(entry.mailboxes.iter().filter_map(|mailbox| mailbox.fail(error)));
            return entry.mailboxes.iter().any(|mailbox| mailbox.was_open());
        }
        // For good, or the last one left while the server was being asked.
        wakers.extend(entry.mailboxes.iter().filter_map(|mailbox| mailbox.refuse(error)));
        topics.remove(&topic.name);
        false
    }

    /// A topic that has subscribers, and how many.
    pub(super) fn find(&self, kind: Kind, name: &[u8]) -> Option<(Topic, usize)> {
        let (name, entry) = self.topics[kind as usize].get_key_value(name)?;
        let topic = Topic { kind, name: name.clone() };
        (!entry.mailboxes.is_empty()).then_some((topic, entry.mailboxes.len()))
    }

    /// Messages for all that are subscribed to the topic.
    pub(super) fn deliver(&mut self, topic: &Topic, messages: &[Message], wakers: &mut Wakers) {
        if let Some(entry) = self.entry(topic) {
            wakers.extend(entry.mailboxes.iter().filter_map(|mailbox| mailbox.deliver(messages)));
        }
    }

    /// A message came for them that can't be kept.
    pub(super) fn miss(&self, kind: Kind, topic: &[u8], wakers: &mut Wakers) {
        if let Some(entry) = self.topics[kind as usize].get(topic) {
            wakers.extend(entry.mailboxes.iter().filter_map(|mailbox| mailbox.miss()));
        }
    }

    /// How many channels, patterns and sharded channels the server has confirmed.
    pub(super) fn held(&self) -> [u64; 3] {
        self.held
    }

    /// There is a connection: all that is wanted is on the list.
    pub(super) fn up(&mut self) {
        self.set(Line::Up);
    }

    /// An attempt is about to be made, after the last one was.
    pub(super) fn again(&mut self) {
        self.set(Line::Down(None));
    }

    /// False after the end, from which nothing leads back.
    fn set(&mut self, line: Line) -> bool {
        let lives = !matches!(self.line, Line::Ended);
        if lives {
            self.line = line;
        }
        lives
    }

    /// There is no connection, and what the last one had is gone; all that was published before `since` has arrived.
    pub(super) fn down(&mut self, since: Instant, error: &Error, wakers: &mut Wakers) {
        if !self.set(Line::Down(Some(error.clone()))) {
            return;
        }
        self.held = [0; 3];
        self.todo.clear();
        self.later.clear();
        for (kind, topics) in Kind::ALL.into_iter().zip(&mut self.topics) {
            topics.retain(|_, entry| !entry.mailboxes.is_empty());
            for (name, entry) in topics {
                (entry.wire, entry.listed) = (OnWire::Absent, true);
                self.todo.push_back(Topic { kind, name: name.clone() });
                let mailboxes = entry.mailboxes.iter();
                wakers.extend(mailboxes.filter_map(|mailbox| mailbox.lose(since, error)));
            }
        }
    }

    /// No further attempt will be made by itself.
    pub(super) fn gave_up(&mut self, error: &Error, wakers: &mut Wakers) {
        self.set(Line::GaveUp(error.clone()));
        for entry in self.topics.iter().flat_map(HashMap::values) {
            wakers.extend(entry.mailboxes.iter().filter_map(|mailbox| mailbox.fail(error)));
        }
    }

    /// Everything ends. Again, it finds nothing.
    pub(super) fn end(&mut self, wakers: &mut Wakers) -> HubReport {
        self.line = Line::Ended;
        self.todo.clear();
        let mut report = HubReport::default();
        let closed = |asked| Error::new(ErrorKind::Closed, outcome(asked));
        for entry in self.topics.iter_mut().flat_map(HashMap::drain) {
            for mailbox in entry.1.mailboxes {
                let (standing, waker) = mailbox.end(closed);
                wakers.extend(waker);
                match standing {
                    Standing::Joining { asked: false } => report.not_sent += 1,
                    Standing::Joining { asked: true } => report.unknown += 1,
                    Standing::Joined { unread } => {
                        report.subscribers += 1;
                        report.unread += unread as u64;
                    }
                    Standing::Done => {}
                }
            }
        }
        report
    }

    /// What to tell a subscriber that waited in vain.
    pub(super) fn in_vain(&self, asked: bool, budget: Duration) -> Error {
        match &self.line {
            Line::Down(Some(error)) => not_connected(error, asked),
            Line::Down(None) => {
                Error::new(ErrorKind::NotConnected("still connecting".into()), outcome(asked))
            }
            _ => Error::new(ErrorKind::Deadline(budget), outcome(asked)),
        }
    }

    fn entry(&mut self, topic: &Topic) -> Option<&mut Entry> {
        self.topics[topic.kind as usize].get_mut(&topic.name)
    }
}

#[cfg(test)]
mod tests;
