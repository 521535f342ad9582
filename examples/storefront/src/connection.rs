//! The state of the connection to Redis, as the dashboard shows it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use russet_core_conn::{EventKind, Events, Notice, ReadyCheck};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::feed::unix_ms;
use crate::shop::Shop;

/// How many events are kept.
const KEPT: usize = 200;

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing has been asked of it yet, or it is being opened.
    Connecting,
    /// It answers.
    Ready,
    /// It was lost; the next attempt waits for its delay.
    Reconnecting,
    /// It ended for good.
    Closed,
}

/// Something that happened to the connection.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Counts from 1.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    /// The state from then on.
    pub state: State,
    /// What happened, in a few words.
    pub what: String,
    /// Which attempt is next, from 1.
    pub attempt: Option<u32>,
    /// Milliseconds until then.
    pub delay: Option<u64>,
}

/// Writes down what happens to the connection until `end`. Each loss and each return is an
/// outage for the shop's ledger.
pub async fn watch(mut events: Events, shop: Shop, end: CancellationToken) {
    let timeline = shop.timeline();
    let mut reason = None;
    while let Some(Some(notice)) = end.run_until_cancelled(events.next()).await {
        let event = match notice {
            Notice::Event(event) => event.kind,
            Notice::Missed(count) => {
                shop.ledger().outage(Instant::now());
                timeline.add(timeline.state(), format!("{count} events were missed"), None);
                continue;
            }
            _ => continue,
        };
        match event {
            EventKind::Connected => timeline.add(State::Connecting, "connected".to_owned(), None),
            EventKind::Ready(check) => {
                shop.ledger().outage(Instant::now());
                timeline.add(State::Ready, format!("ready{}", checked(check)), None);
            }
            EventKind::Error(error) => reason = Some(error.to_string()),
            EventKind::Closed => {
                shop.ledger().outage(Instant::now());
                let why = reason.take().map_or_else(String::new, |reason| format!(": {reason}"));
                timeline.add(State::Reconnecting, format!("connection lost{why}"), None);
            }
            EventKind::Reconnecting { attempt, delay } => {
                let delay = delay.as_millis() as u64;
                let why = reason.take().map_or_else(String::new, |reason| format!(": {reason}"));
                let what = format!("attempt {attempt} in {delay} ms{why}");
                timeline.add(State::Reconnecting, what, Some((attempt, delay)));
            }
            EventKind::GaveUp { attempts, error } => {
                timeline.add(
                    State::Closed,
                    format!("gave up after {attempts} attempts: {error}"),
                    None,
                );
            }
            _ => {}
        }
    }
}

fn checked(check: ReadyCheck) -> &'static str {
    match check {
        ReadyCheck::Ping => " (by PING: INFO is denied)",
        _ => "",
    }
}

/// The last events, oldest first.
#[derive(Debug, Default)]
pub struct Timeline {
    events: Mutex<VecDeque<Event>>,
}

impl Timeline {
    /// Adds an event.
    pub fn add(&self, state: State, what: String, retry: Option<(u32, u64)>) {
        let mut events = self.events();
        let seq = events.back().map_or(1, |last| last.seq + 1);
        if events.len() == KEPT {
            events.pop_front();
        }
        let (attempt, delay) = retry.unzip();
        events.push_back(Event { seq, at: unix_ms(), state, what, attempt, delay });
    }

    /// The state by now.
    #[must_use]
    pub fn state(&self) -> State {
        self.events().back().map_or(State::Connecting, |last| last.state)
    }

    /// Events after number `seq`.
    #[must_use]
    pub fn after(&self, seq: u64) -> Vec<Event> {
        self.events().iter().filter(|event| event.seq > seq).cloned().collect()
    }

    fn events(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
