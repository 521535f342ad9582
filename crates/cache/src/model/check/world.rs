//! Two processes with a memory of their own, two that change the origin, one key, one tag, and a server.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russet_core_conn::Key;

use super::{Bug, Fault};
use crate::invalidation::What;
use crate::journal::{Known, Verdict};
use crate::model::{Model, Time};
use crate::scripts::Token;
use crate::scripts::journal::{JournalKeys, Since, Written};
use crate::seal::{Seal, Stamp};

/// How long a lease lasts, and for how long what is said to be invalid may be used elsewhere, in ticks of 1 ms.
pub(super) const LEASE: u64 = 1;
pub(super) const STALE: u64 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) redis: Model,
    /// What a failover goes back to, and how far the writers were then.
    pub(super) replica: Option<(Model, [Said; 2])>,
    pub(super) failed_over: bool,
    pub(super) origin: u8,
    pub(super) processes: [Process; 2],
    /// One in each process.
    pub(super) writers: [Writer; 2],
    /// What must not be and was.
    pub(super) wrong: Option<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) known: Known,
    /// When the last question that was answered was asked.
    pub(super) asked: Option<u64>,
    /// When it was asked, and the answer, which is on its way.
    pub(super) question: Option<(u64, Since)>,
    /// The version that a message tells of, which is on its way.
    pub(super) mail: Option<u64>,
    /// What it keeps.
    pub(super) held: Option<(u8, Seal)>,
    /// Something was dropped since what is on its way was asked for.
    pub(super) dropped: bool,
    pub(super) lookup: Lookup,
    /// How often it has asked Redis for the value.
    pub(super) asks: u8,
    pub(super) crashed: bool,
}

/// Where a lookup stands. Who asked is owed what was acknowledged before: `least`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Lookup {
    Idle,
    /// An entry, which is on its way.
    Found {
        payload: Bytes,
        least: u8,
    },
    Waits {
        since: u64,
        least: u8,
    },
    /// It has the lease.
    Leads,
    Loaded {
        stamp: Option<Stamp>,
        value: u8,
    },
    /// What was said to its fill, which is on its way.
    Filled {
        filled: bool,
        value: u8,
        seal: Seal,
    },
}

/// One that changes the origin once, and says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) by_tag: bool,
    pub(super) said: Said,
    /// The value that it wrote.
    pub(super) value: u8,
    /// The journal's reply, which is on its way, and the version in it.
    pub(super) written: Option<Written>,
    pub(super) version: u64,
    /// When it was acknowledged.
    pub(super) acknowledged: Option<u64>,
    /// Nobody is owed it: a failover has taken it back, or its process has ended before it was acknowledged.
    pub(super) lost: bool,
}

/// How far the server knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Said {
    Nothing,
    Removed,
    Told,
}

impl World {
    pub(super) fn new(by_tag: [bool; 2]) -> Self {
        let writer = |by_tag| Writer {
            by_tag,
            said: Said::Nothing,
            value: 0,
            written: None,
            version: 0,
            acknowledged: None,
            lost: false,
        };
        Self {
            now: 0,
            redis: Model::default(),
            replica: None,
            failed_over: false,
            origin: 0,
            processes: [Process::new(false), Process::new(false)],
            writers: by_tag.map(writer),
            wrong: None,
        }
    }

    /// The server's.
    pub(super) fn time(&self) -> Time {
        Time(1_000 * (1 + self.now))
    }

    /// The oldest value that a process may be given now: from its own memory, and from Redis.
    pub(super) fn least(&self, process: usize) -> [u8; 2] {
        let mut least = [0; 2];
        for (by, writer) in self.writers.iter().enumerate() {
            let Some(at) = writer.acknowledged.filter(|_| !writer.lost) else { continue };
            let late = by == process || self.now - at > STALE;
            let owed = [late, late || !writer.by_tag];
            for (least, owed) in least.iter_mut().zip(owed) {
                *least = (*least).max(if owed { writer.value } else { 0 });
            }
        }
        least
    }

    /// What was removed was older than this, and whoever removed it has been told so.
    pub(super) fn removed(&self) -> u8 {
        let removed =
            |writer: &&Writer| !writer.by_tag && !writer.lost && writer.acknowledged.is_some();
        self.writers.iter().filter(removed).map(|writer| writer.value).max().unwrap_or(0)
    }

    /// Whether what a process knows is good enough.
    pub(super) fn is_current(&self, process: usize, bug: Option<Bug>) -> bool {
        let asked = self.processes[process].asked;
        asked.is_some_and(|asked| self.now - asked <= STALE || bug == Some(Bug::IgnoreLostMessage))
    }

    pub(super) fn token(&self, process: usize) -> Token {
        // A process that was started again draws others.
        let number = 1 + process + if self.processes[process].crashed { 2 } else { 0 };
        Token(Bytes::copy_from_slice(&(number as u64).to_be_bytes()))
    }

    pub(super) fn name(&self, process: usize) -> Bytes {
        self.token(process).0
    }

    /// For a journal that is not there.
    pub(super) fn incarnation(&self) -> u64 {
        1 + u64::from(self.failed_over)
    }
}

impl Process {
    pub(super) fn new(crashed: bool) -> Self {
        Self {
            known: Known::default(),
            asked: None,
            question: None,
            mail: None,
            held: None,
            dropped: false,
            lookup: Lookup::Idle,
            asks: 0,
            crashed,
        }
    }

    /// What is kept, and good by what is known.
    pub(super) fn keeps(&self) -> Option<u8> {
        let (value, seal) = self.held.as_ref()?;
        (self.known.judge(seal) == Verdict::Valid).then_some(*value)
    }

    /// What it keeps is dropped, and what is on its way is not to be kept.
    pub(super) fn forget(&mut self) {
        (self.held, self.dropped) = (None, true);
    }
}

/// Its tags in one order.
impl Hash for Process {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { known, asked, question, mail, held, dropped, lookup, asks, crashed } = self;
        let Known { incarnation, version, since, floor, forgotten, tags } = known;
        let tags: BTreeMap<_, _> = tags.iter().collect();
        (incarnation, version, since, floor, forgotten, tags).hash(state);
        (asked, question, mail, dropped, lookup, asks, crashed).hash(state);
        held.hash(state);
    }
}

pub(super) fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks)
}

pub(super) fn key() -> Key {
    Key::raw("k")
}

pub(super) fn tags() -> [Bytes; 1] {
    [Bytes::from_static(b"t")]
}

pub(super) fn journal() -> JournalKeys {
    JournalKeys { keys: ["j", "t", "l"].map(Key::raw), channel: Key::raw("told") }
}

/// What a writer says.
pub(super) fn what(by_tag: bool) -> (What, Bytes) {
    if by_tag { (What::Tags, Bytes::from_static(b"t")) } else { (What::Removed, key().to_bytes()) }
}

pub(super) fn sealed(seal: &Seal, value: u8) -> Bytes {
    let mut bytes = BytesMut::new();
    seal.put(&mut bytes);
    bytes.extend_from_slice(&[1, value]);
    bytes.freeze()
}

/// What is sealed, and how.
pub(super) fn opened(payload: &Bytes) -> (Seal, u8) {
    let (seal, rest) = Seal::split(payload).unwrap();
    (seal, rest[1])
}
