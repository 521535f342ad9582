//! What has become invalid, in an order that all processes agree on.
//!
//! A cache's journal is one version that only grows, by the server's clock. Each invalidation takes the next one, and is
//! told in a log. An entry is sealed with the version that was known before it was loaded, so that any invalidation since
//! can be seen on it, however late it was filled. A process follows the log; what it knows is as old as the last time it
//! asked whether there is more, counted from the moment it asked. A log with a hole in it, another incarnation, or a
//! version that went back (a failover) is not repaired: all that was built on it is forgotten.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use russet_core_conn::{Broadcast, Error, Events};

use crate::invalidation::{Invalidation, What};
use crate::moment::{Moment, nanos};
use crate::scripts::journal::{Entry, JournalKeys, MOST_OF_ONE, Since, State, Tags, Written};
use crate::seal::{Seal, Stamp};
use crate::store::Store;

/// The most tags of which it is remembered when they became invalid, in Redis and in a process.
pub(crate) const MOST_TAGS: usize = 100_000;

/// What one process knows of the journal.
pub(crate) struct Journal {
    keys: JournalKeys,
    /// In ns.
    max_staleness: u64,
    /// Who writes here.
    own: Bytes,
    /// When the last question that was answered was asked, as a `Moment`, and one more; 0: none was.
    asked: AtomicU64,
    /// Somebody asks already.
    asks: AtomicBool,
    asking: tokio::sync::Mutex<()>,
    /// Changes with whatever may make a sealed value invalid.
    era: AtomicU64,
    known: Mutex<Known>,
    told: Broadcast<Invalidation>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) incarnation: u64,
    /// All that was told up to here is known.
    pub(crate) version: u64,
    /// From here on each tag that became invalid is in `tags`.
    pub(crate) since: u64,
    pub(crate) floor: u64,
    /// Up to here Redis may have forgotten tags.
    pub(crate) forgotten: u64,
    /// The version at which it became invalid; 0: never.
    pub(crate) tags: HashMap<Bytes, u64>,
}

/// Whether a sealed value may be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Valid,
    Invalid,
    /// It is older than what is known of these tags.
    Unknown(Vec<Bytes>),
}

/// What a process does about what it is told.
pub(crate) trait Heed: Sync {
    /// What is kept under these keys in this process is invalid.
    fn keys(&self, keys: &[Bytes]);
    /// All that is kept in this process may be.
    fn everything(&self);
}

impl Journal {
    pub(crate) fn new(keys: JournalKeys, max_staleness: Duration) -> Self {
        // Before anything is asked, or the first answer would count as younger than it is.
        Moment::begin();
        Self {
            keys,
            max_staleness: nanos(max_staleness),
            own: Bytes::copy_from_slice(&rand::random::<[u8; 8]>()),
            asked: AtomicU64::new(0),
            asks: AtomicBool::new(false),
            asking: tokio::sync::Mutex::default(),
            era: AtomicU64::new(0),
            known: Mutex::default(),
            told: Broadcast::new(),
        }
    }

    pub(crate) fn keys(&self) -> &JournalKeys {
        &self.keys
    }

    pub(crate) fn events(&self) -> Events<Invalidation> {
        self.told.listen()
    }

    /// Whether what is known is good enough for who asks now.
    #[inline]
    pub(crate) fn is_current(&self, now: Instant) -> bool {
        self.age(Moment::of(now)).is_some_and(|age| age <= self.max_staleness)
    }

    /// Whether it is so for long enough, and would be if the time were not known well.
    #[inline]
    pub(crate) fn is_young(&self, now: Moment) -> bool {
        self.age(now).is_some_and(|age| age <= self.max_staleness / 2)
    }

    /// Whether somebody asks already; if not, whoever is told so does.
    pub(crate) fn is_asking(&self) -> bool {
        self.asks.load(Relaxed) || self.asks.swap(true, Relaxed)
    }

    /// Whoever was told so has asked.
    pub(crate) fn may_ask(&self) {
        self.asks.store(false, Relaxed);
    }

    /// In ns.
    #[inline]
    fn age(&self, now: Moment) -> Option<u64> {
        let asked = self.asked.load(Acquire).checked_sub(1)?;
        Some(now.since(Moment::from_nanos(asked)))
    }

    pub(crate) fn era(&self) -> u64 {
        self.era.load(Acquire)
    }

