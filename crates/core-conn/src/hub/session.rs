//! One connection of a hub, from its opening to its end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::MissedTickBehavior;

use super::board::{Board, Wakers};
use super::heartbeat;
use super::state::State;
use super::topic::Topic;
use super::wire::Wire;
use super::wire::frame::Frame;
use crate::event::{EventKind, ReadyCheck};
use crate::node::nonce;
use crate::value::server_error;
use crate::{Error, ErrorKind};

/// After so many deliveries or messages the subscribers get their turn: what they are quick enough for must not be
/// dropped because they were not let.
const DELIVERIES: usize = 4_096;
const MESSAGES: usize = 128;
/// And after so many commands.
const ORDERS: usize = 1_024;

pub(super) struct Session<'a, S> {
    wire: Wire<S>,
    talk: Talk<'a>,
}

/// What was said, and what is expected in answer.
struct Talk<'a> {
    state: &'a State,
    /// The server answers in order.
    expected: VecDeque<Expected>,
    /// Since when the first of these is waited for.
    waiting_since: Instant,
    /// All that was published before has arrived.
    since: Instant,
    ready_at: Option<Instant>,
    /// A heartbeat is under way.
    beating: bool,
    /// `CLIENT INFO` is denied.
    blind: bool,
    wakers: Wakers,
    delivered: usize,
}

enum Expected {
    Subscribed(Topic),
    Unsubscribed(Topic),
    Pong { nonce: Bytes, asked: Instant },
    Counts,
}

impl<'a, S: AsyncRead + AsyncWrite> Session<'a, S> {
    pub(super) fn new(state: &'a State, wire: Wire<S>) -> Self {
        let now = Instant::now();
        let talk = Talk {
            state,
            expected: VecDeque::new(),
            waiting_since: now,
            since: now,
            ready_at: None,
            beating: false,
            blind: false,
            wakers: Vec::new(),
            delivered: 0,
        };
        Self { wire, talk }
    }

    /// All that was published before this has arrived.
    pub(super) fn since(&self) -> Instant {
        self.talk.since
    }

    pub(super) fn ready_at(&self) -> Option<Instant> {
        self.talk.ready_at
    }

