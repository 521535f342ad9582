//! What is said on one connection of a hub, and what is expected in answer.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use super::board::{Board, Wakers};
use super::heartbeat;
use super::run::Run;
use super::session::lost;
use super::state::State;
use super::topic::{Kind, Topic};
use super::wire::frame::Frame;
use crate::event::{EventKind, ReadyCheck};
use crate::value::server_error;
use crate::{Error, ErrorKind};

pub(super) struct Talk<'a> {
    pub(super) state: &'a State,
    /// The server answers in order.
    pub(super) expected: VecDeque<Expected>,
    /// Since when the first of these is waited for.
    pub(super) waiting_since: Instant,
    /// All that was published before has arrived.
    pub(super) since: Instant,
    pub(super) ready_at: Option<Instant>,
    /// A heartbeat is under way.
    pub(super) beating: bool,
    /// `CLIENT INFO` is denied.
    pub(super) blind: bool,
    wakers: Wakers,
    run: Run,
    /// Deliveries since somebody else had a turn.
    pub(super) delivered: usize,
}

pub(super) enum Expected {
    Subscribed(Topic),
    Unsubscribed(Topic),
    Pong { nonce: Bytes, asked: Instant },
    Counts { asked: Instant },
}

impl<'a> Talk<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        let now = Instant::now();
        Self {
            state,
            expected: VecDeque::new(),
            waiting_since: now,
            since: now,
            ready_at: None,
            beating: false,
            blind: false,
            wakers: Vec::new(),
            run: Run::default(),
            delivered: 0,
        }
    }

    pub(super) fn expect(&mut self, expected: Expected) {
        if self.expected.is_empty() {
            self.waiting_since = Instant::now();
        }
        self.expected.push_back(expected);
    }

    /// Delivers what was heard, and wakes those whom it concerns.
    pub(super) fn settle(&mut self) {
        self.deliver();
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn deliver(&mut self) {
        if let Some((topic, messages)) = self.run.end() {
            self.state.board(|board| board.deliver(topic, messages, &mut self.wakers));
            self.run.clear();
        }
    }

    pub(super) fn hear(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        if let Frame::Message { kind, topic, channel, payload } = frame {
            if !self.run.goes_on(kind, topic) {
                self.deliver();
                let Some(found) = self.state.board(|board| board.find(kind, topic)) else {
                    // Its last subscriber has just left.
                    return Ok(());
                };
                self.run.begin(found);
            }
            self.delivered += self.run.add(channel, payload);
            return Ok(());
        }
        // In order.
        self.deliver();
        match frame {
            Frame::TooLong { kind, topic, bytes } => {
                tracing::warn!(bytes, "a message was longer than allowed, and was passed over");
                self.state.board(|board| board.miss(kind, topic, &mut self.wakers));
                return Ok(());
            }
            Frame::Push => return Ok(()),
            _ => {}
        }
        if let Frame::Unsubscribed(kind @ Kind::Sharded, name) = frame
            && !matches!(self.expected.front(), Some(Expected::Unsubscribed(topic)) if topic.kind == kind && topic.name == name)
            && self.state.went_astray()
        {
            let topic = Topic { kind, name: Bytes::copy_from_slice(name) };
            self.state.board(|board| board.gone(&topic, &mut self.wakers));
            return Ok(());
        }
        let expected = self.expected.pop_front();
        self.waiting_since = Instant::now();
        match (expected, frame) {
            (Some(Expected::Subscribed(topic)), Frame::Subscribed(kind, name))
                if topic.kind == kind && topic.name == name =>
            {
                self.state.board(|board| board.subscribed(&topic, &mut self.wakers));
            }
            (Some(Expected::Subscribed(topic)), Frame::Error(words)) => {
                let error = read(words);
                if self.state.is_elsewhere(&topic, &error) {
                    self.state.board(|board| board.gone(&topic, &mut self.wakers));
                    return Ok(());
                }
                let refused = |board: &mut Board| board.refused(&topic, &error, &mut self.wakers);
                if self.state.board(refused) {
                    // Others had it, and the server will not be busy for ever.
                    return Err(error);
                }
            }
            (Some(Expected::Unsubscribed(topic)), Frame::Unsubscribed(kind, name))
                if topic.kind == kind && topic.name == name =>
            {
                self.state.board(|board| board.unsubscribed(&topic));
            }
            (Some(Expected::Unsubscribed(topic)), Frame::Error(words)) => {
                let error = read(words);
                tracing::warn!(%error, "the server does not unsubscribe");
                let again = error.is_retryable();
                self.state.board(|board| board.kept(&topic, again, &mut self.wakers));
            }
            (Some(Expected::Pong { nonce, asked }), Frame::Text(text)) if text == nonce => {
                // What has been subscribed all along is known only where the counts agree, too.
                if self.blind {
                    self.arrived(asked);
                }
                self.beaten(self.blind, ReadyCheck::Ping);
            }
            // It speaks, and refuses: it is there, and in step as far as can be told.
            (Some(Expected::Pong { .. }), Frame::Error(_)) => {
                self.beaten(self.blind, ReadyCheck::Ping);
            }
            (Some(Expected::Counts { asked }), Frame::Text(info)) => {
                heartbeat::compare(info, self.state.board(|board| board.held()))?;
                self.arrived(asked);
                self.beaten(true, ReadyCheck::Info);
            }
            (Some(Expected::Counts { asked }), Frame::Error(words)) => {
                let error = read(words);
                if !error.is_retryable() {
                    tracing::warn!(%error, "a subscription that the server forgets is not found");
                    self.blind = true;
                    self.arrived(asked);
                }
                self.beaten(true, ReadyCheck::Ping);
            }
            (_, Frame::Unsubscribed(..)) => return Err(lost("the server ended a subscription")),
            (Some(_), _) => return desync("another answer than the one that was due"),
            (None, _) => return desync("an answer to nothing"),
        }
        Ok(())
    }

    /// All that was published before this moment has arrived.
    fn arrived(&mut self, moment: Instant) {
        self.since = moment;
        self.state.board(|board| board.arrived(moment));
    }

    /// A heartbeat was answered, perhaps to its end. After the first one, all that had been subscribed before is again.
    fn beaten(&mut self, whole: bool, check: ReadyCheck) {
        if !whole {
            return;
        }
        self.beating = false;
        self.state.board(Board::try_again);
        if self.ready_at.is_none() {
            self.ready_at = Some(Instant::now());
            self.state.announce(EventKind::Ready(check));
        }
    }
}

fn read(words: &[u8]) -> Error {
    server_error(&String::from_utf8_lossy(words), false)
}

fn desync<T>(what: &str) -> Result<T, Error> {
    Err(Error::unknown(ErrorKind::Desync(what.into())))
}
