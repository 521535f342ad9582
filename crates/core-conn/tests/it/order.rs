//! Which order of events is legal, said once, by reading the documentation of the events.

use std::collections::HashMap;
use std::time::Duration;

use russet_core_conn::{Event, EventKind, Events, Notice};

/// Hears events until there are no more, and holds each to what may follow what.
///
/// ```text
/// away ── Connected ── Ready ── Closed ── Error ── Reconnecting ── away    (Ready may log in again)
///   │         └──────────────── Closed ─────┘ │
///   └──────────────────────────── Error ──────┴── GaveUp ── away
/// ```
#[derive(Debug, Default)]
pub(crate) struct Order {
    connections: HashMap<usize, Connection>,
    /// The longest delay that is allowed.
    cap: Option<Duration>,
    /// All events.
    pub(crate) heard: u64,
    pub(crate) readies: usize,
    pub(crate) errors: usize,
    pub(crate) delays: Vec<Duration>,
    pub(crate) attempts: Vec<u32>,
}

#[derive(Debug, Default)]
struct Connection {
    at: At,
    generation: u64,
    attempt: u32,
    has_been_ready: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum At {
    #[default]
    Away,
    Open,
    Ready,
    Closed,
    Failed,
    GaveUp,
}

impl Order {
    pub(crate) fn capped(cap: Duration) -> Self {
        Self { cap: Some(cap), ..Self::default() }
    }

    /// Reads on until `wanted`, and gives that event.
    pub(crate) async fn until(
        &mut self,
        events: &mut Events,
        mut wanted: impl FnMut(&EventKind) -> bool,
    ) -> Event {
        let reading = async {
            loop {
                match events.next().await.expect("the events ended") {
                    Notice::Event(event) => {
                        self.check(&event);
                        if wanted(&event.kind) {
                            return event;
                        }
                    }
                    notice => panic!("a listener that is quick enough got {notice:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the event never came")
    }

    /// Reads all that is left, to the end.
    pub(crate) async fn read_to_end(&mut self, events: &mut Events) {
        let patience = Duration::from_secs(20);
        while let Some(notice) =
            tokio::time::timeout(patience, events.next()).await.expect("the events do not end")
        {
            let Notice::Event(event) = notice else { panic!("missed: {notice:?}") };
            self.check(&event);
        }
    }

    /// Where a connection is now.
    pub(crate) fn at(&self, connection: usize) -> At {
        self.connections.get(&connection).map_or(At::Away, |connection| connection.at)
    }

    fn check(&mut self, event: &Event) {
        let connection = self.connections.entry(event.connection).or_default();
        let before = connection.at;
        self.heard += 1;
        connection.at = match (before, &event.kind) {
            (At::Away | At::GaveUp, EventKind::Connected) => {
                connection.generation += 1;
                connection.has_been_ready = false;
                At::Open
            }
            (At::Open | At::Ready, EventKind::Replaced) => before,
            (At::Open, EventKind::Ready(_)) => {
                connection.has_been_ready = true;
                self.readies += 1;
                At::Ready
            }
            (At::Open | At::Ready, EventKind::Closed) => At::Closed,
            (At::Away | At::Closed | At::GaveUp, EventKind::Error(_)) => {
                self.errors += 1;
                if before == At::GaveUp {
                    connection.attempt = 0;
                }
                At::Failed
            }
            (At::Failed, EventKind::Reconnecting { attempt, delay }) => {
                // The count goes on, or starts again after a stay in ready.
                let goes_on = *attempt == connection.attempt + 1;
                let again = *attempt == 1 && connection.has_been_ready;
                assert!(goes_on || again, "attempt {attempt} after {}", connection.attempt);
                assert!(self.cap.is_none_or(|cap| *delay <= cap), "{delay:?} is too long");
                connection.attempt = *attempt;
                connection.has_been_ready = false;
                self.delays.push(*delay);
                self.attempts.push(*attempt);
                At::Away
            }
            (At::Failed, EventKind::GaveUp { attempts, .. }) => {
                assert_eq!(*attempts, connection.attempt, "attempts that were announced");
                connection.attempt = 0;
                At::GaveUp
            }
            (At::Ready, EventKind::LoggedIn) => {
                // Another connection has taken the place of this one.
                connection.generation += 1;
                At::Ready
            }
            (At::Ready, EventKind::LoginFailed(_)) => At::Ready,
            (at, kind) => panic!("{kind:?} can't follow {at:?}: {event:?}"),
        };
        assert_eq!(event.generation, connection.generation, "{event:?}");
    }
}