    /// Works until the connection must end, and says why.
    pub(super) async fn run(&mut self) -> Error {
        let ended = self.work().await;
        self.talk.wake();
        match ended {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn work(&mut self) -> Result<Infallible, Error> {
        let settings = self.talk.state.settings;
        let mut beat = tokio::time::interval(settings.interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // All of them before the first heartbeat, whose answer means that they are subscribed.
        while self.give_orders() {
            tokio::task::yield_now().await;
        }
        loop {
            let more_to_order = self.give_orders();
            let more_to_hear = self.hear()?;
            self.talk.wake();
            if more_to_order || more_to_hear {
                tokio::task::yield_now().await;
                continue;
            }
            let overdue = self.talk.waiting_since + settings.timeout;
            tokio::select! {
                biased;
                _ = beat.tick(), if !self.talk.beating => self.beat(),
                () = self.talk.state.work.notified() => {}
                // Before the time is looked at: an answer that has arrived, however late, is one.
                moved = self.wire.progress() => moved.map_err(lost)?,
                () = tokio::time::sleep_until(overdue.into()), if !self.talk.expected.is_empty() => {
                    return Err(lost(format!("no answer within {:?}", settings.timeout)));
                }
            }
        }
    }

    /// Tells the server what the board wants; true if there is more.
    fn give_orders(&mut self) -> bool {
        for _ in 0..ORDERS {
            let Some((topic, subscribe)) = self.talk.state.board(Board::order) else {
                return false;
            };
            let kind = topic.kind;
            let verb = if subscribe { kind.subscribe() } else { kind.unsubscribe() };
            // One topic a command, so that a refusal concerns no other.
            self.wire.order(&[verb.as_bytes(), &topic.name]);
            self.talk.expect(match subscribe {
                true => Expected::Subscribed(topic),
                false => Expected::Unsubscribed(topic),
            });
        }
        true
    }

    fn beat(&mut self) {
        self.talk.beating = true;
        let (nonce, asked) = (nonce(), Instant::now());
        self.wire.order(&[b"PING", &nonce]);
        self.talk.expect(Expected::Pong { nonce, asked });
        if !self.talk.blind {
            self.wire.order(&[b"CLIENT", b"INFO"]);
            self.talk.expect(Expected::Counts);
        }
    }

    /// Takes what has arrived; true if there is more, and others should have a turn first.
    fn hear(&mut self) -> Result<bool, Error> {
        self.talk.delivered = 0;
        for _ in 0..MESSAGES {
            let Some(frame) = self.wire.frame()? else { return Ok(false) };
            self.talk.hear(frame)?;
            if self.talk.delivered >= DELIVERIES {
                return Ok(true);
            }
        }
        Ok(true)
    }
}

impl Talk<'_> {
    fn expect(&mut self, expected: Expected) {
        if self.expected.is_empty() {
            self.waiting_since = Instant::now();
        }
        self.expected.push_back(expected);
    }

    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn hear(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        let wakers = &mut self.wakers;
        match frame {
            Frame::Message { kind, topic, channel, payload } => {
                let deliver =
                    |board: &mut Board| board.deliver(kind, topic, channel, payload, wakers);
                self.delivered += self.state.board(deliver);
                return Ok(());
            }
            Frame::TooLong { kind, topic, bytes } => {
                tracing::warn!(bytes, "a message was longer than allowed, and was passed over");
                self.state.board(|board| board.miss(kind, topic, wakers));
                return Ok(());
            }
            Frame::Push => return Ok(()),
            _ => {}
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
                let error = server_error(&String::from_utf8_lossy(words), false);
                self.state.board(|board| board.refused(&topic, &error, &mut self.wakers));
            }
            (Some(Expected::Unsubscribed(topic)), Frame::Unsubscribed(kind, name))
                if topic.kind == kind && topic.name == name =>
            {
                self.state.board(|board| board.unsubscribed(&topic));
            }
            (Some(Expected::Unsubscribed(topic)), Frame::Error(words)) => {
                let words = String::from_utf8_lossy(words);
                tracing::warn!(%words, "the server does not unsubscribe");
                self.state.board(|board| board.kept(&topic, &mut self.wakers));
            }
            (Some(Expected::Pong { nonce, asked }), Frame::Text(text)) if text == nonce => {
                self.since = asked;
                self.beaten(self.blind, ReadyCheck::Ping);
            }
            // It speaks, and refuses: it is there, and in step as far as can be told.
            (Some(Expected::Pong { .. }), Frame::Error(_)) => {
                self.beaten(self.blind, ReadyCheck::Ping);
            }
            (Some(Expected::Counts), Frame::Text(info)) => {
                heartbeat::compare(info, self.state.board(|board| board.held()))?;
                self.beaten(true, ReadyCheck::Info);
            }
            (Some(Expected::Counts), Frame::Error(_)) => {
                tracing::warn!(
                    "the user may not call CLIENT INFO: a deaf subscription is not found"
                );
                self.blind = true;
                self.beaten(true, ReadyCheck::Ping);
            }
            (_, Frame::Unsubscribed(..)) => return Err(lost("the server ended a subscription")),
            (Some(_), _) => return desync("another answer than the one that was due"),
            (None, _) => return desync("an answer to nothing"),
        }
        Ok(())
    }

    /// A heartbeat was answered, perhaps to its end. After the first one, all that had been subscribed before is again.
    fn beaten(&mut self, whole: bool, check: ReadyCheck) {
        self.beating &= !whole;
        if whole && self.ready_at.is_none() {
            self.ready_at = Some(Instant::now());
            self.state.announce(EventKind::Ready(check));
        }
    }
}

fn desync<T>(what: &str) -> Result<T, Error> {
    Err(Error::unknown(ErrorKind::Desync(what.into())))
}

fn lost(reason: impl ToString) -> Error {
    Error::unknown(ErrorKind::ConnectionLost(reason.to_string()))
}
