//! What the scripts do, on plain data: a property test compares them with it on real servers, the model check is made of
//! its steps, and caches in memory keep their entries in it.
//!
//! A method does what the script of its name does, and answers as that; the time is the server's.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::Key;

use crate::scripts::{Bad, Claimed, Due, Fill, Stands, Times, Token, millis};

use self::held::{Held, Kept, Timed, version_of};
use self::journal::Journal;

pub(crate) use self::journal::Bounds;

#[cfg(test)]
mod check;
mod held;
mod journal;
#[cfg(test)]
mod property;

/// What Redis holds of caches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    entries: BTreeMap<Key, Kept>,
    /// By the first of their keys.
    journals: BTreeMap<Key, Journal>,
    /// What was published: the channel, and the message.
    pub(crate) told: Vec<(Key, Bytes)>,
}

/// The server's time, in µs since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Time(pub(crate) u64);

impl Time {
    fn millis(self) -> u64 {
        self.0 / 1_000
    }
}

impl Model {
    /// `GET`
    pub(crate) fn get(&mut self, now: Time, key: &Key) -> Option<Bytes> {
        self.there(now.millis(), key).map(|kept| kept.held.to_bytes())
    }

    /// `SET key bytes PX ttl`
    pub(crate) fn set(&mut self, now: Time, key: &Key, bytes: &Bytes, ttl: Duration) {
        self.put(key, now.millis() + millis(ttl), Held::of(bytes));
    }

    /// `UNLINK`
    pub(crate) fn unlink(&mut self, now: Time, key: &Key) -> bool {
        self.there(now.millis(), key).is_some() && self.entries.remove(key).is_some()
    }

    pub(crate) fn read(&mut self, now: Time, key: &Key) -> Stands {
        let now = now.millis();
        match self.entry(now, key).map(|kept| &kept.held) {
            None | Some(Held::Pending { .. }) => Stands::Not,
            Some(Held::Plain(payload)) => Stands::Fresh(payload.clone()),
            Some(Held::Timed(Timed { fresh, payload, .. })) if now < *fresh => {
                Stands::Fresh(payload.clone())
            }
            Some(Held::Timed(Timed { stale, payload, .. })) if now < *stale => {
                Stands::Stale(payload.clone())
            }
            Some(Held::Timed(_)) => Stands::Not,
        }
    }

    pub(crate) fn claim(
        &mut self,
        now: Time,
        key: &Key,
        token: &Token,
        lease: Duration,
        due: Due,
        bad: &Bad,
    ) -> Claimed {
        let (now, lease) = (now.millis(), millis(lease));
        let mut waited = false;
        if let Some(kept) = self.entry(now, key).filter(|kept| !bad.is(&kept.held)) {
            let until = kept.until;
            match &mut kept.held {
                Held::Pending { holder, waited: before } if holder == token => waited = *before,
                Held::Pending { waited, .. } => {
                    *waited = true;
                    let left = Duration::from_millis((until - now).max(1));
                    return Claimed::Waits { stale: None, left };
                }
                Held::Plain(payload) => {
                    let left = Duration::from_millis(until - now);
                    let times = Times { left, ..Times::default() };
                    return Claimed::Fresh { payload: payload.clone(), times };
                }
                Held::Timed(timed) => {
                    let claimed = timed.claim(now, token, lease, due);
                    if matches!(claimed, Claimed::Due { .. } | Claimed::Leads { .. }) {
                        kept.until = until.max(now + lease);
                    }
                    return claimed;
                }
            }
        }
        self.put(key, now + lease, Held::Pending { holder: token.clone(), waited });
        Claimed::Leads { stale: None }
    }

    pub(crate) fn fill(
        &mut self,
        now: Time,
        key: &Key,
        token: Option<&Token>,
        fill: &Fill,
        channel: &Key,
    ) -> bool {
        let now = now.millis();
        let mut waited = false;
        if let Some(token) = token {
            match self.held_by(now, key, token) {
                Some(kept) => waited = kept.held.waited(),
                None => return false,
            }
        }
        self.write(now, key, fill, millis(fill.took));
        self.wake(waited, key, channel);
        true
    }

    pub(crate) fn renew(&mut self, now: Time, key: &Key, token: &Token, lease: Duration) -> bool {
        let (now, lease) = (now.millis(), millis(lease));
        let Some(kept) = self.held_by(now, key, token) else { return false };
        if let Held::Timed(timed) = &mut kept.held {
            timed.busy = now + lease;
        }
        kept.until = kept.until.max(now + lease);
        true
    }

