//! The journals.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Model, Time};
use crate::invalidation::What;
use crate::scripts::journal::{Entry, JournalKeys, Since, State, Tags, Written};

/// What Redis holds of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Journal {
    pub(super) state: State,
    pub(super) tags: BTreeMap<Bytes, u64>,
    /// Each with the version before it.
    pub(super) log: Vec<(u64, Entry)>,
}

impl Journal {
    fn begun(incarnation: u64, version: u64) -> Self {
        let state = State { incarnation, version, floor: 0, forgotten: 0 };
        Self { state, tags: BTreeMap::new(), log: Vec::new() }
    }

    /// Those that were invalid first are forgotten where there are more.
    fn forget_beyond(&mut self, most: usize) {
        let Some(last) = self.tags.len().checked_sub(most + 1) else { return };
        let tags = self.tags.iter().map(|(tag, version)| (*version, tag.clone()));
        let mut tags: Vec<(u64, Bytes)> = tags.collect();
        tags.select_nth_unstable(last);
        self.state.forgotten = tags[last].0;
        for (_, tag) in &tags[..=last] {
            self.tags.remove(tag);
        }
    }
}

/// What a journal is bounded by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) log: usize,
    pub(crate) tags: usize,
}

impl Model {
    /// With the incarnation that it has if it is not there.
    pub(crate) fn journal_write(
        &mut self,
        now: Time,
        keys: &JournalKeys,
        incarnation: u64,
        bounds: Bounds,
        (by, what, of): (&Bytes, What, &[Bytes]),
    ) -> Written {
        let journal = self.journals.entry(keys.keys[0].clone());
        let journal = journal.or_insert_with(|| Journal::begun(incarnation, 0));
        let (before, version) = (journal.state.version, now.0.max(journal.state.version + 1));
        journal.state.version = version;
        match what {
            What::All => {
                journal.state.floor = version;
                journal.tags.clear();
            }
            What::Tags => {
                journal.tags.extend(of.iter().map(|tag| (tag.clone(), version)));
                journal.forget_beyond(bounds.tags);
            }
            What::Removed | What::Written | What::Expired => {}
        }
        let entry = Entry { version, by: by.clone(), what, of: of.to_vec() };
        journal.log.push((before, entry));
        let extra = journal.log.len().saturating_sub(bounds.log);
        journal.log.drain(..extra);
        let incarnation = journal.state.incarnation;
        self.told.push((keys.channel.clone(), version.to_string().into()));
        Written { incarnation, version, before }
    }

    /// What came after the known version of the known incarnation.
    pub(crate) fn journal_read(
        &mut self,
        now: Time,
        keys: &JournalKeys,
        incarnation: u64,
        known: (u64, u64),
        most: usize,
    ) -> Since {
        let journal = self.journals.entry(keys.keys[0].clone());
        let journal = journal.or_insert_with(|| Journal::begun(incarnation, now.0));
        let state = journal.state.clone();
        let entries = if known == (state.incarnation, state.version) {
            Some(Vec::new())
        } else {
            let at = journal.log.partition_point(|(_, entry)| entry.version <= known.1);
            let mut after = journal.log[at..].iter().take(most).peekable();
            let follows = after.peek().is_some_and(|(before, _)| *before == known.1);
            (known.0 == state.incarnation && follows)
                .then(|| after.map(|(_, entry)| entry.clone()).collect())
        };
        Since { entries, state }
    }

    pub(crate) fn journal_tags(&self, keys: &JournalKeys, tags: &[Bytes]) -> Tags {
        match self.journals.get(&keys.keys[0]) {
            None => Tags { incarnation: 0, forgotten: 0, versions: Vec::new() },
            Some(journal) => Tags {
                incarnation: journal.state.incarnation,
                forgotten: journal.state.forgotten,
                versions: tags
                    .iter()
                    .map(|tag| journal.tags.get(tag).copied().unwrap_or(0))
                    .collect(),
            },
        }
    }

    /// The journal of these keys is gone, with all of them.
    #[cfg(test)]
    pub(super) fn lose_journal(&mut self, keys: &JournalKeys) {
        self.journals.remove(&keys.keys[0]);
    }

    /// The oldest entries of the log are gone.
    #[cfg(test)]
    pub(super) fn lose_log(&mut self, keys: &JournalKeys, left: usize) {
        if let Some(journal) = self.journals.get_mut(&keys.keys[0]) {
            let extra = journal.log.len().saturating_sub(left);
            journal.log.drain(..extra);
        }
    }
}
