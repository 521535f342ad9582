//! One of a node's connections, whatever generation it is in.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, watch};

use super::gate::Gate;
use super::generation::Generation;
use crate::error::{Error, ErrorKind};

#[derive(Debug)]
pub(super) struct Lane {
    /// Where its connection leads, or led last.
    place: Mutex<Arc<str>>,
    pub(super) current: ArcSwapOption<Generation>,
    /// Generations before, each until its last call is answered. Locked while another becomes the current one.
    retiring: Mutex<Vec<Arc<Generation>>>,
    pub(super) state: watch::Sender<State>,
    /// Whether it has a task, or had one that gave up.
    pub(super) running: AtomicBool,
    pub(super) generations: AtomicU64,
    /// Since when it has been as it is: connected or not.
    pub(super) changed: ArcSwap<Instant>,
    /// What ended a connection, or an attempt to open one, last.
    pub(super) last_error: ArcSwapOption<Error>,
    /// Cuts the wait before the next attempt.
    pub(super) hurry: Notify,
}

/// A lane's state, for those who wait.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// An attempt is under way or waits for its time; with the last error, if there was one.
    Connecting(Option<Error>),
    Ready,
    GaveUp(Error),
    Ended,
}

impl Lane {
    pub(super) fn new(place: Arc<str>) -> Self {
        Self {
            place: Mutex::new(place),
            current: ArcSwapOption::empty(),
            retiring: Mutex::default(),
            state: watch::Sender::new(State::Connecting(None)),
            running: AtomicBool::new(false),
            generations: AtomicU64::new(0),
            changed: ArcSwap::from_pointee(Instant::now()),
            last_error: ArcSwapOption::empty(),
            hurry: Notify::new(),
        }
    }

    /// Calls go to `next` from here on. False once the gate is closed: whoever closes it has looked for all that there
    /// are.
    pub(super) fn take_over(&self, gate: &Gate, next: &Arc<Generation>) -> bool {
        let mut retiring = self.retiring();
        if gate.is_closed() {
            return false;
        }
        retiring.extend(self.current.swap(Some(next.clone())));
        true
    }

    /// No further call goes to the current one.
    pub(super) fn step_down(&self) {
        let mut retiring = self.retiring();
        retiring.extend(self.current.swap(None));
    }

    pub(super) fn place(&self) -> MutexGuard<'_, Arc<str>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retiring(&self) -> MutexGuard<'_, Vec<Arc<Generation>>> {
        self.retiring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generations that have calls. No other takes over meanwhile.
    pub(super) fn all(&self) -> impl Iterator<Item = Arc<Generation>> + use<> {
        let retiring = self.retiring();
        retiring.clone().into_iter().chain(self.current.load_full())
    }

    /// Ends one before: no call is left there, or it is lost.
    pub(super) fn retire(&self, generation: &Arc<Generation>) {
        self.retiring().retain(|other| !Arc::ptr_eq(other, generation));
        generation.end();
    }

    /// Whether a call would find a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.current.load().as_ref().is_some_and(|generation| !generation.slab.is_lost())
    }

    /// Ends the calls of the current one; false if there was none.
    pub(super) fn fail(&self) -> bool {
        let current = self.current.swap(None);
        current.inspect(|generation| generation.end()).is_some()
    }

    /// Ends all calls; false if there was no connection.
    pub(super) fn end(&self) -> bool {
        let retiring = std::mem::take(&mut *self.retiring());
        retiring.iter().for_each(|generation| generation.end());
        self.fail()
    }

    /// Waits until it is ready, or without waiting until it is known that it is not. `start` is for a lane whose task
    /// ends, with its runtime, while this one waits.
    pub(super) async fn ready(
        &self,
        deadline: Instant,
        wait: bool,
        start: impl Fn(),
    ) -> Result<(), Error> {
        let mut state = self.state.subscribe();
        let settled = async {
            loop {
                start();
                match &*state.borrow_and_update() {
                    State::Connecting(None) => {}
                    State::Connecting(Some(_)) if wait => {}
                    settled => return settled.clone(),
                }
                if state.changed().await.is_err() {
                    return State::Ended;
                }
            }
        };
        let now = match tokio::time::timeout_at(deadline.into(), settled).await {
            Ok(state) => state,
            Err(_) => self.state.borrow().clone(),
        };
        match now {
            State::Ready => Ok(()),
            State::GaveUp(error) => Err(error),
            State::Ended => Err(Error::not_sent(ErrorKind::Closed)),
            State::Connecting(None) => {
                Err(Error::not_sent(ErrorKind::NotConnected("still connecting".into())))
            }
            State::Connecting(Some(last)) => {
                let reason = last.kind().to_string();
                Err(Error::not_sent(ErrorKind::NotConnected(reason)).caused_by(last.kind()))
            }
        }
    }
}