    /// What is loaded from here on is sealed with; `None` where nothing is known.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.lock().stamp()
    }

    pub(crate) fn judge(&self, seal: &Seal) -> Verdict {
        self.lock().judge(seal)
    }

    /// Waits until what is known is good enough for who asked then.
    pub(crate) async fn current(
        &self,
        redis: &Store,
        asked: Instant,
        heed: &impl Heed,
    ) -> Result<(), Error> {
        if self.is_current(asked) {
            return Ok(());
        }
        let _one = self.asking.lock().await;
        // Somebody else may have asked meanwhile.
        while !self.is_current(asked) {
            self.ask(redis, heed).await?;
        }
        Ok(())
    }

    /// Asks for what is new, unless that is known up to this version already.
    pub(crate) async fn follow(
        &self,
        redis: &Store,
        version: Option<u64>,
        heed: &impl Heed,
    ) -> Result<(), Error> {
        let _one = self.asking.lock().await;
        let done = version.is_some_and(|version| self.lock().version >= version);
        if done { Ok(()) } else { self.ask(redis, heed).await }
    }

    async fn ask(&self, redis: &Store, heed: &impl Heed) -> Result<(), Error> {
        let sent = Instant::now();
        loop {
            let (incarnation, version) = {
                let known = self.lock();
                (known.incarnation, known.version)
            };
            let Since { entries, state } = self.keys.since(redis, incarnation, version).await?;
            let all = match entries {
                Some(entries) => self.apply(&state, entries, heed),
                None => {
                    self.begin_anew(&state, heed);
                    true
                }
            };
            if all {
                let sent = Moment::of(sent).to_nanos();
                self.asked.fetch_max(sent + 1, Release);
                return Ok(());
            }
        }
    }

    /// Whether that was all.
    fn apply(&self, state: &State, entries: Vec<Entry>, heed: &impl Heed) -> bool {
        for entry in entries {
            let own = entry.by == self.own;
            if !self.lock().hear(&entry) {
                continue;
            }
            match entry.what {
                What::Tags | What::All => self.next_era(),
                // Of its own it took care when it wrote.
                _ if own => {}
                _ => heed.keys(&entry.of),
            }
            let what = entry.what.with(entry.of);
            let (version, by) = (entry.version, Some(entry.by));
            self.told.send(Invalidation { version, by, own, what });
        }
        self.lock().has_heard(state)
    }

    fn begin_anew(&self, state: &State, heed: &impl Heed) {
        let first = {
            let mut known = self.lock();
            let first = known.incarnation == 0;
            known.begin_anew(state);
            first
        };
        self.next_era();
        heed.everything();
        if !first {
            tracing::info!("a cache's journal was lost in part: what this process kept is dropped");
            self.told.send(Invalidation::unknown(state.version));
        }
    }

    /// Tells everybody, and knows it here.
    pub(crate) async fn write(
        &self,
        redis: &Store,
        what: What,
        of: &[Bytes],
        heed: &impl Heed,
    ) -> Result<u64, Error> {
        let mut rest = of;
        loop {
            let (piece, more) = rest.split_at(rest.len().min(MOST_OF_ONE));
            let written = self.keys.write(redis, &self.own, what, piece).await?;
            if !self.note(&written, what, piece) && matches!(what, What::Tags | What::All) {
                // What is loaded next must not be sealed with less than this.
                self.follow(redis, Some(written.version), heed).await?;
            }
            if more.is_empty() {
                return Ok(written.version);
            }
            rest = more;
        }
    }

    /// Whether all up to there is known now.
    fn note(&self, written: &Written, what: What, of: &[Bytes]) -> bool {
        let mut known = self.lock();
        let Some(next) = known.wrote(written, what, of) else {
            self.doubt();
            return false;
        };
        if next {
            let (version, what) = (written.version, what.with(of.to_vec()));
            let by = Some(self.own.clone());
            self.told.send(Invalidation { version, by, own: true, what });
        }
        drop(known);
        self.next_era();
        next
    }

    /// When these tags became invalid, which was before this process began to follow.
    pub(crate) async fn learn(&self, redis: &Store, tags: &[Bytes]) -> Result<(), Error> {
        let found = self.keys.tags(redis, tags).await?;
        if !self.lock().learn(tags, &found) {
            self.doubt();
        }
        Ok(())
    }

    /// What was told may have been lost, and nobody tells what: all that was built on it is forgotten.
    pub(crate) fn distrust(&self, heed: &impl Heed) {
        self.doubt();
        self.next_era();
        heed.everything();
        let version = self.lock().version;
        self.told.send(Invalidation::unknown(version));
    }

    /// It is asked anew before anything more is believed.
    fn doubt(&self) {
        self.asked.store(0, Release);
    }

    fn next_era(&self) {
        self.era.fetch_add(1, Release);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    pub(crate) fn begin_anew(&mut self, state: &State) {
        let mut before = std::mem::take(self);
        if before.incarnation != state.incarnation {
            before = Self::default();
        }
        // What was written here while the answer was on its way is not in it.
        before.tags.retain(|_, version| *version > state.version);
        *self = Self {
            incarnation: state.incarnation,
            version: state.version,
            since: state.version,
            floor: state.floor.max(before.floor),
            forgotten: state.forgotten,
            tags: before.tags,
        };
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let Self { incarnation, version, .. } = *self;
        (incarnation != 0).then_some(Stamp { incarnation, version })
    }

    /// Whether it was news: what was written here meanwhile is known already.
    pub(crate) fn hear(&mut self, entry: &Entry) -> bool {
        let news = entry.version > self.version;
        if news {
            self.note(entry.version, entry.what, &entry.of);
            self.version = entry.version;
        }
        news
    }

    /// After all entries of an answer; whether there are no more.
    pub(crate) fn has_heard(&mut self, state: &State) -> bool {
        self.forgotten = self.forgotten.max(state.forgotten);
        self.version >= state.version
    }

    /// What was written here. Whether all up to there is known now; `None` where that is another journal.
    pub(crate) fn wrote(&mut self, written: &Written, what: What, of: &[Bytes]) -> Option<bool> {
        if self.incarnation != written.incarnation {
            return None;
        }
        self.note(written.version, what, of);
        let next = self.version == written.before;
        if next {
            self.version = written.version;
        }
        Some(next)
    }

    /// When these tags became invalid; not where that is another journal.
    pub(crate) fn learn(&mut self, tags: &[Bytes], found: &Tags) -> bool {
        let same = self.incarnation == found.incarnation;
        if same {
            self.forgotten = self.forgotten.max(found.forgotten);
            for (tag, version) in tags.iter().zip(&found.versions) {
                self.set(tag, *version);
            }
        }
        same
    }

    fn note(&mut self, version: u64, what: What, of: &[Bytes]) {
        match what {
            What::All => self.floor = self.floor.max(version),
            What::Tags => of.iter().for_each(|tag| self.set(tag, version)),
            What::Removed | What::Written | What::Expired => {}
        }
    }

    fn set(&mut self, tag: &Bytes, version: u64) {
        match self.tags.get_mut(tag) {
            Some(known) => *known = (*known).max(version),
            None => {
                if self.tags.len() >= MOST_TAGS {
                    // What is older than this is asked for again.
                    self.since = self.version.max(version);
                    self.tags.clear();
                }
                self.tags.insert(tag.clone(), version);
            }
        }
    }

    pub(crate) fn judge(&self, seal: &Seal) -> Verdict {
        let Stamp { incarnation, version } = seal.stamp;
        let forgotten = !seal.tags.is_empty() && version < self.forgotten;
        if incarnation != self.incarnation || version < self.floor || forgotten {
            return Verdict::Invalid;
        }
        let mut unknown = Vec::new();
        for tag in &seal.tags {
            match self.tags.get(tag) {
                Some(since) if *since > version => return Verdict::Invalid,
                None if version < self.since => unknown.push(tag.clone()),
                _ => {}
            }
        }
        if unknown.is_empty() { Verdict::Valid } else { Verdict::Unknown(unknown) }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_while_an_answer_was_on_its_way_stays_known() {
        let state = State { incarnation: 1, version: 100, floor: 0, forgotten: 0 };
        let mut known = Known { incarnation: 1, version: 90, ..Known::default() };
        let tag = Bytes::from_static(b"t");
        known.note(95, What::Tags, &[Bytes::from_static(b"earlier")]);
        known.note(105, What::Tags, std::slice::from_ref(&tag));
        known.begin_anew(&state);
        let stamp = Stamp { incarnation: 1, version: 100 };
        assert_eq!(known.judge(&Seal { stamp, tags: vec![tag] }), Verdict::Invalid);
        assert_eq!(known.tags.len(), 1);
        known.note(110, What::All, &[]);
        known.begin_anew(&state);
        assert_eq!(known.judge(&Seal { stamp, tags: Vec::new() }), Verdict::Invalid);
        known.begin_anew(&State { incarnation: 2, ..state });
        assert_eq!((known.tags.len(), known.floor), (0, 0));
    }
}
