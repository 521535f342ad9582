//! One connection of a hub, from its opening to its end.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::MissedTickBehavior;

use super::board::Board;
use super::state::State;
use super::talk::{Expected, Talk};
use super::wire::Wire;
use crate::node::{LEFT, nonce};
use crate::{Error, ErrorKind};

/// After so many deliveries or messages the subscribers get their turn: what they are quick enough for must not be
/// dropped because they were not let.
const DELIVERIES: usize = 32_768;
const MESSAGES: usize = 128;
/// And after so many commands.
const ORDERS: usize = 1_024;

/// How a connection came to its end.
pub(super) struct Ended {
    pub(super) error: Error,
    pub(super) ready_for: Duration,
    /// All that was published before had arrived.
    pub(super) since: Instant,
}

pub(super) struct Session<'a, S> {
    wire: Wire<S>,
    talk: Talk<'a>,
    /// Messages, since others had a turn.
    heard: usize,
}

impl<'a, S: AsyncRead + AsyncWrite> Session<'a, S> {
    pub(super) fn new(state: &'a State, wire: Wire<S>) -> Self {
        Self { wire, talk: Talk::new(state), heard: 0 }
    }

    /// Works until the connection must end, and says why.
    pub(super) async fn run(mut self, place: &str) -> Ended {
        let node = &self.talk.state.node;
        let ended = tokio::select! {
            ended = self.work() => ended,
            () = node.left(place) => Err(lost(LEFT)),
        };
        self.talk.settle();
        let ready_for = self.talk.ready_at.map_or(Duration::ZERO, |at| at.elapsed());
        match ended {
            Ok(never) => match never {},
            Err(error) => Ended { error, ready_for, since: self.talk.since },
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
            let more_to_hear = self.hear()?;
            self.talk.settle();
            // After what was heard, which may have put something on the list.
            let more_to_order = self.give_orders();
            if more_to_order || more_to_hear {
                tokio::task::yield_now().await;
                (self.heard, self.talk.delivered) = (0, 0);
                continue;
            }
            let overdue = self.talk.waiting_since + settings.timeout;
            tokio::select! {
                biased;
                _ = beat.tick(), if !self.talk.beating => self.beat(),
                () = self.talk.state.work.notified() => {}
                // Before the time is looked at: an answer that has arrived, however late, is one.
                moved = self.wire.progress() => moved.map_err(|error| lost(&error.to_string()))?,
                () = tokio::time::sleep_until(overdue.into()), if !self.talk.expected.is_empty() => {
                    return Err(lost(&format!("no answer within {:?}", settings.timeout)));
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
            self.talk.expect(Expected::Counts { asked });
        }
    }

    /// Takes what has arrived; true if others should have a turn first. What arrives bit by bit counts together: the
    /// next bit may be there before anybody else has run.
    fn hear(&mut self) -> Result<bool, Error> {
        while self.heard < MESSAGES && self.talk.delivered < DELIVERIES {
            let Some(frame) = self.wire.frame()? else { return Ok(false) };
            self.talk.hear(frame)?;
            self.heard += 1;
        }
        Ok(true)
    }
}

pub(super) fn lost(reason: &str) -> Error {
    Error::unknown(ErrorKind::ConnectionLost(reason.into()))
}
