//! The world of the model, and what a step does to it.

use std::collections::BTreeSet;

use crate::lease::model::{Asked, Kept};

/// Ticks. No margin: these clocks run alike, and nobody needs a moment to stop in.
pub(super) const TTL: u64 = 2;
/// A tick by the server's clock, which moves on with each grant, too.
pub(super) const FINE: u64 = 8;
/// The server's clock at the beginning, in ticks; above what it may be set back by.
pub(super) const EPOCH: u64 = 10;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) now: u64,
    /// The server's clock less true time.
    pub(super) offset: i64,
    pub(super) stepped: bool,
    pub(super) failed_over: bool,
    pub(super) kept: Kept,
    /// What a replica has that misses the last write.
    pub(super) replica: Kept,
    pub(super) processes: [Process; 2],
    pub(super) messages: BTreeSet<Message>,
    /// Each grant of the server, as it gave them: token and number.
    pub(super) grants: Vec<(u8, u64)>,
    pub(super) resource: Resource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) phase: Phase,
    /// Acquires that it has begun.
    pub(super) begun: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Idle,
    Asking { token: u8 },
    Holding { token: u8, fence: u64, end: u64 },
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Message {
    Acquire { token: u8, sent: u64 },
    Renew { token: u8, fence: u64, sent: u64 },
    Release { token: u8 },
}

/// Accepts a number that is no lower than any before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Resource {
    pub(super) highest: u64,
    /// Which grant wrote last, from 1.
    pub(super) last: usize,
    /// An earlier holder wrote after a later one.
    pub(super) fooled: bool,
}

impl State {
    /// The server's.
    pub(super) fn clock(&self) -> u64 {
        (EPOCH + self.now).strict_add_signed(self.offset) * FINE + self.grants.len() as u64
    }

    /// Whether this process would say that it has the lease, had it looked at its clock just now.
    pub(super) fn believes(&self, process: &Process) -> bool {
        matches!(process.phase, Phase::Holding { end, .. } if self.now < end)
    }

    /// The server runs the script of a message, whose answer is heard at once or never.
    pub(super) fn serve(&mut self, message: Message, heard: bool) {
        self.messages.remove(&message);
        let (clock, before) = (self.clock(), self.kept);
        match message {
            Message::Acquire { token, sent } => {
                let asked = self.kept.acquire(clock, token, TTL * FINE);
                if self.kept != before {
                    self.grants.push((token, self.kept.fence));
                }
                // Busy or spent: it asks again, or gives up.
                if let (Asked::Granted { fence, left }, true) = (asked, heard) {
                    let holding = Phase::Holding { token, fence, end: sent + left / FINE };
                    self.turn(|phase| (phase == Phase::Asking { token }).then_some(holding));
                }
            }
            Message::Renew { token, fence, sent } => {
                let renewed = self.kept.renew(clock, (token, fence), TTL * FINE);
                if heard {
                    self.turn(|phase| match phase {
                        Phase::Holding { token: of, end, .. } if of == token => {
                            Some(match renewed {
                                Ok(left) => Phase::Holding {
                                    token,
                                    fence,
                                    end: end.max(sent + left / FINE),
                                },
                                Err(_) => Phase::Idle,
                            })
                        }
                        _ => None,
                    });
                }
            }
            Message::Release { token } => {
                self.kept.release(token);
            }
        }
        if self.kept != before {
            self.replica = before;
        }
    }

    /// When a message was sent is nobody's matter once nobody waits for its answer: one state where there were many.
    pub(super) fn forget(&mut self) {
        let messages = std::mem::take(&mut self.messages).into_iter();
        let forgotten = messages.map(|message| match message {
            message if self.is_awaited(&message) => message,
            Message::Acquire { token, .. } => Message::Acquire { token, sent: 0 },
            Message::Renew { token, fence, .. } => Message::Renew { token, fence, sent: 0 },
            Message::Release { .. } => message,
        });
        self.messages = forgotten.collect();
    }

    pub(super) fn is_awaited(&self, message: &Message) -> bool {
        self.processes.iter().any(|process| match (*message, process.phase) {
            (Message::Acquire { token, .. }, Phase::Asking { token: of })
            | (Message::Renew { token, .. }, Phase::Holding { token: of, .. }) => token == of,
            _ => false,
        })
    }

    fn turn(&mut self, to: impl Fn(Phase) -> Option<Phase>) {
        for process in &mut self.processes {
            process.phase = to(process.phase).unwrap_or(process.phase);
        }
    }

    pub(super) fn act(&mut self, token: u8, fence: u64) {
        let resource = &mut self.resource;
        if fence < resource.highest {
            return;
        }
        let grant = self.grants.iter().rposition(|grant| *grant == (token, fence));
        let grant = grant.map_or(0, |position| position + 1);
        resource.fooled |= grant < resource.last;
        (resource.highest, resource.last) = (fence, grant);
    }
}
