//! What Redis has of a key, and whether this caller is to load it.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use russet_core_conn::{Cmd, Error, ErrorKind, Key, ServerError};
use serde::de::DeserializeOwned;

use crate::cache::{Cache, Inner};
use crate::entry::{self, Entry};
use crate::load::Reason;
use crate::lookup::Lookup;
use crate::scripts::{self, Bad, Claimed, Stands, Token};
use crate::stats::Seen;

/// What one caller is told.
pub(crate) enum Reading<V> {
    Hit(Lookup<V>),
    /// Fresh, and this caller has the lease to refresh it.
    Due(Lookup<V>, Token),
    /// This caller has the lease.
    Leads(Token, Option<Lookup<V>>, Reason),
    /// Another has.
    Waits(Option<Lookup<V>>),
    /// It is not there, and nobody was asked for the lease.
    Misses(Bad, Reason),
}

impl<V: DeserializeOwned> Cache<V> {
    /// One round trip, but for what only the server's clock can judge.
    pub(crate) async fn read(&self, key: &Key) -> Reading<V> {
        let inner = &self.inner;
        if let Err(error) = inner.agree(&inner.budgeted).await {
            return inner.unavailable(&error);
        }
        if self.policy.is_timed() {
            return self.claim(key).await;
        }
        match inner.budgeted.run(Cmd::read("GET").key(key)).await {
            Ok(None) => inner.seen(Seen::Miss, Reading::Misses(Bad::Nothing, Reason::Missing)),
            Ok(Some(bytes)) => match inner.decoded(&bytes) {
                Ok(Entry::Fresh(value)) => inner.hit(value, false),
                Ok(Entry::Pending) => inner.seen(Seen::Miss, Reading::Waits(None)),
                Ok(Entry::Timed) => self.claim(key).await,
                Err(bad) => inner.unreadable(bad),
            },
            Err(error) if is_another_type(&error) => inner.another_type(&error),
            Err(error) => inner.unavailable(&error),
        }
    }

    /// The same, with the lease where it is to be had. One round trip; two where what is there can't be read.
    pub(crate) async fn claim(&self, key: &Key) -> Reading<V> {
        let (inner, token) = (&self.inner, Token::draw());
        let (lease, due) = (self.policy.lease, self.policy.due());
        let mut bad = Bad::Nothing;
        loop {
            let claimed = scripts::claim(&inner.budgeted, key, &token, lease, due, &bad).await;
            let found = match claimed {
                Ok(Claimed::Fresh { payload }) => match inner.payload(&payload) {
                    Ok(value) => return inner.hit(value, false),
                    Err(found) => found,
                },
                Ok(Claimed::Due { payload }) => match inner.payload(&payload) {
                    Ok(value) => {
                        let seen = if value.is_some() { Seen::Hit } else { Seen::Absent };
                        let lookup = Lookup::cached(value, false);
                        return inner.seen(seen, Reading::Due(lookup, token));
                    }
                    Err(_) => {
                        let reading = Reading::Leads(token, None, Reason::Unreadable);
                        return inner.seen(Seen::Unreadable, reading);
                    }
                },
                Ok(Claimed::Leads { stale }) => {
                    let stale = stale.and_then(|payload| self.stale(&payload));
                    let (seen, reason) = match (&stale, &bad) {
                        (Some(_), _) => (Seen::Stale, Reason::Refresh),
                        (None, Bad::Nothing) => (Seen::Miss, Reason::Missing),
                        (None, _) => (Seen::Unreadable, Reason::Unreadable),
                    };
                    return inner.seen(seen, Reading::Leads(token, stale, reason));
                }
                Ok(Claimed::Waits { stale, .. }) => {
                    let stale = stale.and_then(|payload| self.stale(&payload));
                    let seen = if stale.is_some() { Seen::Stale } else { Seen::Miss };
                    return inner.seen(seen, Reading::Waits(stale));
                }
                Ok(Claimed::Rests { stale }) => match self.stale(&stale) {
                    Some(stale) => return inner.seen(Seen::Stale, Reading::Hit(stale)),
                    None => {
                        let reading = Reading::Misses(Bad::Nothing, Reason::Contended);
                        return inner.seen(Seen::Miss, reading);
                    }
                },
                Err(error) if is_another_type(&error) => {
                    tracing::warn!(%error, "an entry is of another type: a miss");
                    Bad::Type
                }
                Err(error) => return inner.unavailable(&error),
            };
            // Others write what can't be read, all the time.
            if bad != Bad::Nothing {
                let reading = Reading::Misses(found, Reason::Contended);
                return inner.seen(Seen::Unreadable, reading);
            }
            bad = found;
        }
    }

