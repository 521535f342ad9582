//! A lane as it should be: what the scripts are compared with.

use std::collections::BTreeMap;

use crate::scripts::behind::Said;

/// What is written of an entity; fields by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Put(u8, BTreeMap<u8, u8>),
    Patch(BTreeMap<u8, u8>),
    Delete,
}

/// Where an entity stands, and since when or until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Retry(u64),
    Fresh(u64),
    Dead(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) op: Op,
    pub(super) version: u64,
    pub(super) tries: u32,
    pub(super) place: Place,
    /// Of those that are not dead: when the first write came that is not committed.
    pub(super) first: u64,
    taken: u64,
}

/// One that was taken: its entity, and what there was of it.
pub(super) type Given = (u8, Op, u64, bool, u32);

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) entities: BTreeMap<u8, State>,
    clock: u64,
    fence: u64,
    pub(super) committed: u64,
    pub(super) retries: u64,
}

impl Lane {
    pub(super) fn write(&mut self, entity: u8, op: Op, [most, fields]: [u64; 2], now: u64) -> Said {
        let before = self.entities.get(&entity).cloned();
        let count = self.entities.len() as u64;
        if before.is_none() && count >= most {
            return Said::Full(count);
        }
        let op = match (op, before.as_ref().map(|state| state.op.clone())) {
            (Op::Patch(_), Some(Op::Delete)) => return Said::Gone,
            (Op::Patch(patch), Some(Op::Put(value, mut all))) => {
                all.extend(patch);
                Op::Put(value, all)
            }
            (Op::Patch(patch), Some(Op::Patch(mut all))) => {
                all.extend(patch);
                Op::Patch(all)
            }
            (op, _) => op,
        };
        if let Op::Put(_, all) | Op::Patch(all) = &op
            && all.len() as u64 > fields
        {
            return Said::TooManyFields(all.len() as u64);
        }
        self.clock = now.max(self.clock + 1);
        let (taken, tries, place, first) = match before {
            None => (0, 0, Place::Fresh(now), now),
            Some(State { taken, place: Place::Dead(_), .. }) => (taken, 0, Place::Fresh(now), now),
            Some(State { taken, tries, place, first, .. }) => (taken, tries, place, first),
        };
        let state = State { op, version: self.clock, tries, place, first, taken };
        self.entities.insert(entity, state);
        Said::Version(self.clock)
    }

    /// And how long until there is more; `None`: a later owner has come.
    pub(super) fn take(
        &mut self,
        fence: u64,
        most: usize,
        patience: u64,
        now: u64,
    ) -> Option<(Vec<Given>, Option<u64>)> {
        if fence < self.fence {
            return None;
        }
        self.fence = fence;
        let fresh = self.entities.values().filter(|state| matches!(state.place, Place::Fresh(_)));
        let whole = patience == 0 || fresh.count() >= most;
        let mut due: Vec<(Place, u8)> = Vec::new();
        for (entity, state) in &self.entities {
            let ripe = match state.place {
                Place::Retry(at) => at <= now,
                Place::Fresh(since) => whole || since + patience <= now,
                Place::Dead(_) => false,
            };
            due.extend(ripe.then_some((state.place, *entity)));
        }
        due.sort_unstable();
        due.truncate(most);
        let mut given = Vec::new();
        for (_, entity) in due {
            if let Some(state) = self.entities.get_mut(&entity) {
                let again = state.taken == state.version;
                state.taken = state.version;
                given.push((entity, state.op.clone(), state.version, again, state.tries));
            }
        }
        let left = self.entities.values().filter_map(|state| match state.place {
            Place::Retry(at) => Some(at.saturating_sub(now)),
            Place::Fresh(since) => Some((since + patience).saturating_sub(now)),
            Place::Dead(_) => None,
        });
        Some((given, left.min()))
    }

    pub(super) fn ack(&mut self, fence: u64, given: &[Given], now: u64) -> Option<u64> {
        if fence != self.fence {
            return None;
        }
        let mut removed = 0;
        for (entity, _, version, ..) in given {
            match self.tried(*entity) {
                Some(state) if state.version == *version => {
                    self.entities.remove(entity);
                    removed += 1;
                }
                Some(state) => {
                    (state.tries, state.place, state.first) = (0, Place::Fresh(now), now);
                }
                None => {}
            }
        }
        self.committed += removed;
        Some(removed)
    }

    /// What an owner may have in its hands.
    fn tried(&mut self, entity: u8) -> Option<&mut State> {
        self.entities.get_mut(&entity).filter(|state| !matches!(state.place, Place::Dead(_)))
    }

    /// `None` for a delay: nobody tries it any more.
    pub(super) fn fail(
        &mut self,
        fence: u64,
        given: &[Given],
        delay: Option<u64>,
        now: u64,
    ) -> Option<u64> {
        if fence != self.fence {
            return None;
        }
        let mut died = 0;
        for (entity, _, version, _, tries) in given {
            let Some(state) = self.tried(*entity) else { continue };
            let same = state.version == *version;
            state.tries = if same { tries + 1 } else { 0 };
            if delay.is_none() && same {
                state.place = Place::Dead(now);
                died += 1;
            } else {
                state.place = Place::Retry(now + delay.unwrap_or(0));
                self.retries += 1;
            }
        }
        Some(died)
    }

    pub(super) fn redrive(&mut self, entities: &[u8], now: u64) -> u64 {
        let mut revived = 0;
        for entity in entities {
            if let Some(state) = self.entities.get_mut(entity)
                && matches!(state.place, Place::Dead(_))
            {
                (state.tries, state.place, state.first) = (0, Place::Retry(now), now);
                revived += 1;
            }
        }
        revived
    }

    pub(super) fn discard(&mut self, entity: u8, version: u64) -> bool {
        let found = self.entities.get(&entity);
        let dies = found
            .is_some_and(|state| matches!(state.place, Place::Dead(_)) && state.version == version);
        dies && self.entities.remove(&entity).is_some()
    }
}
