//! What Redis has of a key, and whether this caller is to load it.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use futures_util::future::join_all;
use russet_core_conn::{Cmd, Error, ErrorKind, Key, ServerError};
use serde::de::DeserializeOwned;

use crate::cache::{Cache, Inner};
use crate::entry::{self, Entry};
use crate::load::Reason;
use crate::lookup::{Freshness, Lookup};
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
    /// One round trip; for an entry that keeps its own times, where the options of this cache do not say so, two.
    pub(crate) async fn read(&self, key: &Key) -> Reading<V> {
        let inner = &self.inner;
        if let Err(error) = inner.agree(&inner.budgeted).await {
            return inner.counted(inner.unavailable(&error));
        }
        let plain = match self.policy.is_timed() {
            true => None,
            false => inner.plain(inner.budgeted.run(Cmd::read("GET").key(key)).await),
        };
        let reading = match plain {
            Some(reading) => reading,
            // Boxed: the longer way must not make every hit's future larger.
            None => Box::pin(self.claim(key, Bad::Nothing)).await,
        };
        inner.counted(reading)
    }

    /// One round trip for what is there, and another to take the leases on what is not; one for both, where entries keep
    /// their own times.
    pub(crate) async fn read_many(&self, keys: &[&Key]) -> Vec<Reading<V>> {
        let inner = &self.inner;
        if let Err(error) = inner.agree(&inner.budgeted).await {
            return keys.iter().map(|_| inner.counted(inner.unavailable(&error))).collect();
        }
        let plain = match self.policy.is_timed() {
            true => keys.iter().map(|_| None).collect(),
            false => {
                let replies = inner.budgeted.get_many(keys.iter().copied()).await;
                Vec::from_iter(replies.into_iter().map(|reply| inner.plain(reply)))
            }
        };
        let readings = plain.into_iter().zip(keys).map(async |(plain, key)| {
            inner.counted(match plain {
                None => self.claim(key, Bad::Nothing).await,
                Some(Reading::Misses(bad, Reason::Missing | Reason::Unreadable)) => {
                    self.claim(key, bad).await
                }
                Some(reading) => reading,
            })
        });
        join_all(readings).await
    }

    /// With the lease, where it is to be had. One round trip; two where what is there can't be read.
    async fn claim(&self, key: &Key, known: Bad) -> Reading<V> {
        let (inner, token) = (&self.inner, Token::draw());
        let (lease, due) = (self.policy.lease, self.policy.due());
        let mut bad = known.clone();
        loop {
            let claimed = scripts::claim(&inner.budgeted, key, &token, lease, due, &bad).await;
            let found = match claimed {
                Ok(Claimed::Fresh { payload }) => match inner.payload(&payload) {
                    Ok(value) => return Reading::Hit(Lookup::cached(value, false)),
                    Err(found) => found,
                },
                Ok(Claimed::Due { payload }) => {
                    return match inner.payload(&payload) {
                        Ok(value) => Reading::Due(Lookup::cached(value, false), token),
                        Err(_) => Reading::Leads(token, None, Reason::Unreadable),
                    };
                }
                Ok(Claimed::Leads { stale }) => {
                    let stale = stale.and_then(|payload| self.stale(&payload));
                    let reason = match (&stale, &bad) {
                        (Some(_), _) => Reason::Refresh,
                        (None, Bad::Nothing) => Reason::Missing,
                        (None, _) => Reason::Unreadable,
                    };
                    return Reading::Leads(token, stale, reason);
                }
                Ok(Claimed::Waits { stale, .. }) => {
                    return Reading::Waits(stale.and_then(|payload| self.stale(&payload)));
                }
                Ok(Claimed::Rests { stale }) => {
                    let rests = || Reading::Misses(Bad::Nothing, Reason::Contended);
                    return self.stale(&stale).map_or_else(rests, Reading::Hit);
                }
                Err(error) if is_another_type(&error) => {
                    tracing::warn!(%error, "an entry is of another type: a miss");
                    Bad::Type
                }
                Err(error) => return inner.unavailable(&error),
            };
            if bad != known {
                // Others write what can't be read, all the time.
                return Reading::Misses(found, Reason::Contended);
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
        let reading = match redis.run(Cmd::read("GET").key(key)).await {
            Err(error) if !is_another_type(&error) => Err(error),
            reply => match inner.plain(reply) {
                Some(reading) => Ok(reading),
                None => scripts::read(redis, key).await.map(|stands| self.judged(stands)),
            },
        };
        let reading = reading.inspect_err(|_| inner.counters.lookup(Seen::Unavailable))?;
        match inner.counted(reading) {
            Reading::Hit(lookup) => Ok(Some(lookup)),
            _ => Ok(None),
        }
    }

    /// By the server's clock.
    fn judged(&self, stands: Stands) -> Reading<V> {
        let lookup = match stands {
            Stands::Fresh(payload) => {
                self.inner.payload(&payload).map(|value| Some(Lookup::cached(value, false)))
            }
            Stands::Stale(payload) => Ok(self.stale(&payload)),
            Stands::Not => Ok(None),
        };
        match lookup {
            Ok(Some(lookup)) => Reading::Hit(lookup),
            Ok(None) => Reading::Misses(Bad::Nothing, Reason::Missing),
            Err(bad) => Reading::Misses(bad, Reason::Unreadable),
        }
    }
}

impl<V: DeserializeOwned> Inner<V> {
    /// What an entry says by itself; `None` where only the server's clock can say what it is worth.
    fn plain(&self, reply: Result<Option<Bytes>, Error>) -> Option<Reading<V>> {
        Some(match reply {
            Ok(None) => Reading::Misses(Bad::Nothing, Reason::Missing),
            Ok(Some(bytes)) => match entry::decode(&self.codec, &bytes) {
                Ok(Entry::Fresh(value)) => Reading::Hit(Lookup::cached(value, false)),
                Ok(Entry::Pending) => Reading::Waits(None),
                Ok(Entry::Timed) => return None,
                Err(error) => {
                    tracing::warn!(%error, "an entry can't be read: a miss");
                    Reading::Misses(Bad::Unreadable(bytes), Reason::Unreadable)
                }
            },
            Err(error) if is_another_type(&error) => {
                tracing::warn!(%error, "an entry is of another type: a miss");
                Reading::Misses(Bad::Type, Reason::Unreadable)
            }
            Err(error) => self.unavailable(&error),
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
    /// Each lookup once.
    #[inline]
    fn counted(&self, reading: Reading<V>) -> Reading<V> {
        let seen = match &reading {
            Reading::Hit(lookup) | Reading::Due(lookup, _) => match lookup.freshness() {
                Freshness::Absent => Seen::Absent,
                Freshness::Stale => Seen::Stale,
                Freshness::Fresh | Freshness::Loaded => Seen::Hit,
            },
            Reading::Leads(_, Some(_), _) | Reading::Waits(Some(_)) => Seen::Stale,
            Reading::Leads(_, None, Reason::Unreadable)
            | Reading::Misses(_, Reason::Unreadable) => Seen::Unreadable,
            Reading::Misses(_, Reason::Unavailable) => Seen::Unavailable,
            Reading::Leads(..) | Reading::Waits(None) | Reading::Misses(..) => Seen::Miss,
        };
        self.counters.lookup(seen);
        reading
    }

    fn unavailable(&self, error: &Error) -> Reading<V> {
        // No waiting mends another layout: that is said aloud, once.
        let lasts = matches!(error.kind(), ErrorKind::Layout { .. });
        if lasts && !self.warned.swap(true, Relaxed) {
            tracing::warn!(%error, "the cache can't be used: the loader serves");
        } else {
            tracing::debug!(%error, "the cache does not answer");
        }
        Reading::Misses(Bad::Nothing, Reason::Unavailable)
    }
}

/// A key that holds another type is an entry that can't be read: a fill replaces it.
fn is_another_type(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerError::WrongType))
}