    /// A value past its time, where the options allow it and it can be read.
    pub(crate) fn stale(&self, payload: &Bytes) -> Option<Lookup<V>> {
        if self.policy.grace.is_zero() {
            return None;
        }
        self.inner.payload(payload).ok().map(|value| Lookup::cached(value, true))
    }

    /// Without a loader to fall back to.
    pub(crate) async fn stands(&self, key: &Key) -> Result<Option<Lookup<V>>, Error> {
        let (inner, redis) = (&self.inner, &self.inner.redis);
        inner.agree(redis).await?;
        let reading: Reading<V> = match redis.run::<Option<Bytes>>(Cmd::read("GET").key(key)).await
        {
            Ok(None) => inner.seen(Seen::Miss, Reading::Misses(Bad::Nothing, Reason::Missing)),
            Ok(Some(bytes)) => match inner.decoded(&bytes) {
                Ok(Entry::Fresh(value)) => inner.hit(value, false),
                Ok(Entry::Pending) => inner.seen(Seen::Miss, Reading::Waits(None)),
                Ok(Entry::Timed) => return self.stands_by_the_clock(key).await,
                Err(bad) => inner.unreadable(bad),
            },
            Err(error) if is_another_type(&error) => inner.another_type(&error),
            Err(error) => {
                inner.counters.lookup(Seen::Unavailable);
                return Err(error);
            }
        };
        match reading {
            Reading::Hit(lookup) => Ok(Some(lookup)),
            _ => Ok(None),
        }
    }

    async fn stands_by_the_clock(&self, key: &Key) -> Result<Option<Lookup<V>>, Error> {
        let inner = &self.inner;
        let found = match scripts::read(&inner.redis, key).await {
            Ok(Stands::Fresh(payload)) => inner.payload(&payload).map(|value| (value, false)),
            Ok(Stands::Stale(payload)) if !self.policy.grace.is_zero() => {
                inner.payload(&payload).map(|value| (value, true))
            }
            Ok(_) => {
                inner.counters.lookup(Seen::Miss);
                return Ok(None);
            }
            Err(error) => {
                inner.counters.lookup(Seen::Unavailable);
                return Err(error);
            }
        };
        match found.map(|(value, stale)| inner.hit(value, stale)) {
            Ok(Reading::Hit(lookup)) => Ok(Some(lookup)),
            Ok(_) => Ok(None),
            Err(_) => {
                inner.counters.lookup(Seen::Unreadable);
                Ok(None)
            }
        }
    }
}

impl<V: DeserializeOwned> Inner<V> {
    fn decoded(&self, bytes: &Bytes) -> Result<Entry<V>, Bad> {
        entry::decode(&self.codec, bytes).map_err(|error| {
            tracing::warn!(%error, "an entry can't be read: a miss");
            Bad::Unreadable(bytes.clone())
        })
    }

    pub(crate) fn payload(&self, bytes: &Bytes) -> Result<Option<V>, Bad> {
        entry::decode_payload(&self.codec, bytes).map_err(|error| {
            tracing::warn!(%error, "an entry can't be read: a miss");
            Bad::Unreadable(bytes.clone())
        })
    }
}

impl<V> Inner<V> {
    fn seen(&self, seen: Seen, reading: Reading<V>) -> Reading<V> {
        self.counters.lookup(seen);
        reading
    }

    fn hit(&self, value: Option<V>, stale: bool) -> Reading<V> {
        let seen = match &value {
            Some(_) if stale => Seen::Stale,
            Some(_) => Seen::Hit,
            None => Seen::Absent,
        };
        self.seen(seen, Reading::Hit(Lookup::cached(value, stale)))
    }

    fn unreadable(&self, bad: Bad) -> Reading<V> {
        self.seen(Seen::Unreadable, Reading::Misses(bad, Reason::Unreadable))
    }

    fn another_type(&self, error: &Error) -> Reading<V> {
        tracing::warn!(%error, "an entry is of another type: a miss");
        self.unreadable(Bad::Type)
    }

    pub(crate) fn unavailable(&self, error: &Error) -> Reading<V> {
        // No waiting mends another layout: that is said aloud, once.
        let lasts = matches!(error.kind(), ErrorKind::Layout { .. });
        if lasts && !self.warned.swap(true, Relaxed) {
            tracing::warn!(%error, "the cache can't be used: the loader serves");
        } else {
            tracing::debug!(%error, "the cache does not answer");
        }
        self.seen(Seen::Unavailable, Reading::Misses(Bad::Nothing, Reason::Unavailable))
    }
}

/// A key that holds another type is an entry that can't be read: a fill replaces it.
pub(crate) fn is_another_type(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerError::WrongType))
}
