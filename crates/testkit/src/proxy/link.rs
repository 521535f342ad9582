//! Which reply belongs to which request, on one connection.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::line::Kind;
use super::request::bulks;
use super::rule::{Action, Fate};

#[derive(Debug, Default)]
pub(super) struct Link {
    /// Requests without a whole reply, in order.
    waiting: VecDeque<Waiting>,
    /// What is subscribed to: the kind, and the channel or pattern.
    subscribed: HashSet<(&'static str, Bytes)>,
    silence: Silence,
    /// Whether no request has come since the last reply was handed over; None before the first request.
    idle: Option<bool>,
    handed_to_server: u64,
    handed_to_client: u64,
    /// Of those, what is not certain to have been written to the last byte.
    unsent: u64,
}

#[derive(Debug)]
struct Waiting {
    expect: Expect,
    fate: Option<Fate>,
}

#[derive(Clone, Copy, Debug)]
enum Expect {
    /// One frame that is no push.
    Reply,
    /// A confirmation for each channel; None for as many as are subscribed to.
    Confirmations { word: &'static str, left: Option<u64> },
}

/// `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Silence {
    #[default]
    No,
    /// The next request has no reply either.
    Next,
    Off,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Forward it and read on.
    On,
    /// Forward it, but nothing after it.
    Last,
    /// Do not forward it, and read on.
    Aside,
    /// Forward neither it nor anything after it.
    Nowhere,
}

/// What is to be sent to the client.
pub(super) type Out = (Bytes, Kind);

/// Counts the strikes of one fault.
pub(super) type Strikes = Arc<AtomicU64>;

/// Requests whose replies are confirmations, each with the kind of its channels.
const SUBSCRIPTIONS: [(&str, &str); 6] = [
    ("subscribe", "channel"),
    ("unsubscribe", "channel"),
    ("psubscribe", "pattern"),
    ("punsubscribe", "pattern"),
    ("ssubscribe", "shard channel"),
    ("sunsubscribe", "shard channel"),
];

impl Link {
    /// Whether this request will have a reply. To be asked once for each, in order.
    pub(super) fn has_reply(&mut self, args: &[Bytes]) -> bool {
        let is = |at: usize, word: &str| {
            args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
        };
        if is(0, "client") && is(1, "reply") {
            self.silence = match self.silence {
                _ if is(2, "on") => Silence::No,
                _ if is(2, "off") => Silence::Off,
                Silence::No if is(2, "skip") => {
                    self.silence = Silence::Next;
                    return false;
                }
                silence => silence,
            };
            return self.silence == Silence::No;
        }
        match self.silence {
            Silence::No => true,
            Silence::Off => false,
            Silence::Next => {
                self.silence = Silence::No;
                false
            }
        }
    }

    /// Whether the request that has just arrived begins a trip. To be asked once for each.
    pub(super) fn begins_trip(&mut self) -> bool {
        self.idle.replace(false).unwrap_or(true)
    }

    /// Takes a request that will have a reply, or a cut.
    pub(super) fn take(&mut self, args: &[Bytes], fate: Option<Fate>) -> Way {
        let way = match fate.as_ref().map(|fate| &fate.action) {
            None | Some(Action::Corrupt(_) | Action::InjectBefore(_)) => Way::On,
            Some(Action::CutAfter | Action::CutInReply(_)) => Way::Last,
            Some(Action::Answer(_)) => Way::Aside,
            Some(Action::CutBefore) => Way::Nowhere,
        };
        self.waiting.push_back(Waiting { expect: expectation(args), fate });
        way
    }

    /// What is due without the server: answers in its place, and the end before a request that was cut. Adds what is
    /// to be sent, and the faults that strike without ending the connection.
    pub(super) fn settle(&mut self, out: &mut Vec<Out>, struck: &mut Vec<Strikes>) {
        while let Some(fate) = self.waiting.front().and_then(|waiting| waiting.fate.as_ref()) {
            match &fate.action {
                Action::CutBefore => return out.push(close(&fate.strikes)),
                Action::Answer(bytes) => {
                    out.push((bytes.clone(), Kind::Aside));
                    struck.push(Arc::clone(&fate.strikes));
                    self.waiting.pop_front();
                }
                _ => return,
            }
        }
    }

