//! What a hub's handles, its subscriptions and its task share.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::HubReport;
use super::board::{Board, Wakers};
use super::homes::Sharded;
use super::keeper;
use super::mailbox::{Limits, Mailbox};
use super::topic::Topic;
use crate::event::{Event, EventKind, Purpose};
use crate::node::{GRACE, Node};
use crate::{Error, ServerError};

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) max_message: usize,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

pub(super) struct State {
    pub(super) node: Arc<Node>,
    /// For sharded channels of a cluster: who knows where they live.
    sharded: Option<Weak<Sharded>>,
    pub(super) settings: Settings,
    board: Mutex<Board>,
    /// Something is on the board's list.
    pub(super) work: Notify,
    /// The hub ends.
    pub(super) ended: CancellationToken,
    started: AtomicBool,
    /// Its task has ended.
    finished: CancellationToken,
    report: OnceLock<HubReport>,
    /// Where its connection leads, or led last.
    place: Mutex<Arc<str>>,
    /// Its number among the node's connections.
    connection: usize,
    generations: AtomicU64,
    open: AtomicBool,
}

impl State {
    pub(super) fn new(
        node: Arc<Node>,
        settings: Settings,
        sharded: Option<Weak<Sharded>>,
    ) -> Arc<Self> {
        let connection = node.one_more_connection();
        let place = Mutex::new(node.name.clone());
        Arc::new(Self {
            node,
            sharded,
            settings,
            board: Mutex::new(Board::new()),
            work: Notify::new(),
            ended: CancellationToken::new(),
            started: AtomicBool::new(false),
            finished: CancellationToken::new(),
            report: OnceLock::new(),
            place,
            connection,
            generations: AtomicU64::new(0),
            open: AtomicBool::new(false),
        })
    }

    /// Changes the board, and wakes those whom that concerns when it is free again.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Board, &mut Wakers) -> T) -> T {
        let mut wakers = Vec::new();
        let done = self.board(|board| change(board, &mut wakers));
        wakers.into_iter().for_each(Waker::wake);
        done
    }

    pub(super) fn board<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        look(&mut self.board.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a subscriber, and starts the task with the first. Needs a runtime.
    pub(super) fn join(
        self: &Arc<Self>,
        topic: &Topic,
        mailbox: &Arc<Mailbox>,
        patient: bool,
    ) -> Result<(), Error> {
        self.board(|board| board.join(topic, mailbox, patient))?;
        self.work();
        Ok(())
    }

    fn work(self: &Arc<Self>) {
        self.work.notify_one();
        if !self.started.load(Relaxed) && !self.started.swap(true, SeqCst) {
            self.node.hubs.spawn(keeper::run(self.clone()));
        }
    }

    pub(super) fn leave(&self, topic: &Topic, mailbox: &Arc<Mailbox>) {
        let has_work = self.board(|board| {
            board.leave(topic, mailbox);
            board.has_work()
        });
        if has_work {
            self.work.notify_one();
        }
    }

    /// Takes the sharded channels off that live elsewhere, with their subscribers, who are told of a gap.
    pub(super) fn take(&self, leaves: impl Fn(&[u8]) -> bool) -> Vec<(Topic, Vec<Arc<Mailbox>>)> {
        let taken = self.with(|board, wakers| board.take(leaves, wakers));
        if !taken.is_empty() {
            self.work.notify_one();
        }
        taken
    }

    /// Takes them on.
    pub(super) fn adopt(self: &Arc<Self>, topic: &Topic, mailboxes: Vec<Arc<Mailbox>>) {
        self.with(|board, wakers| board.adopt(topic, mailboxes, wakers));
        self.work();
    }

    /// Whether the server's word means that the channel lives on another node, which is then looked for.
    pub(super) fn is_elsewhere(&self, topic: &Topic, error: &Error) -> bool {
        let Some(sharded) = self.sharded.as_ref().and_then(Weak::upgrade) else { return false };
        let elsewhere = matches!(
            error.server(),
            Some(ServerError::Moved { .. } | ServerError::Ask { .. } | ServerError::ClusterDown)
        );
        if elsewhere {
            let place = self.place().clone();
            sharded.refer(topic, error, &place);
        }
        elsewhere
    }

    /// A node ended the subscription to a sharded channel, whose slot it does not serve any more.
    pub(super) fn went_astray(&self) -> bool {
        let sharded = self.sharded.as_ref().and_then(Weak::upgrade);
        sharded.inspect(Sharded::doubt).is_some()
    }

    /// Ends everything that a subscriber sees. Again, it gives the same report.
    pub(super) fn end(&self) -> HubReport {
        self.ended.cancel();
        *self.report.get_or_init(|| self.with(Board::end))
    }

    pub(super) async fn shut_down(&self) -> HubReport {
        let report = self.end();
        if self.started.load(SeqCst) {
            // Its runtime may be one that nobody drives any more.
            let _ = tokio::time::timeout(GRACE, self.finished.cancelled()).await;
        }
        report
    }

    /// The task is over, however that came.
    pub(super) fn finish(&self) {
        self.closed();
        self.end();
        self.finished.cancel();
    }

    /// A connection was opened.
    pub(super) fn opened(&self, place: &Arc<str>) {
        *self.place() = place.clone();
        self.generations.fetch_add(1, Relaxed);
        self.open.store(true, Relaxed);
        self.announce(EventKind::Connected);
    }

    /// Whatever was open is not any more.
    pub(super) fn closed(&self) {
        if self.open.swap(false, Relaxed) {
            self.announce(EventKind::Closed);
        }
    }

    fn place(&self) -> MutexGuard<'_, Arc<str>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn announce(&self, kind: EventKind) {
        self.node.announcer().announce(Event {
            node: self.place().clone(),
            purpose: Purpose::Subscriptions,
            connection: self.connection,
            generation: self.generations.load(Relaxed),
            kind,
        });
    }
}
