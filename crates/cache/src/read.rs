//! What Redis has of a key, and whether this caller is to load it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use russet_core_conn::{Cmd, Error, ErrorKind, Key, ServerError};
use serde::de::DeserializeOwned;

use crate::cache::{Cache, Inner};
use crate::entry::{self, Entry};
use crate::keys::Keys;
use crate::load::{Load, Reason};
use crate::lookup::{Freshness, Lookup};
use crate::scripts::{self, Bad, Claimed, Due, Stands, Token};
use crate::stats::Seen;
use crate::store::Store;
use crate::tracked::{Flaw, Opened, Tracked};

/// What one caller is told.
pub(crate) enum Reading<V> {
    Hit(Lookup<V>),
    /// Fresh, and this caller has the lease to refresh it.
    Due(Load<V>, Token),
    /// This caller has the lease, and perhaps something stale.
    Leads(Token, Option<Load<V>>, Reason),
    /// Another has.
    Waits(Option<Lookup<V>>),
    /// It is not there, and nobody was asked for the lease.
    Misses(Bad, Reason),
}

impl<V: DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// One round trip; for an entry that keeps its own times, where the options of this cache do not say so, two.
    pub(crate) async fn read(&self, key: &Key, asked: Instant) -> Reading<V> {
        let inner = &self.inner;
        if inner.owed.holds(key) {
            return self.counted(key, Reading::Misses(Bad::Nothing, Reason::Unavailable));
        }
        if let Err(error) = self.ready(&inner.budgeted, asked).await {
            return self.counted(key, inner.unavailable(&error));
        }
        let plain = match self.asks_clock() {
            true => None,
            false => {
                let reply = inner.budgeted.run(Cmd::read("GET").key(key)).await;
                let plain = inner.plain(&inner.budgeted, reply).await;
                plain.unwrap_or_else(|error| Some(inner.unavailable(&error)))
            }
        };
        let reading = match plain {
            Some(reading) => reading,
            // Boxed: the longer way must not make every hit's future larger.
            None => Box::pin(self.claim(key, Bad::Nothing)).await,
        };
        self.counted(key, reading)
    }

    /// One round trip for what is there, and another to take the leases on what is not; one for both, where entries keep
    /// their own times.
    pub(crate) async fn read_many(&self, keys: &[&Key], asked: Instant) -> Vec<Reading<V>> {
        let inner = &self.inner;
        if let Err(error) = self.ready(&inner.budgeted, asked).await {
            return keys.iter().map(|key| self.counted(key, inner.unavailable(&error))).collect();
        }
        let mut plain: Vec<Option<Reading<V>>> = keys.iter().map(|_| None).collect();
        if !self.asks_clock() {
            let replies = inner.budgeted.get_many(keys.iter().copied()).await;
            for (plain, reply) in plain.iter_mut().zip(replies) {
                let found = inner.plain(&inner.budgeted, reply).await;
                *plain = found.unwrap_or_else(|error| Some(inner.unavailable(&error)));
            }
        }
        let readings = plain.into_iter().zip(keys).map(async |(plain, key)| {
            if inner.owed.holds(key) {
                return self.counted(key, Reading::Misses(Bad::Nothing, Reason::Unavailable));
            }
            let reading = match plain {
                None => self.claim(key, Bad::Nothing).await,
                Some(Reading::Misses(bad, Reason::Missing | Reason::Unreadable)) => {
                    self.claim(key, bad).await
                }
                Some(reading) => reading,
            };
            self.counted(key, reading)
        });
        join_all(readings).await
    }

    /// With the lease, where it is to be had. One round trip; two where what is there can't be read.
    async fn claim(&self, key: &Key, known: Bad) -> Reading<V> {
        let (inner, redis, token) = (&self.inner, &self.inner.budgeted, Token::draw());
        let (lease, due) = (self.policy.lease, self.due(key));
        let mut bad = known.clone();
        loop {
            let ticket = inner.ticket(key);
            let flaw = match scripts::claim(redis, key, &token, lease, due, &bad).await {
                Ok(Claimed::Fresh { payload, times }) => match inner.open(redis, &payload).await {
                    Ok(Opened { value, seal, .. }) => {
                        let lookup = Lookup::cached(value, false);
                        inner.keep(key, ticket, &lookup, seal, times);
                        return Reading::Hit(lookup);
                    }
                    Err(flaw) => flaw,
                },
                Ok(Claimed::Due { payload }) => {
                    return match inner.open(redis, &payload).await {
                        Ok(opened) => Reading::Due(opened.into_load(), token),
                        Err(_) => Reading::Leads(token, None, Reason::Unreadable),
                    };
                }
                Ok(Claimed::Leads { stale }) => {
                    let stale = self.stale(redis, stale.as_ref()).await;
                    let reason = if stale.is_some() { Reason::Refresh } else { bad.reason() };
                    return Reading::Leads(token, stale, reason);
                }
                Ok(Claimed::Waits { stale, .. }) => {
                    let stale = self.stale(redis, stale.as_ref()).await;
                    return Reading::Waits(stale.map(|stale| Lookup::of(stale.value, true)));
                }
                Ok(Claimed::Rests { stale }) => match inner.open(redis, &stale).await {
                    Ok(opened) if !self.policy.grace.is_zero() => {
                        return Reading::Hit(Lookup::cached(opened.value, true));
                    }
                    Ok(_) => return Reading::Misses(Bad::Nothing, Reason::Contended),
                    Err(flaw) => flaw,
                },
                Err(error) if is_another_type(&error) => {
                    tracing::warn!(%error, "an entry is of another type: a miss");
                    Flaw::Bad(Bad::Type)
                }
                Err(error) => Flaw::Away(error),
            };
            match flaw {
                // Others write what can't be used, all the time.
                Flaw::Bad(found) if bad != known => {
                    return Reading::Misses(found, Reason::Contended);
                }
                Flaw::Bad(found) => bad = found,
                Flaw::Away(error) => return inner.unavailable(&error),
            }
        }
    }

    /// When a refresh is due for this lookup: where that was drawn as this process's memory was asked, now.
    fn due(&self, key: &Key) -> Due {
        let local = self.inner.tracked.as_ref().and_then(|tracked| tracked.local.as_ref());
        match local {
            Some(local) if local.is_due(&Keys::name_of(&key.to_bytes())) => Due::NOW,
            _ => self.policy.due(),
        }
    }

    /// Whether reading an entry takes a script: because it may keep its own times, or to learn how long it is good for.
    fn asks_clock(&self) -> bool {
        let keeps = |tracked: &Tracked<V>| tracked.local.is_some();
        self.policy.is_timed() || self.inner.tracked.as_ref().is_some_and(keeps)
    }

    /// A value past its time, where the options allow it and it may be used.
    pub(crate) async fn stale(&self, redis: &Store, payload: Option<&Bytes>) -> Option<Load<V>> {
        match payload {
            Some(payload) if !self.policy.grace.is_zero() => {
                self.inner.open(redis, payload).await.ok().map(Opened::into_load)
            }
            _ => None,
        }
    }

    /// Without a loader to fall back to.
    pub(crate) async fn stands(
        &self,
        key: &Key,
        asked: Instant,
    ) -> Result<Option<Lookup<V>>, Error> {
        let (inner, redis) = (&self.inner, &self.inner.redis);
        if inner.owed.holds(key) {
            return Ok(None);
        }
        self.ready(redis, asked).await?;
        let reply = redis.run(Cmd::read("GET").key(key)).await;
        let reading = match inner.plain(redis, reply).await {
            Ok(Some(reading)) => Ok(reading),
            Ok(None) => match scripts::read(redis, key).await {
                Ok(stands) => self.judged(stands).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let reading = reading.inspect_err(|_| inner.counters.lookup(Seen::Unavailable))?;
        match self.counted(key, reading) {
            Reading::Hit(lookup) => Ok(Some(lookup)),
            _ => Ok(None),
        }
    }

    /// By the server's clock.
    async fn judged(&self, stands: Stands) -> Result<Reading<V>, Error> {
        let (payload, stale) = match stands {
            Stands::Fresh(payload) => (payload, false),
            Stands::Stale(payload) if !self.policy.grace.is_zero() => (payload, true),
            Stands::Stale(_) | Stands::Not => {
                return Ok(Reading::Misses(Bad::Nothing, Reason::Missing));
            }
        };
        match self.inner.open(&self.inner.redis, &payload).await {
            Ok(opened) => Ok(Reading::Hit(Lookup::cached(opened.value, stale))),
            Err(Flaw::Bad(bad)) => Ok(Reading::missed(bad)),
            Err(Flaw::Away(error)) => Err(error),
        }
    }
}

impl<V> Reading<V> {
    fn missed(bad: Bad) -> Self {
        let reason = bad.reason();
        Self::Misses(bad, reason)
    }
}

impl Bad {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Nothing | Self::Invalid(_) => Reason::Missing,
            Self::Unreadable(_) | Self::Type => Reason::Unreadable,
        }
    }
}