    /// Takes a whole frame from the server. Adds what is to be sent, and the faults that strike without ending the
    /// connection.
    pub(super) fn answer(&mut self, frame: Bytes, out: &mut Vec<Out>, struck: &mut Vec<Strikes>) {
        if !self.completes(&frame) {
            return out.push((frame, Kind::Aside));
        }
        let fate = self.waiting.pop_front().and_then(|waiting| waiting.fate);
        match fate {
            None => out.push((frame, Kind::Reply)),
            Some(Fate { action, strikes }) => match action {
                // A request that was not forwarded is settled before a frame can be taken for its reply.
                Action::CutBefore | Action::Answer(_) | Action::CutAfter => {
                    out.push(close(&strikes));
                }
                Action::CutInReply(at) if at < frame.len() => {
                    out.push((frame.slice(..at), Kind::Aside));
                    out.push(close(&strikes));
                }
                Action::CutInReply(_) => {
                    out.push((frame, Kind::Reply));
                    out.push(close(&strikes));
                }
                Action::Corrupt(change) => {
                    out.push((change(&frame).into(), Kind::Reply));
                    struck.push(strikes);
                }
                Action::InjectBefore(extra) => {
                    out.push((extra, Kind::Aside));
                    out.push((frame, Kind::Reply));
                    struck.push(strikes);
                }
            },
        }
        self.settle(out, struck);
    }

    pub(super) fn handing_to_server(&mut self) {
        self.handed_to_server += 1;
    }

    pub(super) fn handing_to_client(&mut self) {
        self.handed_to_client += 1;
        self.unsent += 1;
        self.idle = Some(true);
    }

    pub(super) fn handed_to_client(&mut self) {
        self.unsent = 0;
    }

    pub(super) fn unsent(&self) -> u64 {
        self.unsent
    }

    pub(super) fn lost(&self) -> u64 {
        (self.handed_to_server + self.unsent).saturating_sub(self.handed_to_client)
    }

    /// Whether this frame is the (last) reply to the first request that waits.
    fn completes(&mut self, frame: &Bytes) -> bool {
        let is_push = frame.first() == Some(&b'>');
        let words = || bulks(frame).take(2).collect::<Vec<_>>();
        let expect = self.waiting.front().map(|waiting| waiting.expect);
        let Some(Expect::Confirmations { word, left }) = expect else {
            return !is_push && expect.is_some() && !self.is_message(frame);
        };
        if !is_push && frame.first() != Some(&b'*') {
            // An error, or QUEUED.
            return true;
        }
        let words = words();
        if words.first().is_none_or(|found| found != word.as_bytes()) {
            return false;
        }
        let channels = channels(word);
        let left = left.unwrap_or_else(|| {
            let subscribed = self.subscribed.iter().filter(|(kind, _)| *kind == channels).count();
            (subscribed as u64).max(1)
        });
        if let Some(channel) = words.into_iter().nth(1) {
            if word.contains("unsub") {
                self.subscribed.remove(&(channels, channel));
            } else {
                self.subscribed.insert((channels, channel));
            }
        }
        if let Some(waiting) = self.waiting.front_mut() {
            waiting.expect = Expect::Confirmations { word, left: Some(left - 1) };
        }
        left == 1
    }

    /// Whether it is a published message as RESP2 has it. Only a connection that subscribes to something gets any, and
    /// no reply that it may ask for looks like one.
    fn is_message(&self, frame: &Bytes) -> bool {
        if self.subscribed.is_empty() || frame.first() != Some(&b'*') {
            return false;
        }
        let word = bulks(frame).next().unwrap_or_default();
        [&b"message"[..], b"pmessage", b"smessage"].contains(&&*word)
    }
}

fn expectation(args: &[Bytes]) -> Expect {
    let name = args.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    let Some((word, _)) = SUBSCRIPTIONS.iter().find(|(word, _)| word.as_bytes() == name) else {
        return Expect::Reply;
    };
    match args.len() - 1 {
        0 if word.contains("unsub") => Expect::Confirmations { word, left: None },
        0 => Expect::Reply,
        n => Expect::Confirmations { word, left: Some(n as u64) },
    }
}

fn channels(word: &str) -> &'static str {
    SUBSCRIPTIONS.iter().find(|(known, _)| *known == word).map_or("", |(_, channels)| channels)
}

fn close(strikes: &Strikes) -> Out {
    (Bytes::new(), Kind::Close(Some(Arc::clone(strikes))))
}
