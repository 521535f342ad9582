//! What stands under one key, taken apart.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use std::time::Duration;

use crate::entry::{self, Entry};
use crate::scripts::{Claimed, Due, Times, Token};
use crate::seal::{SEALED, Seal};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    /// When Redis removes it, in ms.
    pub(super) until: u64,
    pub(super) held: Held,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Held {
    /// Fresh as long as it is there.
    Plain(Bytes),
    Pending {
        holder: Token,
        waited: bool,
    },
    Timed(Timed),
}

/// Times in ms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Timed {
    pub(super) holder: Option<Token>,
    pub(super) waited: bool,
    pub(super) busy: u64,
    pub(super) fresh: u64,
    pub(super) stale: u64,
    pub(super) ttl: u64,
    pub(super) took: u64,
    pub(super) payload: Bytes,
}

impl Held {
    /// As Redis has it.
    pub(super) fn of(bytes: &Bytes) -> Self {
        let mut rest = bytes.clone();
        match entry::read(bytes) {
            Entry::Payload => Self::Plain(rest),
            Entry::Pending => {
                rest.advance(1);
                Self::Pending { holder: Token(rest.split_to(8)), waited: rest.get_u8() == 1 }
            }
            Entry::Timed => {
                rest.advance(1);
                let holder = rest.split_to(8);
                Self::Timed(Timed {
                    holder: (*holder != NOBODY).then_some(Token(holder)),
                    waited: rest.get_u8() == 1,
                    busy: rest.get_u64(),
                    fresh: rest.get_u64(),
                    stale: rest.get_u64(),
                    ttl: rest.get_u64(),
                    took: rest.get_u32().into(),
                    payload: rest,
                })
            }
        }
    }

    /// As Redis has it.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Plain(payload) => return payload.clone(),
            Self::Pending { holder, waited } => {
                bytes.put_u8(entry::PENDING);
                bytes.put_slice(&holder.0);
                bytes.put_u8((*waited).into());
            }
            Self::Timed(timed) => {
                bytes.put_u8(entry::TIMED);
                bytes.put_slice(timed.holder.as_ref().map_or(&NOBODY[..], |holder| &holder.0));
                bytes.put_u8(timed.waited.into());
                for time in [timed.busy, timed.fresh, timed.stale, timed.ttl] {
                    bytes.put_u64(time);
                }
                bytes.put_u32(u32::try_from(timed.took).unwrap_or(u32::MAX));
                bytes.put_slice(&timed.payload);
            }
        }
        bytes.freeze()
    }

    /// Of a value or its absence.
    pub(super) fn payload(&self) -> Option<&Bytes> {
        match self {
            Self::Plain(payload) | Self::Timed(Timed { payload, .. }) => Some(payload),
            Self::Pending { .. } => None,
        }
    }

    /// Who has the lease.
    pub(super) fn holder(&self) -> Option<&Token> {
        match self {
            Self::Plain(_) => None,
            Self::Pending { holder, .. } => Some(holder),
            Self::Timed(timed) => timed.holder.as_ref(),
        }
    }

    /// Whether anybody waits for whoever has it.
    pub(super) fn waited(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Pending { waited, .. } | Self::Timed(Timed { waited, .. }) => *waited,
        }
    }
}

const NOBODY: [u8; 8] = [0; 8];

impl Timed {
    pub(super) fn claim(&mut self, now: u64, token: &Token, lease: u64, due: Due) -> Claimed {
        let payload = self.payload.clone();
        let free = now >= self.busy || self.holder.as_ref() == Some(token);
        let stale = (now < self.stale).then(|| payload.clone());
        if now < self.fresh {
            let left = self.fresh - now;
            let due = left * 1_000 <= self.ttl * due.ahead || left * 1_000 <= self.took * due.roll;
            if free && due {
                self.take(token, now + lease);
                return Claimed::Due { payload };
            }
            let [left, ttl, took] = [left, self.ttl, self.took].map(Duration::from_millis);
            return Claimed::Fresh { payload, times: Times { left, ttl, took } };
        }
        if free {
            self.take(token, now + lease);
            return Claimed::Leads { stale };
        }
        if self.holder.is_none() {
            return Claimed::Rests { stale: payload };
        }
        self.waited = true;
        Claimed::Waits { stale, left: Duration::from_millis(self.busy - now) }
    }

    fn take(&mut self, token: &Token, busy: u64) {
        (self.holder, self.busy) = (Some(token.clone()), busy);
    }
}

/// The version of a payload, behind its seal if it has one.
pub(super) fn version_of(payload: &Bytes) -> Option<u64> {
    let mut rest = match payload.first() {
        Some(&SEALED) => Seal::split(payload)?.1,
        _ => payload.clone(),
    };
    (rest.try_get_u8().ok()? == entry::VERSIONED).then(|| rest.try_get_u64().ok())?
}
