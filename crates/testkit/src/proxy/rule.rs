use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::shared::Shared;
use crate::Result;

/// Which requests a fault is meant for.
///
/// A fault strikes once, at the first request that matches, unless [`nth`](Match::nth), [`every`](Match::every) or
/// [`always`](Match::always) says otherwise.
///
/// ```
/// # use russet_testkit::Match;
/// Match::any();                               // the first request, handshakes included
/// Match::name("INCR").nth(3);                 // the third INCR, once
/// Match::name("set").with_arg(b"user:7");     // a SET with these bytes in some argument
/// Match::name("EVALSHA").every(10);           // the 10th, the 20th, ...
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Match {
    name: Option<String>,
    arg: Option<Vec<u8>>,
    turn: Turn,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    Nth(u64),
    Every(u64),
}

impl Match {
    /// Every request, also those that a client sends by itself: `HELLO`, `AUTH`, `CLIENT SETINFO`, ...
    pub fn any() -> Match {
        Match { name: None, arg: None, turn: Turn::Nth(1) }
    }

    /// Requests with this command name, in any case. Of `CLIENT SETINFO` the name is `CLIENT`.
    pub fn name(name: &str) -> Match {
        Match { name: Some(name.to_ascii_uppercase()), ..Match::any() }
    }

    /// Of those, requests with these bytes somewhere in an argument after the name.
    pub fn with_arg(mut self, bytes: impl AsRef<[u8]>) -> Match {
        self.arg = Some(bytes.as_ref().to_vec());
        self
    }

    /// Strikes once, at the nth request that matches, counted from 1 and from when the fault was set.
    pub fn nth(mut self, n: u64) -> Match {
        self.turn = Turn::Nth(n.max(1));
        self
    }

    /// Strikes at every nth request that matches.
    pub fn every(mut self, n: u64) -> Match {
        self.turn = Turn::Every(n.max(1));
        self
    }

    /// Strikes at every request that matches.
    pub fn always(self) -> Match {
        self.every(1)
    }

    fn covers(&self, name: &str, args: &[Bytes]) -> bool {
        let named = self.name.as_ref().is_none_or(|wanted| wanted == name);
        let has = |bytes: &Vec<u8>| args.iter().skip(1).any(|arg| contains(arg, bytes));
        named && self.arg.as_ref().is_none_or(has)
    }
}

fn contains(arg: &[u8], bytes: &[u8]) -> bool {
    bytes.is_empty() || arg.windows(bytes.len()).any(|window| window == bytes)
}

/// From the bytes of a reply to what the client gets in its place.
pub(super) type Change = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// What happens to a request that was matched, or to its reply.
#[derive(Clone)]
pub(super) enum Action {
    CutBefore,
    CutAfter,
    CutInReply(usize),
    Corrupt(Arc<Change>),
    InjectBefore(Bytes),
    Answer(Bytes),
}

impl Action {
    fn needs_reply(&self) -> bool {
        !matches!(self, Action::CutBefore)
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::CutBefore => f.write_str("CutBefore"),
            Action::CutAfter => f.write_str("CutAfter"),
            Action::CutInReply(at) => f.debug_tuple("CutInReply").field(at).finish(),
            Action::Corrupt(_) => f.write_str("Corrupt"),
            Action::InjectBefore(frame) => f.debug_tuple("InjectBefore").field(frame).finish(),
            Action::Answer(frame) => f.debug_tuple("Answer").field(frame).finish(),
        }
    }
}

/// A fault that has found its request.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    pub(super) action: Action,
    pub(super) strikes: Arc<AtomicU64>,
}

#[derive(Debug)]
pub(super) struct Rule {
    wanted: Match,
    fate: Fate,
    seen: u64,
}

impl Rule {
    pub(super) fn new(wanted: Match, action: Action) -> Rule {
        Rule { wanted, fate: Fate { action, strikes: Arc::default() }, seen: 0 }
    }

    pub(super) fn strikes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.fate.strikes)
    }

    /// Looks at a request. The rule's turn has come when this gives a fate.
    pub(super) fn consider(&mut self, name: &str, args: &[Bytes], has_reply: bool) -> Option<Fate> {
        if (self.fate.action.needs_reply() && !has_reply) || !self.wanted.covers(name, args) {
            return None;
        }
        self.seen += 1;
        let due = match self.wanted.turn {
            Turn::Nth(n) => self.seen == n,
            Turn::Every(n) => self.seen.is_multiple_of(n),
        };
        due.then(|| self.fate.clone())
    }
}

/// A fault that was set on a [`Proxy`](super::Proxy). Dropping this handle leaves it set.
#[derive(Clone)]
pub struct Fault {
    pub(super) strikes: Arc<AtomicU64>,
    pub(super) shared: Arc<Shared>,
}

impl Fault {
    /// How often it has struck. This is not reset by [`Proxy::reset_counters`](super::Proxy::reset_counters).
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.strikes.load(Ordering::SeqCst)
    }

    /// Waits until it has struck at least once.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) after 10 s.
    pub async fn struck(&self) -> Result<()> {
        self.shared.until("strike of a fault", |_| self.strikes() > 0).await
    }

    /// Takes it back. What has found its request already still strikes.
    pub fn remove(&self) {
        self.shared.remove(&self.strikes);
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("strikes", &self.strikes()).finish_non_exhaustive()
    }
}