    pub(crate) fn release(
        &mut self,
        now: Time,
        key: &Key,
        token: &Token,
        pause: Duration,
        channel: &Key,
    ) -> bool {
        let now = now.millis();
        let Some(kept) = self.held_by(now, key, token) else { return false };
        let waited = kept.held.waited();
        match &mut kept.held {
            Held::Timed(timed) => {
                (timed.holder, timed.waited) = (None, false);
                timed.busy = timed.stale.min(now + millis(pause));
            }
            _ => drop(self.entries.remove(key)),
        }
        self.wake(waited, key, channel);
        true
    }

    pub(crate) fn seize(&mut self, now: Time, key: &Key, token: &Token, lease: Duration) -> bool {
        let (now, lease) = (now.millis(), millis(lease));
        let mut waited = false;
        if let Some(kept) = self.entry(now, key) {
            waited = kept.held.waited();
            if let Held::Timed(timed) = &mut kept.held {
                timed.holder = Some(token.clone());
                (timed.busy, timed.fresh) = (now + lease, timed.fresh.min(now));
                kept.until = kept.until.max(now + lease);
                return true;
            }
        }
        self.put(key, now + lease, Held::Pending { holder: token.clone(), waited });
        true
    }

    pub(crate) fn update(
        &mut self,
        now: Time,
        key: &Key,
        version: u64,
        fill: &Fill,
        channel: &Key,
    ) -> bool {
        let now = now.millis();
        let Some(held) = self.entry(now, key).map(|kept| &kept.held) else { return false };
        let waited = held.waited();
        let newer = match held {
            Held::Pending { .. } => {
                self.entries.remove(key);
                false
            }
            held if held.payload().and_then(version_of).is_some_and(|known| known >= version) => {
                return false;
            }
            _ => {
                self.write(now, key, fill, 0);
                true
            }
        };
        self.wake(waited, key, channel);
        newer
    }

    pub(crate) fn expire(&mut self, now: Time, key: &Key) -> bool {
        let now = now.millis();
        match self.entry(now, key).map(|kept| &mut kept.held) {
            Some(Held::Timed(timed)) => {
                (timed.holder, timed.waited, timed.busy) = (None, false, 0);
                timed.fresh = timed.fresh.min(now);
                true
            }
            Some(held) => {
                let there = matches!(held, Held::Plain(_));
                self.entries.remove(key);
                there
            }
            None => false,
        }
    }

    /// What scripts find there at this time: an empty string is nothing.
    fn entry(&mut self, now: u64, key: &Key) -> Option<&mut Kept> {
        self.there(now, key)
            .filter(|kept| !matches!(&kept.held, Held::Plain(bytes) if bytes.is_empty()))
    }

    /// What is there at this time.
    fn there(&mut self, now: u64, key: &Key) -> Option<&mut Kept> {
        if self.entries.get(key)?.until < now {
            self.entries.remove(key);
        }
        self.entries.get_mut(key)
    }

    /// What is there, if this one has the lease on it.
    fn held_by(&mut self, now: u64, key: &Key, token: &Token) -> Option<&mut Kept> {
        self.entry(now, key).filter(|kept| kept.held.holder() == Some(token))
    }

    fn write(&mut self, now: u64, key: &Key, fill: &Fill, took: u64) {
        let (ttl, grace, payload) = (millis(fill.ttl), millis(fill.grace), fill.payload.clone());
        let (fresh, stale) = (now + ttl, now + ttl + grace);
        let held = match fill.timed {
            true => Held::Timed(Timed {
                holder: None,
                waited: false,
                busy: 0,
                fresh,
                stale,
                ttl,
                took,
                payload,
            }),
            false => Held::of(&payload),
        };
        self.put(key, stale, held);
    }

    fn put(&mut self, key: &Key, until: u64, held: Held) {
        self.entries.insert(key.clone(), Kept { until, held });
    }

    fn wake(&mut self, waited: bool, key: &Key, channel: &Key) {
        if waited {
            self.told.push((channel.clone(), key.to_bytes()));
        }
    }
}

impl Bad {
    /// Whether this is what is not to be believed.
    fn is(&self, held: &Held) -> bool {
        match (self, held.payload()) {
            (Self::Unreadable(bad), Some(payload)) => payload == bad,
            (Self::Invalid(seal), Some(payload)) => payload.starts_with(seal),
            _ => false,
        }
    }
}
