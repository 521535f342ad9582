//! What happens to connections, for whoever wants to know.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use self::broadcast::{Broadcast, Events, Notice};
use crate::Error;

mod broadcast;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Calls.
    Calls,
    /// The subscriptions of a [`Hub`](crate::Hub).
    Subscriptions,
    /// None: it is about a node of a cluster, or about the cluster.
    Topology,
}

/// How a connection was found to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyCheck {
    /// `INFO` said that nothing is being loaded. For subscriptions: `CLIENT INFO` counted as many as there
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
    /// The node, as `host:port` or the path of its socket; under Sentinel by the primary's name before one was found.
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

/// Something that happened to a connection of a [`Registry`](crate::Registry)'s entry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EntryEvent {
    /// The entry's name.
    pub entry: Arc<str>,
    /// What happened, and to which connection.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// The connection is open, and the server accepted user, database and name.
    Connected,
    /// The server has loaded its data: calls go out.
    Ready(ReadyCheck),
    /// The server is another process than the one before: it was restarted, or under Sentinel another has taken its place.
    /// What that one had, and this one has not got from it or from its disk, is gone. Before the `Ready` of the first
    /// connection to it; told by `run_id`, so not where the ready check is turned off or the user may not call `INFO`. In
    /// a cluster a node whose place another takes is told by [`Promoted`](Self::Promoted).
    Replaced,
    /// Calls go on over a new connection, which logged in with what its provider gave; the one before ends when its last
    /// call is answered, without an event. See [`CredentialProvider`](crate::CredentialProvider).
    LoggedIn,
    /// No connection could be opened with what the provider gave, or the provider gave nothing. Calls go on over the one
    /// there is, and it will be tried again.
    LoginFailed(Error),
    /// An attempt failed, or the connection ended with an error.
    Error(Error),
    /// The connection is gone, with whatever took its place since. Follows each `Connected`.
    Closed,
    /// The next attempt, from 1, will be made after the delay.
    Reconnecting {
        /// Which attempt since the last stay in ready.
        attempt: u32,
        /// How long it waits first.
        delay: Duration,
    },
    /// The cluster has a member that it had not.
    NodeAdded,
    /// It is no member any more; connections to it end when their last call is answered.
    NodeRemoved,
    /// It was a replica, and is a primary now.
    Promoted,
    /// It was a primary, and is a replica now.
    Demoted,
    /// Most primaries say that it has failed.
    Down,
    /// They do not say so any more.
    Up,
    /// Slots are served by another node than before, or by none.
    SlotsMoved {
        /// How many.
        slots: usize,
    },
    /// The map of the cluster was learnt anew.
    MapRefreshed {
        /// The newest configuration that the node which was asked has heard of (`cluster_current_epoch`).
        epoch: u64,
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

impl Events {
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
    own: Broadcast<Event>,
    /// Who else is told, and under which name.
    registry: Arc<OnceLock<(Arc<str>, Broadcast<EntryEvent>)>>,
}

impl Announcer {
    pub(crate) fn new() -> Self {
        Self { own: Broadcast::new(), registry: Arc::default() }
    }

    pub(crate) fn listen(&self) -> Events {
        self.own.listen()
    }

    /// From now on a registry's listeners hear of it, too. Once.
    pub(crate) fn relay(&self, entry: Arc<str>, to: Broadcast<EntryEvent>) {
        // A handle is in one registry, for good.
        let _ = self.registry.set((entry, to));
    }

    /// There will be no more events, although the handle may live on.
    pub(crate) fn end(&self) {
        self.own.end();
    }

    pub(crate) fn announce(&self, event: Event) {
        match &event.kind {
            EventKind::LoginFailed(error) => {
                tracing::warn!(node = %event.node, connection = event.connection, %error, "login failed");
            }
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
        if let Some((entry, registry)) = self.registry.get() {
            registry.send(EntryEvent { entry: entry.clone(), event: event.clone() });
        }
        self.own.send(event);
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