impl<V: DeserializeOwned + Send + Sync + 'static> Inner<V> {
    /// What an entry says by itself; `None` where only the server's clock can say what it is worth.
    async fn plain(
        &self,
        redis: &Store,
        reply: Result<Option<Bytes>, Error>,
    ) -> Result<Option<Reading<V>>, Error> {
        Ok(Some(match reply {
            Ok(None) => Reading::Misses(Bad::Nothing, Reason::Missing),
            Ok(Some(bytes)) => match entry::read(&bytes) {
                Entry::Payload => match self.open(redis, &bytes).await {
                    Ok(opened) => Reading::Hit(Lookup::cached(opened.value, false)),
                    Err(Flaw::Bad(bad)) => Reading::missed(bad),
                    Err(Flaw::Away(error)) => return Err(error),
                },
                Entry::Pending => Reading::Waits(None),
                Entry::Timed => return Ok(None),
            },
            Err(error) if is_another_type(&error) => {
                tracing::warn!(%error, "an entry is of another type: a miss");
                Reading::Misses(Bad::Type, Reason::Unreadable)
            }
            Err(error) => return Err(error),
        }))
    }
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// Each lookup once.
    #[inline]
    fn counted(&self, key: &Key, reading: Reading<V>) -> Reading<V> {
        let seen = match &reading {
            Reading::Due(fresh, _) if fresh.value.is_none() => Seen::Absent,
            Reading::Due(..) => Seen::Hit,
            Reading::Hit(lookup) => match lookup.freshness() {
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
        if self.policy.counts {
            self.inner.counters.lookup(seen);
            self.note_far(key, matches!(seen, Seen::Miss | Seen::Unreadable));
        }
        reading
    }
}

impl<V> Inner<V> {
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
