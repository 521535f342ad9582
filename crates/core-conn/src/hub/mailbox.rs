//! One subscriber's: whether the server has confirmed it, and what waits for it. Never in anybody's way.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

pub(super) use self::queue::Limits;
use self::queue::Queue;
use super::delivery::{Delivery, Gap, Message};
use crate::{Error, ErrorKind, SendOutcome};

mod queue;

/// Each change gives the waker of whoever waits for it, to be woken when no lock is held.
#[derive(Debug)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    /// Where it is among the others of its topic; the board's to read and write.
    pub(super) place: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    queue: Queue,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Phase {
    /// The server has not confirmed yet.
    Joining {
        /// It has been asked.
        asked: bool,
        /// The subscriber waits also while it is known that there is no connection.
        patient: bool,
    },
    Open,
    /// Confirmed once, and lost since.
    Away {
        since: Instant,
        losses: u32,
    },
    /// Never confirmed.
    Failed(Error),
    /// What waits can still be read.
    Over,
}

/// How far a subscriber had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not confirmed; whether the server was asked.
    Joining { asked: bool },
    /// Confirmed, and so many messages wait.
    Joined { unread: usize },
    /// It has its error or its end.
    Done,
}

/// What became of asking the server.
pub(super) fn outcome(asked: bool) -> SendOutcome {
    if asked { SendOutcome::Unknown } else { SendOutcome::NotSent }
}

/// For whom there is no connection, because of this.
pub(super) fn not_connected(error: &Error, asked: bool) -> Error {
    let kind = ErrorKind::NotConnected(error.kind().to_string());
    Error::new(kind, outcome(asked)).caused_by(error.kind())
}

impl Mailbox {
    pub(super) fn new(limits: Limits, patient: bool) -> Self {
        let phase = Phase::Joining { asked: false, patient };
        let inner = Inner { phase, queue: Queue::new(limits), waker: None };
        Self { inner: Mutex::new(inner), place: AtomicUsize::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server is being asked.
    pub(super) fn asked(&self) {
        if let Phase::Joining { asked, .. } = &mut self.inner().phase {
            *asked = true;
        }
    }

    /// The server has confirmed.
    pub(super) fn open(&self) -> Option<Waker> {
        let mut inner = self.inner();
        match inner.phase {
            Phase::Joining { .. } => {}
            Phase::Away { since, losses } => {
                inner.queue.gap(Gap { losses, since, until: Instant::now() });
            }
            _ => return None,
        }
        inner.phase = Phase::Open;
        inner.waker.take()
    }

    #[inline]
    pub(super) fn deliver(&self, messages: &[Message]) -> Option<Waker> {
        let mut inner = self.inner();
        if !matches!(inner.phase, Phase::Open) {
            return None;
        }
        messages.iter().for_each(|message| inner.queue.message(message));
        inner.waker.take()
    }

    /// A message came that can't be kept.
    pub(super) fn miss(&self) -> Option<Waker> {
        let mut inner = self.inner();
        if !matches!(inner.phase, Phase::Open) {
            return None;
        }
        inner.queue.missed();
        inner.waker.take()
    }

    /// The connection is gone; all that was published before `since` had arrived.
    pub(super) fn lose(&self, since: Instant, error: &Error) -> Option<Waker> {
        let mut inner = self.inner();
        match inner.phase {
            Phase::Joining { patient: false, asked } => {
                inner.phase = Phase::Failed(not_connected(error, asked));
            }
            Phase::Open => {
                let (since, losses) = inner.queue.away(since, error);
                inner.phase = Phase::Away { since, losses };
            }
            _ => return None,
        }
        inner.waker.take()
    }

    /// If it is not confirmed, it will not be.
    pub(super) fn fail(&self, error: &Error) -> Option<Waker> {
        let mut inner = self.inner();
        match inner.phase {
            Phase::Joining { .. } => inner.phase = Phase::Failed(error.clone()),
            _ => return None,
        }
        inner.waker.take()
    }

    /// The server refuses it.
    pub(super) fn refuse(&self, error: &Error) -> Option<Waker> {
        let mut inner = self.inner();
        match inner.phase {
            Phase::Joining { .. } => inner.phase = Phase::Failed(error.clone()),
            Phase::Open | Phase::Away { .. } => {
                inner.queue.refused(error);
                inner.phase = Phase::Over;
            }
            _ => return None,
        }
        inner.waker.take()
    }

    /// The hub ends.
    pub(super) fn end(&self, error: impl FnOnce(bool) -> Error) -> (Standing, Option<Waker>) {
        let mut inner = self.inner();
        let standing = inner.standing();
        match standing {
            Standing::Joining { asked } => inner.phase = Phase::Failed(error(asked)),
            Standing::Joined { .. } => inner.phase = Phase::Over,
            Standing::Done => {}
        }
        (standing, inner.waker.take())
    }

    pub(super) fn standing(&self) -> Standing {
        self.inner().standing()
    }

    /// Whether the server has it now, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.inner().phase, Phase::Open)
    }

    /// Whether it was confirmed, and is lost.
    pub(super) fn was_open(&self) -> bool {
        matches!(self.inner().phase, Phase::Away { .. })
    }

    pub(super) fn poll_joined(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        let mut inner = self.inner();
        match &inner.phase {
            Phase::Joining { .. } => inner.wait(cx),
            Phase::Failed(error) => Poll::Ready(Err(error.clone())),
            Phase::Open | Phase::Away { .. } | Phase::Over => Poll::Ready(Ok(())),
        }
    }

    #[inline]
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Delivery>> {
        let mut inner = self.inner();
        match inner.queue.next() {
            None if !matches!(inner.phase, Phase::Over) => inner.wait(cx),
            delivery => Poll::Ready(delivery),
        }
    }
}

impl Inner {
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn standing(&self) -> Standing {
        match self.phase {
            Phase::Joining { asked, .. } => Standing::Joining { asked },
            Phase::Open | Phase::Away { .. } => Standing::Joined { unread: self.queue.messages() },
            Phase::Failed(_) | Phase::Over => Standing::Done,
        }
    }
}
