//! What all connections of a proxy share.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};

use super::Counters;
use super::line::{Conditions, Item};
use super::rule::{Action, Fate, Fault, Match, Rule};
use crate::{Error, Result};

/// How long a test waits for an event before it is told that it did not come.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Notify,
    conditions: watch::Sender<Conditions>,
    /// Connections end when it changes.
    cut: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    counters: Counters,
    rules: Vec<Rule>,
    next: u64,
    /// The way to the client of each open connection.
    clients: HashMap<u64, UnboundedSender<Item>>,
}

impl Shared {
    pub(super) fn new() -> Arc<Shared> {
        Arc::new(Shared {
            state: Mutex::default(),
            changed: Notify::new(),
            conditions: watch::Sender::new(Conditions::default()),
            cut: watch::Sender::new(()),
        })
    }

    pub(super) fn set(self: &Arc<Shared>, wanted: Match, action: Action) -> Fault {
        let rule = Rule::new(wanted, action);
        let fault = Fault { strikes: rule.strikes(), shared: Arc::clone(self) };
        self.lock().rules.push(rule);
        fault
    }

    pub(super) fn remove(&self, strikes: &Arc<AtomicU64>) {
        self.lock().rules.retain(|rule| !Arc::ptr_eq(&rule.strikes(), strikes));
    }

    pub(super) fn clear(&self) {
        self.lock().rules.clear();
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.conditions.send_modify(change);
    }

    pub(super) fn conditions(&self) -> watch::Receiver<Conditions> {
        self.conditions.subscribe()
    }

    pub(super) fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }

    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.counters = Counters { open: state.counters.open, ..Counters::default() };
    }

    /// Waits until the counters are as wanted.
    pub(super) async fn until(
        &self,
        what: &'static str,
        done: impl Fn(&Counters) -> bool,
    ) -> Result<()> {
        self.when(what, |state| done(&state.counters)).await
    }

    /// Ends all connections, and returns how many that were, when they have ended.
    pub(super) async fn cut_all(&self) -> Result<usize> {
        let cut: Vec<u64> = self.lock().clients.keys().copied().collect();
        self.cut.send_replace(());
        self.when("end of all connections", |state| {
            !cut.iter().any(|id| state.clients.contains_key(id))
        })
        .await?;
        Ok(cut.len())
    }

    pub(super) fn cuts(&self) -> watch::Receiver<()> {
        self.cut.subscribe()
    }

    /// Puts a frame in line for each client, and returns how many there are.
    pub(super) fn inject(&self, frame: &Bytes) -> usize {
        let mut state = self.lock();
        let reached = state
            .clients
            .values()
            .filter(|client| client.send(Item::aside(frame.clone())).is_ok())
            .count();
        state.counters.strikes += reached as u64;
        drop(state);
        self.changed.notify_waiters();
        reached
    }

    /// A connection was accepted; its number.
    pub(super) fn opened(&self, client: UnboundedSender<Item>) -> u64 {
        self.update(|state| {
            state.counters.connections += 1;
            state.counters.open += 1;
            state.next += 1;
            state.clients.insert(state.next, client);
            state.next
        })
    }

    /// A request has arrived: counts it, and gives what is to become of it.
    pub(super) fn arrived(&self, args: &[Bytes], has_reply: bool, new_trip: bool) -> Option<Fate> {
        let name = args
            .first()
            .map(|name| String::from_utf8_lossy(name).to_ascii_uppercase())
            .unwrap_or_default();
        self.update(|state| {
            state.counters.trips += u64::from(new_trip);
            let fate =
                state.rules.iter_mut().find_map(|rule| rule.consider(&name, args, has_reply));
            *state.counters.requests.entry(name).or_default() += 1;
            fate
        })
    }

    /// A reply is being handed to its client.
    pub(super) fn replied(&self) {
        self.update(|state| state.counters.replies += 1);
    }

    pub(super) fn struck(&self, strikes: &AtomicU64) {
        self.update(|state| {
            strikes.fetch_add(1, Ordering::SeqCst);
            state.counters.strikes += 1;
        });
    }

    /// A connection is about to be closed.
    pub(super) fn ending(&self, lost: u64, unsent: u64) {
        self.update(|state| {
            state.counters.lost += lost;
            // They were counted, but the end came before the last byte. A reset may have come between.
            state.counters.replies = state.counters.replies.saturating_sub(unsent);
        });
    }

    /// A connection is closed.
    pub(super) fn closed(&self, id: u64) {
        self.update(|state| {
            state.counters.open -= 1;
            state.clients.remove(&id);
        });
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_waiters();
        result
    }

    async fn when(&self, what: &'static str, done: impl Fn(&State) -> bool) -> Result<()> {
        let wait = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                // From here on no change is missed.
                changed.as_mut().enable();
                if done(&self.lock()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .map_err(|_| Error::Timeout { what, after: PATIENCE })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
