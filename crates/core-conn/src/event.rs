//! What happens to connections, for whoever wants to know.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::broadcast;

use crate::Error;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Calls.
    Calls,
    /// The subscriptions of a [`Hub`](crate::Hub).
    Subscriptions,
}

/// How a connection was found to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyCheck {
    /// `INFO persistence` said that nothing is being loaded. For subscriptions: `CLIENT INFO` counted as many as there
    /// should be.
    Info,
    /// The user may not call `INFO`; the server answered `PING`, which it refuses while loading. For subscriptions: the
    /// user may not call `CLIENT INFO`, and it is not found if the server forgets one.
    Ping,
    /// The check is turned off.
    Off,
}

/// Something that happened to one connection of one node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// The node, as `host:port`.
    pub node: Arc<str>,
    /// What the connection is for.
    pub purpose: Purpose,
    /// Which of the node's connections, from 0. Those of hubs are counted on after those for calls.
    pub connection: usize,
    /// How often this connection had been opened when it happened; 0 before the first time.
    pub generation: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// The connection is open, and the server accepted user, database and name.
    Connected,
    /// The server has loaded its data: calls go out.
    Ready(ReadyCheck),
    /// An attempt failed, or the connection ended with an error.
    Error(Error),
    /// The connection is gone. Follows each `Connected`.
    Closed,
    /// The next attempt, from 1, will be made after the delay.
    Reconnecting {
        /// Which attempt since the last stay in ready.
        attempt: u32,
        /// How long it waits first.
        delay: Duration,
    },
    /// No further attempt will be made; calls fail with [`ErrorKind::GaveUp`](crate::ErrorKind::GaveUp) until
    /// [`Redis::reconnect`](crate::Redis::reconnect).
    GaveUp {
        /// Attempts made.
        attempts: u32,
        /// The error that callers get.
        error: Error,
    },
}

/// Either an event, or how many this listener was too slow for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// The next event.
    Event(Event),
    /// This many events, the oldest ones, were dropped: the listener lagged behind.
    Missed(u64),
}

/// A listener's end of the events: bounded, and never in anybody's way.
///
/// Each listener sees what happened after it was made. The last 256 events are kept for it; a slower listener is told
/// how many it missed. Nobody needs to listen.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event or gap; `None` once the handle is closed or dropped and everything was read.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(event) => Some(Notice::Event(event)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Notice::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// Waits for an event that `wanted` picks, skipping the others; `None` if there will be none.
    pub async fn find(&mut self, mut wanted: impl FnMut(&EventKind) -> bool) -> Option<Event> {
        loop {
            match self.next().await? {
                Notice::Event(event) if wanted(&event.kind) => return Some(event),
                _ => {}
            }
        }
    }
}

/// The sending end.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    /// None after the end.
    sender: Arc<ArcSwapOption<broadcast::Sender<Event>>>,
}

impl Announcer {
    pub(crate) fn new() -> Self {
        let sender = Arc::new(broadcast::Sender::new(256));
        Self { sender: Arc::new(ArcSwapOption::new(Some(sender))) }
    }

    pub(crate) fn listen(&self) -> Events {
        match &*self.sender.load() {
            Some(sender) => Events(sender.subscribe()),
            // Its sender is gone at once.
            None => Events(broadcast::Sender::new(1).subscribe()),
        }
    }

    /// There will be no more events, although the handle may live on.
    pub(crate) fn end(&self) {
        self.sender.store(None);
    }

    pub(crate) fn announce(&self, event: Event) {
        match &event.kind {
            EventKind::Error(error) => {
                tracing::warn!(node = %event.node, connection = event.connection, %error, "connection error");
            }
            EventKind::GaveUp { attempts, error } => {
                tracing::error!(node = %event.node, connection = event.connection, attempts, %error, "gave up");
            }
            kind => {
                tracing::debug!(node = %event.node, connection = event.connection, ?kind, "connection event");
            }
        }
        if let Some(sender) = &*self.sender.load() {
            // Nobody listening is fine.
            let _ = sender.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(generation: u64) -> Event {
        let (purpose, kind) = (Purpose::Calls, EventKind::Connected);
        Event { node: "n:1".into(), purpose, connection: 0, generation, kind }
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_what_it_missed_and_blocks_nobody() {
        let announcer = Announcer::new();
        announcer.announce(event(0));
        let mut slow = announcer.listen();
        for generation in 1..=300 {
            announcer.announce(event(generation));
        }
        assert!(matches!(slow.next().await, Some(Notice::Missed(44))));
        let Some(Notice::Event(next)) = slow.next().await else { panic!("no event") };
        assert_eq!(next.generation, 45);
        drop(announcer);
        let mut left = 0;
        while slow.next().await.is_some() {
            left += 1;
        }
        assert_eq!(left, 255);
    }
}
